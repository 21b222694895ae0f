# SPDX-License-Identifier: Apache-2.0
"""`trainer.Run`, on a run directory that is made up but for its model, which labels."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer
from trainer.analysis.neighbours import Neighbours, Space
from trainer.data.manifest import write_csv
from trainer.errors import DataError, UsageError
from trainer.head.export import About, save_model
from trainer.report.verdict import last_lines, verdict
from trainer.rundir import RunDir

ROOT = Path(__file__).parents[2]
ODD = "a <b>'&' \u202e"
"""A class name that could end the markup, and turn its line around."""
CLASSES = [ODD, "b"]


def results(status: str = "complete") -> dict[str, Any]:
    majority = {"label": ODD, "share": 0.5}
    headline = {
        "source": "test",
        "metric": "accuracy",
        "value": 0.81,
        "interval95": [0.7, 0.9],
        "n": 100,
        "majority": majority,
    }
    test = {
        "n": 100,
        "correct": 81,
        "accuracy": 0.81,
        "interval95": [0.7, 0.9],
        "recall": [0.8, 0.82],
    }
    return {
        "schema": 1,
        "status": status,
        "headline": headline if status == "complete" else None,
        "test": {**test, "majority": majority} if status == "complete" else None,
        "data": {"classes": CLASSES},
        "warnings": [],
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.create()
    run.results.write_text(json.dumps(results()))
    header = "path sha256 group label source fold l2 predicted".split()
    rows = [
        ("=a/1.txt", "00", "", ODD, "test", None, 0.1, ODD, 0.9, 0.1),
        ("a/2\udcff.txt", "01", "g", ODD, "oof", 3, 1e-05, "b", 0.25, 0.75),
    ]
    write_csv(run.predictions, [*header, *(f"p:{name}" for name in CLASSES)], rows)
    head = np.array([[1.0, -1.0], [0.0, 0.0]]), np.zeros(2)
    space = Space(np.zeros(2), np.ones(2))
    rows_kept = np.array([[1, 0], [0, 1]], np.float32)
    paths = ["a/near.jpg", "b/far.jpg"]
    kept = Neighbours(
        space, space.quantised(rows_kept), np.array([0, 1]), paths, [bytes(32)] * 2, 2, limit=0.3
    )
    about = About("made up", CLASSES, 2, "", "", 64)
    save_model(run.model, head, about, None, kept.to_arrays(), "Right.")
    return run


def test_it_is_at_hand_as_trainer_run_and_costs_an_import_of_trainer_nothing() -> None:
    heavy = "{'numpy', 'pandas', 'tensorflow', 'trainer.api'}"
    program = f"import sys, trainer; assert not {heavy} & set(sys.modules); trainer.Run"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="'trainer' has no attribute 'Rum'"):
        _ = trainer.Rum


def test_results_are_those_of_the_moment(run: RunDir) -> None:
    here = trainer.Run(run.path)
    assert here.results == results()
    run.results.write_text(json.dumps(results("stopped")))
    assert here.results["status"] == "stopped"


def test_predictions_have_texts_as_they_were_and_numbers_as_numbers(run: RunDir) -> None:
    table = trainer.Run(str(run.path)).predictions
    assert table.path.tolist() == ["=a/1.txt", "a/2\udcff.txt"]
    assert table.group.tolist() == ["", "g"]
    assert table.label.tolist() == [ODD, ODD]
    assert table.dtypes.astype(str).to_dict() == {
        **dict.fromkeys("path sha256 group label source predicted".split(), "object"),
        "fold": "Int64",
        **dict.fromkeys(["l2", f"p:{ODD}", "p:b"], "float64"),
    }
    assert table.fold.isna().tolist() == [True, False]
    assert table.fold[1] == 3
    assert table.l2.tolist() == [0.1, 1e-05]
    assert table["p:b"].tolist() == [0.1, 0.75]
    assert (table.label != table.predicted).tolist() == [False, True]


def test_a_run_that_scored_nothing_has_an_empty_table_of_the_same_columns(run: RunDir) -> None:
    columns = list(trainer.Run(run.path).predictions.columns)
    run.predictions.write_text(run.predictions.read_text().splitlines()[0] + "\n")
    empty = trainer.Run(run.path).predictions
    assert list(empty.columns) == columns
    assert len(empty) == 0


def test_neighbours_are_a_table_the_nearest_first(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("5,1")
    table = trainer.Run(run.path).neighbours(tmp_path / "new.txt")
    assert table.path.tolist() == ["a/near.jpg", "b/far.jpg"]
    assert table.label.tolist() == CLASSES
    assert table.distance[0] == pytest.approx(1 - 5 / math.sqrt(26), abs=1e-6)


def test_model_without_a_network_has_no_heat_maps(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("5,1")
    with pytest.raises(UsageError, match="no heat maps"):
        trainer.Run(run.path).heatmap(tmp_path / "new.txt")


def test_file_that_cannot_be_read_has_no_neighbours(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        trainer.Run(run.path).neighbours(tmp_path / "gone.txt")


def test_files_and_folders_are_labelled_and_what_cannot_be_read_has_its_reason(
    run: RunDir, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "1.txt").write_text("2,0")
    (folder / "2.txt").write_text("-2,0")
    (folder / "3.txt").write_text("no number")
    here = trainer.Run(run.path)
    table = here.predict(folder)
    assert list(table.columns) == ["path", "predicted", f"p:{ODD}", "p:b", "unfamiliar", "error"]
    assert table.path.tolist() == [str(folder / f"{number}.txt") for number in (1, 2, 3)]
    assert table.predicted.tolist() == [ODD, "b", None]
    assert table["p:b"][1] == pytest.approx(1 / (1 + math.exp(-4)))
    assert np.isnan(table["p:b"][2])
    assert table.error[:2].tolist() == ["", ""]
    assert "number" in table.error[2]
    assert table.unfamiliar.tolist() == [False, True, None]
    one, other = folder / "2.txt", str(folder / "1.txt")
    assert here.predict([one, other]).predicted.tolist() == ["b", ODD]
    assert here.predict(one).predicted.tolist() == ["b"]


def test_shown_it_is_the_verdict_and_the_last_lines(run: RunDir) -> None:
    shown = repr(trainer.Run(run.path))
    assert verdict(results()) in shown
    assert shown.endswith("\n".join(last_lines(results(), run.path)))


def test_in_jupyter_names_can_neither_end_the_markup_nor_turn_the_line(run: RunDir) -> None:
    shown = trainer.Run(run.path)._repr_html_()
    assert "Right about 4 in 5 times" in shown
    assert shown.count("<b>") == 1  # the verdict's own
    assert "<bdi>a &lt;b&gt;&#x27;&amp;&#x27; \\u202e</bdi>" in shown
    assert "\u202e" not in shown
    assert "Test set" in shown


def test_a_run_that_goes_on_shows_that(run: RunDir) -> None:
    run.results.write_text(json.dumps(results("running")))
    here = trainer.Run(run.path)
    assert repr(here).endswith("No result yet: this run is still going on.")
    assert here._repr_html_() == "<p><b>No result yet: this run is still going on.</b></p>"


def test_what_is_no_run_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run directory"):
        trainer.Run(tmp_path)


def test_without_its_tables_a_run_says_which_is_missing(run: RunDir) -> None:
    run.predictions.unlink()
    with pytest.raises(DataError, match=r"predictions\.csv: No such file"):
        _ = trainer.Run(run.path).predictions


def test_without_pandas_it_says_how_to_get_it(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    here = trainer.Run(run.path)
    assert "81%" in repr(here)
    with pytest.raises(UsageError, match=r"pip install 'retrain-hpc\[notebook\]'"):
        _ = here.predictions
    with pytest.raises(UsageError, match="pandas is not installed"):
        here.predict("x")
