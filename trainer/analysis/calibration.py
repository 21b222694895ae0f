# SPDX-License-Identifier: Apache-2.0
"""How far probabilities can be believed: log loss, and the gap between confidence and accuracy.

Confidence is the probability of the predicted class. What is right and what is predicted is settled
in `scores`; here stand the measures alone, each a function of its arguments only.
"""

from __future__ import annotations

import numpy as np

from trainer.arrays import BoolArray, FloatArray, IntArray

SMALLEST_PROBABILITY = 1e-15
"""Lower ones count as it, so that one sure and wrong answer costs 34.5 and not infinity."""

FEWEST_ITEMS = 100
"""Below it the calibration error is mostly noise and is not given."""

MOST_BINS = 15
ITEMS_PER_BIN = 20
SIMULATIONS = 200


def log_loss(labels: IntArray, probabilities: FloatArray) -> float:
    """Mean of -ln(probability given to the true class).

    Args:
        labels: (n,) class index of each item, n at least 1.
        probabilities: (n, classes) of each item.
    """
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, SMALLEST_PROBABILITY)).mean())


def prior_log_loss(labels: IntArray, prior: FloatArray) -> float:
    """Log loss of giving every item the same probabilities, whatever it shows.

    Args:
        labels: (n,) class index of each item, n at least 1.
        prior: (classes,) share of each class in training.
    """
    return log_loss(labels, np.broadcast_to(prior, (len(labels), len(prior))))


def expected_calibration_error(confidence: FloatArray, correct: BoolArray) -> float | None:
    """Mean distance between confidence and accuracy over bins of equally many items.

    The items are sorted by confidence, equal ones left in the given order, and cut by
    `numpy.array_split` into min(15, n // 20) bins.

    Args:
        confidence: (n,) probability of the predicted class.
        correct: (n,) whether the predicted class is the true one.

    Returns:
        A share of 1, each bin weighted by its items; None below 100 items.

    Source: Guo et al. 2017, Proc. Mach. Learn. Res. 70, pages 1321-1330 (the measure); Nguyen and
    O'Connor 2015, Proc. EMNLP, pages 1587-1598 (bins of equally many items).
    """
    if len(confidence) < FEWEST_ITEMS:
        return None
    order = np.argsort(confidence, kind="stable")
    return _binned_distance(confidence[order] - correct[order])


def perfect_calibration_error(confidence: FloatArray, seed: int) -> float | None:
    """The calibration error that the same confidences would show if they were exactly true.

    With few items a bin's accuracy strays from its confidence by chance alone, so the error of a
    perfect head is not 0. It is the mean over 200 draws, in each of which every item is right with
    the probability that its confidence says.

    Args:
        confidence: (n,) probability of the predicted class.
        seed: Seed of the draws.

    Returns:
        A share of 1; None below 100 items.
    """
    if len(confidence) < FEWEST_ITEMS:
        return None
    ordered = np.sort(confidence)
    random = np.random.default_rng(seed)
    draws = (random.random(len(ordered)) < ordered for _ in range(SIMULATIONS))
    return float(np.mean([_binned_distance(ordered - correct) for correct in draws]))


def _binned_distance(difference: FloatArray) -> float:
    """The error from confidence minus correctness (n,), in order of confidence."""
    bins = np.array_split(difference, min(MOST_BINS, len(difference) // ITEMS_PER_BIN))
    return float(sum(abs(part.sum()) for part in bins) / len(difference))
