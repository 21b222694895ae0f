# SPDX-License-Identifier: Apache-2.0
"""A rank that stands still: the run says which, ends with 1, and goes on when started again."""

from __future__ import annotations

import re
import signal

import moments
import processes
from bad import require
from trial import END_SECONDS, Trial, last_words

STALL_SECONDS = 5
END_AFTER_SECONDS = 40.0
"""For the stall to be noticed, the stacks to be written, and all to end."""


def stall(trial: Trial) -> None:
    """Stop a rank by SIGSTOP at some moment."""
    case = trial.choose(texts=1, head=2, images=2)
    ranks = trial.random.randint(2, 3)
    moment = moments.draw(trial.random, case, ranks)
    more = (f"run.stall_timeout={STALL_SECONDS}",)
    start = trial.start(case, ranks, more=more)
    if moment.wait(start, END_SECONDS):
        found = processes.ranks(processes.find(trial.folder))
        pids = trial.random.sample(found, min(1, len(found)))
        trial.struck += processes.send(pids, signal.SIGSTOP)
        trial.note(f"{ranks}: one stopped {moment.name}")
        code = trial.wait(start, STALL_SECONDS + END_AFTER_SECONDS)
        trial.end(start)
        if pids and code:
            _require_named(start.told(), code)
            log = trial.run / "log.txt"
            stacks = log.exists() and "File " in log.read_text(errors="replace")
            require(stacks, "no stacks in log.txt")
    else:
        trial.note(f"{ranks}: over before {moment.name}")
        require(trial.wait(start) == 0, f"ended by itself with {last_words(start)}")
        trial.end(start)
    trial.finish(case, trial.random.randint(1, 3), more=more)


def _require_named(told: str, code: int) -> None:
    require(code == 1, f"stood still: ended with {code}")
    named = re.search(r"ranks? \d+.* stands? still", told)
    require(bool(named), f"names no rank that stands still: {told[-300:]}")
