# SPDX-License-Identifier: Apache-2.0
"""The folder of one lab: made, locked while in use, and removed, also when its owner was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PLACE = Path("/var/tmp")
"""Not /tmp, which every host has for itself."""
PREFIX = "retrain-lab-"


class StateDir:
    """A new folder that nobody else uses or removes while this object lives."""

    def __init__(self) -> None:
        """Make it, after removing the folders whose owners are gone."""
        _remove_abandoned()
        folder = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}", dir=PLACE))
        folder.chmod(0o755)
        self._lock = _take_lock(folder)
        # Only with its lock it gets a name under which others look for abandoned folders.
        self.path = folder.rename(PLACE / folder.name.removeprefix("new-"))

    def remove(self) -> None:
        """Remove it with all it holds, and what others abandoned meanwhile."""
        _remove(self.path)
        os.close(self._lock)
        _remove_abandoned()


def _take_lock(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def _remove_abandoned() -> None:
    for folder in PLACE.glob(f"{PREFIX}*"):
        try:
            lock = _take_lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # in use, or just being removed
        with suppress(OSError):  # its last processes may be writing still: the next lab's turn
            _remove(folder)
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last, so that a removal cut short is taken up again."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    shutil.rmtree(folder)
