# SPDX-License-Identifier: Apache-2.0
"""Doubted labels: by hand, and where labels were flipped on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.analysis.suspects import (
    confident_classes,
    flagged,
    most_suspicious_first,
    thresholds,
)

LABELS = np.array([0, 0, 0, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])


def test_order_is_by_the_probability_of_the_given_label() -> None:
    assert most_suspicious_first(LABELS, PROBABILITIES).tolist() == [2, 3, 4, 1, 0]


def test_equally_suspicious_ones_stay_in_order() -> None:
    even = np.full((4, 2), 0.5)
    assert most_suspicious_first(np.array([0, 1, 0, 1]), even).tolist() == [0, 1, 2, 3]


def test_threshold_is_the_mean_probability_of_a_class_where_it_is_the_label() -> None:
    assert thresholds(LABELS, PROBABILITIES) == pytest.approx([0.6, 0.65])


def test_item_is_counted_to_the_likeliest_class_that_reaches_its_threshold() -> None:
    assert confident_classes(LABELS, PROBABILITIES).tolist() == [0, 0, 1, -1, 1]


def test_only_an_item_that_is_counted_to_another_class_is_flagged() -> None:
    assert flagged(LABELS, PROBABILITIES).tolist() == [False, False, True, False, False]


def test_class_without_items_is_nobodys() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    assert confident_classes(np.array([0, 1]), probabilities).tolist() == [0, 1]


def test_flipped_labels_are_among_the_most_suspicious() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(2, size=500)
    right = np.clip(random.normal(0.85, 0.15, 500), 0.02, 0.98)
    probabilities = np.where(np.arange(2) == truth[:, None], right[:, None], 1 - right[:, None])
    flipped = random.choice(500, 25, replace=False)
    labels = truth.copy()
    labels[flipped] ^= 1
    first = most_suspicious_first(labels, probabilities)[:50]
    assert len(set(first.tolist()) & set(flipped.tolist())) >= 0.55 * 25
    assert flagged(labels, probabilities)[flipped].mean() > 0.5
