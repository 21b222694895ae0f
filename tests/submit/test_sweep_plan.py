# SPDX-License-Identifier: Apache-2.0
"""The plan of a sweep: found again, extended, refused; and what its tasks read from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import JobError, UsageError
from jobs.plan import Plan, read_plan
from jobs.planning import plan_sweep

TASK = Path(__file__).parents[2] / "jobs" / "task.py"
SWEEP = ["head.l2=0.1,0.01", "backbone.layer=mixed7,mixed10"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to submit from, with a configuration."""
    (tmp_path / "pools.yaml").write_text("data: {images: photos}\nevaluate: {folds: 5}\n")
    return tmp_path


def plan(place: Path, *words: str, sweep: list[str] = SWEEP, name: str = "runs/pools") -> Plan:
    return plan_sweep("pools.yaml", words, sweep, Path(name), place)


def saved(place: Path, *words: str, sweep: list[str] = SWEEP) -> Plan:
    made = plan(place, *words, sweep=sweep)
    made.save()
    return made


def directories(made: Plan) -> list[str]:
    return [made.tasks[number].directory for number in made.chosen]


def complete(made: Plan, number: int, status: str = "complete") -> None:
    made.directory(number).mkdir()
    (made.directory(number) / "results.json").write_text(json.dumps({"status": status}))


def refusal(place: Path, *words: str, sweep: list[str] = SWEEP) -> str:
    with pytest.raises(UsageError) as caught:
        plan(place, *words, sweep=sweep)
    assert len(f"{caught.value.message}\n{caught.value.todo}".splitlines()) <= 3
    return caught.value.message


def test_nothing_is_written_before_it_is_saved(place: Path) -> None:
    plan(place)
    assert os.listdir(place) == ["pools.yaml"]


def test_same_sweep_again_finds_its_directories(place: Path) -> None:
    first = saved(place, "evaluate.folds=0")
    again = plan(place, "evaluate.folds=0")
    assert replace(again, text="", known=0) == replace(first, text="")
    assert len(set(directories(again))) == 4


def test_same_values_written_otherwise_are_the_same_runs(place: Path) -> None:
    first = saved(place)
    again = plan(place, sweep=["backbone.layer='mixed10',mixed7", "head.l2=1e-2,0.10"])
    assert sorted(directories(again)) == sorted(directories(first))
    assert again.tasks == first.tasks


def test_new_values_come_behind_the_old_ones_which_keep_their_places(place: Path) -> None:
    first = saved(place)
    wider = plan(place, sweep=["head.l2=1,0.1,0.01", "backbone.layer=mixed7,mixed10"])
    assert wider.tasks[:4] == first.tasks
    assert wider.chosen == (4, 5, 0, 1, 2, 3)


def test_fewer_values_choose_some_and_forget_none(place: Path) -> None:
    first = saved(place)
    fewer = plan(place, sweep=["head.l2=0.01", "backbone.layer=mixed7"])
    assert (fewer.chosen, fewer.tasks) == ((2,), first.tasks)


def test_complete_runs_are_not_submitted_again(place: Path) -> None:
    made = saved(place)
    complete(made, 1)
    complete(made, 2, "failed")
    assert made.open_numbers() == [0, 2, 3]


def test_other_settings_are_refused_with_both_values(place: Path) -> None:
    saved(place, "evaluate.folds=0")
    assert "evaluate.folds was 0.0, now 10.0" in refusal(place, "evaluate.folds=10")


def test_settings_may_be_written_otherwise_and_the_cache_may_move(place: Path) -> None:
    saved(place, "evaluate.folds=0", "run.cache=a")
    plan(place, "evaluate.folds=0.0", "run.cache=b")


def test_edited_configuration_is_refused_and_runs_keep_the_one_they_began_with(place: Path) -> None:
    made = saved(place)
    (place / "pools.yaml").write_text("# a remark\ndata: {images: photos}\nevaluate: {folds: 5}\n")
    plan(place)
    (place / "pools.yaml").write_text("data: {images: photos}\nevaluate: {folds: 7}\n")
    assert "evaluate.folds was 5.0, now 7.0" in refusal(place)
    assert Path(made.config).read_text().endswith("evaluate: {folds: 5}\n")


def test_submitting_from_elsewhere_is_refused_for_paths_would_change(place: Path) -> None:
    saved(place)
    (place / "below").mkdir()
    with pytest.raises(UsageError, match="submitted from"):
        plan_sweep("../pools.yaml", [], SWEEP, Path("../runs/pools"), place / "below")


def test_key_that_is_varied_and_set_is_refused(place: Path) -> None:
    assert "both varied" in refusal(place, "head.l2=1")


def test_folder_of_a_single_run_is_refused(place: Path) -> None:
    (place / "runs" / "pools" / "stages").mkdir(parents=True)
    assert "holds a single run" in refusal(place)


@pytest.mark.parametrize("name", ["runs/a\\b", "runs/two\nlines"])
def test_folder_that_slurm_cannot_write_output_to_is_refused(place: Path, name: str) -> None:
    with pytest.raises(UsageError, match="Slurm takes no such folder"):
        plan(place, name=name)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 1, "tasks": [3]}'])
def test_damaged_plan_is_told(place: Path, text: str) -> None:
    (place / "runs" / "pools").mkdir(parents=True)
    (place / "runs" / "pools" / "sweep.json").write_text(text)
    assert "cannot be read" in refusal(place)


def test_newer_plan_is_refused(place: Path) -> None:
    (place / "runs" / "pools").mkdir(parents=True)
    (place / "runs" / "pools" / "sweep.json").write_text('{"schema": 2}')
    assert "schema 2" in refusal(place)


def test_of_two_first_submits_at_once_one_is_sent_back(place: Path) -> None:
    one, other = plan(place), plan(place, sweep=["head.l2=5"])
    one.save()
    before = one.path.read_bytes()
    with pytest.raises(JobError, match="just written"):
        other.save()
    assert one.path.read_bytes() == before


def look_up(path: Path, offset: str, index: str | None) -> subprocess.CompletedProcess[bytes]:
    env = {} if index is None else {"SLURM_ARRAY_TASK_ID": index}
    return subprocess.run([sys.executable, "-I", TASK, path, offset], capture_output=True, env=env)


def test_task_finds_its_words_by_its_number_whatever_they_are(place: Path) -> None:
    hostile = "a $(touch x) 'b'\n\udcff"
    made = saved(
        place, f"data.images={hostile}", sweep=["head.l2=0.1,0.01", "backbone.weights=; x"]
    )
    done = look_up(made.path, "0", "1")
    assert done.returncode == 0, done.stderr
    words = [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]
    out = str(made.folder / made.tasks[1].directory)
    settings = [f"data.images={hostile}", "head.l2=0.01", "backbone.weights=; x"]
    assert words == [str(made.folder / "pools.yaml"), *settings, "--out", out]
    assert look_up(made.path, "1", "0").stdout == done.stdout


@pytest.mark.parametrize(
    ("offset", "index"), [("0", "9"), ("-1", "0"), ("x", "0"), ("0", None), ("0", "")]
)
def test_task_that_is_none_ends_with_2_and_one_line(
    place: Path, offset: str, index: str | None
) -> None:
    done = look_up(saved(place).path, offset, index)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


def test_plan_is_read_back_as_it_was_written(place: Path) -> None:
    made = saved(place, "head.solver=sgd")
    assert read_plan(made.folder) == replace(made, text="", known=4)
