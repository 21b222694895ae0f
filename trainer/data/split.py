# SPDX-License-Identifier: Apache-2.0
"""Which items train, validate and test, and which fold each belongs to: decided by content alone.

Nothing here depends on where the images lie, in which order they came, or on a seed, so that old
images stay where they are when others are added.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.arrays import IntArray
from trainer.data.duplicates import Item
from trainer.errors import DataError

TRAINING, VALIDATION, TEST = "training", "validation", "test"
FEWEST_GROUPS = 3  # one for each set
FEWEST_FOLDS = 4


@dataclass(frozen=True, slots=True)
class Dealt:
    """Where an item went."""

    set: str
    """`training`, `validation` or `test`."""
    moved: str
    """The set that a repair took it from, or empty."""


def position(item: Item) -> float:
    """An item's place between 0 and 1, the same for all of a group.

    The first 8 bytes, big-endian, of the SHA-256 of the group's name in UTF-8, or of the item's
    own content where it is alone, over 2**64.
    """
    if item.group:
        name = item.group.encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") / 2**64
    return int.from_bytes(item.digest[:8], "big") / 2**64


@dataclass(slots=True)
class _Group:
    """Items that are dealt together."""

    name: str
    position: float
    labels: frozenset[str]
    set: str
    moved: str = ""


def deal(
    items: Sequence[Item], validation: float, test: float, key: str, classes: Sequence[str] = ()
) -> list[Dealt]:
    """Deal items into the three sets, and repair sets that lack a class.

    Args:
        items: In any order; conflicts left out.
        validation: Share of the validation set; at 0 there is none, and nothing is moved there.
        test: Share of the test set, likewise.
        key: The configuration's key for the source, for messages.
        classes: Classes that must be there, besides those of the items.
    Returns:
        One for each item.
    Raises:
        DataError: Classes with fewer than three groups, or whose groups span too many classes to
            be dealt; names all of them.
    """
    groups = _groups(items)
    by_class: dict[str, list[_Group]] = {label: [] for label in classes}
    for group in groups.values():
        group.set = _set_at(group.position, validation, test)
        for label in group.labels:
            by_class.setdefault(label, []).append(group)
    shares = {TEST: test, VALIDATION: validation, TRAINING: 1.0}
    wanted = [name for name, share in shares.items() if share > 0]
    short = []
    for label, its_groups in sorted(by_class.items()):
        if len(its_groups) < FEWEST_GROUPS or not _repair(its_groups, wanted):
            short.append(f"{label} ({len(its_groups)})")
    if short:
        raise _too_few(short, len(by_class), key)
    return [Dealt(groups[item.unit].set, groups[item.unit].moved) for item in items]


def _set_at(place: float, validation: float, test: float) -> str:
    if place < test:
        return TEST
    return VALIDATION if place < test + validation else TRAINING


def _groups(items: Iterable[Item]) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for item in items:
        group = groups.get(item.unit)
        if group is None:
            labels = frozenset({item.label})
            groups[item.unit] = _Group(item.unit, position(item), labels, TRAINING)
        elif item.label not in group.labels:
            group.labels |= {item.label}
    return groups


def _repair(groups: Sequence[_Group], wanted: Sequence[str]) -> bool:
    """Give each set that lacks the class a group of this class alone; say whether that went."""
    for name in wanted:
        if any(group.set == name for group in groups):
            continue
        alone = [group for group in groups if len(group.labels) == 1]
        counts = Counter(group.set for group in alone)
        donor = max((TRAINING, VALIDATION, TEST), key=lambda other: counts[other])  # first of ties
        if counts[donor] < 2:
            return False
        given = min(
            (group for group in alone if group.set == donor),
            key=lambda group: (group.position, group.name),
        )
        given.set, given.moved = name, donor
    return True


def _too_few(short: Sequence[str], classes: int, key: str) -> DataError:
    return DataError(
        f"{key}: too few groups of readable files in {len(short)} of {classes} classes: "
        f"{', '.join(short)}; each needs {FEWEST_GROUPS} of its own, one for each set.",
        "Identical files count once, files named alike up to _nohash_ too. "
        "Add files, or leave these classes out with data.exclude.",
    )


def fold_count(items: Sequence[Item], asked: int) -> int:
    """How many folds cross-validation can have.

    Args:
        items: Those of development.
        asked: The number wished for.
    Returns:
        At most one fold for each unit; 0, meaning off, where that leaves fewer than four.
    """
    count = min(asked, len({item.unit for item in items}))
    return count if count >= FEWEST_FOLDS else 0


def deal_folds(items: Sequence[Item], folds: int) -> IntArray:
    """Deal items to the folds of cross-validation, in turn, by class and place.

    Args:
        items: Those of development, in any order.
        folds: Their number, at least 1.
    Returns:
        (items,) int64, from 0 to folds - 1; all items of a unit have the same.
    """
    groups = _groups(items)
    in_turn = sorted(groups.values(), key=lambda g: (min(g.labels), g.position, g.name))
    fold = {group.name: turn % folds for turn, group in enumerate(in_turn)}
    return np.array([fold[item.unit] for item in items], dtype=np.int64)
