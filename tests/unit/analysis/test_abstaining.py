# SPDX-License-Identifier: Apache-2.0
"""What thresholds do: by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from trainer.analysis.abstaining import (
    MOST_POINTS,
    abstaining,
    accuracy_by_coverage,
    precision_and_recall,
    thinned,
)

CONFIDENCE = np.array([0.6, 0.9, 0.8, 0.8])
CORRECT = np.array([False, True, True, False])


def test_accuracy_is_that_of_the_answers_at_or_above_each_confidence() -> None:
    assert accuracy_by_coverage(CONFIDENCE, CORRECT) == pytest.approx(
        np.array([[0.9, 0.25, 1.0], [0.8, 0.75, 2 / 3], [0.6, 1.0, 0.5]])
    )


def test_no_item_gives_an_empty_curve() -> None:
    assert accuracy_by_coverage(np.empty(0), np.empty(0, np.bool_)).shape == (0, 3)


def test_precision_and_recall_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    probability = np.round(random.random(200), 2)  # with ties
    positive = random.random(200) < probability
    expected = metrics.precision_recall_curve(positive, probability)
    curve = precision_and_recall(probability, positive)[::-1]
    assert curve[:, 0] == pytest.approx(expected[2])
    assert curve[:, 1] == pytest.approx(expected[0][:-1])
    assert curve[:, 2] == pytest.approx(expected[1][:-1])


def test_wish_gets_the_threshold_that_answers_most() -> None:
    probabilities = np.array([[0.95, 0.05], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    found = abstaining(np.array([0, 1, 0, 0]), probabilities)
    assert found["wishes"][0] == {"wish": 0.9, "threshold": 0.8, "coverage": 0.75, "accuracy": 1.0}
    assert found["classes"][1]["wishes"][1] == {
        "wish": 0.95,
        "threshold": 0.9,
        "precision": 1.0,
        "recall": 1.0,
    }


def test_wish_that_nothing_fulfils_gets_nulls() -> None:
    found = abstaining(np.array([1, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert {wish["threshold"] for wish in found["wishes"]} == {None}


def test_more_than_two_classes_have_no_precision_of_their_own() -> None:
    assert "classes" not in abstaining(np.array([0]), np.array([[0.5, 0.3, 0.2]]))


def test_class_without_items_has_no_curve() -> None:
    found = abstaining(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found["classes"][1] == {"n": 0, "curve": [], "wishes": []}


def test_long_curve_keeps_its_ends() -> None:
    curve = np.arange(3000.0).reshape(-1, 3)
    short = thinned(curve)
    assert len(short) <= MOST_POINTS
    assert (short[0] == curve[0]).all()
    assert (short[-1] == curve[-1]).all()
