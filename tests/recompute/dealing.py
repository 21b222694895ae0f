# SPDX-License-Identifier: Apache-2.0
"""Items, groups, the split and the folds: sections 1, 2 and 4 of the method page."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

TRAINING, VALIDATION, TEST = "training", "validation", "test"
TIES = (TRAINING, VALIDATION, TEST)


@dataclass(frozen=True)
class Item:
    """One distinct content: the file that stands for it, and its copies."""

    sha256: str
    path: str
    label: str
    group: str
    copies: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What is never split: the group, else the item alone."""
        return self.group or self.sha256

    @property
    def position(self) -> float:
        """The number u of section 2, in [0, 1)."""
        if self.group:
            digest = hashlib.sha256(os.fsencode(self.group)).digest()
        else:
            digest = bytes.fromhex(self.sha256)
        return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Items:
    """All items in path order, and the paths whose content stands under two labels."""

    items: list[Item]
    conflicts: list[str]


def group_of(path: str) -> str:
    """retrain.py's rule on the path, class folder included; empty for an item alone."""
    return path.split("_nohash_", 1)[0] if "_nohash_" in path else ""


def gather(digests: dict[str, str]) -> Items:
    """Fold files into items.

    Args:
        digests: Relative path (class folder first) to SHA-256.
    """
    paths: dict[str, list[str]] = defaultdict(list)
    for path in sorted(digests):
        paths[digests[path]].append(path)
    items, conflicts = [], []
    for sha256, same in paths.items():
        labels = {path.split("/", 1)[0] for path in same}
        if len(labels) > 1:
            conflicts += same
            continue
        first, *copies = same
        items.append(Item(sha256, first, labels.pop(), group_of(first), tuple(copies)))
    return Items(sorted(items, key=lambda item: item.path), conflicts)


@dataclass(frozen=True)
class Dealt:
    """The set of one item, and the set it was moved from by a repair (else empty)."""

    set: str
    moved: str = ""


class Undealable(Exception):
    """A repair finds no group to move; a run on such data must end with 3."""


def deal(items: Iterable[Item], validation: float, test: float) -> dict[str, Dealt]:
    """The split: SHA-256 of each item to its set."""
    units: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        units[item.unit].append(item)
    sets = {unit: Dealt(first_set(all_of[0], validation, test)) for unit, all_of in units.items()}
    wished = [name for name, share in ((TEST, test), (VALIDATION, validation)) if share > 0]
    for label in sorted({item.label for members in units.values() for item in members}):
        for name in [*wished, TRAINING]:
            repair(units, sets, label, name)
    return {item.sha256: sets[unit] for unit, members in units.items() for item in members}


def first_set(item: Item, validation: float, test: float) -> str:
    """The set that u alone gives."""
    if item.position < test:
        return TEST
    return VALIDATION if item.position < test + validation else TRAINING


def repair(units: dict[str, list[Item]], sets: dict[str, Dealt], label: str, wanting: str) -> None:
    """Move one group of this class alone into a set that has no item of the class."""
    having = [unit for unit, members in units.items() if any(m.label == label for m in members)]
    if len(having) < 3:
        raise Undealable(f"class {label!r} has fewer than three groups")
    if any(sets[unit].set == wanting for unit in having):
        return
    alone = [unit for unit in having if all(m.label == label for m in units[unit])]
    counts = Counter(sets[unit].set for unit in alone)
    giver = max(TIES, key=lambda name: counts[name])
    if counts[giver] < 2:
        raise Undealable(f"class {label!r} has no group to give to {wanting}")
    lowest = min(
        (unit for unit in alone if sets[unit].set == giver),
        key=lambda unit: units[unit][0].position,
    )
    sets[lowest] = Dealt(wanting, giver)


def fold_count(items: list[Item], asked: int) -> int:
    """M of section 4; 0 where cross-validation is off."""
    folds = min(asked, len({item.unit for item in items}))
    return folds if folds >= 4 else 0


def deal_folds(items: list[Item], folds: int) -> dict[str, int]:
    """Deal development's units to folds in turn: SHA-256 to fold, from 0."""
    units: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        units[item.unit].append(item)
    turn = sorted(
        units,
        key=lambda unit: (
            min(item.label for item in units[unit]),
            min(item.position for item in units[unit]),
        ),
    )
    return {item.sha256: number % folds for number, unit in enumerate(turn) for item in units[unit]}
