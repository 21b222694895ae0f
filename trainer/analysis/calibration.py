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

HOTTEST = 100.0
BISECTIONS = 50
"""Of the logarithm of a temperature: to 14 digits."""


def log_loss(labels: IntArray, probabilities: FloatArray) -> float:
    """Mean of -ln(probability given to the true class).

    Args:
        labels: (n,) class index of each item, n at least 1.
        probabilities: (n, classes) of each item.
    """
    given = probabilities[np.arange(len(labels)), labels]
    return float(0.0 - np.log(np.maximum(given, SMALLEST_PROBABILITY)).mean())  # never -0.0


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


def reliability(confidence: FloatArray, correct: BoolArray) -> list[dict[str, float]]:
    """What is behind the calibration error: each bin's confidence and accuracy.

    Args:
        confidence: (n,) probability of the predicted class.
        correct: (n,) whether the predicted class is the true one.

    Returns:
        Bins in order of confidence, as in `expected_calibration_error`: {n, confidence, accuracy};
        none below 100 items.
    """
    if len(confidence) < FEWEST_ITEMS:
        return []
    order = np.argsort(confidence, kind="stable")
    return [
        {
            "n": len(part),
            "confidence": float(confidence[part].mean()),
            "accuracy": float(correct[part].mean()),
        }
        for part in np.array_split(order, _bins(len(order)))
    ]


def temperature(labels: IntArray, probabilities: FloatArray) -> float:
    """The number that logits should be divided by, for probabilities that fit these items best.

    Args:
        labels: (n,) class index of each item, n at least 1.
        probabilities: (n, classes) by heads that had not seen the item; their logarithms stand for
            the logits.

    Returns:
        The temperature of least log loss within 0.01 to 100: above 1, the head is too sure of
        itself.

    Source: Guo et al. 2017, Proc. Mach. Learn. Res. 70, pages 1321-1330, section 4.2.
    """
    logits = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    truth = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        """Of the log loss, which is convex in the inverse temperature."""
        powers = np.exp(inverse * (logits - logits.max(axis=1, keepdims=True)))
        mean = (powers * logits).sum(axis=1) / powers.sum(axis=1)
        return float((mean - truth).mean())

    low, high = -np.log(HOTTEST), np.log(HOTTEST)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Probabilities (n, classes) with their logits divided by a temperature."""
    logits = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    softened: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return softened


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
    bins = np.array_split(difference, _bins(len(difference)))
    return float(sum(abs(part.sum()) for part in bins) / len(difference))


def _bins(items: int) -> int:
    return min(MOST_BINS, items // ITEMS_PER_BIN)
