# SPDX-License-Identifier: Apache-2.0
"""Which pictures are asked for so that estimated hashes tell near-duplicates as exact ones do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.arrays import BoolArray, IntArray
from trainer.data import undecided as module
from trainer.data.near_duplicates import HashArray, Near
from trainer.data.undecided import undecided

ALL = (1 << 64) - 1

Guess = tuple[int, int, int]
"""The exact hash, the estimated one, and its unsure bits."""


def hashes(*values: int) -> HashArray:
    return np.array(values, np.uint64)


def asked(*estimates: tuple[int, int]) -> list[bool]:
    """Of hashes with their unsure bits."""
    bits, unsure = (hashes(*part) for part in zip(*estimates, strict=True))
    found: list[bool] = undecided(bits, unsure).tolist()
    return found


@st.composite
def guesses(draw: st.DrawFn) -> list[Guess]:
    """Hashes around a few centres; of some nothing is known, of some all, and of most a part."""
    centres = draw(st.lists(st.integers(0, ALL), min_size=1, max_size=3))
    places = st.lists(st.integers(0, 63), max_size=9, unique=True)
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from(centres),
                places,
                places | st.just([*range(64)]),
                st.integers(0, ALL),
            ),
            max_size=30,
        )
    )
    found = []
    for centre, flips, open_, wrong in drawn:
        exact = centre ^ sum(1 << bit for bit in flips)
        unsure = sum(1 << bit for bit in open_)
        found.append((exact, exact ^ wrong & unsure, unsure))
    return found


def answers(near: Near, asked: BoolArray) -> list[list[object]]:
    return [
        near.groups().tolist(),
        near.has_partner().tolist(),
        near.near_any(asked, ~asked).tolist(),
    ]


@pytest.mark.parametrize("most", [16, 3])
@given(given_=guesses(), dealt=st.lists(st.booleans(), min_size=30, max_size=30))
def test_with_what_is_asked_for_the_answers_are_those_of_exact_hashes(
    most: int, given_: list[Guess], dealt: list[bool]
) -> None:
    exact, bits, unsure = (hashes(*(one[part] for one in given_)) for part in range(3))
    everyone, test_set = np.ones(len(exact), np.bool_), np.array(dealt[: len(exact)], np.bool_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_UNSURE", most)
        for _ in range(2):  # rounds
            wanted = undecided(bits, unsure)
            bits[wanted], unsure[wanted] = exact[wanted], 0
        assert not undecided(bits, unsure).any()
    assert answers(Near(bits, everyone), test_set) == answers(Near(exact, everyone), test_set)


def test_nothing_is_asked_where_no_unsure_bit_can_change_the_answer() -> None:
    assert asked((0, 0b111), (1 << 40 | 1 << 41, 0)) == [False, False]  # within 5 in any case
    assert asked((0, 0b111), (0xFC << 40, 0)) == [False, False]  # 6 apart
    assert asked((0, ALL)) == [False]  # nobody to be near to


def test_the_less_sure_of_two_is_asked_for_first_and_both_where_they_are_alike() -> None:
    one_off = 0b11111 << 40
    assert asked((0, 0b11), (one_off, 0b1)) == [True, False]
    assert asked((0, 0b11), (one_off, 0b1100)) == [True, True]
    assert asked((0, 0), (one_off, 0b1)) == [False, True]


def test_two_of_the_same_estimate_are_asked_for_if_more_than_five_bits_are_unsure() -> None:
    assert asked((7, 0b11111), (7, 0b11111)) == [False, False]
    assert asked((7, 0b111111), (7, 0b111111), (ALL >> 1, 0)) == [True, True, False]


def test_partner_is_found_whatever_value_the_unsure_bits_have_in_both() -> None:
    """Five sure bits differ, one in each band but one, and there only what is unsure."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        exact = int(rng.integers(0, ALL, dtype=np.uint64))
        places = rng.permutation(64).tolist()
        other = exact ^ sum(1 << place for place in places[:5])
        mine, theirs = (sum(1 << place for place in places[a:b]) for a, b in ((5, 13), (13, 21)))
        assert asked((exact ^ mine, mine), (other ^ theirs, theirs)) == [True, True]


def random_hashes(n: int, seed: int) -> HashArray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def unsure_of(n: int, bits: float) -> HashArray:
    """So many bits of each in the mean."""
    rng = np.random.default_rng(9)
    masks = np.zeros(n, np.uint64)
    for place in range(64):
        masks |= (rng.random(n) < bits / 64).astype(np.uint64) << np.uint64(place)
    return masks


@pytest.mark.timeout(60)
def test_of_ten_thousand_pictures_that_have_nothing_in_common_hardly_any_is_asked_for() -> None:
    assert undecided(random_hashes(10_000, 1), unsure_of(10_000, 7.5)).sum() < 20


@pytest.mark.timeout(60)
def test_twenty_thousand_pictures_that_all_are_undecided_are_not_compared_all_with_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = [0]
    compare = module._Search._undecided

    def counted(search: module._Search, rows: IntArray, columns: IntArray) -> BoolArray:
        compared[0] += rows.size * columns.size
        return compare(search, rows, columns)

    monkeypatch.setattr(module._Search, "_undecided", counted)
    n = 20_000
    for unsure in (unsure_of(n, 8), unsure_of(n, 24)):
        burst = random_hashes(1, 3) ^ (random_hashes(n, 4) & random_hashes(n, 5) & unsure_of(n, 8))
        assert undecided(burst, unsure).sum() > 0.98 * n
    assert undecided(np.zeros(n, np.uint64), np.full(n, 0b11111, np.uint64)).sum() == 0
    assert compared[0] < 40 * n**1.5
