# SPDX-License-Identifier: Apache-2.0
"""This project as a contestant: the real command, its ranks watched from outside."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from children import retrain, run

COUNTED = re.compile(r"Bottlenecks: ([\d,]+) of [\d,]+, ([\d.]+)/s")
FIND_AGAIN_SECONDS = 1.0

Results = dict[str, Any]
"""results.json of a run."""


@dataclass
class Watch:
    """What is seen of a run while it goes on.

    Attributes:
        started: time.monotonic() when it was launched.
        opened: Seconds from then to the run's first line: all that comes before its stages.
        counted: Seconds of computing that the run's first count of images tells, which comes some
            seconds after the first batch.
        ranks: Rank to process id; a run of one rank has no launcher and is rank 0 itself.
        peak_mib: Rank to the most memory that it had, in MiB.
        on_count: Called once with that count, with the process ids by rank.
    """

    on_count: Callable[[dict[int, int]], None] = lambda _: None
    started: float = field(default_factory=time.monotonic)
    opened: float = 0.0
    counted: float = 0.0
    ranks: dict[int, int] = field(default_factory=dict)
    peak_mib: dict[int, float] = field(default_factory=dict)
    _text: str = ""
    _looked: float = 0.0

    def heard(self, piece: str) -> None:
        """Note when the run says what."""
        self._text = self._text[-200:] + piece
        self.opened = self.opened or time.monotonic() - self.started
        count = COUNTED.search(self._text)
        if count and not self.counted:
            self.counted = int(count[1].replace(",", "")) / float(count[2])
            self.on_count(self.ranks)

    def glance(self, pid: int) -> None:
        """Find the ranks below the launched process, and look at their memory."""
        now = time.monotonic()
        if now - self._looked > FIND_AGAIN_SECONDS:
            self._looked = now
            self.ranks = _ranks(pid) or {0: pid}
            for rank, process in self.ranks.items():
                self.peak_mib[rank] = max(peak_mib(process), self.peak_mib.get(rank, 0.0))


def _ranks(pid: int) -> dict[int, int]:
    """Rank to process id, among what a process started."""
    found: dict[int, int] = {}
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            rank = process.environ().get("OMPI_COMM_WORLD_RANK")
            if rank is not None:
                found.setdefault(int(rank), process.pid)  # a rank comes before its own children
    return found


def peak_mib(pid: int) -> float:
    """The most memory that a process had so far, in MiB; 0 where it is gone (Linux)."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        match = re.search(r"VmHWM:\s*(\d+) kB", status)
        return int(match[1]) / 1024 if match else 0.0
    return 0.0


@dataclass
class Outcome:
    """A finished run: its results.json, what was seen of it, and its wall time from outside."""

    results: Results
    watch: Watch
    wall_seconds: float

    @property
    def images(self) -> int:
        """Bottlenecks that it computed."""
        return int(self.results["bottlenecks"]["computed"])

    @property
    def seconds(self) -> float:
        """From the first file read to the last bottleneck in the cache, start-up apart.

        Files are hashed before TensorFlow starts; that is reading, and counts.
        """
        return float(self.results["seconds"]["plan"] + self.results["bottlenecks"]["seconds"])

    @property
    def startup_seconds(self) -> float:
        """From the command to the first batch; the files' hashing, which counts as work, apart."""
        return self.watch.opened + float(self.results["bottlenecks"]["startup_seconds"])

    @property
    def before_head_seconds(self) -> float:
        """Without head and report, the start and the end of the processes included."""
        stages = self.results["seconds"]
        return float(self.wall_seconds - stages["total"] + stages["plan"] + stages["bottlenecks"])


def fit(
    images: Path,
    weights: Path,
    out: Path,
    ranks: int,
    cache: Path | None = None,
    settings: Collection[str] = ("evaluate.folds=0",),
    cores: Collection[int] | None = None,
    on_count: Callable[[dict[int, int]], None] = lambda _: None,
) -> Outcome:
    """Run the job in a new run directory.

    Args:
        images: The folder of classes.
        weights: The backbone's.
        out: The run directory, made anew.
        ranks: How many.
        cache: The bottleneck cache; by default a new one that is removed at the end.
        settings: Further `key=value` words.
        cores: Those that it may use.
        on_count: See Watch.
    Raises:
        Failed: The run did not end well.
    """
    shutil.rmtree(out, ignore_errors=True)
    passing = out.with_name(f"{out.name}-passing-cache")
    shutil.rmtree(passing, ignore_errors=True)
    watch = Watch(on_count)
    words = [f"backbone.weights={weights}", f"run.cache={cache or passing}", *settings]
    command = retrain("run", images, *words, "--out", out, "--ranks", str(ranks))
    try:
        ended = run(command, cores, watch.heard, watch.glance)
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(passing, ignore_errors=True)
    return Outcome(results, watch, ended.wall_seconds)
