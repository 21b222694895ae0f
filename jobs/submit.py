# SPDX-License-Identifier: Apache-2.0
"""Handing a run over: looked at first, written down after."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from jobs.errors import FAILED, JobError
from jobs.journal import Entry, Journal, mark
from jobs.left import RESULTS
from jobs.scheduler import Scheduler
from jobs.sites import PROJECT
from jobs.spec import Spec


def check(source: str, overrides: Sequence[str]) -> int:
    """`retrain check --quick` in a process of its own, which says itself what it finds wrong.

    Returns:
        Its exit code.
    """
    # The trainer of this clone, and no file of the folder that we are in, which may be anybody's.
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    debug = ["--debug"] if os.environ.get("RETRAIN_DEBUG") else []
    words = [*debug, "check", "--quick", "--", source, *overrides]
    done = subprocess.run(
        [sys.executable, *safe, "-m", "trainer", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    return done.returncode if done.returncode >= 0 else FAILED


def hand_over(scheduler: Scheduler, spec: Spec) -> Entry:
    """Submit, and write it down."""
    journal = Journal()
    journal.require_writable()
    before = mark(spec.out / RESULTS)
    command = tuple(scheduler.command(spec))
    began = time.time()
    job = scheduler.submit(spec)
    log = scheduler.log_of(spec, job)
    entry = Entry(
        job, scheduler.name, spec.name, spec.out, log, spec.folder, command, began, before
    )
    try:
        journal.write(entry)
    except JobError as error:
        raise JobError(
            f"job {job} is submitted, but {error.message}", f"{scheduler.name} alone knows it now."
        ) from None
    return entry
