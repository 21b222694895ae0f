# SPDX-License-Identifier: Apache-2.0
"""The figures of section 5 of the method page, from labels and probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_PROBABILITY = 1e-15
LEAST_FOR_CALIBRATION = 100
DRAWS = 2000


@dataclass(frozen=True)
class Scored:
    """Rows of one source of predictions.csv.

    labels and predicted are (n,) class numbers, probabilities (n, classes), groups n names.
    """

    labels: Ints
    predicted: Ints
    probabilities: Floats
    groups: Sequence[str]


def figures(rows: Scored, classes: Sequence[str], majority: int) -> dict[str, Any]:
    """All exact figures of one scored set under their names in results.json.

    Args:
        rows: At least one row.
        classes: The class names.
        majority: Number of the class that is most frequent in training.
    """
    size = len(rows.labels)
    correct = int(np.sum(rows.labels == rows.predicted))
    counts = confusion(rows.labels, rows.predicted, len(classes))
    return {
        "n": size,
        "n_effective": effective_size(rows.groups),
        "correct": correct,
        "accuracy": correct / size,
        "interval95": list(wilson(correct / size, effective_size(rows.groups))),
        "log_loss": log_loss(rows.labels, rows.probabilities),
        "macro_recall": float(macro_recall(counts)),
        "macro_f1": float(macro_f1(counts)),
        "ece": calibration_error(rows),
        "majority": {
            "label": classes[majority],
            "share": float(np.mean(rows.labels == majority)),
        },
        "confusion": counts.tolist(),
    }


def effective_size(groups: Sequence[str]) -> float:
    """Kish: n^2 / sum of squared group sizes."""
    return len(groups) ** 2 / sum(size**2 for size in Counter(groups).values())


def wilson(share: float, size: float) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22(158), pages 209-212)."""
    z = NormalDist().inv_cdf(0.975)
    middle = share + z * z / (2 * size)
    half = z * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return (middle - half) / (1 + z * z / size), (middle + half) / (1 + z * z / size)


def log_loss(labels: Ints, probabilities: Floats, weights: Floats | None = None) -> float:
    """Mean negative natural logarithm of the label's probability, clipped at 1e-15."""
    given = np.clip(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY, 1.0)
    return float(np.average(-np.log(given), weights=weights))


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """(classes, classes) counts, rows the truth."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.astype(np.int64).reshape(classes, classes)


def macro_recall(counts: NDArray[Any]) -> Floats:
    """Mean recall over the classes that have items; counts are (..., classes, classes)."""
    return mean_of_ratios(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def macro_f1(counts: NDArray[Any]) -> Floats:
    """Mean F1 over the classes that occur in labels or predictions."""
    return mean_of_ratios(
        2 * np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1) + counts.sum(axis=-2)
    )


def mean_of_ratios(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Mean over the last axis of above / below where below is not 0."""
    present = below > 0
    ratios = np.divide(above, below, out=np.zeros(below.shape), where=present)
    return np.asarray(ratios.sum(axis=-1) / present.sum(axis=-1))


def bin_sizes(size: int) -> list[int]:
    """Sizes of min(15, n // 20) bins that differ by one at most, the larger first."""
    bins = min(15, size // 20)
    return [size // bins + (number < size % bins) for number in range(bins)]


def calibration_error(rows: Scored) -> float | None:
    """Top-label expected calibration error over equal-count bins; None below n = 100."""
    if len(rows.labels) < LEAST_FOR_CALIBRATION:
        return None
    confidence = rows.probabilities.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    right = (rows.labels == rows.predicted)[order]
    return float(binned_error(confidence[order], right[None, :])[0])


def binned_error(confidence: Floats, right: NDArray[np.bool_]) -> Floats:
    """Calibration errors of (draws, n) outcomes at (n,) rising confidences."""
    starts = np.concatenate([[0], np.cumsum(bin_sizes(len(confidence)))[:-1]])
    gaps = np.add.reduceat(right - confidence, starts, axis=1)
    return np.asarray(np.abs(gaps).sum(axis=1) / len(confidence))


def expected_calibration(rows: Scored) -> tuple[float, float]:
    """Mean and deviation of the error that these confidences would show if they were true."""
    confidence = np.sort(rows.probabilities.max(axis=1))
    draws = np.random.default_rng(1927).random((DRAWS, len(confidence))) < confidence
    errors = binned_error(confidence, draws)
    return float(errors.mean()), float(errors.std())


Band = tuple[float, float]


def bootstrap(rows: Scored, classes: int) -> dict[str, tuple[Band, Band]]:
    """The ends of the 95% intervals of macro recall and macro F1 by draws of whole groups.

    Of few items the means take few values, so that other draws may give the next one: each end is
    told as a band.
    """
    names = sorted(set(rows.groups))
    number = {name: index for index, name in enumerate(names)}
    units = np.array([number[name] for name in rows.groups])
    flat = (units * classes + rows.labels) * classes + rows.predicted
    table = np.bincount(flat, minlength=len(names) * classes**2)
    table = table.reshape(len(names), classes, classes)
    generator = np.random.default_rng(2012)
    taken = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    counts = np.tensordot(taken, table, axes=1)
    return {
        "macro_recall_interval95": ends(macro_recall(counts)),
        "macro_f1_interval95": ends(macro_f1(counts)),
    }


def ends(values: Floats) -> tuple[Band, Band]:
    """Between which values the 2.5th and 97.5th percentile of other 2,000 draws lie.

    Three standard errors of the difference of two shares of 2.5%: 1.5%.
    """
    levels = np.percentile(values, [1.0, 4.0, 96.0, 99.0])
    low, low_at_most, high_at_least, high = map(float, levels)
    return (low, low_at_most), (high_at_least, high)
