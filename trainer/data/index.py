# SPDX-License-Identifier: Apache-2.0
"""What earlier runs found in the files of a source, so that unchanged ones need no opening.

A file is known again by its path, size, times of change (mtime and ctime) and inode number; its
SHA-256 then stands in the index. The device number is left out: hosts that mount one file system
give it different ones.

The limit: a change is overlooked if it leaves all of these as they were. A program can put back
size and mtime, but ctime only with a clock that was set back, or by writing to the raw disk; a
file that is written through a memory map may show it late, and so may one that another host
changes, for as long as the file system keeps attributes (NFS: up to a minute). On file systems
that keep no ctime of their own (FAT, some network and user-space ones), size, mtime and inode are
all there is. A bad disk is not noticed either. `retrain run --verify` hashes every file again.

A change within the same tick of the clock as the one before would not show. So a file is
remembered only if its last change was some seconds old when its hashing began, by the clock of
the host that hashed it; a file server whose clock is more than that behind takes this away, and
leaves its own tick, some milliseconds, as the time in which a second change is overlooked.

Files of one source lie in one folder of the cache. They are never changed: a writer puts down
whole new ones by one rename each, and removes those of its user that it has read; a reader takes
all that it finds. So any number of runs need no lock, and whatever is damaged, or gone, only costs
hashing. So does a file of which two say different things: which of them is newer, clocks cannot
tell. Layout:

    8 bytes     b"RETRIDX1"
    32 bytes    SHA-256 of the rest
    entries     48 bytes each, at most 65,536: state of a file (see `state`), SHA-256 of its content
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from trainer.cache_use import SOURCES, CacheUse
from trainer.errors import RetrainError, printable
from trainer.progress import Progress
from trainer.shared import Damaged, names, read_small, stamp, unstamp

MAGIC = b"RETRIDX1"
SUFFIX = ".index1"  # another layout takes another, so that versions leave each other's alone
STATE_BYTES = 16
ENTRY_BYTES = STATE_BYTES + 32
MOST_ENTRIES = 1 << 16
"""In one file: what a reader takes memory for before it knows more."""
SETTLED_SECONDS = 3.0  # FAT counts mtime in steps of 2 s; the rest is for clocks that differ


State = bytes
"""What a file in one state is known by: 16 bytes, made by `state`."""


def digest(file: BinaryIO) -> bytes:
    """SHA-256 of what is left of a file, 32 bytes, read in pieces.

    Raises:
        OSError: The file cannot be read.
    """
    total = hashlib.sha256()
    while piece := file.read(1 << 20):
        total.update(piece)
    return total.digest()


def state(name: str, status: os.stat_result) -> State:
    """What a file is known by while it is in the state that its status tells.

    A hash, so that a million files take little memory, whatever their names.

    Args:
        name: Its path in the source, as os.fsdecode gives it.
        status: Its status; of what it leads to, if it is a link.
    """
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    # As text: a broken clock's times need more than 64 bits.
    told = b"%d %d %d %d " % numbers + os.fsencode(name)
    return hashlib.blake2b(told, digest_size=STATE_BYTES).digest()


def settled(status: os.stat_result, began: float) -> bool:
    """Whether what was hashed just now is what this status will stand for.

    Args:
        status: Of the open file, after it was read.
        began: When its hashing began, in seconds since 1970.
    """
    return max(status.st_mtime, status.st_ctime) + SETTLED_SECONDS < began


class Index:
    """The memory of one source; only one rank of a run reads and writes it.

    Attributes:
        folder: Where its files lie.
        digests: State of a file to the SHA-256 of its content.
    """

    def __init__(self, use: CacheUse, source: Path) -> None:
        """Name the folder; nothing is touched."""
        name = hashlib.sha256(os.fsencode(os.path.realpath(source))).hexdigest()[:16]
        self.folder = use.root / SOURCES / name
        self.digests: dict[State, bytes] = {}
        self._use = use
        self._source = source
        self._read: list[Path] = []

    def read(self, listed: Collection[State], progress: Progress) -> None:
        """Take in what earlier runs left.

        Args:
            listed: States of all files of the source. Of what is not listed no more is taken in
                than of what is, whatever lies there.
            progress: Told of damaged files.
        """
        wanted = set(listed)
        room, disputed = len(wanted), set[State]()
        for entries in self._files(progress):
            for key, value in entries:
                if self.digests.get(key, value) != value:
                    disputed.add(key)
                elif key in self.digests or key in wanted:
                    self.digests[key] = value
                elif room:
                    room -= 1
                    self.digests[key] = value
        for key in disputed:
            del self.digests[key]
        self._use.note(self.folder, f"hashes of the files in {self._source}", progress)

    def _files(self, progress: Progress) -> Iterator[Iterator[tuple[State, bytes]]]:
        """The entries of each file."""
        try:
            paths = [self.folder / name for name in names(self.folder, SUFFIX)]
        except OSError:
            self._use.closed.add(self.folder)
            return
        for path in paths:
            try:
                yield _parse(read_small(path, len(MAGIC) + 32 + MOST_ENTRIES * ENTRY_BYTES))
            except FileNotFoundError:
                continue  # a run that wrote a newer one has removed it
            except PermissionError:
                self._use.closed.add(path)
                continue
            except (OSError, Damaged) as error:
                progress.say(printable(f"{path}: damaged; its files are hashed again ({error})"))
            self._read.append(path)

    def renew(
        self, listed: Sequence[State], hashed: Mapping[State, bytes | None], progress: Progress
    ) -> None:
        """Write what is known now, unless that is what was known before.

        What is not listed may be so only for this run, which leaves out a class: it is kept, but
        not more of it than of the listed.

        Args:
            listed: States of all files of the source.
            hashed: States of those that were hashed just now, to what was found; None where that
                is not to be remembered.
            progress: Told where nothing can be written; a read-only cache is no error.
        """
        entries = {key: value for key, value in self.digests.items() if key not in hashed}
        entries.update((key, value) for key, value in hashed.items() if value is not None)
        if entries == self.digests:
            return
        if len(entries) > 2 * len(listed):
            entries = {key: entries[key] for key in listed if key in entries}
        self._write(entries, progress)

    def _write(self, entries: Mapping[State, bytes], progress: Progress) -> None:
        pairs = [key + value for key, value in entries.items()]
        try:
            for first in range(0, len(pairs), MOST_ENTRIES):
                table = b"".join(pairs[first : first + MOST_ENTRIES])
                # No clock and no number of a process: these may be the same on two hosts.
                name = f"{socket.gethostname()}-{secrets.token_hex(8)}{SUFFIX}"
                self._use.write(self.folder / name, stamp(MAGIC, table))
        except RetrainError as error:
            progress.say(f"{error.message[:-1]}; the next run hashes the files again")
            return
        for path in self._read:
            with suppress(OSError):
                if path.lstat().st_uid == os.geteuid():
                    path.unlink()


def _parse(content: bytes) -> Iterator[tuple[State, bytes]]:
    """The entries of an index file.

    Raises:
        Damaged: It is not as it was written.
    """
    table = unstamp(MAGIC, content)
    if len(table) % ENTRY_BYTES:
        raise Damaged("it ends within an entry")
    return (
        (table[at : at + STATE_BYTES], table[at + STATE_BYTES : at + ENTRY_BYTES])
        for at in range(0, len(table), ENTRY_BYTES)
    )
