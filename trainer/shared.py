# SPDX-License-Identifier: Apache-2.0
"""Files in a folder that others write to as well: read without trust, written for all.

Who may write there is trusted for the values in a file that is as it should be, and for nothing
else. So a file is opened in a way that never waits, its kind and size are looked at before it is
read, and what stands in it is compared with a checksum before it is used.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import Array
from trainer.rundir import temporary

Buffer = bytes | memoryview

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_MOST_SEALED_BYTES = 1 << 16


class Damaged(Exception):
    """A file that is not as it was written, and why, in words that follow "its" or stand alone."""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The descriptor of a regular file; a pipe is not waited for, and a link not followed.

    Raises:
        Damaged: It is something else than a regular file.
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise Damaged("no regular file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Damaged("no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def read_at(descriptor: int, target: Array, offset: int) -> None:
    """Fill an array with what stands at an offset.

    Not by a memory map: where a mapped file is cut short, or its disk fails, the process is killed.

    Raises:
        Damaged: The file ends before.
        OSError: It cannot be read.
    """
    left = target.reshape(-1).view(np.uint8).data
    while left:
        count = os.preadv(descriptor, [left], offset)
        if not count:
            raise Damaged("cut short")
        left, offset = left[count:], offset + count


def read_small(path: Path, most: int) -> bytes:
    """A whole file of at most so many bytes.

    Raises:
        Damaged: It is longer, or no regular file.
        OSError: It cannot be read.
    """
    with opened(path) as file:
        size = os.fstat(file).st_size
        if size > most:
            raise Damaged(f"{size:,} bytes, over {most:,}")
        content = np.empty(size, np.uint8)
        read_at(file, content, 0)
        return content.tobytes()


def stamp(magic: bytes, *parts: Buffer) -> bytes:
    """Binary content that shows when it was changed: what it is, SHA-256 of the rest, the rest."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return b"".join((magic, total.digest(), *parts))


def unstamp(magic: bytes, content: bytes) -> bytes:
    """The rest of what `stamp` made.

    Raises:
        Damaged: It was changed, or is something else.
    """
    start = len(magic) + hashlib.sha256().digest_size
    rest = content[start:]
    if content[:start] != magic + hashlib.sha256(rest).digest():
        raise Damaged("it was changed")
    return rest


def seal(value: object) -> bytes:
    """A value as JSON that shows when it was changed."""
    text = _plain(value)
    sealed = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "value": value}
    return (json.dumps(sealed) + "\n").encode()


def read_sealed(path: Path) -> Any:
    """A value that `seal` wrote.

    Raises:
        Damaged: It was changed.
        OSError: It cannot be read.
    """
    content = read_small(path, _MOST_SEALED_BYTES)
    try:
        sealed = json.loads(content.decode("ascii"))
        text = _plain(sealed["value"])
        whole = sealed["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise Damaged("it was changed")
    return sealed["value"]


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def names(folder: Path, suffix: str) -> list[str]:
    """Names in a folder that end so, in order; hidden ones are none, nor are those of no folder.

    Raises:
        OSError: It cannot be listed.
    """
    try:
        found = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name.endswith(suffix) and not name.startswith("."))


def make_shared(folder: Path, mark: str = "") -> None:
    """Make a folder, and those above it, open to whoever may write to the one that it lies in.

    Below a folder that others may write to, a folder has its permissions (and by its setgid bit
    its group), whatever the umask: else the first user with a umask of 077 would shut out all
    others. Elsewhere the umask alone decides, as it does for files everywhere.

    Args:
        folder: What to make.
        mark: Stands in temporary names, as in those of `write_bytes`.
    Raises:
        OSError: It cannot be made.
    """
    if folder.is_dir():
        return
    make_shared(folder.parent, mark)
    mode = stat.S_IMODE(folder.parent.stat().st_mode)
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder.mkdir(exist_ok=True)
        return
    # Made under another name: nobody meets it before it has its permissions.
    made = temporary(folder, mark)
    with suppress(FileExistsError):  # left behind by a process of that number
        made.mkdir()
    made.chmod(mode)
    try:
        made.rename(folder)
    except OSError:
        made.rmdir()
        if not folder.is_dir():  # else another made it first
            raise


def user_name(number: int) -> str:
    """A user's name, or the number where this host knows none."""
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
