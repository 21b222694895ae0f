# SPDX-License-Identifier: Apache-2.0
"""The commands of the section "Cluster": words in, exit code out. `retrain` finds them by name."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.errors import DONE, INTERRUPTED, UsageError, command_line, shown
from jobs.option_words import ManyWords

if TYPE_CHECKING:
    from jobs.follow import Standing
    from jobs.journal import Entry
    from jobs.scheduler import Scheduler

SCHEDULERS = ("slurm",)
_JOBS = click.argument("words", nargs=-1, required=True, metavar="JOB...")
_JOB = click.argument("word", metavar="JOB")


def find_scheduler(name: str) -> Scheduler:
    """A scheduler by its name.

    Raises:
        UsageError: There is none of that name.
    """
    if name == "slurm":
        from jobs.slurm import Slurm

        return Slurm()
    raise UsageError(f"{shown(name)}: no such scheduler.", f"There are: {', '.join(SCHEDULERS)}.")


@click.command(cls=ManyWords)
@click.argument("config", metavar="CONFIG|FOLDER")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--on", "place", metavar="SCHEDULER", help=f"Where to: {' or '.join(SCHEDULERS)}.")
@click.option("--site", metavar="NAME|FILE", help="How this cluster is used; see configs/sites.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes; else the cluster's default.")
@click.option("--gpus-per-node", "gpus", type=click.IntRange(min=0), help="GPUs of each node.")
@click.option("--time", "limit", metavar="TIME", default="", help="At most: minutes or H:M:S.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; else runs/NAME.")
@click.option("--again", is_flag=True, help="Forget what is in the run directory; start anew.")
@click.option("--sbatch", "options", multiple=True, metavar="OPTION", help="Any option of sbatch.")
@click.option("--sweep", multiple=True, metavar="KEY=VALUE,VALUE...", help="A run of each.")
@click.option("--scaling", metavar="N,N...", default="", help="A run on each number of nodes.")
@click.option("--limit", "at_once", type=click.IntRange(min=1), help="Of these, so many at a time.")
@click.option("--wait", "waits", is_flag=True, help="Wait for its end, and end as the run did.")
@click.option("--dry-run", is_flag=True, help="Only print the command that would submit it.")
def submit(
    config: str,
    overrides: Sequence[str],
    place: str | None,
    site: str | None,
    nodes: int | None,
    gpus: int | None,
    limit: str,
    out: Path | None,
    again: bool,
    options: Sequence[str],
    sweep: Sequence[str],
    scaling: str,
    at_once: int | None,
    waits: bool,
    dry_run: bool,
) -> int:
    """Run it on a cluster.

    CONFIG and KEY=VALUE are those of `retrain run`. What `retrain check --quick` has something
    against is not submitted. Submitted again, a run goes on where it ended.

    \b
    retrain submit photos --on slurm
    retrain submit configs/pools.yaml --on slurm --nodes 2 --gpus-per-node 4 --time 2:00:00
    retrain submit photos head.l2=0.01 --out runs/weak --on slurm --sbatch=--exclusive --wait
    retrain submit photos --on slurm --sweep head.l2=0.1,0.01 backbone.layer=mixed7,mixed10
    """
    from jobs.sites import read_site
    from jobs.spec import make
    from jobs.submit import check, hand_over

    if place is None:
        raise UsageError("--on: is missing.", f"Say where to: --on {' or '.join(SCHEDULERS)}.")
    scheduler = find_scheduler(place)
    where = read_site(site, scheduler.cluster)
    many = bool(sweep or scaling or at_once)
    code = DONE if many else check(config, overrides)
    if code:
        return code
    spec = make(config, overrides, out, nodes, gpus, limit, again, where, options)
    if many:
        from jobs.many_words import submit_many

        code, entries = submit_many(spec, sweep, scaling, at_once, dry_run)
        return _wait(entries) if waits and entries else code
    if dry_run:
        variables = [f"{name}={value}" for name, value in scheduler.variables(spec).items()]
        env = ["env", *variables] if variables else []
        click.echo(command_line([*env, *scheduler.command(spec)]))
        return DONE
    entry = hand_over(scheduler, spec)
    _write(
        f"Job       {entry.job}  {shown(entry.name)}, on {scheduler.name}\n"
        f"Results   {shown(str(entry.run))}\n"
        f"Messages  {shown(str(entry.log))}\n"
        f"Follow    retrain logs -f {entry.job}   or: retrain status {entry.job}\n"
        f"Stop      retrain cancel {entry.job}   it keeps its work\n"
    )
    return _wait([entry]) if waits else DONE


@click.command()
@click.argument("words", nargs=-1, metavar="[JOB]...")
def status(words: Sequence[str]) -> int:
    """Tell how the jobs stand that were submitted from this folder.

    JOB is a job's number, or the directory or name of a run. States: queued, running, done,
    stopped (submit it again to go on), failed, cancelled, unknown. `done` means a whole result.
    """
    from jobs.follow import look
    from jobs.journal import Journal
    from jobs.table import table

    journal = Journal()
    entries = journal.find(words) if words else journal.entries()
    if not entries:
        click.echo(f"No jobs in {journal.folder}; `retrain submit` writes them down there.")
        return DONE
    for line in table(look(entries, journal, find_scheduler), time.time()):
        _write(f"{line}\n")
    return DONE


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@_JOB
def logs(word: str, follow: bool) -> int:
    """Show what a job has written; with -f, also what it will write."""
    from jobs import follow as following
    from jobs.journal import Journal

    journal = Journal()
    entry = journal.find([word])[-1]
    if not follow:
        if not entry.log.is_file():
            raise UsageError(
                f"{shown(str(entry.log))}: is not there yet.",
                f"Wait for it with: retrain logs -f {entry.job}",
            )
        click.echo(entry.log.read_bytes(), nl=False)
        return DONE
    with _leaving_it([entry]) as left:
        for content in following.logs(entry, journal, find_scheduler, _say):
            click.echo(content, nl=False)
    return left()


@click.command()
@_JOBS
def wait(words: Sequence[str]) -> int:
    """Wait for the end of jobs, and end as the run did.

    So with 0, 75, 1, 2 or 3, as `retrain run` would; of many jobs, with the first that is not 0.
    """
    from jobs.journal import Journal

    return _wait(Journal().find(words))


def _wait(entries: Sequence[Entry]) -> int:
    from jobs import follow
    from jobs.journal import Journal

    standings: list[Standing] = []
    with _leaving_it(entries) as left:
        standings = follow.wait(entries, Journal(), find_scheduler, _say)
    codes = [standing.verdict.code for standing in standings]
    for standing in standings:
        if standing.verdict.state == "done":
            _write(f"Report    {shown(str(standing.entry.run / 'report.html'))}\n")
        else:
            _say(f"Messages  {shown(str(standing.entry.log))}")
    return left() or next(filter(None, codes), DONE)


@click.command()
@_JOBS
def cancel(words: Sequence[str]) -> int:
    """Ask jobs to end; a run that is asked so keeps its work."""
    from jobs.follow import look
    from jobs.journal import Journal

    journal = Journal()
    standings = look(journal.find(words), journal, find_scheduler)
    for name in dict.fromkeys(standing.entry.scheduler for standing in standings):
        jobs = [
            standing.entry.job
            for standing in standings
            if standing.entry.scheduler == name and not standing.verdict.over
        ]
        if jobs:
            find_scheduler(name).cancel(jobs)
    for standing in standings:
        job, verdict = standing.entry.job, standing.verdict
        if verdict.over:
            click.echo(f"Job {job}  has ended: {verdict.state}")
        else:
            click.echo(f"Job {job}  is asked to end; `retrain wait {job}` tells when it has")
    return DONE


@click.command()
@_JOB
def pull(word: str) -> int:
    """Bring a job's results here.

    Those of Slurm's jobs lie here already: it tells where.
    """
    from jobs.follow import look
    from jobs.journal import Journal

    journal = Journal()
    standing = look([journal.find([word])[-1]], journal, find_scheduler)[0]
    entry, verdict = standing.entry, standing.verdict
    if not entry.run.is_dir():
        raise UsageError(
            f"{shown(str(entry.run))}: is not there; job {entry.job} is {verdict.state}.",
            f"Its messages: retrain logs {entry.job}",
        )
    _write(f"{shown(str(entry.run))}\n")
    _say(f"Job {entry.job} is {verdict.state}; its results lie there already.")
    return DONE


@contextmanager
def _leaving_it(entries: Sequence[Entry]) -> Iterator[Callable[[], int]]:
    """Ctrl-C ends what is done here and not the job, and says so."""
    code = DONE
    try:
        yield lambda: code
    except KeyboardInterrupt:
        code = INTERRUPTED
        names = " ".join(entry.job for entry in entries)
        _say(f"\nNo longer followed; the job goes on. To stop it: retrain cancel {names}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _write(text: str) -> None:
    """Write to standard output, whatever letters it can hold."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)
