# SPDX-License-Identifier: Apache-2.0
"""The bottleneck cache: shards that one rank writes alone and that become visible by one rename.

One folder a fingerprint. A shard is never changed, so that readers and any number of writers need
no lock. Its layout, all integers little-endian:

    8 bytes     b"RETRAIN2"
    8 bytes     length of the header, uint64
    header      JSON: fingerprint, features, rows, crc (CRC-32 of the index), unreadable
                {SHA-256: reason}
    index       rows x 45 bytes: SHA-256 of the image, CRC-32 of its bottleneck, difference hash,
                whether there is one
    bottlenecks rows x features float32

A million images need one opening a shard, and a reader checks just the rows that it reads.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trainer.arrays import Array, BoolArray, Float32Array, IntArray
from trainer.data.near_duplicates import HashArray
from trainer.errors import UsageError
from trainer.progress import Progress
from trainer.rundir import write_bytes

MAGIC = b"RETRAIN2"
SUFFIX = ".shard2"  # another layout takes another, so that versions leave each other's alone
ENTRY = np.dtype([("sha256", "V32"), ("crc", "<u4"), ("dhash", "<u8"), ("hashed", "?")])
FIRST_COMMIT_SECONDS = 5.0
LONGEST_COMMIT_SECONDS = 30.0


class Damaged(Exception):
    """A shard that is not as it was written."""


@dataclass
class Shard:
    """What is known of one shard without reading its bottlenecks."""

    path: Path
    features: int
    entries: Array
    unreadable: dict[bytes, str]
    offset: int

    def table(self) -> Float32Array:
        """The bottlenecks, (rows, features), mapped from the file."""
        if not len(self.entries):
            return np.empty((0, self.features), np.float32)
        shape = (len(self.entries), self.features)
        return np.memmap(self.path, "<f4", "r", self.offset, shape)

    def sound(self) -> bool:
        """Whether every bottleneck is as it was written; reads them all."""
        return bool(_checks(self.table()) == self.entries["crc"].tolist())


def _checks(table: Float32Array) -> list[int]:
    """CRC-32 of each row of (rows, features); over one buffer, since slicing arrays is slow."""
    if not table.size:
        return []
    content, length = table.data.cast("B"), table.shape[1] * table.itemsize
    return [zlib.crc32(content[at : at + length]) for at in range(0, len(content), length)]


class Known:
    """What the cache holds for one fingerprint.

    A row is a number, counted through all shards: a million of them are no million objects, and
    the ranks are given the shards' indexes only.

    Attributes:
        unreadable: SHA-256 of contents that no decoder could read, each with its reason.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Know what these shards hold; of a content that several hold, the last one counts."""
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(len(shard.entries) for shard in shards)])
        self._rows: dict[bytes, int] = {}
        self.unreadable: dict[bytes, str] = {}
        for shard, start in zip(shards, self._starts.tolist(), strict=False):
            digests = shard.entries["sha256"].tolist()
            self._rows.update(zip(digests, itertools.count(start), strict=False))
            self.unreadable.update(shard.unreadable)

    def __reduce__(self) -> tuple[type[Known], tuple[list[Shard]]]:
        """To the other ranks without the table, which they make again in less time."""
        return Known, (self._shards,)

    def __contains__(self, digest: bytes) -> bool:
        """Whether nothing is left to compute for this content."""
        return digest in self._rows or digest in self.unreadable

    def places(self, digests: Iterable[bytes]) -> tuple[IntArray, IntArray]:
        """Where bottlenecks lie that are there: the number of the shard, and the row in it."""
        rows = np.array([self._rows[digest] for digest in digests], np.int64)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        return shards, rows - self._starts[shards]

    def hashes(self, digests: Iterable[bytes]) -> tuple[HashArray, BoolArray]:
        """Difference hashes of contents, known or not.

        Returns:
            (n,) uint64, 0 where there is none, and (n,) whether there is one; in the order asked.
        """
        rows = np.array([self._rows.get(digest, -1) for digest in digests], np.int64)
        dhashes, hashed = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.bool_)
        shards = np.searchsorted(self._starts, rows, side="right") - 1  # -1: in none
        for number in np.unique(shards[shards >= 0]).tolist():
            mine = shards == number
            entries = self._shards[number].entries[rows[mine] - self._starts[number]]
            dhashes[mine], hashed[mine] = entries["dhash"], entries["hashed"]
        return dhashes, hashed

    def shard(self, number: int) -> Shard:
        """One of them, as `places` counts them."""
        return self._shards[number]

    def shards_of(self, digests: Iterable[bytes]) -> list[Shard]:
        """The shards that hold these bottlenecks, in path order."""
        shards, _ = self.places(digest for digest in digests if digest in self._rows)
        return [self._shards[number] for number in np.unique(shards).tolist()]

    def forget(self, paths: Collection[Path]) -> None:
        """Look at nothing in these shards any more; what others hold as well is found there."""
        kept = [shard for shard in self._shards if shard.path not in paths]
        if len(kept) < len(self._shards):
            vars(self).update(vars(Known(kept)))


class Cache:
    """The shards of one fingerprint."""

    def __init__(self, root: Path, fingerprint: str, features: int) -> None:
        """Name the folder; nothing is touched."""
        self.folder = root / "bottlenecks" / fingerprint
        self.fingerprint = fingerprint
        self.features = features

    def create(self) -> None:
        """Make the folder.

        Raises:
            UsageError: It cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"run.cache {self.folder}: cannot be made: {error.strerror}.",
                "Give a folder that can be written: run.cache=DIR or RETRAIN_CACHE.",
            ) from None

    def read_index(self, progress: Progress) -> Known:
        """Look into every shard; a damaged one is passed over with a warning."""
        shards = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                shards.append(read_header(path, self.fingerprint))
            except (OSError, Damaged) as error:
                progress.warn(f"{path}: damaged shard, computed anew ({error})")
        return Known(shards)

    def read_rows(self, known: Known, digests: Sequence[bytes]) -> Float32Array:
        """Read bottlenecks, shard by shard.

        Args:
            known: From `read_index`, its damaged shards forgotten.
            digests: SHA-256 of images that `known` has bottlenecks of.
        Returns:
            (digests, features) float32, in the order asked.
        """
        rows = np.empty((len(digests), self.features), np.float32)
        shards, places = known.places(digests)
        for number in np.unique(shards).tolist():
            mine = shards == number
            rows[mine] = known.shard(number).table()[places[mine]]
        return rows


def read_header(path: Path, fingerprint: str) -> Shard:
    """Read a shard's header and index.

    Raises:
        Damaged: It is cut short, changed, or belongs to another fingerprint.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(8) != MAGIC:
            raise Damaged("no shard")
        header = _parse_header(file, size)
        if header.get("fingerprint") != fingerprint:
            raise Damaged("another fingerprint")
        rows, features = int(header["rows"]), int(header["features"])
        index = file.read(rows * ENTRY.itemsize)
        offset = file.tell()
    if zlib.crc32(index) != header["crc"]:
        raise Damaged("its index was changed")
    if size != offset + rows * features * 4:
        raise Damaged("cut short")
    unreadable = {bytes.fromhex(key): reason for key, reason in header["unreadable"].items()}
    return Shard(path, features, np.frombuffer(index, ENTRY), unreadable, offset)


def _parse_header(file: BinaryIO, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        raise Damaged("cut short")
    try:
        header = json.loads(file.read(length))
    except ValueError:
        raise Damaged("its header was changed") from None
    if not isinstance(header, dict) or not {"rows", "features", "crc", "unreadable"} <= set(header):
        raise Damaged("its header lacks keys")
    return header


class ShardWriter:
    """One rank's open shard: rows gather in memory and are committed at growing intervals."""

    def __init__(self, cache: Cache) -> None:
        """Start empty."""
        self._cache = cache
        self._digests: list[bytes] = []
        self._rows: list[Float32Array] = []
        self._hashes: list[int | None] = []
        self._unreadable: dict[str, str] = {}
        self._interval = FIRST_COMMIT_SECONDS
        self._due = time.monotonic() + self._interval
        self._number = 0

    def add(self, digest: bytes, bottleneck: Float32Array, dhash: int | None) -> None:
        """Keep one image's bottleneck (features,) and its difference hash, if it has one."""
        self._digests.append(digest)
        self._rows.append(bottleneck)
        self._hashes.append(dhash)

    def add_unreadable(self, digest: bytes, reason: str) -> None:
        """Keep that a content cannot be read."""
        self._unreadable[digest.hex()] = reason

    def commit_if_due(self) -> None:
        """Make the rows visible when their interval is over."""
        if time.monotonic() >= self._due:
            self.commit()
            self._interval = min(2 * self._interval, LONGEST_COMMIT_SECONDS)
            self._due = time.monotonic() + self._interval

    def commit(self) -> None:
        """Make the rows visible.

        Raises:
            RetrainError: The disk is full; nothing is left half-written.
        """
        if not self._digests and not self._unreadable:
            return
        name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}-{self._number}{SUFFIX}"
        write_bytes(self._cache.folder / name, self._encode())
        self._number += 1
        self._digests, self._rows, self._hashes, self._unreadable = [], [], [], {}

    def _encode(self) -> bytes:
        table = np.array(self._rows, "<f4").reshape(len(self._rows), self._cache.features)
        index = self._index(table).tobytes()
        header = json.dumps(
            {
                "fingerprint": self._cache.fingerprint,
                "features": self._cache.features,
                "rows": len(table),
                "crc": zlib.crc32(index),
                "unreadable": self._unreadable,
            }
        ).encode()
        length = len(header).to_bytes(8, "little")
        return b"".join([MAGIC, length, header, index, table.tobytes()])

    def _index(self, table: Float32Array) -> Array:
        index = np.empty(len(table), ENTRY)
        index["sha256"] = np.frombuffer(b"".join(self._digests), "V32")
        index["crc"] = _checks(table)
        index["dhash"] = np.array([dhash or 0 for dhash in self._hashes], np.uint64)
        index["hashed"] = [dhash is not None for dhash in self._hashes]
        return index
