# SPDX-License-Identifier: Apache-2.0
"""A run directory and a cache on a small disk, that fills at another write each time.

A tmpfs of some pages; once the run has failed on it, it is made larger and the run goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import judge
from bad import Bad, Impossible, require
from cases import Case
from trial import Trial, last_words

PAGE = 4096
ENOUGH = "1g"
FULL = ("No space left on device", "Disk quota exceeded")


def small_disk(trial: Trial) -> None:
    """Run on a disk that is too small: one message, nothing half-written; then on a larger one."""
    if os.geteuid():
        raise Impossible("only root may mount a small disk")
    case = trial.choose(texts=3, images=2)
    pages = trial.random.randint(1, 1 + int(1.1 * _pages(case)))
    ranks = trial.random.randint(1, 2)
    trial.note(f"{ranks}: {pages * PAGE // 1024} KiB")
    with _mounted(trial, pages * PAGE):
        _fill(trial, case, ranks)
        _mount(trial.place, f"remount,size={ENOUGH}")
        trial.finish(case, trial.random.randint(1, 2))


def _pages(case: Case) -> int:
    """What an undisturbed run writes, in pages; folders cost none on a tmpfs."""
    paths = [path for root in (case.reference, case.cache) for path in root.rglob("*")]
    return sum(-(-path.stat().st_size // PAGE) for path in paths if path.is_file())


def _fill(trial: Trial, case: Case, ranks: int) -> None:
    start = trial.start(case, ranks)
    code = trial.wait(start)
    trial.end(start)
    if code == 0:  # large enough, or only what may be left out did not fit
        trial.note("it fits")
        return
    trial.struck += 1
    begun = (trial.run / "config.yaml").exists()
    require(code == 1 or (code == 2 and not begun), f"ended with {code}: {last_words(start)}")
    told = [line for line in start.told().splitlines() if line.startswith("retrain: ")]
    require(len(told) == 1, f"{len(told)} messages: {last_words(start)}")
    trial.note(told[0][:150])
    named = str(trial.place) in told[0] and any(word in told[0] for word in FULL)
    require(named and "bytes" in told[0], f"path, bytes or reason not told: {told[0]}")
    for folder in (trial.run, trial.cache):
        left = judge.half_written(folder) if folder.exists() else []
        require(not left, f"half-written: {left}")


@contextmanager
def _mounted(trial: Trial, size: int) -> Iterator[None]:
    """The trial's run and cache on a disk of this size in bytes; kept as `left` where it is bad."""
    trial.place = trial.folder / "disk"
    trial.place.mkdir()
    _mount(trial.place, f"size={size}")
    try:
        yield
    except Bad:
        shutil.copytree(trial.place, trial.folder / "left")
        raise
    finally:
        subprocess.run(["umount", "--lazy", trial.place], check=True)


def _mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "campaign", place], check=True)
