# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates: images whose 64-bit difference hashes differ in at most five bits.

Pairs can be quadratic in number (a burst of ten thousand frames), so none are listed: images are
gathered into connected groups, and identical hashes count as one throughout. The 64 bits are dealt
into six bands; two hashes that differ in five bits agree in at least one of these, so only hashes
in one bucket of a band, where they agree, are compared. That makes photographs cheap, which differ
widely; where very many lie close together, pairs that one group holds already are passed over.

Source of the bands: Manku, Jain & Das Sarma 2007, "Detecting near-duplicates for web crawling",
WWW, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainer.arrays import BoolArray, IntArray
from trainer.data.difference_hash import BITS

HashArray = npt.NDArray[np.uint64]

MOST_DIFFERENT = 5
BANDS = MOST_DIFFERENT + 1

PAIRS_AT_ONCE = 1 << 15
"""Compared in one step, whatever the data: as many as a core's own cache holds."""
SMALL_BUCKET = 1000
"""Hashes that are simply compared all with all."""
FIRST_ROWS = 16
"""Hashes of a large bucket that are compared first; twice as many with each step."""


class Near:
    """Which of n items are near-duplicates of each other."""

    def __init__(self, hashes: HashArray, has_hash: BoolArray) -> None:
        """Find the groups; all else follows from them at little cost.

        Args:
            hashes: (n,) difference hashes.
            has_hash: (n,) whether there is one; an item without has no near-duplicate.
        """
        self._has_hash = has_hash
        self._distinct, self._index = np.unique(hashes[has_hash], return_inverse=True)
        self._leader = _connect(self._distinct)

    def groups(self) -> IntArray:
        """Items that are connected by near-duplicates, directly or through others.

        Returns:
            (n,) number of each item's group, from 0 on in the order of their first items.
        """
        n = len(self._has_hash)
        member_of = len(self._distinct) + np.arange(n)
        member_of[self._has_hash] = self._leader[self._index]
        _, first, number = np.unique(member_of, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[number]

    def has_partner(self) -> BoolArray:
        """Whether an item has any near-duplicate.

        Returns:
            (n,) true where another item is within 5 bits.
        """
        groups = self.groups()
        partners: BoolArray = np.bincount(groups)[groups] > 1
        return partners

    def near_any(self, of: BoolArray, among: BoolArray) -> BoolArray:
        """Whether an item is itself within 5 bits of some other set's item, not by way of others.

        Args:
            of: (n,) items that are asked about, such as the test set.
            among: (n,) items that they might be near to, none of them in `of`.
        Returns:
            (n,) true where an item of `of` is near one of `among`.
        """
        asked, given = self._marked(of), self._marked(among)
        found = asked & given
        reached = np.zeros_like(given)
        reached[self._leader[given]] = True
        asked &= ~found & reached[self._leader]
        reached[:] = False
        reached[self._leader[asked]] = True
        worth_a_look = np.flatnonzero((asked | given) & reached[self._leader])
        for bucket in _buckets(self._distinct[worth_a_look]):
            members = worth_a_look[bucket]
            rows = members[asked[members] & ~found[members]]
            _find_any(self._distinct, found, rows, members[given[members]])
        near = np.zeros_like(of)
        near[self._has_hash] = found[self._index]
        return near & of

    def _marked(self, items: BoolArray) -> BoolArray:
        """Distinct hashes that any of these items has."""
        marked = np.zeros(len(self._distinct), np.bool_)
        marked[self._index[items[self._has_hash]]] = True
        return marked


def _buckets(hashes: HashArray) -> Iterator[IntArray]:
    """Indices of hashes that agree in a band, for each band and each value that several have."""
    if len(hashes) < 2:
        return
    for band in bands(hashes, np.zeros_like(hashes)):
        key = np.zeros(len(hashes), np.uint64)
        for bit in band:
            key = key << np.uint64(1) | hashes >> np.uint64(bit) & np.uint64(1)
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order])) + 1
        yield from (bucket for bucket in np.split(order, starts) if len(bucket) > 1)


def bands(hashes: HashArray, unsure: HashArray) -> list[IntArray]:
    """Six bands of 11, 11, 11, 11, 10 and 10 bits.

    The bits that tell most are dealt out evenly: on a plain background, whole rows of the picture
    are the same in every image, and bands of neighbouring bits would tell nothing.

    Args:
        hashes: (n,) difference hashes.
        unsure: (n,) the bits of each that may be otherwise, and so tell nothing.
    """
    tells = np.empty(BITS)
    for bit in range(BITS):
        place = np.uint64(bit)
        sure = ~unsure >> place & np.uint64(1)
        ones = hashes >> place & sure
        tells[bit] = float(ones.sum()) * float((sure - ones).sum())
    most_first = np.argsort(-tells, kind="stable")
    return [most_first[band::BANDS] for band in range(BANDS)]


def _connect(hashes: HashArray) -> IntArray:
    """Gather distinct hashes into groups; (n,) the lowest index in the group of each."""
    leader = np.arange(len(hashes))
    for bucket in _buckets(hashes):
        _connect_bucket(hashes, leader, bucket)
    return _leaders(leader, np.arange(len(hashes)))


def _connect_bucket(hashes: HashArray, leader: IntArray, bucket: IntArray) -> None:
    """Compare within a bucket, the largest group first, and its members with all others only."""
    rows = FIRST_ROWS
    while len(bucket) > 1:
        if len(bucket) <= SMALL_BUCKET:
            _connect_pairs(hashes, leader, bucket, bucket)
            return
        led, members = _by_group_size(leader, bucket)
        one_group = led[:rows] == led[0]
        others = members[led != led[0]] if one_group.all() else members
        _connect_pairs(hashes, leader, members[:rows], others)
        bucket = members[rows:]
        rows *= 2


def _by_group_size(leader: IntArray, items: IntArray) -> tuple[IntArray, IntArray]:
    """The leaders of items, and the items, both so that those of the largest group come first."""
    led = _leaders(leader, items)
    _, which, sizes = np.unique(led, return_inverse=True, return_counts=True)
    order = np.lexsort((led, -sizes[which]))
    return led[order], items[order]


def _connect_pairs(hashes: HashArray, leader: IntArray, rows: IntArray, columns: IntArray) -> None:
    for some, others in tiles(rows, columns):
        row, column = np.nonzero(_near(hashes[some], hashes[others]))
        _unite(leader, some[row], others[column])


def _find_any(hashes: HashArray, found: BoolArray, rows: IntArray, columns: IntArray) -> None:
    for some, others in tiles(rows, columns):
        open_ = some[~found[some]]
        found[open_] = _near(hashes[open_], hashes[others]).any(axis=1)


def tiles(rows: IntArray, columns: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Both cut so that pieces are compared at once."""
    side = int(PAIRS_AT_ONCE**0.5)
    for row in range(0, len(rows), side):
        some = rows[row : row + side]
        width = PAIRS_AT_ONCE // len(some)
        for column in range(0, len(columns), width):
            yield some, columns[column : column + width]


def _near(rows: HashArray, columns: HashArray) -> BoolArray:
    """(rows, columns) whether two hashes are within 5 bits."""
    return at_most(MOST_DIFFERENT, rows[:, None] ^ columns)


def at_most(most: int, values: HashArray) -> BoolArray:
    """Whether no more bits than that are set in each; consumes the values.

    x & (x - 1) is x without its lowest bit; NumPy before 2.0 cannot count bits.

    Source: Wegner 1960, "A technique for counting ones in a binary computer", Communications of
    the ACM 3(5), page 322.
    """
    for _ in range(most):
        values &= values - np.uint64(1)
    few: BoolArray = values == 0
    return few


def _unite(leader: IntArray, one: IntArray, other: IntArray) -> None:
    """Make the groups of two items one, for each pair; its lowest member leads it."""
    while True:
        one, other = _leaders(leader, one), _leaders(leader, other)
        apart = one != other
        if not apart.any():
            return
        one, other = one[apart], other[apart]
        np.minimum.at(leader, np.maximum(one, other), np.minimum(one, other))


def _leaders(leader: IntArray, items: IntArray) -> IntArray:
    """Who leads each item's group, at the end of the chain of leaders; it is shortened for next."""
    found = leader[items]
    while np.any((above := leader[found]) != found):
        found = above
    leader[items] = found
    return found
