# SPDX-License-Identifier: Apache-2.0
"""Which pictures must be decoded whole, so that estimated hashes give the near-duplicates of exact.

A pair is decided where the bits that both are sure of differ in more than five places, or where
not even the unsure ones can make it six. Of any other pair the less sure picture is asked for, or
both where they are equally unsure. It then is exact; what still is undecided after that has an
exact picture in each pair, so that a second round decides it all.

Pairs are found by bands, as in `trainer.data.near_duplicates`: two exact hashes within five bits
agree in one of six. A hash stands in a band's bucket of every value that it may have there. Where
that would be too many it is compared with all: such a picture nearly always finds an undecided
partner soon, and decoding it takes longer than comparing it with a million others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.arrays import BoolArray, IntArray
from trainer.data.near_duplicates import MOST_DIFFERENT, HashArray, at_most, bands, tiles

MOST_UNSURE = 16
"""Bits of a hash that is put into buckets: some two or three a band."""


def undecided(bits: HashArray, unsure: HashArray) -> BoolArray:
    """Which hashes leave open whether they are within five bits of another that is no less sure.

    Args:
        bits: (n,) difference hashes.
        unsure: (n,) the bits of each that may be otherwise.
    Returns:
        (n,) true for those whose pictures must be decoded whole. If there are none, all pairs are
        near, or not, whatever the unsure bits are.
    """
    distinct, index, times = _distinct(bits, unsure)
    search = _Search(bits[distinct], unsure[distinct])
    search.found |= (times > 1) & (search.count > MOST_DIFFERENT)
    search.look()
    return search.found[index]


def _distinct(bits: HashArray, unsure: HashArray) -> tuple[IntArray, IntArray, IntArray]:
    """Collapse what is the same: a thousand times the same picture is compared once.

    Returns:
        Where in the arrays each distinct one is, (n,) its number for each, how often each occurs.
    """
    order = np.lexsort((unsure, bits))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(bits[order]) != 0) | (np.diff(unsure[order]) != 0)
    index = np.empty(len(order), np.int64)
    index[order] = np.cumsum(new) - 1
    return order[new], index, np.bincount(index)


class _Search:
    """Distinct hashes, and which of them were found to be undecided."""

    def __init__(self, bits: HashArray, unsure: HashArray) -> None:
        self._bits = bits
        self._unsure = unsure
        self.count = _ones(unsure)
        self.found = np.zeros(len(bits), np.bool_)

    def look(self) -> None:
        """Find them all."""
        wide = np.flatnonzero(self.count > MOST_UNSURE)
        self._compare(wide, np.arange(len(self.count)))
        narrow = np.flatnonzero(
            self.count <= MOST_UNSURE
        )  # no less sure than these is none of wide
        for rows, columns in self._buckets(narrow):
            self._compare(rows, columns)

    def _compare(self, rows: IntArray, columns: IntArray) -> None:
        """Find those of `rows` that are undecided with one of `columns`."""
        for some, others in tiles(rows, columns):
            open_ = some[~self.found[some]]
            if len(open_):
                self.found[open_] = self._undecided(open_[:, None], others).any(axis=1)

    def _undecided(self, rows: IntArray, columns: IntArray) -> BoolArray:
        """(rows, columns) whether the columns' hashes, no less sure, may be near and may be not."""
        differs = self._bits[rows] ^ self._bits[columns]
        unsure = self._unsure[rows] | self._unsure[columns]
        may_be_near = at_most(MOST_DIFFERENT, differs & ~unsure)
        if not may_be_near.any():
            return may_be_near
        may_be_far = ~at_most(MOST_DIFFERENT, differs | unsure)
        no_less_sure = self.count[columns] <= self.count[rows]
        open_: BoolArray = may_be_near & may_be_far & no_less_sure & (rows != columns)
        return open_

    def _buckets(self, members: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
        """For each band and value, the members that may be undecided, and all that may have it."""
        if not self.count[members].any():
            return
        for band in bands(self._bits[members], self._unsure[members]):
            keys, owners = self._keys(members, band)
            order = np.argsort(keys, kind="stable")
            keys, owners = keys[order], owners[order]
            starts = np.flatnonzero(np.diff(keys)) + 1
            for bucket in np.split(owners, starts):
                rows = bucket[(self.count[bucket] > 0) & ~self.found[bucket]]
                if len(rows) and len(bucket) > 1:
                    yield rows, bucket

    def _keys(self, members: IntArray, band: IntArray) -> tuple[HashArray, IntArray]:
        """Every value that each member may have in a band, and the member beside each."""
        keys, owners = np.zeros(len(members), np.uint64), members
        for bit in band:
            place = np.uint64(bit)
            keys = keys << np.uint64(1) | self._bits[owners] >> place & np.uint64(1)
            either = (self._unsure[owners] >> place & np.uint64(1)).astype(np.bool_)
            keys = np.concatenate([keys, keys[either] ^ np.uint64(1)])
            owners = np.concatenate([owners, owners[either]])
        return keys, owners


def _ones(values: HashArray) -> IntArray:
    """(n,) how many bits of each are set."""
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.itemsize)
    ones: IntArray = np.unpackbits(octets, axis=1).sum(axis=1, dtype=np.int64)
    return ones
