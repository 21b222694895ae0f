# SPDX-License-Identifier: Apache-2.0
"""What the fits keep in the run's `head/`, so that a run that was killed goes on with it.

Rank 0 writes, whole or not at all; every rank gets what it read. A file's layout:

    8 bytes     b"RETRFIT1"
    32 bytes    SHA-256 of the rest
    32 bytes    key: SHA-256 of all that decides the fits
    rest        arrays by name, as numpy's npz without pickles

What was cut short, changed, or made from something else counts as not there.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trainer.arrays import Array
from trainer.progress import Progress
from trainer.rundir import remove, write_bytes
from trainer.shared import Damaged, stamp, unstamp
from trainer.world.comm import World

MAGIC = b"RETRFIT1"
FIRST_SECONDS, LONGEST_SECONDS = 5.0, 30.0
"""Between two savings; the first is early, since a small run is over soon."""
SHARE_OF_TIME = 0.05
"""Of a run, that savings may take where they are slow."""

Arrays = Mapping[str, Array]


class Keeper:
    """The files of one run's fits."""

    def __init__(self, folder: Path, key: bytes, world: World, progress: Progress) -> None:
        """Name the files; nothing is touched.

        Args:
            folder: Where they lie; it is there.
            key: 32 bytes that stand for all that decides the fits.
            world: Rank 0 of it reads and writes.
            progress: Told of a file that is damaged.
        """
        self._folder = folder
        self._key = key
        self._world = world
        self._progress = progress
        self._interval = FIRST_SECONDS
        self._due = time.monotonic() + FIRST_SECONDS

    def load(self, name: str) -> dict[str, Array] | None:
        """Arrays of a file; None where there is none of these fits; Collective."""
        return self._world.on_root(lambda: self._read(name))

    def _read(self, name: str) -> dict[str, Array] | None:
        path = self._folder / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._progress.say(f"{path}: cannot be read ({error.strerror}); fitted anew")
            return None
        try:
            rest = unstamp(MAGIC, content)
        except Damaged:
            self._progress.say(f"{path}: damaged; fitted anew")
            return None
        if rest[:32] != self._key:
            return None
        with np.load(io.BytesIO(rest[32:]), allow_pickle=False) as arrays:
            return dict(arrays)

    def save(self, name: str, arrays: Arrays) -> None:
        """Write a file, on rank 0 alone.

        Raises:
            RetrainError: The disk is full, or another write failed.
        """
        if self._world.rank:
            return
        started = time.monotonic()
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        write_bytes(self._folder / name, stamp(MAGIC, self._key, packed.getbuffer()))
        took = time.monotonic() - started
        self._due = time.monotonic() + max(self._interval, took / SHARE_OF_TIME)
        self._interval = min(2 * self._interval, LONGEST_SECONDS)

    def save_if_due(self, name: str, arrays: Callable[[], Arrays]) -> None:
        """Write a file if the last one is old enough, on rank 0 alone."""
        if self._world.rank == 0 and time.monotonic() >= self._due:
            self.save(name, arrays())

    def drop(self, name: str) -> None:
        """Remove a file that is no longer needed, on rank 0 alone."""
        if self._world.rank == 0:
            remove(self._folder / name)
