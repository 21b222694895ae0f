# SPDX-License-Identifier: Apache-2.0
"""The readable items with their labels, sets and folds: what heads are fitted and scored on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trainer.arrays import BoolArray, IntArray
from trainer.config import Config
from trainer.data.duplicates import Item, Items, gather_items, unit_names
from trainer.data.images import BadFile, SourceFile
from trainer.data.manifest import write_groups, write_manifest, write_quarantine
from trainer.data.near_duplicates import HashArray, Near
from trainer.data.plan import Plan, require_readable
from trainer.data.sets import TEST, TRAINING, VALIDATION
from trainer.data.split import Dealt, deal, deal_as_retrain_py, deal_folds, fold_count
from trainer.errors import DataError
from trainer.rundir import RunDir


@dataclass
class Dataset:
    """All items and where they were dealt.

    Attributes:
        classes: Names, in order.
        gathered: Items in the order of their digests, and conflicts.
        dealt: (items,) the set of each.
        near: Which items are near-duplicates; None where there are no pictures.
        units: (items,) name of what cross-validation must not split.
        bad: The quarantine.
        found: All files below class folders.
        fold_count: Folds of development; 0 where cross-validation is off.
        compat: `data.split.compat`.
    """

    classes: list[str]
    gathered: Items
    dealt: list[Dealt]
    near: Near | None
    units: list[str]
    bad: list[BadFile]
    found: int
    fold_count: int
    compat: str | None = None

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

    @property
    def test_is_given(self) -> bool:
        """Whether a manifest named every item of the test set."""
        return all(dealt.given for dealt in self.dealt if dealt.set == TEST)

    @cached_property
    def validation(self) -> BoolArray:
        """(development,) whether each is in validation."""
        return np.isin(self.development, self.positions(VALIDATION))

    @cached_property
    def folds(self) -> IntArray:
        """(development,) fold of each; all 0 where cross-validation is off."""
        if not self.fold_count:
            return np.zeros(len(self.development), np.int64)
        units = [self.units[place] for place in self.development.tolist()]
        return deal_folds(self.items(self.development), units, self.fold_count)

    @cached_property
    def near_development(self) -> BoolArray | None:
        """(items,) whether each is in the test set and near some item of development."""
        if self.near is None:
            return None
        test, development = (
            np.isin(np.arange(len(self.dealt)), self.positions(*sets))
            for sets in ((TEST,), (TRAINING, VALIDATION))
        )
        return self.near.near_any(test, development)

    def fingerprint(self) -> str:
        """SHA-256 over the classes, and the items with their labels, sets and units."""
        total = hashlib.sha256(json.dumps(self.classes).encode())
        for item, dealt, unit in zip(self.gathered.items, self.dealt, self.units, strict=True):
            told = "\0".join((item.label, dealt.set, unit))
            total.update(item.digest + told.encode("utf-8", "surrogateescape") + b"\n")
        return total.hexdigest()

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
            "near_duplicates": None if self.near is None else int(self.near.has_partner().sum()),
            "split": {name: sets[name] for name in (TRAINING, VALIDATION, TEST)},
            "compat": self.compat,
        }

    def write(self, run: RunDir) -> None:
        """Write manifest.csv, quarantine.csv and groups.csv."""
        write_manifest(run.manifest, self.gathered, self.dealt)
        write_quarantine(run.quarantine, self.bad)
        write_groups(run.groups, self.gathered.items, self.units)


Hashes = Callable[[Iterable[bytes]], tuple[HashArray, BoolArray]]
"""From contents to their difference hashes, and whether each has one."""


def require_dealable(plan: Plan, config: Config) -> None:
    """Refuse, before any image is decoded, what names and contents alone show to be too little.

    Raises:
        DataError: As `deal_dataset`.
    """
    require_readable(plan.bad, plan.found, config.data)
    gathered = gather_items(plan.files, plan.digests)
    _require_one_label_each(gathered, config)
    _deal(gathered.items, plan.classes, config)


def deal_dataset(
    plan: Plan, unreadable: Sequence[BadFile], hashes: Hashes | None, config: Config
) -> Dataset:
    """Gather the readable files into items and deal them.

    Args:
        plan: All files.
        unreadable: Those of the plan's files that the decoder could not read.
        hashes: Looks up difference hashes; None where there are no pictures.
        config: Shares, folds, and the limit to unreadable files.
    Raises:
        DataError: Too many unreadable files, or classes too small to be split.
    """
    bad = [*plan.bad, *unreadable]
    require_readable(bad, plan.found, config.data)
    gathered = gather_items(*_readable(plan, unreadable))
    _require_one_label_each(gathered, config)
    dealt = _deal(gathered.items, plan.classes, config)
    near = hashes and Near(*hashes([item.digest for item in gathered.items]))
    dataset = Dataset(
        classes=plan.classes,
        gathered=gathered,
        dealt=dealt,
        near=near,
        units=unit_names(gathered.items, near),
        bad=bad,
        found=plan.found,
        fold_count=0,
        compat=config.data.split.compat,
    )
    if config.evaluate.folds:
        units = [dataset.units[place] for place in dataset.development.tolist()]
        dataset.fold_count = fold_count(units, config.evaluate.folds)
    return dataset


def _readable(plan: Plan, unreadable: Sequence[BadFile]) -> tuple[list[SourceFile], list[bytes]]:
    """The files that could be read, and their digests."""
    lost = {file.path for file in unreadable}
    pairs = [
        (file, digest)
        for file, digest in zip(plan.files, plan.digests, strict=True)
        if file.path not in lost
    ]
    return [file for file, _ in pairs], [digest for _, digest in pairs]


def _require_one_label_each(gathered: Items, config: Config) -> None:
    """Refuse a source in which most contents lie under several labels.

    Raises:
        DataError: It is multi-label data, which this is not made for.
    """
    torn = len({digest for _, digest in gathered.conflicts})
    if torn > len(gathered.items):
        raise DataError(
            f"{config.data.source_key} {config.data.source}: {torn:,} of "
            f"{torn + len(gathered.items):,} images lie under several labels.",
            "An image has one label here: retrain tells classes apart that exclude each other.",
        )


def _deal(items: Sequence[Item], classes: Sequence[str], config: Config) -> list[Dealt]:
    data, split = config.data, config.data.split
    if split.compat:
        folder = split.image_dir or ""
        return deal_as_retrain_py(items, split.validation, split.test, data.source_key, folder)
    return deal(items, split.validation, split.test, data.source_key, classes)
