# SPDX-License-Identifier: Apache-2.0
"""The bottleneck cache: shards that one rank writes alone and that become visible by one rename.

One folder a fingerprint. A shard is never changed, so that readers and any number of writers need
no lock. What a run finds there may be damaged, closed to it, or removed while it is read: then it
is computed anew.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.arrays import BoolArray, Float32Array, IntArray
from trainer.cache_use import BOTTLENECKS, CacheUse
from trainer.data.near_duplicates import HashArray
from trainer.errors import RetrainError, printable
from trainer.features.shards import SUFFIX, Shard, read_head
from trainer.progress import Progress
from trainer.shared import Damaged, names

CHANGED = "changed since it was written"
MOST_TOLD = 5
"""Damaged shards that are named; the others are counted."""


class Loss(NamedTuple):
    """Bottlenecks of a shard that cannot be used, and why."""

    path: Path
    reason: str
    digests: list[bytes]


class Known:
    """What the cache holds of the contents that were asked for.

    A row is a number, counted through all shards: a million of them are no million objects, and
    the ranks are given the shards' indexes only.

    Attributes:
        unreadable: SHA-256 of contents that no decoder could read, each with its reason.
    """

    def __init__(self, shards: Sequence[Shard], unreadable: dict[bytes, str]) -> None:
        """Know rows of shards, each content once."""
        self._shards = list(shards)
        self.unreadable = unreadable
        self._starts = np.cumsum([0, *(len(shard.entries) for shard in shards)])
        self._rows: dict[bytes, int] = {}
        for shard, start in zip(shards, self._starts.tolist(), strict=False):
            digests = shard.entries["sha256"].tolist()
            self._rows.update(zip(digests, itertools.count(start), strict=False))

    def __reduce__(self) -> tuple[type[Known], tuple[list[Shard], dict[bytes, str]]]:
        """To the other ranks without the table, which they make again in less time."""
        return Known, (self._shards, self.unreadable)

    def __contains__(self, digest: bytes) -> bool:
        """Whether nothing is left to compute for this content."""
        return digest in self._rows or digest in self.unreadable

    def joined(self, other: Known) -> Known:
        """Both, where they know of different contents."""
        return Known([*self._shards, *other._shards], {**self.unreadable, **other.unreadable})

    def without(self, digests: Collection[bytes]) -> Known:
        """What is left when these bottlenecks are none."""
        kept = []
        for shard in self._shards:
            chosen = [one not in digests for one in shard.entries["sha256"].tolist()]
            if any(chosen):
                kept.append(shard.only(np.array(chosen, np.bool_)))
        return Known(kept, self.unreadable)

    def hashes(self, digests: Iterable[bytes]) -> tuple[HashArray, BoolArray]:
        """Difference hashes of contents, known or not.

        Returns:
            (n,) uint64, 0 where there is none, and (n,) whether there is one; in the order asked.
        """
        rows = np.array([self._rows.get(digest, -1) for digest in digests], np.int64)
        dhashes, hashed = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.bool_)
        for number, mine in self._by_shard(rows):
            entries = self._shards[number].entries[rows[mine] - self._starts[number]]
            dhashes[mine], hashed[mine] = entries["dhash"], entries["hashed"]
        return dhashes, hashed

    def _by_shard(self, rows: IntArray) -> list[tuple[int, IntArray]]:
        """Shards in order, and which of the rows lie in each; -1 lies in none."""
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(shards, kind="stable")
        numbers, firsts = np.unique(shards[order], return_index=True)
        parts = np.split(order, firsts[1:])
        return [part for part in zip(numbers.tolist(), parts, strict=False) if part[0] >= 0]

    def lost(self, rank: int, size: int) -> list[Loss]:
        """Read one rank's part of all bottlenecks, and see which are not as they were written.

        Args:
            rank, size: Of this rank, and how many share the work.
        """
        found = []
        for shard in self._shards[rank::size]:
            bad, reason = np.ones(len(shard.entries), np.bool_), CHANGED
            try:
                for where, _, sound in shard.pieces(np.arange(len(shard.entries))):
                    bad[where] = ~sound
            except (OSError, Damaged) as error:
                reason = _why(error)
            if bad.any():
                found.append(Loss(shard.path, reason, shard.entries["sha256"][bad].tolist()))
        return found

    def read(self, digests: Sequence[bytes], features: int) -> Float32Array:
        """Read bottlenecks, shard by shard.

        Args:
            digests: SHA-256 of images whose bottlenecks are known.
            features: Numbers in each.
        Returns:
            (digests, features) float32, in the order asked.
        Raises:
            RetrainError: A shard is damaged, or gone, since it was last looked at.
        """
        table = np.empty((len(digests), features), np.float32)
        rows = np.array([self._rows[digest] for digest in digests], np.int64)
        for number, mine in self._by_shard(rows):
            shard = self._shards[number]
            try:
                for where, part, sound in shard.pieces(rows[mine] - self._starts[number]):
                    if not sound.all():
                        raise Damaged(CHANGED)
                    table[mine[where]] = part
            except (OSError, Damaged) as error:
                raise RetrainError(
                    f"{shard.path}: damaged shard, while this run used it: {_why(error)}.",
                    "Start the same command again: it computes anew what is lost.",
                ) from None
        return table


class Cache:
    """The shards of one fingerprint."""

    def __init__(self, use: CacheUse, fingerprint: str, features: int) -> None:
        """Name the folder; nothing is touched."""
        self.use = use
        self.folder = use.root / BOTTLENECKS / fingerprint
        self.fingerprint = fingerprint
        self.features = features
        self._lost: set[tuple[Path, bytes]] = set()

    def pass_over(self, lost: Sequence[Loss], progress: Progress) -> None:
        """Say what was lost, and look for it elsewhere from now on."""
        for loss in lost:
            self._lost.update((loss.path, digest) for digest in loss.digests)
        _warn(
            [(one.path, f"{one.reason}; bottlenecks lost: {len(one.digests):,}") for one in lost],
            progress,
        )

    def read_index(self, wanted: Collection[bytes], progress: Progress) -> Known:
        """Look into every shard for some contents, into those that were written last first.

        Memory is taken for these contents alone, whatever lies there.

        Args:
            wanted: SHA-256 of the contents.
            progress: Told of damaged shards, which are passed over.
        """
        shards: list[Shard] = []
        damaged: list[tuple[Path, str]] = []
        unreadable: dict[bytes, str] = {}
        found: set[bytes] = set()
        for path in self._paths(damaged):
            try:
                shard, reasons = read_head(path, self.fingerprint, self.features)
            except PermissionError:
                self.use.closed.add(path)
                continue
            except FileNotFoundError:
                continue  # its owner removed it just now
            except (OSError, Damaged) as error:
                damaged.append((path, _why(error)))
                continue
            chosen = []
            for row, digest in enumerate(shard.entries["sha256"].tolist()):
                if digest in wanted and digest not in found and (path, digest) not in self._lost:
                    found.add(digest)
                    chosen.append(row)
            if chosen:
                shards.append(shard.only(chosen))
            unreadable.update((one, why) for one, why in reasons.items() if one in wanted)
        if len(found | unreadable.keys()) < len(wanted):
            _warn(damaged, progress)
        elif damaged:
            progress.say(f"{len(damaged):,} damaged shards passed over; others hold what they held")
        self.use.tell_closed(progress)
        return Known(shards, {one: why for one, why in unreadable.items() if one not in found})

    def _paths(self, damaged: list[tuple[Path, str]]) -> list[Path]:
        """The shards, those that were changed last first; adds what cannot be listed."""
        try:
            found = [self.folder / name for name in names(self.folder, SUFFIX)]
        except PermissionError:
            self.use.closed.add(self.folder)
            return []
        except OSError as error:
            damaged.append((self.folder, _why(error)))
            return []
        return sorted(found, key=_age_order)


def _age_order(path: Path) -> int:
    """An order in which a shard that makes up for a damaged one is met before that.

    By clocks, which may differ: then the damaged one is met first, and named once more.
    """
    try:
        return -os.lstat(path).st_mtime_ns
    except OSError:
        return 0


def _why(error: OSError | Damaged) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _warn(damaged: Sequence[tuple[Path, str]], progress: Progress) -> None:
    for path, why in damaged[:MOST_TOLD]:
        progress.warn(printable(f"{path}: damaged shard, computed anew ({why})"))
    if len(damaged) > MOST_TOLD:
        progress.warn(f"{len(damaged) - MOST_TOLD:,} more damaged shards, computed anew")
