# SPDX-License-Identifier: Apache-2.0
"""Which fitted items an item looks like: cosines in standardised bottleneck space.

The items that the final head was fitted on are kept as int8 beside the model, so that `predict`
can tell what a new image looks like, and that it looks like none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from trainer.arrays import Array, BoolArray, Float32Array, FloatArray, IntArray

MOST_BYTES = 20_000_000
"""Of a table in its file."""
BYTES_BESIDE = 8 + 8 + 32
"""An item's label, where its path ends, its SHA-256."""
NEAREST = 10
"""That vote in the baseline, and that are looked for."""
UNFAMILIAR = 0.99
"""The share of the kept items that have some other item nearer than the limit."""
LARGEST = 127
SHOWN = 3
"""Neighbours that are told of."""
BLOCK = 128
"""Rows compared at a time: those of the fits, so that no rank count changes a bit."""


class Space(NamedTuple):
    """How a bottleneck is standardised: that of the fitted items."""

    mean: FloatArray
    """(features,)."""
    deviation: FloatArray
    """(features,); infinite for a feature that is not used."""

    def directions(self, rows: Float32Array) -> Float32Array:
        """Standardised bottlenecks (n, features) at length 1; a zero stays one."""
        standardised = ((rows - self.mean) / self.deviation).astype(np.float32)
        lengths = np.linalg.norm(standardised, axis=1, keepdims=True)
        directions: Float32Array = standardised / np.maximum(lengths, np.float32(1e-30))
        return directions

    def quantised(self, rows: Float32Array) -> Array:
        """Directions (n, features) as int8: each row's largest entry becomes 127 or -127."""
        directions = self.directions(rows)
        largest = np.abs(directions).max(axis=1, keepdims=True, initial=1e-30)
        table: Array = np.rint(directions * (LARGEST / largest)).astype(np.int8)
        return table


class Near(NamedTuple):
    """A kept item near to another one."""

    path: str
    digest: bytes
    label: int
    """Class number."""
    distance: float
    """1 - cosine."""


ARRAYS = tuple("mean deviation table labels path_bytes path_ends sha256 total limit".split())
"""Names in a file."""


def most_kept(features: int, words: int) -> int:
    """How many items a table of 20 MB holds.

    Args:
        features: Numbers in a bottleneck.
        words: Bytes that an item's path takes.
    """
    head = 16 * features + 4096
    return max(1, (MOST_BYTES - head) // (features + words + BYTES_BESIDE))


@dataclass
class Neighbours:
    """The kept items, and what distance is unfamiliar.

    Attributes:
        space: How bottlenecks are standardised.
        table: (kept, features) int8 directions.
        labels: (kept,) class numbers.
        paths: (kept,) as in the manifest.
        digests: (kept,) SHA-256.
        total: How many items the head was fitted on; more than are kept where they were too many.
        limit: Cosine distance to the nearest beyond which an item is unfamiliar; infinite where
            there was nothing to measure it by.
    """

    space: Space
    table: Array
    labels: IntArray
    paths: list[str]
    digests: list[bytes]
    total: int
    limit: float = np.inf

    @cached_property
    def _directions(self) -> Float32Array:
        table = self.table.astype(np.float32)
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        directions: Float32Array = table / np.maximum(lengths, np.float32(1))
        return directions

    def distances(self, rows: Float32Array) -> Iterator[tuple[slice, Float32Array]]:
        """Cosine distances of bottlenecks (n, features) to every kept item, a block at a time."""
        for first in range(0, len(rows), BLOCK):
            block = slice(first, min(first + BLOCK, len(rows)))
            yield block, 1 - self.space.directions(rows[block]) @ self._directions.T

    def nearest(self, rows: Float32Array, barred: BoolArray | None = None) -> Nearest:
        """The kept items nearest to some bottlenecks.

        Args:
            rows: (n, features).
            barred: (n, kept) whether an item must not be taken for a neighbour of a row.
        """
        count = min(NEAREST, len(self.table))
        found = Nearest(np.empty((len(rows), count), np.int64), np.empty((len(rows), count)))
        for block, distances in self.distances(rows):
            if barred is not None:
                distances[barred[block]] = np.inf
            found.put(block, distances)
        return found

    def near(self, nearest: Nearest, row: int) -> list[Near]:
        """What is told of one row: its three nearest, or fewer."""
        found: list[Near] = []
        for place, distance in zip(nearest.items[row], nearest.distances[row], strict=True):
            if np.isfinite(distance) and len(found) < SHOWN:
                label = int(self.labels[place])
                found.append(Near(self.paths[place], self.digests[place], label, float(distance)))
        return found

    def to_arrays(self) -> dict[str, Array]:
        """For a file without pickles; texts as UTF-8 with their ends."""
        texts = [path.encode("utf-8", "surrogateescape") for path in self.paths]
        return {
            "mean": self.space.mean,
            "deviation": self.space.deviation,
            "table": self.table,
            "labels": self.labels,
            "path_bytes": np.frombuffer(b"".join(texts), np.uint8),
            "path_ends": np.cumsum([len(text) for text in texts], dtype=np.int64),
            "sha256": np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, 32),
            "total": np.array(self.total),
            "limit": np.array(self.limit),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Neighbours:
        """What `to_arrays` was called for."""
        content = arrays["path_bytes"].tobytes()
        ends = arrays["path_ends"].tolist()
        return cls(
            Space(arrays["mean"], arrays["deviation"]),
            arrays["table"],
            arrays["labels"],
            [
                content[first:end].decode("utf-8", "surrogateescape")
                for first, end in zip([0, *ends], ends, strict=False)
            ],
            [row.tobytes() for row in arrays["sha256"]],
            int(arrays["total"]),
            float(arrays["limit"]),
        )


@dataclass
class Nearest:
    """The nearest kept items of some rows.

    Attributes:
        items: (n, nearest) which of the kept items, the nearest first.
        distances: (n, nearest) cosine distances; infinite where there is no such item.
    """

    items: IntArray
    distances: FloatArray

    def put(self, block: slice, distances: Float32Array) -> None:
        """Take the nearest of a block's distances (rows, kept)."""
        count = self.items.shape[1]
        near = np.argpartition(distances, count - 1, axis=1)[:, :count]
        near.sort(axis=1)  # so that of equally near ones the first in order comes first
        order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
        self.items[block] = np.take_along_axis(near, order, axis=1)
        self.distances[block] = np.take_along_axis(distances, self.items[block], axis=1)


def vote(nearest: Nearest, labels: IntArray, classes: int) -> IntArray:
    """The class that most of the nearest have; of equally many the one of the nearest item.

    Args:
        nearest: Of n rows.
        labels: (kept,) class numbers.
        classes: Number of classes.

    Source: Cover and Hart 1967, IEEE Trans. Inf. Theory 13(1), pages 21-27.
    """
    counted = np.isfinite(nearest.distances)
    voted = labels[nearest.items]
    ballots = np.zeros((len(voted), classes))
    rows = np.arange(len(voted))
    for place in range(voted.shape[1]):
        ballots[rows, voted[:, place]] += counted[:, place]
    most = ballots.max(axis=1)
    winners = ballots[rows[:, None], voted] == most[:, None]
    chosen: IntArray = voted[rows, winners.argmax(axis=1)]
    return chosen


def unfamiliar_limit(nearest_distances: FloatArray) -> float:
    """The distance that 99% of the kept items do not exceed to their nearest; infinite for none.

    Args:
        nearest_distances: (n,) to the nearest item outside an item's own unit; infinite where
            there is none.
    """
    finite = nearest_distances[np.isfinite(nearest_distances)]
    return float(np.quantile(finite, UNFAMILIAR)) if len(finite) else np.inf


def same(names: Sequence[str] | IntArray, others: Sequence[str] | IntArray) -> BoolArray:
    """(n, m) whether each of n names is each of m others."""
    equal: BoolArray = np.asarray(names)[:, None] == np.asarray(others)[None, :]
    return equal
