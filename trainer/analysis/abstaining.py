# SPDX-License-Identifier: Apache-2.0
"""What is gained by saying nothing where the head is not sure enough."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.arrays import BoolArray, FloatArray, IntArray

WISHES = (0.9, 0.95, 0.99)
"""Accuracies, or precisions, that people ask for."""
MOST_POINTS = 200
"""Of a curve in a file; a page draws no more."""


def accuracy_by_coverage(confidence: FloatArray, correct: BoolArray) -> FloatArray:
    """How accuracy changes as only the surest answers are given.

    Args:
        confidence: (n,) probability of the predicted class.
        correct: (n,) whether it is the true one.

    Returns:
        (distinct confidences, 3) in falling order: the least confidence that is answered, the share
        of items that reach it, and the share of these that are right.

    Source: El-Yaniv and Wiener 2010, J. Mach. Learn. Res. 11, pages 1605-1641.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    answered = np.arange(1, len(ordered) + 1)
    last = _last_of_equals(ordered)
    accuracy = np.cumsum(correct[order]) / answered
    curve: FloatArray = np.stack([ordered, answered / max(1, len(ordered)), accuracy], axis=1)[last]
    return curve


def _last_of_equals(ordered: FloatArray) -> IntArray:
    """Where runs of equal values end: a threshold takes all of them or none."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], [True] * bool(len(ordered))))


def precision_and_recall(probability: FloatArray, positive: BoolArray) -> FloatArray:
    """How precise and how complete finding one class is, as its threshold falls.

    Args:
        probability: (n,) of the class.
        positive: (n,) whether it is the true one.

    Returns:
        (distinct probabilities, 3) in falling order: the threshold, the share of items at or above
        it that have the class, and the share of the class that is there; not a number where no item
        has the class.
    """
    order = np.argsort(-probability, kind="stable")
    ordered, hits = probability[order], np.cumsum(positive[order])
    last = _last_of_equals(ordered)
    with np.errstate(invalid="ignore"):
        recall = hits / np.float64(positive.sum())
    precision = hits / np.arange(1, len(hits) + 1)
    curve: FloatArray = np.stack([ordered, precision, recall], axis=1)[last]
    return curve


def abstaining(labels: IntArray, probabilities: FloatArray) -> dict[str, Any]:
    """The curve and what common wishes need, as they stand in `analysis.json`.

    Args:
        labels: (n,) class numbers, n at least 1.
        probabilities: (n, classes) by heads that had not seen the item.

    Returns:
        `curve`: rows {threshold, coverage, accuracy}; `wishes`: for each accuracy in `WISHES` the
        lowest threshold that reaches it, or null; for two classes `classes`: for each of them its
        `wishes` of precision, with the recall that is left.
    """
    correct = probabilities.argmax(axis=1) == labels
    curve = accuracy_by_coverage(probabilities.max(axis=1), correct)
    found: dict[str, Any] = {
        "n": len(labels),
        "curve": _rows(thinned(curve), ("threshold", "coverage", "accuracy")),
        "wishes": [
            _least(curve, wish, 2, ("threshold", "coverage", "accuracy")) for wish in WISHES
        ],
    }
    if probabilities.shape[1] == 2:
        found["classes"] = [
            _one_class(probabilities[:, number], labels == number) for number in (0, 1)
        ]
    return found


def _one_class(probability: FloatArray, positive: BoolArray) -> dict[str, Any]:
    curve = precision_and_recall(probability, positive)
    names = ("threshold", "precision", "recall")
    if not positive.any():
        return {"n": 0, "curve": [], "wishes": []}
    return {
        "n": int(positive.sum()),
        "curve": _rows(thinned(curve), names),
        "wishes": [_least(curve, wish, 1, names) for wish in WISHES],
    }


def _least(curve: FloatArray, wish: float, column: int, names: tuple[str, ...]) -> dict[str, Any]:
    """The row that gives most answers among those that fulfil a wish; nulls where none does."""
    enough = np.flatnonzero(curve[:, column] >= wish)
    row = curve[enough[-1]].tolist() if len(enough) else [None] * len(names)
    return {"wish": wish, **dict(zip(names, row, strict=True))}


def thinned(curve: FloatArray) -> FloatArray:
    """At most 200 rows of a curve, evenly spread, the first and the last among them."""
    if len(curve) <= MOST_POINTS:
        return curve
    places = np.unique(np.linspace(0, len(curve) - 1, MOST_POINTS).round().astype(np.int64))
    rows: FloatArray = curve[places]
    return rows


def _rows(curve: FloatArray, names: tuple[str, ...]) -> list[dict[str, float]]:
    return [dict(zip(names, row, strict=True)) for row in curve.tolist()]
