# SPDX-License-Identifier: Apache-2.0
"""The learning curve: what it says of data that more would help, and of data that it would not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stacked_heads import Alone
from trainer.analysis.learning_curve import (
    DRAWS,
    SHARES,
    Draw,
    folds_of,
    learning_curve,
    paired_standard_error,
    parts_of,
    summarised,
)
from trainer.arrays import Float32Array, IntArray
from trainer.head.development import Development


class World(Alone):
    """A world of one, for these fits."""

    def agree(self) -> None:
        pass


def development(labels: IntArray, folds: int = 5) -> Development:
    count = len(labels)
    numbers = np.arange(count) % folds if folds else np.zeros(count, np.int64)
    return Development(labels, np.zeros(count, np.bool_), numbers, folds, 2)


def curve(values: Float32Array, labels: IntArray, folds: int = 5) -> dict[str, Any] | None:
    world: Any = World()
    head = (np.zeros((values.shape[1], 2)), np.zeros(2))
    units = np.arange(len(labels))
    return learning_curve(values, development(labels, folds), False, 0.1, head, units, 0, world)


def test_curve_of_many_weak_features_is_still_rising() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(2, size=1000)
    signal = np.where(labels[:, None] == 1, 0.1, -0.1)
    found = curve((signal + random.normal(size=(1000, 500))).astype(np.float32), labels)
    assert found
    accuracies = [point["accuracy"] for point in found["points"]]
    assert found["still_rising"]
    assert accuracies[-1] > accuracies[0]
    items = [point["items"] for point in found["points"]]
    assert items == pytest.approx([80, 200, 400, 600, 800], abs=8)


def test_curve_of_one_strong_feature_is_not_rising_any_more() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(2, size=300)
    values = (labels[:, None] + 0.5 * random.normal(size=(300, 1))).astype(np.float32)
    found = curve(values, labels)
    assert found
    assert not found["still_rising"]
    assert {len(point["draws"]) for point in found["points"]} == {DRAWS}


def test_few_items_or_no_folds_have_no_curve() -> None:
    labels = np.arange(99) % 2
    assert curve(np.zeros((99, 2), np.float32), labels) is None
    labels = np.arange(120) % 2
    assert curve(np.zeros((120, 2), np.float32), labels, folds=0) is None


@pytest.mark.parametrize("count", [4, 5, 7, 10, 50])
def test_draws_score_every_fold(count: int) -> None:
    folds = [folds_of(draw, count) for draw in range(DRAWS)]
    assert all(folds)
    assert {fold for part in folds for fold in part} == set(range(count))


def test_parts_are_equally_large_and_draws_differ() -> None:
    first, second = parts_of(200, (0, 0)), parts_of(200, (0, 1))
    assert np.bincount(first).tolist() == [10] * 20
    assert first.tolist() != second.tolist()


def test_error_is_that_of_a_mean_where_items_are_alone() -> None:
    differences = np.random.default_rng(2).normal(size=50)
    expected = differences.std() / np.sqrt(50)
    assert paired_standard_error(differences, np.arange(50)) == pytest.approx(expected)


def test_items_of_a_unit_say_the_same_only_once() -> None:
    once = np.random.default_rng(3).normal(size=20)
    twice = paired_standard_error(np.repeat(once, 2), np.repeat(np.arange(20), 2))
    assert twice == pytest.approx(paired_standard_error(once, np.arange(20)))


def test_item_that_two_draws_scored_counts_once() -> None:
    answers = np.ones((len(SHARES), 1), np.bool_)
    items = np.ones(len(SHARES))
    draws = [Draw(items, np.array([0]), answers), Draw(items, np.array([0]), ~answers)]
    found = summarised([*draws, Draw(items, np.array([1]), answers)], np.arange(2))
    assert [point["accuracy"] for point in found["points"]] == [0.75] * len(SHARES)
