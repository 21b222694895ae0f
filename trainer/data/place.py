# SPDX-License-Identifier: Apache-2.0
"""Where a file's content lies, and how it is opened: whole files, and members of a tar archive.

Every content of the data is read through here. Nothing but a regular file is ever opened: a pipe
would wait for its writer for ever, and a device may do anything.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, TypeVar

PAUSES = (0.1, 0.4, 1.5)
"""Seconds before each further try."""
PASSING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.EACCES,
        errno.EPERM,
        errno.EAGAIN,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EREMOTEIO,
        errno.ENFILE,
        errno.EMFILE,
    }
)
"""Errors that may pass. That a file is not there does not."""

T = TypeVar("T")


class Place(NamedTuple):
    """Where a content lies."""

    path: str
    """The file, as os.open takes it."""
    offset: int = 0
    length: int = -1
    """Bytes from `offset` on; -1 for a file that is a content of its own."""

    def open(self) -> BinaryIO:
        """Open it for reading, from its own first byte to its own last.

        Raises:
            OSError: It cannot be opened, or is no regular file.
        """
        number = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise OSError(errno.EINVAL, "is no regular file any more")
            file = os.fdopen(number, "rb")
        except BaseException:
            os.close(number)
            raise
        if self.length < 0:
            return file
        return io.BufferedReader(_Part(file, self.offset, self.length))

    def read(self) -> bytes:
        """Its whole content.

        Raises:
            OSError: It cannot be read.
        """
        with self.open() as file:
            return file.read()


class _Part(io.RawIOBase):
    """A part of an open file, as a file of its own."""

    def __init__(self, file: BinaryIO, offset: int, length: int) -> None:
        self._file = file
        self._offset = offset
        self._length = length
        self._at = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(memoryview(buffer)), self._length - self._at))
        piece = os.pread(self._file.fileno(), wanted, self._offset + self._at)
        if wanted and not piece:
            raise OSError(errno.EIO, "its archive has become shorter")
        memoryview(buffer)[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


class Patience:
    """Tries again, after a pause, what may be out of reach for a moment only.

    A busy file server, a handle gone stale, a permission on its way. When it has paused long
    enough in all, failing is no matter of a moment any more, and it pauses no longer.
    """

    def __init__(self, most: float = 60.0) -> None:
        """Be ready to pause for so many seconds in all."""
        self._left = most

    def __call__(self, read: Callable[[], T]) -> T:
        """Read, at most four times.

        Raises:
            OSError: Of the last try; its words say how many there were, if several.
        """
        tried = 0
        while True:
            tried += 1
            try:
                return read()
            except OSError as error:
                if not self._pause(error, tried):
                    raise error if tried == 1 else _tried(tried, error) from None

    def _pause(self, error: OSError, tried: int) -> bool:
        """Wait before the next try; not where there shall be none."""
        if error.errno not in PASSING or tried > len(PAUSES) or self._left < PAUSES[tried - 1]:
            return False
        self._left -= PAUSES[tried - 1]
        time.sleep(PAUSES[tried - 1])
        return True


def _tried(times: int, error: OSError) -> OSError:
    return OSError(error.errno, f"{error.strerror} (tried {times} times)")


patiently = Patience()
"""The patience of this process."""
