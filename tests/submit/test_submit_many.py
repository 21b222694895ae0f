# SPDX-License-Identifier: Apache-2.0
"""`retrain submit --sweep` and `--scaling`: what sbatch is told, and what is written down."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from fake_slurm import FakeSlurm, Retrain, leave

SWEEP = ["--sweep", "head.l2=0.1,0.01", "head.class_weight=null,balanced"]
RUN = "runs/try out"


def option(words: list[str], name: str) -> str:
    return next((word.split("=", 1)[1] for word in words if word.startswith(f"--{name}=")), "")


def test_sweep_is_an_array_and_a_job_that_gathers(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    slurm.answers("sbatch", "7\n")
    slurm.answers("sbatch", "8\n")
    done = retrain("submit", config, "--on", "slurm", *SWEEP, "--time", "30")
    assert done.code == 0, done
    array, gather = slurm.calls("sbatch")
    assert (option(array, "array"), option(array, "time")) == ("0-3", "30")
    assert option(gather, "dependency") == "afterany:7"
    assert shlex.split(option(gather, "wrap"))[-2:] == ["gather", str(Path(RUN).absolute())]
    assert "retrain status 7" in done.out


def test_each_task_is_written_down(retrain: Retrain, slurm: FakeSlurm, config: str) -> None:
    slurm.answers("sbatch", "7\n")
    slurm.answers("sbatch", "8\n")
    retrain("submit", config, "--on", "slurm", *SWEEP)
    kept = [json.loads(path.read_text()) for path in Path("runs/.retrain-jobs").glob("*.json")]
    assert sorted(entry["job"] for entry in kept) == ["7_0", "7_1", "7_2", "7_3"]
    assert {Path(entry["run"]).parent for entry in kept} == {Path(RUN).absolute()}
    slurm.queue("7_0 RUNNING", "7_1 PENDING", "7_2 PENDING", "7_3 PENDING")
    shown = retrain("status", "7").out
    assert shown.count("7_") == 4


def test_array_is_no_larger_than_the_site_allows(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    slurm.answers("scontrol", "MaxArraySize            = 3\n")
    done = retrain("submit", config, "--on", "slurm", *SWEEP, "--limit", "2", "--dry-run")
    calls = [shlex.split(line) for line in done.out.splitlines()]
    assert [option(words, "array") for words in calls] == ["0-2%2", "0%2", ""]
    assert [option(words, "dependency") for words in calls[1:]] == [
        "afterany:JOB1",
        "afterany:JOB1:JOB2",
    ]
    assert (slurm.calls("sbatch"), Path("runs").exists()) == ([], False)


def test_second_submit_leaves_out_what_is_complete(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    slurm.answers("sbatch", "7\n")
    retrain("submit", config, "--on", "slurm", *SWEEP)
    for l2, weight in (("0.1", "null"), ("0.01", "balanced")):
        leave(Path(RUN) / f"head.l2={l2},head.class_weight={weight}", "complete")
    done = retrain("submit", config, "--on", "slurm", *SWEEP)
    assert option(slurm.calls("sbatch")[-2], "array") == "1-2"
    assert "2 more are complete" in done.out


def test_all_complete_submits_nothing(retrain: Retrain, slurm: FakeSlurm, config: str) -> None:
    slurm.answers("sbatch", "7\n")
    words = ["submit", config, "--on", "slurm", "--sweep", "head.l2=0.1"]
    retrain(*words)
    leave(Path(RUN) / "head.l2=0.1", "complete")
    done = retrain(*words)
    assert (done.code, len(slurm.calls("sbatch"))) == (0, 2)
    assert done.out.startswith("Done      all 1 run ")


def test_refusal_half_way_tells_what_is_in_the_queue(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    slurm.answers("sbatch", "7\n")
    slurm.answers("sbatch", err="sbatch: error: too many jobs\n", code=1)
    done = retrain("submit", config, "--on", "slurm", *SWEEP)
    assert done.code == 1
    assert "too many jobs" in done.err
    assert "In the queue already: 7." in done.err


def test_scaling_asks_for_each_number_of_nodes(
    retrain: Retrain, slurm: FakeSlurm, config: str
) -> None:
    for job in ("7\n", "8\n", "9\n"):
        slurm.answers("sbatch", job)
    done = retrain("submit", config, "--on", "slurm", "--scaling", "1,2", "--nodes", "5")
    assert done.code == 0, done
    calls = slurm.calls("sbatch")
    assert [[w for w in words if w.startswith("--nodes")][-1] for words in calls] == [
        "--nodes=1",
        "--nodes=2",
        "--nodes=1",
    ]
    assert len(list(Path(RUN, "parts", "1-of-2").rglob("*.txt"))) == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--limit", "2"], "--limit: only for many runs"),
        ([*SWEEP, "--scaling", "1,2"], "one at a time"),
        ([*SWEEP, "--again"], "--again: not for a sweep"),
        (["--sweep", "head.l2=1,,2"], "a value is empty"),
        (["--sweep"], "requires an argument"),
        (["--scaling", "1"], "--scaling 1: wanted"),
    ],
)
def test_wrong_words_end_with_2_and_submit_nothing(
    retrain: Retrain, slurm: FakeSlurm, config: str, words: list[str], told: str
) -> None:
    done = retrain("submit", config, "--on", "slurm", *words)
    assert (done.code, slurm.calls("sbatch")) == (2, []), done
    assert told in done.err
    assert done.err.count("\n") <= 3
