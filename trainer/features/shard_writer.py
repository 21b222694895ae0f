# SPDX-License-Identifier: Apache-2.0
"""One rank's open shard: rows gather in memory and are committed at growing intervals."""

from __future__ import annotations

import secrets
import socket
import time

import numpy as np

from trainer.arrays import Float32Array
from trainer.features.cache import Cache
from trainer.features.shards import MOST_ROWS, SUFFIX, encode

FIRST_COMMIT_SECONDS = 5.0
LONGEST_COMMIT_SECONDS = 30.0
MOST_BYTES = 64 << 20
"""Of bottlenecks in a shard. While it is written they are in memory three times."""


class ShardWriter:
    """Gathers what is computed, and makes it visible to all runs, piece by piece."""

    def __init__(self, cache: Cache) -> None:
        """Start empty."""
        self._cache = cache
        self._most = min(MOST_ROWS, MOST_BYTES // (4 * cache.features))
        self._interval = FIRST_COMMIT_SECONDS
        self._due = time.monotonic() + self._interval
        self._empty()

    def _empty(self) -> None:
        self._digests: list[bytes] = []
        self._rows: list[Float32Array] = []
        self._hashes: list[int | None] = []
        self._unreadable: dict[bytes, str] = {}

    def add(self, digest: bytes, bottleneck: Float32Array, dhash: int | None) -> None:
        """Keep one image's bottleneck (features,) and its difference hash, if it has one."""
        self._digests.append(digest)
        self._rows.append(bottleneck)
        self._hashes.append(dhash)
        self._commit_if_full()

    def add_unreadable(self, digest: bytes, reason: str) -> None:
        """Keep that a content cannot be read."""
        self._unreadable[digest] = reason
        self._commit_if_full()

    def _commit_if_full(self) -> None:
        if max(len(self._rows), len(self._unreadable)) >= self._most:
            self.commit()

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
        table = np.array(self._rows, "<f4").reshape(len(self._rows), self._cache.features)
        # No clock and no number of a process: these may be the same on two hosts.
        path = self._cache.folder / f"{socket.gethostname()}-{secrets.token_hex(8)}{SUFFIX}"
        content = encode(
            self._cache.fingerprint, self._digests, table, self._hashes, self._unreadable
        )
        self._cache.use.write(path, content)
        self._cache.use.renew()
        self._empty()
