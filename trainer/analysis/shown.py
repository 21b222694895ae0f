# SPDX-License-Identifier: Apache-2.0
"""Which items a page shows: chosen by rules alone, never by what looks good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import FloatArray, IntArray

MOST_MISTAKES, MOST_UNSURE, MOST_BEFORE_AFTER, MOST_SUSPECTS = 12, 6, 6, 12
MOST_ON_SHEET, MOST_OF_A_CLASS = 60, 8
SHOWN_CLASSES = 3
"""The likeliest, of each item."""


@dataclass
class Chosen:
    """Rows of all predictions that are shown, and items of a contact sheet.

    Attributes:
        before_after, mistakes, unsure, suspects: Row numbers, in the order in which they are shown.
        sheet: Item numbers, class by class.
    """

    before_after: list[int] = field(default_factory=list)
    mistakes: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    suspects: list[int] = field(default_factory=list)
    sheet: list[int] = field(default_factory=list)

    def rows(self) -> list[int]:
        """Every row once, in rising order."""
        return sorted({*self.before_after, *self.mistakes, *self.unsure, *self.suspects})


def worst_mistakes(labels: IntArray, probabilities: FloatArray) -> list[int]:
    """Wrong answers, the surest first: at most 12 positions."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")
    chosen: list[int] = wrong[order][:MOST_MISTAKES].tolist()
    return chosen


def least_sure_hits(labels: IntArray, probabilities: FloatArray) -> list[int]:
    """Right answers, the one with the nearest runner-up first: at most 6 positions."""
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    two = np.sort(probabilities[right], axis=1)[:, -2:]
    order = np.argsort(two[:, 1] - two[:, 0], kind="stable")
    chosen: list[int] = right[order][:MOST_UNSURE].tolist()
    return chosen


def some_of_each(labels: IntArray, digests: Sequence[bytes], most: int, most_each: int) -> IntArray:
    """A few items of every class, by content alone, as evenly as can be.

    Args:
        labels: (n,) class numbers.
        digests: (n,) SHA-256 of each: the lowest are taken.
        most: Items in all.
        most_each: Of a class.

    Returns:
        Positions, class by class; of more classes than `most` the first.
    """
    order = np.array(sorted(range(len(labels)), key=lambda place: digests[place]), np.int64)
    classes = np.unique(labels)
    each = min(most_each, max(1, most // max(1, len(classes))))
    parts = [order[labels[order] == number][:each] for number in classes[:most].tolist()]
    return np.concatenate([np.empty(0, np.int64), *parts])
