# SPDX-License-Identifier: Apache-2.0
"""Handing over a sweep, of settings or of sizes: its plan written before, its tasks after."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.arrays import Submission, array_commands, array_size, gather_command, scaling_command
from jobs.errors import JobError, UsageError
from jobs.journal import Entry, Journal, mark
from jobs.left import RESULTS
from jobs.plan import Plan
from jobs.planning import plan_sweep
from jobs.scaling_plan import BOTTLENECKS, data_source, parse_sizes, scaling_plan, write_parts
from jobs.slurm import Slurm, script
from jobs.spec import Spec


@dataclass(frozen=True)
class Many:
    """What is to be handed over."""

    plan: Plan
    calls: list[Submission]
    """The arrays, then the job that puts their results together; none where all is complete."""
    sizes: tuple[int, ...] = ()
    """Of a scaling sweep."""


def lay_out(
    slurm: Slurm, spec: Spec, sweep: Sequence[str], scaling: str, limit: int | None
) -> Many:
    """Plan it; nothing is written.

    Args:
        slurm: Where it is to run.
        spec: What all runs have in common.
        sweep: The words of --sweep; empty for a scaling sweep.
        scaling: What --scaling was given; empty for a sweep.
        limit: How many tasks run at a time at most.
    Raises:
        UsageError: It is none, or its folder is another's.
    """
    if spec.again:
        raise UsageError(
            "--again: not for a sweep.", "Remove the folders of the runs that are to start anew."
        )
    sizes = tuple(parse_sizes(scaling)) if scaling else ()
    words, out, start = spec.overrides, spec.out, spec.folder
    if sizes:
        plan = scaling_plan(spec.source, words, sizes, out, start, weak=_in_folders(spec))
    else:
        plan = plan_sweep(spec.source, words, sweep, out, start)
    calls = array_commands(
        plan,
        script(),
        slurm.options(spec),
        limit=limit,
        array_size=array_size(slurm.settings()),
        extracts=_extracts(spec, plan),
    )
    small = slurm.options(replace(spec, nodes=1, gpus=0, options=()))
    if calls and sizes:
        calls.append(scaling_command(plan, [sys.executable], calls, small))
    elif calls:
        calls.append(gather_command(plan, _retrain(), calls, small))
    return Many(plan, calls, sizes)


def hand_over_many(slurm: Slurm, spec: Spec, many: Many) -> tuple[list[Entry], str]:
    """Submit all of it, and write down each task.

    Returns:
        The tasks' entries, and the number of the job that puts the results together.
    Raises:
        JobError: sbatch refused one; those before it are in the queue, and it tells which.
    """
    journal = Journal()
    journal.require_writable()
    many.plan.save()
    if many.sizes:
        write_parts(many.plan, many.sizes)
    entries: list[Entry] = []
    ids: list[str] = []
    for call in many.calls:
        command = call.words(ids)
        try:
            ids.append(slurm.sbatch(command, spec))
        except JobError as error:
            before = f" In the queue already: {', '.join(ids)}." if ids else ""
            raise JobError(f"{error.message}{before}", "Submit again for the rest.") from None
        for number, job in call.jobs(ids[-1]).items():
            entries.append(_entry(spec, many.plan, number, job, command))
            journal.write(entries[-1])
    return entries, ids[-1]


def _entry(spec: Spec, plan: Plan, number: int, job: str, command: Sequence[str]) -> Entry:
    run = plan.directory(number)
    found = mark(run / RESULTS)
    place = (run, plan.log(job), spec.folder)
    return Entry(job, Slurm.name, run.name, *place, tuple(command), time.time(), found)


def _in_folders(spec: Spec) -> bool:
    return data_source(spec.source, spec.overrides, spec.folder)[1].is_dir()


def _extracts(spec: Spec, plan: Plan) -> bool:
    words = plan.settings(plan.chosen[0])
    return data_source(spec.source, words, spec.folder)[0] != BOTTLENECKS


def _retrain() -> list[str]:
    program = Path(sys.executable).with_name("retrain")
    return [str(program)] if program.is_file() else [sys.executable, "-I", "-m", "trainer"]
