# SPDX-License-Identifier: Apache-2.0
"""Each class by itself: recall, precision and F1, with the intervals that its images allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.analysis.scores import wilson

Bounds = list[float] | None


@dataclass(frozen=True)
class ClassRow:
    """One class; shares are None where there is nothing to divide by."""

    name: str
    items: int
    predicted: int
    recall: float | None
    recall95: Bounds
    precision: float | None
    precision95: Bounds
    f1: float | None
    f195: Bounds


def class_rows(confusion: list[list[int]], classes: list[str], thinning: float) -> list[ClassRow]:
    """Score every class.

    Args:
        confusion: (classes, classes) items, rows the truth.
        classes: Names, in the same order.
        thinning: Effective over actual number of items: what groups leave of each count.

    The interval of F1 = 2 F*/(1 + F*) is that of the share F* = hits / (hits + misses + false
    alarms).

    Source: Hand, Christen, Kirielle 2021, Machine Learning 110(3), pages 451-456 (F*).
    """
    counts = np.array(confusion)
    hits = np.diag(counts)
    labelled, predicted = counts.sum(axis=1), counts.sum(axis=0)
    rows = []
    for number, name in enumerate(classes):
        hit, has, says = int(hits[number]), int(labelled[number]), int(predicted[number])
        recall, recall95 = _share(hit, has, thinning)
        precision, precision95 = _share(hit, says, thinning)
        star, star95 = _share(hit, has + says - hit, thinning)
        f1 = None if star is None else _to_f1(star)
        f195 = None if star95 is None else [_to_f1(bound) for bound in star95]
        rows.append(ClassRow(name, has, says, recall, recall95, precision, precision95, f1, f195))
    return rows


def _share(part: int, whole: int, thinning: float) -> tuple[float | None, Bounds]:
    if not whole:
        return None, None
    return part / whole, list(wilson(part / whole, whole * thinning))


def _to_f1(star: float) -> float:
    return 2 * star / (1 + star)


def weakest_first(rows: list[ClassRow]) -> list[ClassRow]:
    """By F1, the lowest first; those that occur nowhere are left out."""
    return sorted((row for row in rows if row.f1 is not None), key=lambda row: row.f1 or 0.0)
