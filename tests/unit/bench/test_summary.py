# SPDX-License-Identifier: Apache-2.0
"""What the bench makes of raw timings."""

from __future__ import annotations

import numpy as np
import pytest

from slowing import ideal_seconds
from summary import Spread, images_a_round, ratios, relative_error


def timing(seconds: float, images: int = 100) -> dict[str, float]:
    return {"images": images, "seconds": seconds}


def test_ratios_are_taken_within_each_round_so_that_a_slow_hour_cancels() -> None:
    rounds = [
        {"ours": timing(5), "peer": timing(10)},
        {"ours": timing(20), "peer": timing(44)},
        {"ours": timing(5), "peer": timing(11.5)},
    ]
    found = ratios(rounds, "ours", "peer")
    assert found
    assert (found.median, found.least, found.greatest) == pytest.approx((2.2, 2.0, 2.3))


def test_round_without_the_peer_gives_no_ratio() -> None:
    rounds = [{"ours": timing(5), "peer": timing(10)}, {"ours": timing(5)}]
    assert ratios(rounds, "ours", "peer") == Spread(2, 2, 2)


def test_peer_that_never_ran_has_no_ratio() -> None:
    assert ratios([{"ours": timing(5)}], "ours", "peer") is None


def test_relative_error_is_one_for_the_reference_mean() -> None:
    reference = np.random.default_rng(0).normal(3, 1, (8, 5))
    mean = np.broadcast_to(reference.mean(axis=0), reference.shape)
    assert relative_error(mean, reference) == pytest.approx(1)


def test_round_lets_the_slowest_take_its_seconds() -> None:
    assert images_a_round([timing(10), timing(5)], seconds=20, least=6) == 200


def test_round_is_longer_where_the_fastest_would_be_done_at_once() -> None:
    assert images_a_round([timing(10), timing(0.5)], seconds=20, least=6) == 1200


def test_two_ranks_of_which_one_runs_at_a_quarter_have_five_eighths_of_the_speed() -> None:
    assert ideal_seconds(images=500, rate=40, ranks=2, share=0.25) == pytest.approx(20)
