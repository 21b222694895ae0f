# SPDX-License-Identifier: Apache-2.0
"""The commands of the section "Cluster": words in, exit code out. `retrain` finds them by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import DONE, INTERRUPTED, JobError, UsageError, printed, shown
from jobs.option_words import ManyWords

if TYPE_CHECKING:
    from jobs.follow import Standing
    from jobs.journal import Entry
    from jobs.scheduler import Scheduler

_JOBS = click.argument("words", nargs=-1, required=True, metavar="JOB...")
_JOB = click.argument("word", metavar="JOB")


@cache
def find_scheduler(name: str) -> Scheduler:
    """A scheduler by its name, always the same one.

    Raises:
        UsageError: There is none of that name.
    """
    if name == "slurm":
        from jobs.slurm import Slurm

        return Slurm()
    if name == "nimbix":
        from jobs.nimbix import Nimbix

        return Nimbix()
    raise UsageError(f"{shown(name)}: no such scheduler.", "Another version wrote it down.")


@click.command(cls=ManyWords)
@click.argument("config", metavar="CONFIG|FOLDER")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--on", "place", metavar="SCHEDULER", help="Where to: slurm or nimbix.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes; else the cluster's default.")
@click.option("--out", metavar="DIR", default="", help="Run directory; else runs/NAME.")
@click.option("--again", is_flag=True, help="Forget what is in the run directory; start anew.")
@click.option("--wait", "waits", is_flag=True, help="Wait for its end, and end as the run did.")
@click.option("--dry-run", is_flag=True, help="Only print what would submit it.")
@click.option("--site", metavar="NAME|FILE", help="Slurm: how this cluster is used; configs/sites.")
@click.option("--gpus-per-node", "gpus", type=click.IntRange(min=0), help="Slurm: GPUs of a node.")
@click.option("--time", "limit", metavar="TIME", default="", help="Slurm: minutes or H:M:S.")
@click.option(
    "--sbatch", "options", multiple=True, metavar="OPTION", help="Slurm: any of sbatch's."
)
@click.option("--sweep", multiple=True, metavar="KEY=VALUE,VALUE...", help="Slurm: a run of each.")
@click.option("--scaling", metavar="N,N...", default="", help="Slurm: on each number of nodes.")
@click.option("--limit", "at_once", type=click.IntRange(min=1), help="Slurm: so many at a time.")
@click.option("--walltime", metavar="HH:MM:SS", default="", help="Nimbix: it ends then.")
@click.option(
    "--machine", metavar="TYPE", default="", help="Nimbix: else the least dear with GPUs."
)
@click.option(
    "--vault", metavar="NAME", default="", help="Nimbix: the job's /data; else persistent."
)
@click.option(
    "--image", metavar="IMAGE", default="", help="Nimbix: a container with retrain in it."
)
@click.option("--app", metavar="ID", default="", help="Nimbix: an app in place of an image.")
def submit(**words: Any) -> int:
    """Run it on a cluster.

    CONFIG and KEY=VALUE are those of `retrain run`. What `retrain check --quick` has something
    against is not submitted. Submitted again, a run goes on where it ended.

    \b
    retrain submit photos --on slurm
    retrain submit configs/pools.yaml --on slurm --nodes 2 --gpus-per-node 4 --time 2:00:00
    retrain submit photos head.l2=0.01 --out runs/weak --on slurm --sbatch=--exclusive --wait
    retrain submit photos --on slurm --sweep head.l2=0.1,0.01 backbone.layer=mixed7,mixed10
    retrain submit /data/photos --on nimbix --walltime 02:00:00 --image me/retrain:1 --wait
    """
    from jobs import submit_words

    said = submit_words.Words(**words)
    code, entries = submit_words.submit(said)
    return _wait(entries) if said.waits and entries else code


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
        printed(f"{line}\n")
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
        find_scheduler(entry.scheduler).bring_log(entry)
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
    codes = [_end(standing) for standing in standings]
    return left() or next(filter(None, codes), DONE)


def _end(standing: Standing) -> int:
    """Bring home what a job left, and tell where it is; its exit code."""
    entry, verdict = standing.entry, standing.verdict
    scheduler = find_scheduler(entry.scheduler)
    done = verdict.state == "done"
    try:
        scheduler.bring_log(entry)
        for line in scheduler.bring_home(entry):
            _say(line)
    except JobError as error:
        if done:
            raise
        _say(error.message)  # a run that failed may have left nothing
    if done:
        printed(f"Report    {shown(str(entry.run / 'report.html'))}\n")
    else:
        _say(f"Messages  {shown(str(entry.log))}")
    return verdict.code


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

    Those of Slurm's jobs lie here already: it tells where. Of a job on Nimbix all comes that its
    messages hold; the model stays in the vault.
    """
    from jobs.follow import look
    from jobs.journal import Journal

    journal = Journal()
    standing = look([journal.find([word])[-1]], journal, find_scheduler)[0]
    entry, verdict = standing.entry, standing.verdict
    scheduler = find_scheduler(entry.scheduler)
    scheduler.bring_log(entry)
    if verdict.over:
        for line in scheduler.bring_home(entry):
            _say(line)
    if not entry.run.is_dir():
        raise UsageError(
            f"{shown(str(entry.run))}: is not there; job {entry.job} is {verdict.state}.",
            f"Its messages: retrain logs {entry.job}",
        )
    printed(f"{shown(str(entry.run))}\n")
    _say(f"Job {entry.job} is {verdict.state}; its results lie there.")
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
