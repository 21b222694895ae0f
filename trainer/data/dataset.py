# SPDX-License-Identifier: Apache-2.0
"""The readable items with their labels, sets and folds: what heads are fitted and scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trainer.arrays import BoolArray, IntArray
from trainer.config import Config
from trainer.data.duplicates import Item, Items, gather_items
from trainer.data.images import BadFile
from trainer.data.manifest import write_groups, write_manifest, write_quarantine
from trainer.data.plan import Plan, require_readable
from trainer.data.split import TEST, TRAINING, VALIDATION, Dealt, deal, deal_folds, fold_count
from trainer.rundir import RunDir


@dataclass
class Dataset:
    """All items and where they were dealt.

    Attributes:
        classes: Names, in order.
        gathered: Items in the order of their digests, and conflicts.
        dealt: (items,) the set of each.
        bad: The quarantine.
        found: All files below class folders.
        fold_count: Folds of development; 0 where cross-validation is off.
    """

    classes: list[str]
    gathered: Items
    dealt: list[Dealt]
    bad: list[BadFile]
    found: int
    fold_count: int

    @cached_property
    def labels(self) -> IntArray:
        """(items,) class numbers."""
        number = {name: place for place, name in enumerate(self.classes)}
        return np.array([number[item.label] for item in self.gathered.items], np.int64)

    def positions(self, *sets: str) -> IntArray:
        """Which items are in these sets."""
        return np.array([i for i, dealt in enumerate(self.dealt) if dealt.set in sets], np.int64)

    @cached_property
    def development(self) -> IntArray:
        """Which items are in training or validation."""
        return self.positions(TRAINING, VALIDATION)

    @cached_property
    def validation(self) -> BoolArray:
        """(development,) whether each is in validation."""
        return np.isin(self.development, self.positions(VALIDATION))

    @cached_property
    def folds(self) -> IntArray:
        """(development,) fold of each; all 0 where cross-validation is off."""
        if not self.fold_count:
            return np.zeros(len(self.development), np.int64)
        return deal_folds(self.items(self.development), self.fold_count)

    def items(self, positions: IntArray) -> list[Item]:
        """The items at these positions."""
        return [self.gathered.items[place] for place in positions.tolist()]

    def summary(self) -> dict[str, Any]:
        """The `data` section of results.json."""
        sets = Counter(dealt.set for dealt in self.dealt)
        duplicates = sum(len(item.copies) for item in self.gathered.items)
        conflicts = len(self.gathered.conflicts)
        return {
            "images": len(self.gathered.items) + duplicates + conflicts,
            "classes": self.classes,
            "quarantined": len(self.bad),
            "duplicates": duplicates,
            "conflicts": conflicts,
            "near_duplicates": None,
            "split": {name: sets[name] for name in (TRAINING, VALIDATION, TEST)},
        }

    def write(self, run: RunDir) -> None:
        """Write manifest.csv, quarantine.csv and groups.csv."""
        write_manifest(run.manifest, self.gathered, self.dealt)
        write_quarantine(run.quarantine, self.bad)
        write_groups(run.groups, self.gathered.items)


def deal_dataset(plan: Plan, unreadable: Sequence[BadFile], config: Config) -> Dataset:
    """Gather the readable files into items and deal them.

    Args:
        plan: All files.
        unreadable: Those of the plan's files that the decoder could not read.
        config: Shares, folds, and the limit to unreadable files.
    Raises:
        DataError: Too many unreadable files, or classes too small to be split.
    """
    bad = [*plan.bad, *unreadable]
    require_readable(bad, plan.found, config.data)
    lost = {file.path for file in unreadable}
    pairs = [
        (file, digest)
        for file, digest in zip(plan.files, plan.digests, strict=True)
        if file.path not in lost
    ]
    gathered = gather_items([file for file, _ in pairs], [digest for _, digest in pairs])
    split = config.data.split
    dealt = deal(gathered.items, split.validation, split.test, config.data.source_key, plan.classes)
    dataset = Dataset(plan.classes, gathered, dealt, bad, plan.found, 0)
    if config.evaluate.folds:
        items = dataset.items(dataset.development)
        dataset.fold_count = fold_count(items, config.evaluate.folds)
    return dataset
