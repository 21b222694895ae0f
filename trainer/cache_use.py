# SPDX-License-Identifier: Apache-2.0
"""The shared cache as one run uses it: what it writes there, and how the others see that.

A run is known in the cache by a short mark, made of its run directory and its user. The mark
stands in the names of its temporary files, so that its next start can remove what a kill left,
and nobody else's. And for each folder of the cache that a run uses it leaves a marker, a small
file that no other run writes: the time of its last change is when the folder was last used.
Without markers `retrain cache --prune` could not tell what is read every day from what nobody
wants any more. Their names say which folder they are about, since their content may be closed to
others by a umask.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

from trainer.errors import RetrainError, UsageError
from trainer.progress import Progress
from trainer.rundir import write_bytes, write_error
from trainer.shared import make_shared, seal, user_name

BOTTLENECKS, SOURCES, RUNS, HASHES = "bottlenecks", "sources", "runs", "hashes"
PARTS = (BOTTLENECKS, SOURCES, RUNS, "weights", HASHES)
"""The folders in a cache, of folders or of files."""
KEY_LENGTH = 16
"""Of a folder's name, so much stands in the names of markers."""


class CacheUse:
    """A cache, for one run.

    Attributes:
        root: Its folder.
        mark: In the names of this run's markers and temporary files.
        closed: Files and folders of other users, met so far, that this one may not read.
    """

    def __init__(self, root: Path, run: Path) -> None:
        """Name them; nothing is touched.

        Args:
            root: The cache's folder.
            run: The run directory.
        """
        self.root = root
        self.closed: set[Path] = set()
        self._run = os.path.realpath(run)
        self._since = time.strftime("%Y-%m-%d %H:%M:%S")
        who = f"{self._run}\0{os.geteuid()}"
        self.mark = hashlib.sha256(os.fsencode(who)).hexdigest()[:12]
        self._markers: list[Path] = []
        self._told = 0

    def clean(self) -> None:
        """Remove what a killed start of this run left half-written; only under the run's lock."""
        for part in (self.root, *(self.root / name for name in PARTS)):
            self._clean(part)
            with suppress(OSError):  # not there, or closed: then nothing of ours is in it
                for entry in os.scandir(part):
                    if entry.is_dir(follow_symlinks=False) and part != self.root:
                        self._clean(Path(entry.path))

    def _clean(self, folder: Path) -> None:
        with suppress(OSError):
            for entry in os.scandir(folder):
                if entry.name.endswith(".tmp") and f".{self.mark}." in entry.name:
                    with suppress(OSError):  # gone meanwhile, or not removable: it is never read
                        (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry)

    def require_writable(self, folder: Path) -> None:
        """Make a folder of the cache, before work is done that is to be kept there.

        Raises:
            UsageError: It cannot be made or written.
        """
        try:
            make_shared(folder, self.mark)
        except OSError as error:
            raise _unusable(folder, error.strerror) from None
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise _unusable(folder, os.strerror(errno.EACCES))

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the cache whole or not at all, its folder made where it is missing.

        Raises:
            RetrainError: The disk is full, or it cannot be written.
        """
        try:
            make_shared(path.parent, self.mark)
        except OSError as error:
            raise write_error(path, len(content), error) from None
        write_bytes(path, content, self.mark)

    def note(self, folder: Path, what: str, progress: Progress) -> None:
        """Leave a marker: this run uses a folder of the cache.

        Args:
            folder: What is used.
            what: It holds, in a few words.
            progress: Told where no marker can be written; a read-only cache is no error.
        """
        marker = self.root / RUNS / f"{folder.name[:KEY_LENGTH]}-{self.mark}.json"
        told = {
            "folder": folder.relative_to(self.root).as_posix(),
            "what": what,
            "run": self._run,
            "user": user_name(os.geteuid()),
            "host": socket.gethostname(),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "since": self._since,
        }
        self._markers.append(marker)
        if not self._may_write(marker.parent):
            return
        try:
            self.write(marker, seal(told))
        except RetrainError as error:
            progress.say(f"{error.message} Others do not see that this run uses {folder}.")

    def _may_write(self, folder: Path) -> bool:
        existing = next((one for one in (folder, *folder.parents) if one.exists()), folder)
        return os.access(existing, os.W_OK | os.X_OK)

    def renew(self) -> None:
        """Show that this run goes on using what it has noted."""
        for marker in self._markers:
            with suppress(OSError):
                os.utime(marker)

    def tell_closed(self, progress: Progress) -> None:
        """Say in one line how much of other users could not be read, where that is news."""
        if len(self.closed) > self._told:
            self._told = len(self.closed)
            progress.say(
                f"{self._told:,} files of other users in {self.root} cannot be read; "
                "what they hold is computed anew"
            )


def _unusable(folder: Path, why: str | None) -> UsageError:
    barrier = next((one for one in (folder, *folder.parents) if _status(one)), folder)
    status = _status(barrier)
    if status and status.st_uid != os.geteuid():
        mode = stat.S_IMODE(status.st_mode)
        told = f"{barrier} belongs to {user_name(status.st_uid)}, with mode {mode:o}; ask"
        todo = f"{told} there for `chmod g+rwxs`, or give another folder"
    else:
        todo = "Give a folder that can be written"
    return UsageError(
        f"run.cache {folder}: cannot be written: {why}.", f"{todo}: run.cache=DIR or RETRAIN_CACHE."
    )


def _status(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return path.stat()
    return None
