# SPDX-License-Identifier: Apache-2.0
"""Sweeps on a real Slurm whose arrays hold four tasks: all of it by sbatch, and to its end."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conftest import MakeLab
from host import wait_until
from jobs.arrays import (
    Submission,
    array_commands,
    array_size,
    gather_command,
    scaling_command,
)
from jobs.plan import Plan
from jobs.planning import plan_sweep
from jobs.scaling_plan import scaling_plan, write_parts
from lab import CTL, Job, Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "retrain.sh"
RETRAIN = ROOT / ".venv" / "bin" / "retrain"
OURS = {"PYTHONPATH": str(ROOT)}
HOSTILE = "our \"texts\" $(touch x) 50%j 'of' plots; touch x"
SIX = ["head.l2=0.1,0.01,-1", "head.class_weight=null,balanced"]
"""Six combinations; two of them with a loss that there is not."""
STAND_IN = """#!/usr/bin/env bash
{ echo begins; sleep 0.4; echo ends; } >>turns
"""


@pytest.fixture(scope="module")
def small(make_lab: MakeLab) -> Iterator[Lab]:
    """A Slurm that allows the indices 0 to 3."""
    with make_lab(settings="MaxArraySize=4") as lab:
        yield lab


@pytest.fixture(scope="module")
def texts(small: Lab) -> Path:
    """Bottlenecks of two classes in a folder whose name would do harm as code."""
    dice = random.Random(0)
    folder = small.shared / HOSTILE
    for label, middle in (("left", 0.3), ("right", 0.7)):
        (folder / label).mkdir(parents=True)
        for number in range(24):
            values = [f"{dice.gauss(middle, 0.2):.6f}" for _ in range(8)]
            (folder / label / f"{number}.jpg.txt").write_text(",".join(values))
    return folder


def submit(lab: Lab, calls: list[Submission], cwd: Path) -> list[str]:
    """The ids that sbatch gives."""
    ids: list[str] = []
    for call in calls:
        ids.append(lab.run(CTL, call.words(ids), cwd, OURS).stdout.strip())
    return ids


def jobs_of(calls: list[Submission], ids: list[str]) -> dict[int, str]:
    """Slurm's number of each task of the plan."""
    arrays = zip(calls, ids, strict=True)
    return {number: job for call, name in arrays for number, job in call.jobs(name).items()}


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended."""

    plan: Plan
    calls: list[Submission]
    early: str
    """What `retrain gather` said while it ran."""
    tasks: dict[int, Job]
    gathered: Job


def with_output(job: Job, log: Path) -> Job:
    """A job with its messages: scontrol shows a path with a percent sign as sbatch was given it."""
    return replace(job, output=log.read_text() if log.exists() else "")


def gather(lab: Lab, folder: Path) -> str:
    return lab.run(CTL, [RETRAIN, "gather", folder], env=OURS).stdout


@pytest.fixture(scope="module")
def six(small: Lab, texts: Path) -> Swept:
    """The sweep of six; `retrain gather` is called once the first run has left something."""
    size = array_size(small.run(CTL, ["scontrol", "show", "config"]).stdout)
    name = f"runs/{texts.name}"
    words = [f"data.bottlenecks={texts}", "evaluate.folds=0"]
    plan = plan_sweep(texts.name, words, SIX, Path(name), small.shared)
    plan.save()
    calls = array_commands(plan, SCRIPT, array_size=size, extracts=False)
    calls.append(gather_command(plan, [RETRAIN], calls))
    ids = submit(small, calls, small.shared)
    wait_until(lambda: any(plan.status(n) for n in plan.chosen), 60, "a run to begin")
    early = gather(small, plan.folder)
    assert small.job(ids[-1]).state == "PENDING"
    gathered = small.finish(ids[-1])
    numbers = jobs_of(calls, ids)
    tasks = {number: with_output(small.job(job), plan.log(job)) for number, job in numbers.items()}
    log = plan.folder / "logs" / f"gather-{ids[-1]}.out"
    return Swept(plan, calls, early, tasks, with_output(gathered, log))


def test_array_above_the_sites_largest_is_split(six: Swept) -> None:
    assert [call.numbers for call in six.calls] == [(0, 1, 2, 3), (4, 5), ()]


def test_tasks_fail_alone_and_the_others_complete(six: Swept) -> None:
    states = [(job.state, job.exit_code) for _, job in sorted(six.tasks.items())]
    outputs = "\n".join(job.output for job in six.tasks.values())
    assert states == [("COMPLETED", 0)] * 4 + [("FAILED", 2)] * 2, outputs
    assert [six.plan.status(number) for number in range(4)] == ["complete"] * 4
    assert "head.l2: found -1" in six.tasks[4].output


def test_each_run_has_the_settings_of_its_number(six: Swept) -> None:
    for number in range(4):
        found = json.loads((six.plan.directory(number) / "results.json").read_text())
        assert str(found["head"]["l2"]) == six.plan.tasks[number].settings["head.l2"]


def test_sweep_can_be_gathered_while_it_runs(six: Swept) -> None:
    assert "Runs " in six.early


def test_dependent_job_gathers_although_tasks_failed(six: Swept) -> None:
    assert (six.gathered.state, six.gathered.exit_code) == ("COMPLETED", 0), six.gathered.output
    assert "4 complete" in six.gathered.output
    assert (six.plan.folder / "index.html").is_file()


def test_names_of_folders_are_not_obeyed(six: Swept, small: Lab) -> None:
    assert "x" not in os.listdir(small.shared)
    logs = sorted(path.name for path in (six.plan.folder / "logs").iterdir())
    assert len(logs) == 7, logs


def test_second_submit_leaves_out_what_is_complete(six: Swept, small: Lab, texts: Path) -> None:
    words = [f"data.bottlenecks={texts}", "evaluate.folds=0"]
    again = plan_sweep(texts.name, words, SIX, six.plan.folder, small.shared)
    assert (again.tasks, again.open_numbers()) == (six.plan.tasks, [4, 5])


def test_limit_holds_over_arrays(small: Lab) -> None:
    place = small.shared / "limited"
    clone = place / "clone"
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "slurm").mkdir()
    shutil.copy(SCRIPT, clone / "slurm")
    (clone / ".venv" / "bin" / "retrain").write_text(STAND_IN)
    (clone / ".venv" / "bin" / "retrain").chmod(0o755)
    plan = plan_sweep(".", [], ["head.l2=1,2,3,4,5"], Path("runs/x"), place)
    plan.save()
    calls = array_commands(
        plan, clone / "slurm" / "retrain.sh", array_size=4, extracts=False, limit=1
    )
    ids = submit(small, calls, place)
    jobs = [small.finish(job) for job in jobs_of(calls, ids).values()]
    assert {job.state for job in jobs} == {"COMPLETED"}, jobs
    assert (place / "turns").read_text().split() == ["begins", "ends"] * 5


def test_scaling_leaves_a_table_and_a_plot(small: Lab, texts: Path) -> None:
    words = [f"data.bottlenecks={texts}", "evaluate.folds=0"]
    plan = scaling_plan(texts.name, words, [1, 2], Path("runs/scaling"), small.shared)
    plan.save()
    write_parts(plan, [1, 2])
    calls = array_commands(plan, SCRIPT, extracts=False)
    calls.append(scaling_command(plan, [ROOT / ".venv" / "bin" / "python"], calls))
    last = submit(small, calls, small.shared)[-1]
    job = small.finish(last)
    assert job.state == "COMPLETED", job.output
    with open(plan.folder / "scaling.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "head"]
    assert [(row["scaling"], row["ranks"], row["images"]) for row in rows] == [
        ("strong", "1", "48"),
        ("strong", "2", "48"),
        ("weak", "1", "24"),
        ("weak", "2", "48"),
    ]
    assert all(float(row["efficiency"]) > 0 for row in rows)
    assert (plan.folder / "scaling.svg").is_file()
