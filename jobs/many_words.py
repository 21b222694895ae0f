# SPDX-License-Identifier: Apache-2.0
"""What `retrain submit --sweep` and `--scaling` say and answer."""

from __future__ import annotations

from collections.abc import Sequence

import click

from jobs.errors import DONE, UsageError, command_line, shown
from jobs.journal import Entry
from jobs.many import Many, hand_over_many, lay_out
from jobs.slurm import Slurm
from jobs.spec import Spec
from jobs.submit import check


def submit_many(
    spec: Spec, sweep: Sequence[str], scaling: str, limit: int | None, dry_run: bool
) -> tuple[int, list[Entry]]:
    """Submit a sweep, of settings or of sizes.

    Args:
        spec: What all runs have in common.
        sweep: The words of --sweep.
        scaling: What --scaling was given.
        limit: How many run at a time at most.
        dry_run: Only tell the calls.
    Returns:
        The exit code, and what is in the queue now.
    Raises:
        JobError: Wrong words, or sbatch refused.
    """
    if sweep and scaling:
        raise UsageError("--sweep and --scaling: one at a time.", "Leave one of them out.")
    if not sweep and not scaling:
        raise UsageError("--limit: only for many runs.", "Give --sweep KEY=VALUE,VALUE with it.")
    slurm = Slurm()
    many = lay_out(slurm, spec, sweep, scaling, limit)
    code = check(spec.source, _in_common(spec, many, sweep))
    if code:
        return code, []
    if dry_run:
        names = [f"JOB{number}" for number in range(1, len(many.calls) + 1)]
        for call in many.calls:
            click.echo(command_line(call.words(names)))
        return DONE, []
    if not many.calls:
        click.echo(f"Done      all {_runs(len(many.plan.chosen))} in {_folder(many)}")
        return DONE, []
    entries, last = hand_over_many(slurm, spec, many)
    _tell(many, entries, last)
    return DONE, entries


def _in_common(spec: Spec, many: Many, sweep: Sequence[str]) -> Sequence[str]:
    """What is looked at before anything is submitted.

    A value that does not serve is for its own task to tell; but where the data vary, there may be
    none without the first combination.
    """
    varies_data = any(word.startswith("data") for word in sweep)
    return many.plan.settings(many.plan.chosen[0]) if varies_data else spec.overrides


def _tell(many: Many, entries: Sequence[Entry], last: str) -> None:
    arrays = " ".join(dict.fromkeys(entry.job.split("_")[0] for entry in entries))
    complete = len(many.plan.chosen) - len(entries)
    others = f"; {complete:,} more are complete" if complete else ""
    click.echo(f"Jobs      {arrays}: {_runs(len(entries))}{others}")
    click.echo(f"Results   {_folder(many)}, put together at the end by job {last}")
    click.echo(f"Messages  {_folder(many)}/logs")
    click.echo(f"Follow    retrain status {arrays}")
    click.echo(f"Stop      retrain cancel {arrays}   they keep their work")


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number:,} runs"


def _folder(many: Many) -> str:
    return shown(str(many.plan.folder))
