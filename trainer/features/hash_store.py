# SPDX-License-Identifier: Apache-2.0
"""What is known of difference hashes beside the shards: estimates, and those of whole pictures.

A shard has the hash of a picture that was decoded whole. For all others, and for pictures that have
none, an entry stands here, by the content alone: what one run decoded whole, none decodes again,
whatever its backbone. Each rank writes files of its own, which are never changed, so that readers
and writers need no lock; a damaged one, or one that is gone, only costs decoding. Layout, all
integers little-endian:

    8 bytes     b"RETRHSH1"
    32 bytes    SHA-256 of the rest
    entries     49 bytes each: SHA-256 of the content, the hash, its unsure bits, whether there is
                one
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np

from trainer.arrays import Array
from trainer.cache_use import HASHES, CacheUse
from trainer.data.difference_hash import DifferenceHash
from trainer.errors import printable
from trainer.progress import Progress
from trainer.shared import Damaged, names, read_small, stamp, unstamp

MAGIC = b"RETRHSH1"
SUFFIX = ".hashes1"  # another layout takes another, so that versions leave each other's alone
ENTRY = np.dtype([("sha256", "V32"), ("bits", "<u8"), ("unsure", "<u8"), ("hashed", "u1")])
MOST_BYTES = 64 << 20
"""A longer file is none of ours: a rank would have to hash a million pictures between commits."""
COMMIT_SECONDS = 30.0


def read_hashes(
    use: CacheUse, wanted: Set[bytes], progress: Progress
) -> dict[bytes, DifferenceHash]:
    """What is known of these contents; of one that several files hold, the exact hash.

    Args:
        use: The cache.
        wanted: SHA-256 of contents.
        progress: Told of files that cannot be used.
    """
    known: dict[bytes, DifferenceHash] = {}
    unusable = []
    for path in _paths(use):
        try:
            entries = _parse(read_small(path, MOST_BYTES))
        except FileNotFoundError:
            continue  # its owner removed it just now
        except PermissionError:
            use.closed.add(path)
            continue
        except (OSError, Damaged) as error:
            unusable.append(printable(f"{path}: {error}"))
            continue
        rows = zip(*(entries[name].tolist() for name in ENTRY.names or ()), strict=True)
        for digest, bits, unsure, hashed in rows:
            if digest in wanted and not (digest in known and known[digest].exact):
                known[digest] = DifferenceHash(bits if hashed else None, unsure)
    if unusable:
        progress.say(
            f"{len(unusable):,} files of difference hashes cannot be used, so that images may be "
            f"decoded again: {unusable[0]}"
        )
    return known


def _paths(use: CacheUse) -> list[Path]:
    folder = use.root / HASHES
    try:
        return [folder / name for name in names(folder, SUFFIX)]
    except OSError:
        use.closed.add(folder)
        return []


def _parse(content: bytes) -> Array:
    """The entries of a file.

    Raises:
        Damaged: It is not as it was written.
    """
    table = unstamp(MAGIC, content)
    if len(table) % ENTRY.itemsize:
        raise Damaged("it was changed")
    entries = np.frombuffer(table, ENTRY)
    without = entries["hashed"] == 0
    empty = (entries["bits"] == 0) & (entries["unsure"] == 0)
    if entries["hashed"].max(initial=0) > 1 or not empty[without].all():
        raise Damaged("entries that no run writes")
    return entries


class HashWriter:
    """One rank's hashes, gathered in memory and written now and then."""

    def __init__(self, use: CacheUse) -> None:
        """Start empty; nothing is touched."""
        self._use = use
        self._hashes: dict[bytes, DifferenceHash] = {}
        self._due = time.monotonic() + COMMIT_SECONDS

    def add(self, digest: bytes, dhash: DifferenceHash) -> None:
        """Keep what is known of a content."""
        self._hashes[digest] = dhash

    def commit_if_due(self) -> None:
        """Write what there is, now and then."""
        if time.monotonic() >= self._due:
            self.commit()
            self._due = time.monotonic() + COMMIT_SECONDS

    def commit(self) -> None:
        """Write what there is.

        Raises:
            RetrainError: The cache cannot be written, or the disk is full; nothing is left behind.
        """
        if not self._hashes:
            return
        name = f"{socket.gethostname()}-{secrets.token_hex(8)}{SUFFIX}"
        self._use.write(self._use.root / HASHES / name, _encode(self._hashes))
        self._hashes = {}


def _encode(hashes: Mapping[bytes, DifferenceHash]) -> bytes:
    entries = np.zeros(len(hashes), ENTRY)
    entries["sha256"] = np.frombuffer(b"".join(hashes), "V32")
    entries["bits"] = np.array([bits or 0 for bits, _ in hashes.values()], np.uint64)
    entries["unsure"] = np.array([unsure for _, unsure in hashes.values()], np.uint64)
    entries["hashed"] = [bits is not None for bits, _ in hashes.values()]
    return stamp(MAGIC, entries.tobytes())
