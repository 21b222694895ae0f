# SPDX-License-Identifier: Apache-2.0
"""The layout of a shard: bottlenecks of one fingerprint that one rank wrote, and nobody changes.

All numbers are little-endian:

    8 bytes     b"RETRAIN3"
    32 bytes    SHA-256 of all that follows, but for the bottlenecks
    32 bytes    fingerprint
    16 bytes    features of a bottleneck, rows, unreadable contents, 0; uint32 each
    index       rows x 45 bytes: SHA-256 of the image, CRC-32 of its bottleneck, difference hash,
                whether there is one
    unreadable  256 bytes each: SHA-256 of the content, why it cannot be read (UTF-8, zeros after)
    bottlenecks rows x features float32

So every byte is covered by a checksum, the size of the file follows from its first 88 bytes, and
nothing is read, nor memory taken, before both agree. A million images need one opening a shard,
and a reader checks just the rows that it reads.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.arrays import Array, BoolArray, Float32Array, IntArray
from trainer.shared import Damaged, opened, read_at

MAGIC = b"RETRAIN3"
SUFFIX = ".shard3"  # another layout takes another, so that versions leave each other's alone
ENTRY = np.dtype([("sha256", "V32"), ("crc", "<u4"), ("dhash", "<u8"), ("hashed", "u1")])
REASON = np.dtype([("sha256", "V32"), ("reason", "S224")])
MOST_ROWS = 1 << 16
"""Of either kind in a shard: what a reader takes memory for before it knows more."""
_SIZES = struct.Struct("<32sIIII")
_INDEX = len(MAGIC) + 32 + _SIZES.size
_PIECE_BYTES, _GAP_BYTES = 8 << 20, 128 << 10
"""Read at once, and read over rather than jumped."""


class Counts(NamedTuple):
    """What the first bytes of a shard tell."""

    fingerprint: bytes
    features: int
    rows: int
    unreadable: int

    @property
    def table(self) -> int:
        """Where the bottlenecks begin."""
        return _INDEX + self.rows * ENTRY.itemsize + self.unreadable * REASON.itemsize


@dataclass
class Shard:
    """Some of a shard's rows, without their bottlenecks.

    Attributes:
        path: Its file.
        features: Numbers in a bottleneck.
        table: Where in the file the bottlenecks begin.
        places: (rows,) which of the file's rows these are, ascending.
        entries: (rows,) of ENTRY: what the index says of them.
    """

    path: Path
    features: int
    table: int
    places: IntArray
    entries: Array

    def only(self, chosen: Sequence[int] | BoolArray) -> Shard:
        """Some of these rows."""
        return Shard(
            self.path, self.features, self.table, self.places[chosen], self.entries[chosen]
        )

    def pieces(self, chosen: IntArray) -> Iterator[tuple[IntArray, Float32Array, BoolArray]]:
        """Read some of these rows, as they lie in the file.

        Args:
            chosen: (n,) which of `places`.
        Yields:
            Which of `chosen`, their bottlenecks, and whether each is as it was written.
        Raises:
            Damaged: The file was cut short.
            OSError: It cannot be read.
        """
        order = np.argsort(self.places[chosen], kind="stable")
        places, crcs = self.places[chosen][order], self.entries["crc"][chosen][order]
        width = 4 * self.features
        apart = np.diff(places) > 1 + _GAP_BYTES // width
        apart |= np.diff(places // max(1, _PIECE_BYTES // width)) > 0
        with opened(self.path) as file:
            for part in np.split(np.arange(len(places)), np.flatnonzero(apart) + 1):
                first, last = places[part[[0, -1]]].tolist()
                block = np.empty((last - first + 1, self.features), "<f4")
                read_at(file, block, self.table + first * width)
                rows = block[places[part] - first]
                yield order[part], rows, _sound(rows, crcs[part])


def _sound(rows: Float32Array, crcs: Array) -> BoolArray:
    whole: BoolArray = np.isfinite(rows).all(axis=1)
    whole &= np.array(checks(rows), np.uint32) == crcs
    return whole


def checks(table: Float32Array) -> list[int]:
    """CRC-32 of each row of (rows, features); over one buffer, since slicing arrays is slow."""
    if not table.size:
        return []
    content, length = table.data.cast("B"), table.shape[1] * table.itemsize
    return [zlib.crc32(content[at : at + length]) for at in range(0, len(content), length)]


def read_counts(file: int) -> Counts:
    """What an open shard holds, by its first bytes and its size.

    Raises:
        Damaged: It is no shard, or cut short.
        OSError: It cannot be read.
    """
    head = np.empty(_INDEX, np.uint8)
    read_at(file, head, 0)
    if head[: len(MAGIC)].tobytes() != MAGIC:
        raise Damaged("no shard")
    fingerprint, features, rows, unreadable, zero = _SIZES.unpack(head[-_SIZES.size :].tobytes())
    counts = Counts(fingerprint, features, rows, unreadable)
    if max(rows, unreadable) > MOST_ROWS or zero:
        raise Damaged("its beginning was changed")
    if os.fstat(file).st_size != counts.table + 4 * rows * features:
        raise Damaged("cut short, or longer than it was written")
    return counts


def read_head(path: Path, fingerprint: str, features: int) -> tuple[Shard, dict[bytes, str]]:
    """Read all of a shard but its bottlenecks.

    Returns:
        All its rows, and the contents that no decoder could read, each with its reason.
    Raises:
        Damaged: It is not as it was written, or belongs to another fingerprint.
        OSError: It cannot be read.
    """
    with opened(path) as file:
        counts = read_counts(file)
        if (counts.fingerprint.hex(), counts.features) != (fingerprint, features):
            raise Damaged("another fingerprint")
        head = np.empty(counts.table, np.uint8)
        read_at(file, head, 0)
    covered = len(MAGIC) + 32
    if hashlib.sha256(head[covered:].data).digest() != head[len(MAGIC) : covered].tobytes():
        raise Damaged("its index was changed")
    index = head[_INDEX:].tobytes()
    entries = np.frombuffer(index, ENTRY, counts.rows)
    reasons = np.frombuffer(index, REASON, counts.unreadable, counts.rows * ENTRY.itemsize)
    unreadable = {one["sha256"].tobytes(): _reason(one["reason"]) for one in reasons}
    return Shard(path, features, counts.table, np.arange(counts.rows), entries), unreadable


def _reason(content: bytes) -> str:
    try:
        reason = content.decode()
    except UnicodeDecodeError:
        reason = ""
    if not reason.isprintable() or not reason:  # a terminal must not obey a stranger
        raise Damaged("a reason that nobody wrote")
    return reason


def encode(
    fingerprint: str,
    digests: Sequence[bytes],
    table: Float32Array,
    hashes: Sequence[int | None],
    unreadable: Mapping[bytes, str],
) -> bytes:
    """A shard, as it is written.

    Args:
        fingerprint: 64 hexadecimal digits.
        digests: (rows,) SHA-256 of the images.
        table: (rows, features) their bottlenecks, float32.
        hashes: (rows,) their difference hashes, where they have one.
        unreadable: SHA-256 of contents that cannot be read, to the reason, in printable words.
    """
    entries = np.empty(len(table), ENTRY)
    entries["sha256"] = np.frombuffer(b"".join(digests), "V32")
    entries["crc"] = checks(table)
    entries["dhash"] = np.array([dhash or 0 for dhash in hashes], np.uint64)
    entries["hashed"] = [dhash is not None for dhash in hashes]
    reasons = np.empty(len(unreadable), REASON)
    reasons["sha256"] = np.frombuffer(b"".join(unreadable), "V32")
    reasons["reason"] = [_cut(reason) for reason in unreadable.values()]
    sizes = _SIZES.pack(bytes.fromhex(fingerprint), table.shape[1], len(entries), len(reasons), 0)
    head = sizes + entries.tobytes() + reasons.tobytes()
    return b"".join([MAGIC, hashlib.sha256(head).digest(), head, table.data])


def _cut(reason: str) -> bytes:
    """As much of it as there is room for, in whole characters."""
    return reason.encode()[: REASON["reason"].itemsize].decode(errors="ignore").encode()
