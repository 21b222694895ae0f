# SPDX-License-Identifier: Apache-2.0
"""What a set of predictions is worth: accuracy and its companions, each with its interval.

Pure functions on arrays. Which items are scored, and by which head, is settled by the caller; how
the figures are worded is the report's affair. All results are plain values, ready for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trainer.analysis.calibration import (
    expected_calibration_error,
    log_loss,
    perfect_calibration_error,
    prior_log_loss,
)
from trainer.arrays import BoolArray, FloatArray, IntArray

Z95 = 1.959963984540054
"""Standard normal quantile of 0.975: two-sided 95%."""

BOOTSTRAP_DRAWS = 2000

ENOUGH_TEST_ITEMS = 200
"""From here on the test set gives the headline; below it cross-validation, where it ran."""


@dataclass(frozen=True)
class Scored:
    """The predictions of one source: a test set, a validation set, or all folds pooled.

    Args:
        labels: (n,) true class index of each item.
        probabilities: (n, classes) of each item, classes in name order.
        groups: (n,) name of each item's group; an empty name is an item alone.

    Raises:
        ValueError: The lengths differ, or a probability is not finite.
    """

    labels: IntArray
    probabilities: FloatArray
    groups: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse what would give wrong figures in silence."""
        lengths = len(self.labels), len(self.probabilities), len(self.groups)
        if len(set(lengths)) > 1:
            raise ValueError(
                f"labels, probabilities and groups of one length wanted, found {lengths}"
            )
        if not np.isfinite(self.probabilities).all():
            # argmax would take NaN for the largest and score it like an answer
            raise ValueError("finite probabilities wanted, found NaN or infinity")

    @property
    def classes(self) -> int:
        """Number of classes, with or without items."""
        return int(self.probabilities.shape[1])

    @cached_property
    def predicted(self) -> IntArray:
        """(n,) class of the highest probability; of equal ones the first."""
        predicted: IntArray = self.probabilities.argmax(axis=1)
        return predicted

    @cached_property
    def correct(self) -> BoolArray:
        """(n,) whether the predicted class is the true one."""
        correct: BoolArray = self.predicted == self.labels
        return correct

    @property
    def confidence(self) -> FloatArray:
        """(n,) probability of the predicted class."""
        confidence: FloatArray = self.probabilities.max(axis=1)
        return confidence


def wilson(accuracy: float, n: float) -> tuple[float, float]:
    """Bound an accuracy by its 95% interval, honest on small sets too.

    Args:
        accuracy: Share of items that are right, 0 to 1.
        n: Items, or their effective number (see `effective_size`), above 0.

    Returns:
        Lower and upper bound, shares of 1.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22(158), pages 209-212.
    """
    return _lower_bound(accuracy, n), 1 - _lower_bound(1 - accuracy, n)


def _lower_bound(share: float, n: float) -> float:
    """Wilson's lower bound, as product of both bounds over the upper one.

    The usual difference of two like numbers leaves 1e-17 of a share of 0.
    """
    square = Z95**2
    half = Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return share**2 / (share + square / (2 * n) + half)


def effective_size(groups: Sequence[str]) -> float:
    """Number of independent items that say as much as these, when those of a group say the same.

    Args:
        groups: (n,) name of each item's group, an empty name for an item alone; n at least 1.

    Returns:
        n² / Σ m², m the sizes of the groups: n where all are alone, 1 where all are one group.

    Source: Kish 1992, J. Off. Stat. 8(2), pages 183-200, with group sizes for weights.
    """
    sizes = np.bincount(group_numbers(groups))
    return float(len(groups) ** 2 / (sizes**2).sum())


def group_numbers(groups: Sequence[str]) -> IntArray:
    """(n,) a number for each distinct name, in order of appearance; an empty name is one alone."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [numbers.setdefault(group or item, len(numbers)) for item, group in enumerate(groups)],
        dtype=np.int64,
    )


def majority_class(labels: IntArray, classes: int) -> int:
    """The most frequent class; of equally frequent ones the first in name order.

    Args:
        labels: (n,) class index of each training item.
        classes: Number of classes.
    """
    return int(np.bincount(labels, minlength=classes).argmax())


def score(
    scored: Scored, majority: int, classes: list[str], seed: int, prior: FloatArray
) -> dict[str, Any] | None:
    """All figures of one source as they stand in `results.json`.

    Args:
        scored: Labels, probabilities and groups of its n items.
        majority: Class most frequent in training, compared on the same items.
        classes: Names of the classes, in name order.
        seed: Seed of the bootstrap and of the calibration's simulation.
        prior: (classes,) share of each class in training, for the log loss to compare with.

    Returns:
        Shares of 1, counts and natural logarithms; a list for each interval [low, high]; `recall`
        (classes,) with None for a class without items; `confusion` (classes, classes), rows the
        truth. None where there are no items.
    """
    n = len(scored.labels)
    if n == 0:
        return None
    correct = int(scored.correct.sum())
    n_effective = effective_size(scored.groups)
    return {
        "n": n,
        "n_effective": n_effective,
        "correct": correct,
        "accuracy": correct / n,
        "interval95": list(wilson(correct / n, n_effective)),
        "log_loss": log_loss(scored.labels, scored.probabilities),
        "prior_log_loss": prior_log_loss(scored.labels, prior),
        **_class_means(scored, seed),
        "ece": expected_calibration_error(scored.confidence, scored.correct),
        "ece_expected": perfect_calibration_error(scored.confidence, seed),
        "majority": {
            "label": classes[majority],
            "share": float((scored.labels == majority).mean()),
        },
        "confusion": _confusion(scored).tolist(),
    }


def _confusion(scored: Scored) -> IntArray:
    """(classes, classes) items by true class (rows) and predicted class."""
    cells = scored.labels * scored.classes + scored.predicted
    return np.bincount(cells, minlength=scored.classes**2).reshape(scored.classes, -1)


def _class_means(scored: Scored, seed: int) -> dict[str, Any]:
    tally = _tally(scored, np.ones(len(scored.labels)))
    macro_recall, macro_f1 = _macro_means(tally)
    intervals = _bootstrap_intervals(scored, seed)
    hits, labelled = tally[:2].tolist()
    return {
        "recall": [h / n if n else None for h, n in zip(hits, labelled, strict=True)],
        "macro_recall": macro_recall,
        "macro_recall_interval95": intervals[0],
        "macro_f1": macro_f1,
        "macro_f1_interval95": intervals[1],
    }


def _tally(scored: Scored, times: FloatArray) -> FloatArray:
    """(3, classes) items that are right, that have the class, that are predicted as it.

    `times` (n,) says how often each item counts.
    """
    labels, classes = scored.labels, scored.classes
    return np.stack(
        [
            np.bincount(labels, scored.correct * times, classes),
            np.bincount(labels, times, classes),
            np.bincount(scored.predicted, times, classes),
        ]
    )


def _macro_means(tally: FloatArray) -> tuple[float, float]:
    """Mean recall over classes with items; mean F1 over classes in labels or predictions."""
    hits, labelled, predicted = tally
    with_items = labelled > 0
    either = labelled + predicted
    occurs = either > 0
    recall = hits[with_items] / labelled[with_items]
    f1 = 2 * hits[occurs] / either[occurs]
    return float(recall.mean()), float(f1.mean())


def _bootstrap_intervals(scored: Scored, seed: int) -> list[list[float]]:
    """95% intervals of macro recall and macro F1: percentiles over draws of whole groups.

    Each draw takes as many groups as there are, with replacement, and scores what it holds; a class
    that it lacks takes no part in its mean.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    numbers = group_numbers(scored.groups)
    groups = int(numbers.max()) + 1
    random = np.random.default_rng(seed)
    means = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = np.bincount(random.integers(groups, size=groups), minlength=groups)
        means.append(_macro_means(_tally(scored, drawn.astype(np.float64)[numbers])))
    bounds: list[list[float]] = np.quantile(means, [0.025, 0.975], axis=0).T.tolist()
    return bounds


def headline(
    cross_validation: dict[str, Any] | None,
    test: dict[str, Any] | None,
    balanced: bool,
    given: bool = False,
) -> dict[str, Any] | None:
    """The one figure that the run is told by.

    Cross-validation gives it where it ran and an automatic test set has fewer than 200 items, else
    the test set. Its value is the accuracy, or under `class_weight: balanced` the macro recall.

    Args:
        cross_validation: What `score` made of the pooled folds; None where it did not run.
        test: What `score` made of the test set; None where that is empty.
        balanced: Whether the head was fitted with balanced class weights.
        given: Whether the test set was named by a manifest: then somebody meant it.

    Returns:
        source, metric, value, interval95, n, majority; None where there is neither source.
    """
    few = test is None or (test["n"] < ENOUGH_TEST_ITEMS and not given)
    source = "cross_validation" if cross_validation is not None and few else "test"
    figures = cross_validation if source == "cross_validation" else test
    if figures is None:
        return None
    return {
        "source": source,
        "metric": "macro_recall" if balanced else "accuracy",
        "value": figures["macro_recall" if balanced else "accuracy"],
        "interval95": figures["macro_recall_interval95" if balanced else "interval95"],
        "n": figures["n"],
        "majority": figures["majority"],
    }


def nothing_learnt(headline: dict[str, Any], classes: int) -> bool:
    """Whether the headline's lower bound does not exceed what guessing one class would reach.

    Args:
        headline: As `headline` gives it.
        classes: Number of classes.
    """
    balanced = headline["metric"] == "macro_recall"
    guessing = 1 / classes if balanced else headline["majority"]["share"]
    return bool(headline["interval95"][0] <= guessing)
