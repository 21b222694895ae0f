# SPDX-License-Identifier: Apache-2.0
"""Handing a run over: looked at first, written down after."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import click

from jobs.errors import DONE, FAILED, USAGE, JobError
from jobs.journal import Entry, Journal, mark
from jobs.left import RESULTS
from jobs.scheduler import Job, Takes
from jobs.sites import PROJECT


def check(source: str, overrides: Sequence[str]) -> int:
    """`retrain check --quick` in a process of its own, which says itself what it finds wrong.

    Returns:
        Its exit code.
    """
    return _checked(source, overrides, None).returncode


def check_settings(source: str, overrides: Sequence[str]) -> int:
    """The same for data that lie elsewhere: only what is wrong with the settings counts.

    Returns:
        The exit code: 0 or 2.
    """
    done = _checked(source, overrides, subprocess.PIPE)
    if done.returncode != USAGE:
        return DONE
    click.echo(done.stderr, err=True, nl=False)
    return USAGE


def _checked(
    source: str, overrides: Sequence[str], errors: int | None
) -> subprocess.CompletedProcess[bytes]:
    # The trainer of this clone, and no file of the folder that we are in, which may be anybody's.
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    debug = ["--debug"] if os.environ.get("RETRAIN_DEBUG") else []
    words = [*debug, "check", "--quick", "--", source, *overrides]
    done = subprocess.run(
        [sys.executable, *safe, "-m", "trainer", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    done.returncode = done.returncode if done.returncode >= 0 else FAILED
    return done


def hand_over(scheduler: Takes[Job], spec: Job) -> Entry:
    """Submit, and write it down."""
    journal = Journal()
    journal.require_writable()
    before = mark(spec.out / RESULTS)
    command = tuple(scheduler.command(spec))
    began = time.time()
    taken = scheduler.submit(spec)
    entry = Entry(
        taken.job,
        scheduler.name,
        spec.name,
        spec.out,
        scheduler.log_of(spec, taken.job),
        spec.folder,
        command,
        began,
        before,
        alias=taken.alias,
    )
    try:
        journal.write(entry)
    except JobError as error:
        raise JobError(
            f"job {taken.job} is submitted, but {error.message}",
            f"{scheduler.name} alone knows it now.",
        ) from None
    return entry
