# SPDX-License-Identifier: Apache-2.0
"""From the results of a scaling sweep to its table and its plot."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UsageError
from jobs.scaling import Row, as_markdown, measure
from jobs.scaling_report import write_scaling

ROOT = Path(__file__).parents[2]


def results(
    ranks: int, images: int, seconds: float, head: float = 1.0, **more: Any
) -> dict[str, Any]:
    return {
        "status": "complete",
        "world": {"size": ranks},
        "data": {"images": images},
        "bottlenecks": {"computed": images, "reused": 0, "seconds": seconds},
        "head": {"seconds": head},
        **more,
    }


def leave(folder: Path, runs: dict[str, dict[str, Any] | None]) -> Path:
    """A scaling sweep with what its runs have left."""
    folder.mkdir(exist_ok=True)
    tasks = [{"directory": name} for name in runs]
    (folder / "sweep.json").write_text(json.dumps({"schema": 1, "tasks": tasks}))
    for name, found in runs.items():
        if found is not None:
            (folder / name).mkdir()
            (folder / name / "results.json").write_text(json.dumps(found))
    return folder


def only(rows: list[Row], part: str, kind: str) -> list[Row]:
    return [row for row in rows if (row.part, row.scaling) == (part, kind)]


def test_strong_scaling_compares_with_the_smallest_size(tmp_path: Path) -> None:
    runs: dict[str, dict[str, Any] | None] = {
        "strong-1": results(4, 800, 80.0),
        "strong-2": results(8, 800, 50.0),
        "strong-4": results(16, 800, 40.0),
    }
    rows = only(measure(leave(tmp_path, runs)), "extraction", "strong")
    assert [(r.ranks, r.rate, r.speed_up, r.efficiency) for r in rows] == [
        (4, 10, 1, 1),
        (8, 16, 1.6, 0.8),
        (16, 20, 2, 0.5),
    ]


def test_weak_scaling_with_the_same_time_on_more_data_loses_nothing(tmp_path: Path) -> None:
    runs: dict[str, dict[str, Any] | None] = {
        "strong-1": results(1, 800, 80.0),
        "strong-2": results(2, 800, 10.0, head=4.0),
        "weak-1": results(1, 400, 10.0, head=1.0),
    }
    rows = measure(leave(tmp_path, runs))
    extraction = only(rows, "extraction", "weak")
    assert [(r.size, r.speed_up, r.efficiency) for r in extraction] == [(1, 1, 1), (2, 2, 1)]
    assert [r.efficiency for r in only(rows, "head", "weak")] == [1, 0.25]


def test_run_without_figures_is_a_row_that_says_why(tmp_path: Path) -> None:
    runs: dict[str, dict[str, Any] | None] = {
        "strong-1": {"status": "failed"},
        "strong-2": results(2, 800, 50.0),
        "strong-4": {"status": "stopped", "world": {"size": 4}},
        "strong-8": None,
        "strong-16": results(16, 800, 10.0, bottlenecks={"computed": 0, "seconds": 0.1}),
        "strong-32": results(32, 800, 10.0, bottlenecks={"computed": "x", "seconds": None}),
        "strong-64": results(64, 800, 10.0, bottlenecks={"computed": 2, "reused": 8, "seconds": 1}),
    }
    folder = leave(tmp_path, runs)
    (folder / "strong-128").mkdir()
    rows = only(measure(folder), "extraction", "strong")
    assert [(r.size, r.status, r.efficiency) for r in rows[:4]] == [
        (1, "failed", None),
        (2, "complete", 1),
        (4, "stopped", None),
        (8, "not started", None),
    ]
    told = [
        "it failed",
        "",
        "was stopped",
        "no results",
        "nothing was computed",
        "no figures",
        "8 more",
    ]
    assert [part in row.note for part, row in zip(told, rows, strict=True)] == [True] * 7
    table = as_markdown(rows)
    assert all(f"{row.status}: {row.note}" in table for row in rows if row.note)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"status": "complete", "world": 3}'])
def test_results_that_are_damaged_are_a_row_without_figures(tmp_path: Path, text: str) -> None:
    folder = leave(tmp_path, {"strong-1": {}})
    (folder / "strong-1" / "results.json").write_text(text)
    assert [row.efficiency for row in measure(folder)] == [None, None]
    write_scaling(folder)


def test_folder_without_a_scaling_sweep_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scaling sweep"):
        measure(tmp_path)
    with pytest.raises(UsageError, match="no scaling sweep"):
        measure(leave(tmp_path, {"head.l2=1": None}))


def test_table_and_plot_are_left_and_the_same_again(tmp_path: Path) -> None:
    runs: dict[str, dict[str, Any] | None] = {
        "strong-1": results(1, 800, 80.0),
        "strong-2": results(2, 800, 44.0),
        "weak-1": {"status": "failed"},
    }
    folder = leave(tmp_path, runs)
    made = write_scaling(folder)
    first = [path.read_bytes() for path in made]
    assert [path.read_bytes() for path in write_scaling(folder)] == first
    assert [path.name for path in made] == ["scaling.csv", "scaling.md", "scaling.svg"]
    with open(made[0], newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[1]["speed_up"][:4]) == (8, "1.81")
    text = "".join(ET.parse(made[2]).getroot().itertext())
    assert all(word in text for word in ("Extraction", "Head", "strong scaling", "speed-up"))


def test_command_tells_its_files_or_what_is_wrong(tmp_path: Path) -> None:
    folder = leave(tmp_path / "a b", {"strong-1": results(1, 8, 8.0)})

    def call(place: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "jobs.scaling_report", str(place)]
        return subprocess.run(words, env=env, capture_output=True, text=True)

    assert call(folder).stdout.splitlines()[2] == str(folder / "scaling.svg")
    wrong = call(tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 2)
