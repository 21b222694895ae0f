# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, SIGINT and SIGUSR2 on the starter, one rank or all: exit code 75 within 10 s."""

from __future__ import annotations

import signal
import time

import judge
import moments
import processes
from bad import require
from child import Start
from trial import END_SECONDS, Trial, last_words, require_tidy

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
STOP_SECONDS = 10.0
MARGIN_SECONDS = 3.0
"""For the end of the starter and for a machine that does other things besides."""
AT_ONCE_SECONDS = 5.0
FIRST_SECONDS = 0.4
"""Until then a program in Python is not yet one of ours: the interpreter starts."""
STOPPED = 75
ECHO_SECONDS = 2.0


def stop(trial: Trial) -> None:
    """Ask a run to stop at some moment, now and then twice, then let it go on to its end."""
    case = trial.choose(texts=4, images=4, head=1, slow=2)
    ranks = trial.random.randint(1, 3)
    moment = moments.draw(trial.random, case, ranks)
    twice = trial.random.random() < 0.2
    start = trial.start(case, ranks)
    if moment.wait(start, END_SECONDS):
        number = trial.random.choice(SIGNALS)
        target = trial.random.choice(["starter", "starter", "rank", "ranks", "all", "mpirun"])
        _let_python_start(start)
        _ask(trial, start, target, number)
        trial.note(f"{ranks}: {number.name} to {target} {moment.name}{', twice' * twice}")
        if twice:
            _insist(trial, start, target, number)
        else:
            _require_stopped(trial, start, target)
    else:
        trial.note(f"{ranks}: over before {moment.name}")
        require(trial.wait(start) == 0, f"ended by itself with {last_words(start)}")
    trial.end(start)
    trial.finish(case, trial.random.randint(1, 3))


def _let_python_start(start: Start) -> None:
    time.sleep(max(0.0, start.begun + FIRST_SECONDS - time.monotonic()))


def _ask(trial: Trial, start: Start, target: str, number: signal.Signals) -> None:
    """Send the signal; `all` is what a scheduler does that cancels a job step."""
    found = processes.find(trial.folder)
    ranks = processes.ranks(found)
    everyone = [process.pid for process in found if process.role != "helper"]
    groups = {
        "starter": [start.child.pid],
        "rank": trial.random.sample(ranks, min(1, len(ranks))),
        "ranks": ranks,
        "mpirun": [process.pid for process in found if process.role == "mpirun"],
        "all": everyone,
    }
    trial.struck += bool(processes.send(groups[target] or [start.child.pid], number))


def _require_stopped(trial: Trial, start: Start, target: str) -> None:
    """It ends with 75 in time, or with 0 where it was at its end; its results say the same."""
    asked = time.monotonic()
    code = trial.wait(start)
    seconds = time.monotonic() - asked
    require(code in (0, STOPPED), f"{target} asked to stop: {code}: {last_words(start)}")
    limit = (STOP_SECONDS + MARGIN_SECONDS) * trial.patience
    require(seconds <= limit, f"{target} asked to stop: took {seconds:.1f} s")
    trial.stop_seconds.append(seconds)
    status = judge.read(trial.run / "results.json").get("status")
    if code == 0:
        require(status == "complete", f"ended with 0, but results.json says {status}")
    else:
        require("topped on request" in start.told(), f"75 without a word: {last_words(start)}")
        before = "before the ranks could agree" in start.told()
        # None: the starter was still listing files, and no run had begun.
        fits = status in ("stopped", None) or (before and status == "running")
        require(fits, f"ended with 75, but results.json says {status}")
    require_tidy(start)


def _insist(trial: Trial, start: Start, target: str, number: signal.Signals) -> None:
    """A second signal, later than an echo would be, ends the run at once."""
    time.sleep(ECHO_SECONDS + 0.3)
    over = start.ended()
    asked = time.monotonic()
    if not over:
        _ask(trial, start, target, number)
    trial.wait(start)
    seconds = time.monotonic() - asked
    limit = AT_ONCE_SECONDS * trial.patience
    require(seconds <= limit, f"{target} asked twice: took {seconds:.1f} s more")
