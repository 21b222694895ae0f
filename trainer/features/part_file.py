# SPDX-License-Identifier: Apache-2.0
"""The hidden file beside its target in which a download gathers, and who works on it.

Its name holds its owner's host, process and thread, so two downloads never write to one file. What
a killed process left is taken over by the next one, by a rename: of two, one gets it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from trainer.rundir import write_error
from trainer.shared import make_shared

ABANDONED_SECONDS = 120.0
"""So long nothing was written by an owner of whom nothing is known: on another host."""


class PartFile:
    """An unfinished download, open for appending."""

    def __init__(self, target: Path, url: str) -> None:
        """Open it, beside what it will become; where one was left behind, go on with that.

        Raises:
            RetrainError: The folder cannot be made or written.
        """
        make_folder(target.parent)
        self.target = target
        self._prefix = f".{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:12]}."
        owner = f"{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
        self.path = target.with_name(f"{self._prefix}{owner}.part")
        try:
            self._take_over()
            self._file: BinaryIO = open(self.path, "ab")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise write_error(self.path, None, error) from None

    def _take_over(self) -> None:
        """Make ours the longest that nobody works on."""
        folder = self.target.parent
        left = [path for path in folder.iterdir() if path.name.startswith(self._prefix)]
        left = [path for path in left if _ours(path)]
        for path in sorted(left, key=_size, reverse=True):
            if path == self.path:
                return
            if _abandoned(path, self._prefix):
                with suppress(FileNotFoundError):  # another was faster
                    path.rename(self.path)
                    return

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._file.seek(0, os.SEEK_END)

    def append(self, chunk: bytes) -> None:
        """Write at the end.

        Raises:
            RetrainError: The disk is full, or another write fails.
        """
        try:
            self._file.write(chunk)
            self._file.flush()
        except OSError as error:
            raise write_error(self.target, len(chunk), error) from None

    def cut(self, size: int) -> None:
        """Keep so many bytes of it."""
        self._file.truncate(size)

    def finish(self) -> None:
        """Turn it into the target, whole.

        Raises:
            RetrainError: The disk is full, or the rename fails.
        """
        try:
            os.fsync(self._file.fileno())
            os.replace(self.path, self.target)
        except OSError as error:
            raise write_error(self.target, self.size, error) from None

    def close(self, keep: bool) -> None:
        """Let go of it; unless it is finished, `keep` leaves what there is for the next."""
        empty = not self.size
        self._file.close()
        if empty or not keep:
            self.path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder for weights.

    Raises:
        RetrainError: It cannot be made.
    """
    try:
        make_shared(folder)
    except OSError as error:
        raise write_error(folder, None, error) from None


def _ours(path: Path) -> bool:
    """Whether this user began it; what another began, a umask may keep from being gone on with."""
    with suppress(FileNotFoundError):
        return path.lstat().st_uid == os.geteuid()
    return False


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _abandoned(path: Path, prefix: str) -> bool:
    """Whether its owner is gone: known on this host, elsewhere guessed by its silence."""
    host, process, thread, _ = path.name.removeprefix(prefix).rsplit(".", 3)
    if host == socket.gethostname():
        return not _alive(int(process), int(thread))
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    return False


def _alive(process: int, thread: int) -> bool:
    if process == os.getpid():
        return thread in {running.ident for running in threading.enumerate()}
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
