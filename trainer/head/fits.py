# SPDX-License-Identifier: Apache-2.0
"""Which fits there are: each on the development items without some, and what they score."""

from __future__ import annotations

import numpy as np

from trainer.arrays import BoolArray, IntArray
from trainer.config import Head
from trainer.head.choice import Choosers, Table
from trainer.head.development import Development
from trainer.head.objective import Subset, make_subset

Fold = int


class Fits:
    """The fits of one development set, by number.

    Attributes:
        subsets: (fits,) the items of each.
        training: The fit on training alone; None where there is no validation set.
    """

    def __init__(self, development: Development, settings: Head) -> None:
        """Number all fits that the choice of L2, cross-validation and the figures need.

        Args:
            development: The items.
            settings: The head section of the configuration.
        """
        self._development = development
        self._balanced = settings.class_weight == "balanced"
        folds = range(development.fold_count)
        self._choosing = {fold: development.choosing_folds(fold) for fold in folds}
        self._numbers: dict[frozenset[Fold], int] = {}
        self.subsets: list[Subset] = []
        for left in self._left_out(nested=settings.l2 == "auto"):
            self._numbers[left] = self._add(~np.isin(development.folds, list(left)))
        has_validation = development.validation.any()
        self.training = self._add(~development.validation) if has_validation else None

    def _left_out(self, nested: bool) -> list[frozenset[Fold]]:
        """The folds that fits leave out: none (all of development), one, or two."""
        singles = [frozenset({fold}) for fold in self._choosing]
        pairs = {
            frozenset({fold, other}) for fold, others in self._choosing.items() for other in others
        }
        return [frozenset(), *singles, *(sorted(pairs, key=sorted) if nested else [])]

    def _add(self, fitted: BoolArray) -> int:
        self.subsets.append(self._subset(fitted, self._development.labels))
        return len(self.subsets) - 1

    def _subset(self, fitted: BoolArray, labels: IntArray) -> Subset:
        return make_subset(fitted, labels, self._development.classes, self._balanced)

    def cells(self) -> IntArray:
        """Rows that every fit treats alike: by fold and set, and by class where it has a weight."""
        development = self._development
        cells = 2 * development.folds + development.validation
        if self._balanced:
            cells = cells * development.classes + development.labels
        numbers: IntArray = np.unique(cells, return_inverse=True)[1].astype(np.int64)
        return numbers

    def without(self, *folds: Fold) -> int:
        """The fit that leaves these folds out."""
        return self._numbers[frozenset(folds)]

    def lacks(self, head: int) -> BoolArray:
        """(classes,) whether a fit has no item of each."""
        lacking: BoolArray = self.subsets[head].class_weights == 0
        return lacking

    def choosers(self, left_out: Fold | None) -> Choosers:
        """The items that choose L2: for the final head, or for the one that leaves a fold out."""
        development = self._development
        if left_out is not None:
            return self._pooled(self._choosing[left_out], left_out)
        if development.fold_count:
            return self._pooled(development.choosing_folds(None))
        items = np.flatnonzero(development.validation)
        return Choosers(items, np.full(len(items), self.training))

    def _pooled(self, choosing: list[Fold], *left_out: Fold) -> Choosers:
        """The items of the choosing folds, each with the fit that leaves it (and a fold) out."""
        items, heads = [], []
        for fold in choosing:
            members = np.flatnonzero(self._development.folds == fold)
            items.append(members)
            heads.append(np.full(len(members), self.without(fold, *left_out)))
        return Choosers(np.concatenate(items), np.concatenate(heads))

    def table(self, chooser: Choosers) -> Table:
        """For scores of the choosing items; those whose class their fit lacks take no part."""
        labels = self._development.labels[chooser.items]
        lacks = np.array([self.lacks(head) for head in chooser.heads])
        scored = ~lacks[np.arange(len(labels)), labels]
        return Table(scored * self._subset(scored, labels).class_weights[labels])
