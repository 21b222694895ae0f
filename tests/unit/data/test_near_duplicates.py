# SPDX-License-Identifier: Apache-2.0
"""Who is near to whom, against comparing all with all."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.arrays import BoolArray, IntArray
from trainer.data import near_duplicates
from trainer.data.near_duplicates import HashArray, Near

NEVER_MIND = np.uint64(0xDEAD)  # what stands where there is no hash


def as_near(*hashes: int | None) -> Near:
    has_hash = np.array([value is not None for value in hashes], np.bool_)
    filled = [NEVER_MIND if value is None else np.uint64(value) for value in hashes]
    return Near(np.array(filled, np.uint64), has_hash)


def mask(n: int, *places: int) -> BoolArray:
    chosen = np.zeros(n, np.bool_)
    chosen[list(places)] = True
    return chosen


# Who is near to whom


@pytest.mark.parametrize(("flipped", "near"), [(0, True), (1, True), (5, True), (6, False)])
def test_five_bits_are_near_and_six_are_not(flipped: int, near: bool) -> None:
    rng = np.random.default_rng(flipped)
    for _ in range(50):
        value = int(rng.integers(0, 2**63))
        other = value ^ sum(1 << int(bit) for bit in rng.choice(64, flipped, replace=False))
        pair = as_near(value, other)
        assert pair.has_partner().tolist() == [near, near]
        assert pair.near_any(mask(2, 0), mask(2, 1)).tolist() == [near, False]


def test_items_are_connected_through_others_but_near_only_by_themselves() -> None:
    chain = as_near(0b1111_1111, 0, 0b1111)
    assert chain.groups().tolist() == [0, 0, 0]
    assert chain.near_any(mask(3, 0), mask(3, 1)).tolist() == [False] * 3
    assert chain.near_any(mask(3, 0), mask(3, 2)).tolist() == [True, False, False]


def test_identical_hashes_of_different_items_are_near() -> None:
    same = as_near(7, 1 << 40 | 0xFFFF, 7)
    assert same.groups().tolist() == [0, 1, 0]
    assert same.has_partner().tolist() == [True, False, True]
    assert same.near_any(mask(3, 2), mask(3, 0)).tolist() == [False, False, True]


def test_items_without_hash_are_alone_whatever_stands_in_their_place() -> None:
    flat = as_near(None, int(NEVER_MIND), None)
    assert flat.groups().tolist() == [0, 1, 2]
    assert not flat.has_partner().any()
    assert not flat.near_any(mask(3, 0), mask(3, 1, 2)).any()


def test_no_items_have_no_groups() -> None:
    none = as_near()
    assert none.groups().tolist() == none.has_partner().tolist() == []


@st.composite
def clustered(draw: st.DrawFn) -> list[int | None]:
    """Hashes around a few centres, so that many lie at distances near 5; some have none."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    flips = st.lists(st.integers(0, 63), max_size=8, unique=True)
    drawn = draw(st.lists(st.tuples(st.sampled_from(centres), flips), max_size=40))
    hashes: list[int | None] = [
        centre ^ sum(1 << bit for bit in flipped) for centre, flipped in drawn
    ]
    return hashes + [None] * draw(st.integers(0, 2))


def all_with_all(hashes: list[int | None]) -> BoolArray:
    """(n, n) whether two items are near."""
    return np.array(
        [
            [
                a is not None and b is not None and i != j and bin(a ^ b).count("1") <= 5
                for j, b in enumerate(hashes)
            ]
            for i, a in enumerate(hashes)
        ],
        np.bool_,
    ).reshape(len(hashes), len(hashes))


def components(near: BoolArray) -> list[int]:
    """Number of each item's connected group, in the order of their first items."""
    number = [-1] * len(near)
    for first in range(len(near)):
        waiting = [first] if number[first] < 0 else []
        group = max(number, default=-1) + 1
        while waiting:
            item = waiting.pop()
            if number[item] < 0:
                number[item] = group
                waiting += np.flatnonzero(near[item]).tolist()
    return number


@pytest.mark.parametrize(("small", "at_once"), [(1000, 1 << 15), (1000, 16), (3, 16)])
@given(hashes=clustered(), dealt=st.lists(st.booleans(), min_size=42, max_size=42))
def test_answers_are_those_of_comparing_all_with_all(
    small: int, at_once: int, hashes: list[int | None], dealt: list[bool]
) -> None:
    expected = all_with_all(hashes)
    asked = np.array(dealt[: len(hashes)], np.bool_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "PAIRS_AT_ONCE", at_once)
        patch.setattr(near_duplicates, "SMALL_BUCKET", small)
        patch.setattr(near_duplicates, "FIRST_ROWS", 2)
        near = as_near(*hashes)
        assert near.groups().tolist() == components(expected)
        assert near.has_partner().tolist() == expected.any(axis=1).tolist()
        found = near.near_any(asked, ~asked)
    assert found.tolist() == (asked & (expected & ~asked).any(axis=1)).tolist()


# What it costs


def random_hashes(n: int) -> HashArray:
    return np.random.default_rng(0).integers(0, 2**64, n, dtype=np.uint64)


def flipped(hashes: HashArray, most: int, seed: int) -> HashArray:
    """Each with up to `most` of its bits turned over."""
    bits = np.random.default_rng(seed).integers(0, 64, (most, len(hashes)), dtype=np.uint64)
    turned: HashArray = hashes ^ np.bitwise_or.reduce(np.uint64(1) << bits, axis=0)
    return turned


def group_sizes(near: Near) -> IntArray:
    return np.sort(np.bincount(near.groups()))[::-1]


@pytest.mark.timeout(20)
def test_a_hundred_thousand_identical_hashes_are_one_group_in_no_time() -> None:
    near = Near(np.full(100_000, 5, np.uint64), np.ones(100_000, np.bool_))
    assert group_sizes(near).tolist() == [100_000]


@pytest.mark.timeout(60)
def test_each_copy_among_forty_thousand_random_hashes_is_found() -> None:
    originals = random_hashes(20_000)
    both = np.concatenate([originals, flipped(originals, 5, seed=1)])
    near = Near(both, np.ones(40_000, np.bool_))
    assert group_sizes(near).tolist() == [2] * 20_000
    assert near.near_any(np.arange(40_000) < 20_000, np.arange(40_000) >= 20_000).sum() == 20_000


@pytest.mark.timeout(60)
def test_crowd_within_three_bits_of_one_picture_takes_bounded_memory() -> None:
    crowd = flipped(np.zeros(20_000, np.uint64), 3, seed=2)
    tracemalloc.start()
    near = Near(crowd, np.ones(20_000, np.bool_))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert group_sizes(near).tolist() == [20_000]
    assert peak < 20e6


@pytest.mark.timeout(60)
def test_pictures_alike_but_in_their_middle_are_not_compared_all_with_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    middle = np.uint64(0x007E7E7E7E7E7E00)  # all that is no plain background
    compared = []
    compare = near_duplicates._near

    def counted(rows: HashArray, columns: HashArray) -> BoolArray:
        compared.append(len(rows) * len(columns))
        return compare(rows, columns)

    monkeypatch.setattr(near_duplicates, "_near", counted)
    Near(random_hashes(20_000) & middle, np.ones(20_000, np.bool_))
    assert sum(compared) < 20_000**2 / 5
