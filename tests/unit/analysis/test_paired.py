# SPDX-License-Identifier: Apache-2.0
"""Two heads on the same items, against scipy, published figures and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from trainer.analysis.paired import Pairs, difference_interval, mcnemar, pairs


def test_items_are_counted_by_who_is_right() -> None:
    first = np.array([True, True, True, False, False, True])
    second = np.array([True, False, False, True, False, True])
    found = pairs(first, second)
    assert found == Pairs(both=2, only_first=2, only_second=1, neither=1)
    assert (found.n, found.first, found.second) == (6, 4, 3)


def test_no_items_are_no_pairs() -> None:
    none = np.array([], dtype=bool)
    assert pairs(none, none) == Pairs(0, 0, 0, 0)


def test_different_numbers_of_items_are_refused() -> None:
    with pytest.raises(ValueError, match="the same items"):
        pairs(np.array([True]), np.array([True, False]))


def test_mcnemar_is_the_two_sided_binomial_test() -> None:
    for first in range(25):
        for second in range(25):
            if first + second:
                expected = binomtest(first, first + second).pvalue
                assert mcnemar(first, second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("first", "second"), [(1000, 1100), (49_000, 51_000), (0, 60), (3, 900)])
def test_mcnemar_holds_for_many_items(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_heads_that_never_differ_are_told_apart_by_nothing() -> None:
    assert mcnemar(0, 0) == 1


def test_mcnemar_of_a_million_discordant_items_is_a_chance() -> None:
    assert 0 <= mcnemar(300_000, 700_000) < 1e-300
    assert 0.9 < mcnemar(500_000, 500_010) < 1


def test_mcnemar_of_a_published_table() -> None:
    # Bentur et al. 2009, in Fagerland et al. 2013: 1 against 7 of 21. By hand: 2 (1 + 8) / 2^8.
    assert mcnemar(1, 7) == pytest.approx(18 / 256)


def test_interval_of_published_tables() -> None:
    # Bonett's own example in his package statpsych, ci.prop.ps(.05, 12, 4, 26, 6).
    assert difference_interval(4, 26, 48) == pytest.approx((0.2548067, 0.6251933), abs=5e-8)
    # By hand: 2 of 23 from 8 of 23 is 8/23 - 2/23 = 6/23, sqrt((10/23 - 36/529) / 23) = 0.126273.
    expected = 6 / 23 - 1.959964 * 0.126273, 6 / 23 + 1.959964 * 0.126273
    assert difference_interval(1, 7, 21) == pytest.approx(expected, abs=1e-6)


def test_interval_turns_with_the_heads() -> None:
    low, high = difference_interval(3, 9, 52)
    assert difference_interval(9, 3, 52) == pytest.approx((-high, -low))


def test_interval_of_one_item_stays_a_difference_of_shares() -> None:
    low, high = difference_interval(0, 1, 1)
    assert -1 <= low < high <= 1
