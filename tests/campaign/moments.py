# SPDX-License-Identifier: Apache-2.0
"""When to strike: after some time, or the very moment that something happens in a run."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import processes
from cases import Case
from child import Running

GLANCE_SECONDS = 0.001
LOOK_AROUND_SECONDS = 0.03
"""Between two looks at all processes of the machine, which take longer than one at a file."""


@dataclass(frozen=True)
class Moment:
    """A point in the life of a run.

    Attributes:
        name: For people.
        come: From a start to a question, asked again and again, whether it is there.
        delay: Seconds to let pass after that.
    """

    name: str
    come: Callable[[Running], Callable[[], bool]]
    delay: float = 0.0

    def wait(self, start: Running, seconds: float) -> bool:
        """Whether it came while the run was there, and not later than these seconds."""
        there = self.come(start)
        while not start.ended() and time.monotonic() - start.begun < seconds:
            if there():
                time.sleep(self.delay)
                return not start.ended()
            time.sleep(GLANCE_SECONDS)
        return False


def after(seconds: float) -> Moment:
    """So long after the start."""
    return Moment(
        f"after {seconds:.2f} s", lambda start: lambda: time.monotonic() - start.begun >= seconds
    )


def appears(pattern: str, delay: float = 0.0) -> Moment:
    """A file or folder of this name below the trial's folder is there, or is there anew."""

    def come(start: Running) -> Callable[[], bool]:
        before = set(_seen(start.folder, pattern))
        return lambda: any(entry not in before for entry in _seen(start.folder, pattern))

    return Moment(f"{pattern} appears{_later(delay)}", come, delay)


def _seen(folder: Path, pattern: str) -> Iterator[tuple[str, int, int]]:
    try:
        for path in folder.glob(pattern):
            status = path.lstat()
            yield str(path), status.st_ino, status.st_mtime_ns
    except OSError:
        return  # what was listed is gone already: the next look will tell


def says(pattern: str, delay: float = 0.0) -> Moment:
    """A line of its messages begins so (a regular expression)."""
    line = re.compile(pattern, re.MULTILINE)
    return Moment(
        f"it says {pattern!r}{_later(delay)}",
        lambda start: lambda: bool(line.search(start.told())),
        delay,
    )


def _of_processes(name: str, there: Callable[[list[int]], bool], delay: float) -> Moment:
    def come(start: Running) -> Callable[[], bool]:
        next_look = 0.0

        def ask() -> bool:
            nonlocal next_look
            if time.monotonic() < next_look:
                return False
            next_look = time.monotonic() + LOOK_AROUND_SECONDS
            return there(processes.ranks(processes.find(start.folder)))

        return ask

    return Moment(name + _later(delay), come, delay)


def ranks_begin(delay: float = 0.0) -> Moment:
    """The first rank is a process; it has not joined the others."""
    return _of_processes("ranks begin", bool, delay)


def loads_tensorflow(delay: float = 0.0) -> Moment:
    """Some rank maps TensorFlow's library: its import takes seconds from here."""

    def there(pids: list[int]) -> bool:
        return any("libtensorflow" in _maps(pid) for pid in pids)

    return _of_processes("TensorFlow is loaded", there, delay)


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return ""


def _later(delay: float) -> str:
    return f" + {delay:.2f} s" if delay else ""


ANY_RUN = (
    "run/lock", "run/config.yaml", "run/log.txt", "run/results.json", "run/stages/plan.json",
    "run/.*.tmp", "run/stages/.*.tmp", "run/head/*", "run/model", "run/manifest.csv",
    "run/suspects.csv", "run/analysis.json", "run/predictions.csv", "run/environment.json",
    "run/report.html", "run/stages/complete.json",
    "cache/sources/*/*", "cache/sources/*/.*.tmp",
)  # fmt: skip
WITH_PICTURES = (
    "cache/bottlenecks/*/*.shard*", "cache/bottlenecks/*/.*.tmp", "cache/bottlenecks/*",
    "cache/bottlenecks/*/*.verdict.json", "run/.model.*", "run/model", "run/gallery",
    "run/.gallery.*",
)  # fmt: skip
LINES = (
    "Head: choosing", "  L2 0.1 ", "  L2 0.0001 ", r"Head: \d+ fits at", "Analysis:",
    "Saving the model",
)  # fmt: skip
LINES_WITH_PICTURES = ("Bottlenecks:", r"Bottlenecks \d")


def draw(random: random.Random, case: Case, ranks: int) -> Moment:
    """A moment of a run, over all its stages: half by time, half by what happens."""
    if random.random() < 0.5:
        return after(random.uniform(0.05, 1.0 + 0.3 * (ranks - 1)) * case.seconds)
    delay = random.choice([0.0, 0.0, random.uniform(0, 0.02), random.uniform(0, 0.5)])
    if case.name == "slow" and random.random() < 0.5:
        return appears("cache/bottlenecks/*/*.shard*", random.uniform(0, 6))
    kinds: list[Callable[[], Moment]] = [
        lambda: ranks_begin(delay + random.uniform(0, 0.6)),
        lambda: says(random.choice(LINES), delay),
        lambda: says(random.choice(LINES), delay),
        lambda: appears(random.choice(ANY_RUN), delay),
        lambda: appears(random.choice(ANY_RUN), delay),
        lambda: appears(random.choice(ANY_RUN), delay),
    ]
    if case.images:
        kinds += [
            lambda: loads_tensorflow(10 * delay),
            lambda: says(random.choice(LINES_WITH_PICTURES), 4 * delay),
            lambda: appears(random.choice(WITH_PICTURES), delay),
            lambda: appears(random.choice(WITH_PICTURES), delay),
        ]
    return random.choice(kinds)()
