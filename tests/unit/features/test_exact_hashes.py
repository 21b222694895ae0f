# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates from estimated hashes are those from exact ones, and few are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.cache_use import HASHES, CacheUse
from trainer.data.difference_hash import UNKNOWN, DifferenceHash
from trainer.data.images import BadFile
from trainer.data.near_duplicates import Near
from trainer.features.exact_hashes import HashTable, complete
from trainer.features.hash_store import HashWriter, read_hashes
from trainer.progress import Progress

Exact = dict[bytes, DifferenceHash]
BIT = st.integers(0, 63)


class Whole:
    """Stands for the decoding of whole pictures; counts what it was asked for."""

    def __init__(self, exact: Exact) -> None:
        self._exact = exact
        self.asked: list[bytes] = []

    def decode(self, digests: Sequence[bytes]) -> tuple[Exact, list[BadFile]]:
        self.asked += digests
        return {digest: self._exact[digest] for digest in digests}, []


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Exact, Exact]:
    """Exact hashes, many of them near one another, and estimates of them."""
    middles = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    exact, estimates = {}, {}
    for number in range(draw(st.integers(2, 14))):
        bits = draw(st.sampled_from(middles))
        for bit in draw(st.lists(BIT, max_size=5)):
            bits ^= 1 << bit
        unsure = sum({1 << bit for bit in draw(st.lists(BIT, max_size=4))})
        digest = bytes([number] * 32)
        exact[digest] = DifferenceHash(bits)
        estimates[digest] = DifferenceHash(
            bits ^ (unsure & draw(st.integers(0, 2**64 - 1))), unsure
        )
        if draw(st.integers(0, 9)) == 0:
            estimates[digest] = UNKNOWN
    return exact, estimates


def near(table: HashTable, digests: Sequence[bytes]) -> Near:
    return Near(*table.look_up(digests))


@settings(max_examples=300, deadline=None)
@given(pictures())
def test_groups_and_partners_are_those_of_exact_hashes(drawn: tuple[Exact, Exact]) -> None:
    exact, estimates = drawn
    table, digests = HashTable(estimates), list(exact)
    complete(table, Whole(exact).decode, Progress())
    found, wanted = near(table, digests), near(HashTable(exact), digests)
    assert np.array_equal(found.groups(), wanted.groups())
    half = np.arange(len(digests)) % 2 == 0
    assert np.array_equal(found.near_any(half, ~half), wanted.near_any(half, ~half))


def test_pictures_that_are_far_apart_or_surely_the_same_are_not_decoded_again() -> None:
    exact = {bytes([n] * 32): DifferenceHash(n * 0x0101010101010101) for n in range(1, 9)}
    exact[b"copy" * 8] = exact[bytes([1] * 32)]
    estimates = {digest: DifferenceHash(bits, 1) for digest, (bits, _) in exact.items()}
    whole = Whole(exact)
    complete(HashTable(estimates), whole.decode, Progress())
    assert whole.asked == []


def test_picture_that_cannot_be_decoded_whole_is_judged_by_its_estimate_with_a_warning() -> None:
    one, other = b"1" * 32, b"2" * 32
    table = HashTable({one: DifferenceHash(0b11111, 0b111111), other: DifferenceHash(0)})
    progress = Progress()
    complete(table, lambda _: ({}, [BadFile("a/1.jpg", 7, "is truncated")]), progress)
    assert near(table, [one, other]).has_partner().all()
    assert "a/1.jpg is truncated" in progress.warnings[0]


KNOWN = {b"a" * 32: DifferenceHash(7, 5), b"b" * 32: DifferenceHash(None), b"c" * 32: UNKNOWN}


@pytest.fixture
def use(tmp_path: Path) -> CacheUse:
    return CacheUse(tmp_path / "cache", tmp_path / "run")


def keep(use: CacheUse, hashes: Exact) -> Path:
    writer = HashWriter(use)
    for digest, dhash in hashes.items():
        writer.add(digest, dhash)
    before = set((use.root / HASHES).glob("*"))
    writer.commit()
    (path,) = set((use.root / HASHES).glob("*")) - before
    return path


def test_what_one_run_kept_the_next_one_knows(use: CacheUse) -> None:
    keep(use, KNOWN)
    assert read_hashes(use, KNOWN.keys(), Progress()) == KNOWN
    assert read_hashes(use, {b"d" * 32}, Progress()) == {}


def test_exact_hash_counts_whichever_file_it_is_in(use: CacheUse) -> None:
    exact = {b"a" * 32: DifferenceHash(3)}
    for hashes in (KNOWN, exact, KNOWN):
        keep(use, hashes)
    assert read_hashes(use, exact.keys(), Progress()) == exact


def test_file_with_any_byte_changed_is_passed_over(use: CacheUse) -> None:
    path = keep(use, KNOWN)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert read_hashes(use, KNOWN.keys(), Progress()) == {}
