# SPDX-License-Identifier: Apache-2.0
"""A run on retrain.py's bottleneck texts: no TensorFlow, and no skill where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from worlds import ROOT, Finished, Job, environment

Retrain = Callable[..., Finished]


def write_texts(folder: Path, skill: float, seed: int = 0) -> Path:
    """120 bottlenecks of 40 numbers in two classes, `skill` apart in each of them."""
    rng = np.random.default_rng(seed)
    for label, count in (("a", 72), ("b", 48)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            values = rng.normal(skill * (label == "b"), 1.0, 40)
            text = ",".join(f"{value:.6g}" for value in values)
            (folder / label / f"{number}.jpg.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "good", 0.6)


def config(texts: Path, folder: Path) -> Path:
    path = folder / "texts.yaml"
    path.write_text(f"data: {{bottlenecks: '{texts}'}}\nevaluate: {{folds: 5}}\n")
    return path


def test_result_is_recomputed_by_scikit_learn_from_the_definitions(
    texts: Path, retrain: Retrain, tmp_path: Path
) -> None:
    done = retrain("run", config(texts, tmp_path), "--ranks", 2, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    program = [sys.executable, str(ROOT / "tests" / "recompute"), str(tmp_path / "run")]
    checked = subprocess.run(
        [*program, "--source", str(texts), "--refit"], capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stdout
    results = Job(tmp_path / "run", "", "").results
    assert results["headline"]["value"] > 0.75
    assert results["bottlenecks"]["computed"] == 0


def test_test_set_of_one_class_is_scored_as_the_definitions_say(
    texts: Path, retrain: Retrain, tmp_path: Path
) -> None:
    named = tmp_path / "named.csv"
    rows = [f"{path},{path.parent.name}," for path in sorted(texts.glob("*/*"))]
    sets = ["test" if "/a/" in row and at % 5 == 0 else "training" for at, row in enumerate(rows)]
    told = [f"{row}{name}" for row, name in zip(rows, sets, strict=True)]
    named.write_text("\n".join(["path,label,split", *told, ""]))
    words = [config(named, tmp_path), "data.split.compat=retrain", "--out", tmp_path / "run"]
    done = retrain("run", *words, "--ranks", 1)
    assert done.returncode == 0, done.stderr
    assert 'no test image of "b"' in done.stdout
    figures = Job(tmp_path / "run", "", "").results["test"]
    assert figures["recall"] == [figures["accuracy"], None]
    program = [sys.executable, str(ROOT / "tests" / "recompute"), str(tmp_path / "run")]
    checked = subprocess.run(
        [*program, "--source", str(named)], capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stdout


def test_no_tensorflow_is_in_the_process(texts: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom trainer.cli import main\n"
        f"words = ['run', {str(config(texts, tmp_path))!r}, '--ranks', '1', '--out', "
        f"{str(tmp_path / 'run')!r}]\n"
        "try: main(words)\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'tensorflow', 'keras', 'horovod'} & set(sys.modules)\n"
    )
    as_a_rank = environment(RETRAIN_OUTCOME=str(tmp_path / "outcome"))
    done = subprocess.run(
        [sys.executable, "-c", program], env=as_a_rank, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outcome").read_text() == "0"


def test_labels_without_meaning_are_called_nothing_learnt(retrain: Retrain, tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "noise", 0.0)
    done = retrain("run", config(texts, tmp_path), "--ranks", 1, "--out", tmp_path / "run")
    headline = Job(tmp_path / "run", done.stdout, "").results["headline"]
    assert headline["interval95"][0] <= headline["majority"]["share"]
    assert "No better than always guessing" in (tmp_path / "run" / "report.html").read_text()


def test_unreadable_text_is_quarantined_and_predict_reads_texts(
    texts: Path, retrain: Retrain, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    write_texts(folder, 0.6)
    (folder / "a" / "short.txt").write_text("1,2,3")
    (folder / "b" / "words.txt").write_text("one,two")
    done = retrain("run", config(folder, tmp_path), "--ranks", 2, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    bad = Job(tmp_path / "run", "", "").rows("quarantine.csv")
    assert [row["path"] for row in bad] == ["a/short.txt", "b/words.txt"]
    assert "3 numbers" in bad[0]["reason"]
    files = (folder / "a" / "0.jpg.txt", folder / "b" / "words.txt")
    labelled = retrain("predict", tmp_path / "run", *files, "--csv")
    assert labelled.returncode == 3
    assert labelled.stdout.splitlines()[1].split(",")[1] in ("a", "b")


def test_folder_of_texts_given_as_images_is_told_the_right_key(
    texts: Path, retrain: Retrain
) -> None:
    done = retrain("run", texts)
    assert done.returncode == 3
    assert f"data.bottlenecks={texts}" in done.stderr
