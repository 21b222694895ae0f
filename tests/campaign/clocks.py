# SPDX-License-Identifier: Apache-2.0
"""Hosts whose clocks are an hour apart: no lock is taken from a living run, no result changes.

A small library put before the C library's tells a process another time of day. Times of files
stay those of the kernel: they stand for the clock of a file server.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import moments
import processes
from bad import Impossible, require
from cases import Case
from trial import END_SECONDS, Trial, last_words

SOURCE = Path(__file__).with_name("clock.c")
OFFSETS = (-3600, 3600)


def apart(trial: Trial) -> None:
    """Two runs with clocks apart: after a kill, of one directory at once, or with one cache."""
    library = _library(trial.cases.folder)
    early, late = ({"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(one)} for one in OFFSETS)
    if trial.random.random() < 0.5:
        early, late = late, early
    trial.note(f"{early['CLOCK_OFFSET']} s first")
    possible = [what for name, what in _WAYS if not trial.only or name in trial.only]
    require(bool(possible), "none of texts, head and images is among --cases")
    trial.random.choice(possible)(trial, early, late)
    trial.struck += 1


def _library(folder: Path) -> Path:
    """The library, compiled once a campaign."""
    compiler = shutil.which("cc")
    if not compiler:
        raise Impossible("no C compiler (cc) to shift clocks with")
    made = folder / "clock.so"
    if not made.exists():
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
    return made


def _after_a_kill(trial: Trial, first: dict[str, str], second: dict[str, str]) -> None:
    """A run is killed whole, and goes on where the clock says something else."""
    case = trial.choose(texts=1, images=1)
    moment = moments.draw(trial.random, case, 2)
    start = trial.start(case, 2, first)
    if moment.wait(start, END_SECONDS):
        pids = [process.pid for process in processes.find(trial.folder)]
        processes.send(pids, signal.SIGKILL)
    trial.note(f"killed {moment.name}")
    trial.end(start)
    trial.finish(case, 1, variables=second)


def _of_one_directory(trial: Trial, first: dict[str, str], second: dict[str, str]) -> None:
    """A run goes on although another start thinks that its heartbeat is an hour old."""
    case = trial.choose(head=1)
    trial.note("one directory")
    holder = trial.start(case, 1, first)
    require(moments.appears("run/config.yaml").wait(holder, 60), "it took no lock in a minute")
    other = trial.start(case, 1, second)
    code = trial.wait(other)
    require(code == 2 or holder.ended(), f"the other start ended with {code}: {last_words(other)}")
    require(trial.wait(holder) == 0, f"the holder failed: {last_words(holder)}")
    trial.end(holder)
    trial.check(case)


def _with_one_cache(trial: Trial, first: dict[str, str], second: dict[str, str]) -> None:
    """Two runs fill one cache at once."""
    case: Case = trial.choose(images=1)
    trial.note("one cache")
    one = trial.start(case, 1, first)
    trial.place = trial.folder / "beside"
    trial.place.mkdir()
    (trial.folder / "cache").mkdir(exist_ok=True)  # or the link may lead nowhere yet
    (trial.place / "cache").symlink_to(trial.folder / "cache")
    two = trial.start(case, 1, second)
    for start in (one, two):
        code = trial.wait(start)
        require(code == 0, f"ended with {code}: {last_words(start)}")
    trial.end(one)
    trial.check(case)
    trial.place = trial.folder
    trial.check(case)


_WAYS = (("texts", _after_a_kill), ("head", _of_one_directory), ("images", _with_one_cache))
"""Ways, each with a case that it needs at least."""
