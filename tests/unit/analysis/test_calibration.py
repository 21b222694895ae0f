# SPDX-License-Identifier: Apache-2.0
"""Log loss and calibration errors against numbers worked out by hand or by another program."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn import metrics

from trainer.analysis.calibration import (
    expected_calibration_error,
    log_loss,
    perfect_calibration_error,
    prior_log_loss,
    reliability,
    temperature,
    tempered,
)
from trainer.arrays import BoolArray, FloatArray


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(20)


def test_log_loss_is_the_mean_natural_logarithm_of_the_true_class_probability() -> None:
    probabilities = np.array([[0.5, 0.5], [0.2, 0.8]])
    expected = -(math.log(0.5) + math.log(0.2)) / 2
    assert log_loss(np.array([0, 0]), probabilities) == pytest.approx(expected, abs=1e-15)


def test_log_loss_equals_scikit_learns(random: np.random.Generator) -> None:
    probabilities = random.dirichlet(np.ones(4), 300)
    labels = random.integers(4, size=300)
    expected = metrics.log_loss(labels, probabilities, labels=range(4))
    assert log_loss(labels, probabilities) == pytest.approx(expected, abs=1e-12)


def test_sure_and_wrong_answer_costs_as_much_as_probability_1e_15() -> None:
    loss = log_loss(np.array([0]), np.array([[0.0, 1.0]]))
    assert loss == pytest.approx(15 * math.log(10), abs=1e-12)


def test_prior_log_loss_gives_every_item_the_class_shares_of_training() -> None:
    loss = prior_log_loss(np.array([0, 0, 1]), np.array([0.75, 0.25]))
    assert loss == pytest.approx(-(2 * math.log(0.75) + math.log(0.25)) / 3, abs=1e-15)


def five_bins(hits: list[int]) -> tuple[FloatArray, BoolArray]:
    """Bins of 20 items with confidences 0.5, 0.6, ... 0.9 and so many right in each."""
    confidence = np.repeat([0.5, 0.6, 0.7, 0.8, 0.9], 20)
    correct = np.concatenate([np.arange(20) < count for count in hits])
    return confidence, correct


def test_calibration_error_is_zero_where_each_bin_is_as_right_as_it_is_sure() -> None:
    assert expected_calibration_error(*five_bins([10, 12, 14, 16, 18])) == pytest.approx(0)


def test_calibration_error_averages_the_distance_of_five_bins_at_100_items() -> None:
    # distances 2, 0, 4, 1 and 3 of 20 items, either way: 10 of 100
    assert expected_calibration_error(*five_bins([12, 12, 10, 15, 15])) == pytest.approx(0.10)


def test_calibration_error_does_not_depend_on_the_order_of_unequal_confidences(
    random: np.random.Generator,
) -> None:
    confidence = random.random(500)
    correct = random.random(500) < 0.6
    order = random.permutation(500)
    shuffled = expected_calibration_error(confidence[order], correct[order])
    assert shuffled == pytest.approx(expected_calibration_error(confidence, correct), abs=1e-12)


def test_equal_confidences_are_binned_in_the_order_given() -> None:
    # sure and unsure items take turns; of each kind the first half is right
    confidence = np.tile([0.9, 0.5], 150)
    correct = np.arange(300) < 150
    # by confidence: 75 right, 75 wrong at 0.5, then the same at 0.9, in 15 bins of 20
    at_half = 3 * 10 + abs(15 - 10) + 3 * 10 + abs(10 * 0.5 + 10 * 0.9 - 10)
    at_nine_tenths = 3 * 2 + abs(18 - 5) + 3 * 18
    expected = (at_half + at_nine_tenths) / 300
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_calibration_error_uses_fifteen_bins_of_nearly_equal_size_from_300_items_on(
    random: np.random.Generator,
) -> None:
    confidence = np.sort(random.random(1000))
    correct = random.random(1000) < 0.5
    edges = [0, *np.cumsum([67] * 10 + [66] * 5)]
    expected = sum(
        (end - start) / 1000 * abs(confidence[start:end].mean() - correct[start:end].mean())
        for start, end in itertools.pairwise(edges)
    )
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_calibration_errors_are_not_given_below_100_items() -> None:
    confidence = np.full(99, 0.7)
    assert expected_calibration_error(confidence, confidence > 1) is None
    assert perfect_calibration_error(confidence, 0) is None


def test_perfect_calibration_shows_the_mean_deviation_of_a_binomial() -> None:
    # |hits - 10| of 20 items at confidence 0.5 is 10 C(20, 10) / 2^20 in the mean
    expected = 10 * math.comb(20, 10) / 2**20 / 20
    found = perfect_calibration_error(np.full(100, 0.5), 0)
    assert found == pytest.approx(expected, rel=0.15)


def test_perfect_calibration_of_sure_answers_shows_no_error() -> None:
    assert perfect_calibration_error(np.ones(100), 0) == 0


def test_perfect_calibration_repeats_with_its_seed_and_moves_with_another(
    random: np.random.Generator,
) -> None:
    confidence = random.uniform(0.5, 1, 150)
    assert perfect_calibration_error(confidence, 1) == perfect_calibration_error(confidence, 1)
    assert perfect_calibration_error(confidence, 1) != perfect_calibration_error(confidence, 2)


def test_perfect_calibration_error_does_not_depend_on_the_order_of_the_items(
    random: np.random.Generator,
) -> None:
    confidence = random.uniform(0.5, 1, 150)
    in_order = perfect_calibration_error(np.sort(confidence), 0)
    assert perfect_calibration_error(confidence, 0) == in_order


def test_true_confidences_reach_the_perfect_error_and_boasting_ones_exceed_it(
    random: np.random.Generator,
) -> None:
    confidence = random.uniform(0.5, 1, 5000)
    perfect = perfect_calibration_error(confidence, 0)
    true = expected_calibration_error(confidence, random.random(5000) < confidence)
    boasting = expected_calibration_error(confidence, random.random(5000) < confidence - 0.1)
    assert perfect is not None
    assert boasting is not None
    assert true == pytest.approx(perfect, rel=0.6)
    assert boasting == pytest.approx(0.1, abs=0.02)
    assert boasting > 3 * perfect


def test_bins_behind_the_error_add_up_to_it(random: np.random.Generator) -> None:
    confidence = random.uniform(0.5, 1, 333)
    correct = random.random(333) < confidence
    bins = reliability(confidence, correct)
    assert sum(one["n"] for one in bins) == 333
    gaps = sum(one["n"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / 333
    assert gaps == pytest.approx(expected_calibration_error(confidence, correct), abs=1e-12)


def test_few_items_have_no_bins(random: np.random.Generator) -> None:
    assert reliability(random.random(99), random.random(99) < 0.5) == []


def test_temperature_undoes_what_logits_were_multiplied_by(random: np.random.Generator) -> None:
    truth = random.dirichlet(np.ones(3), 20_000)
    labels = (truth.cumsum(axis=1) < random.random(20_000)[:, None]).sum(axis=1)
    too_sure = tempered(truth, 1 / 2.5)
    assert temperature(labels, too_sure) == pytest.approx(2.5, rel=0.05)


def test_temperature_has_the_least_log_loss(random: np.random.Generator) -> None:
    probabilities = random.dirichlet(np.ones(4), 300)
    labels = random.integers(4, size=300)
    best = temperature(labels, probabilities)
    least = log_loss(labels, tempered(probabilities, best))
    assert least <= log_loss(labels, tempered(probabilities, best * 1.02))
    assert least <= log_loss(labels, tempered(probabilities, best / 1.02))


def test_temperature_of_answers_that_are_all_right_is_low_and_finite() -> None:
    assert 0.01 <= temperature(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])) < 0.1
