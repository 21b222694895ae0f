# SPDX-License-Identifier: Apache-2.0
"""The items that heads may be fitted on, and which of them choose a strength."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.arrays import BoolArray, IntArray

CHOOSING_ITEMS = 2000


@dataclass(frozen=True)
class Development:
    """The items that heads may be fitted on, in the order of their rows.

    Attributes:
        labels: (items,) class numbers.
        validation: (items,) bool: in the validation set.
        folds: (items,) fold of each item; all 0 where cross-validation is off.
        fold_count: 0 where it is off.
        classes: Number of classes.
    """

    labels: IntArray
    validation: BoolArray
    folds: IntArray
    fold_count: int
    classes: int

    def choosing_folds(self, left_out: int | None) -> list[int]:
        """Folds that choose L2: for the final head, or for the head that leaves a fold out.

        From fold 0 on, or, nested, from the fold half-way round on: as many as together hold
        2,000 items, or all. Not the neighbour first: a class of two units lies in neighbours.
        """
        count = self.fold_count
        first = 0 if left_out is None else (left_out + count // 2) % count
        chosen: list[int] = []
        held = 0
        for fold in ((first + step) % count for step in range(count)):
            if held >= CHOOSING_ITEMS:
                break
            if fold != left_out:
                chosen.append(fold)
                held += int((self.folds == fold).sum())
        return chosen
