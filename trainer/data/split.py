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
from trainer.data.retrain_py import set_of_path
from trainer.data.sets import TEST, TRAINING, VALIDATION
from trainer.errors import DataError

FEWEST_GROUPS = 3  # one for each set
FEWEST_FOLDS = 4


@dataclass(frozen=True, slots=True)
class Dealt:
    """Where an item went."""

    set: str
    """`training`, `validation` or `test`."""
    moved: str
    """The set that a repair took it from, or empty."""
    given: bool = False
    """Whether a manifest wanted it there."""


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
    sets: frozenset[str]
    """Where a manifest wants it; then that is where it stays."""
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
    _require_one_wish(groups.values(), items, key)
    by_class: dict[str, list[_Group]] = {label: [] for label in classes}
    for group in groups.values():
        group.set = next(iter(group.sets), _set_at(group.position, validation, test))
        for label in group.labels:
            by_class.setdefault(label, []).append(group)
    wanted = _wanted(groups.values(), validation, test)
    fewest = len(wanted) if all(group.sets for group in groups.values()) else FEWEST_GROUPS
    short = []
    for label, its_groups in sorted(by_class.items()):
        if len(its_groups) < fewest or not _repair(its_groups, wanted):
            short.append(f"{label} ({len(its_groups)})")
    if short:
        raise _too_few(short, len(by_class), fewest, key)
    of_items = [groups[item.dealt_with] for item in items]
    return [Dealt(group.set, group.moved, bool(group.sets)) for group in of_items]


def deal_as_retrain_py(
    items: Sequence[Item], validation: float, test: float, key: str, folder: str
) -> list[Dealt]:
    """Deal items into retrain.py's own sets; a set may lack a class, and that is left so.

    Args:
        items: As for `deal`; each goes where its first path goes.
        validation: Share of the validation set.
        test: Share of the test set.
        key: As for `deal`.
        folder: What retrain.py was given as --image_dir: its rule takes whole paths.
    Raises:
        DataError: A group stands under two sets.
    """
    _require_one_wish(_groups(items).values(), items, key)
    dealt = []
    for item in items:
        rule = set_of_path(f"{folder}/{item.path}", validation, test)
        dealt.append(Dealt(next(iter(item.sets), rule), "", bool(item.sets)))
    return dealt


def _wanted(groups: Iterable[_Group], validation: float, test: float) -> list[str]:
    """The sets that every class must be in; if a manifest names all sets, those that it names."""
    wishes = [group.sets for group in groups]
    if all(wishes):
        named = frozenset().union(*wishes)
        return [name for name in (TEST, VALIDATION, TRAINING) if name in named]
    shares = {TEST: test, VALIDATION: validation, TRAINING: 1.0}
    return [name for name, share in shares.items() if share > 0]


def _require_one_wish(groups: Iterable[_Group], items: Sequence[Item], key: str) -> None:
    """Refuse a group that a manifest puts under two sets: it would be fitted and scored on."""
    torn = sorted(group.name for group in groups if len(group.sets) > 1)
    if torn:
        names = set(torn)
        first = next(item for item in items if item.dealt_with in names)
        raise DataError(
            f"{key}: {len(torn):,} groups stand under two sets, such as {first.group or 'that'} "
            f"of {first.path}; identical files are one group.",
            "Give all files of a group the same split.",
        )


def _set_at(place: float, validation: float, test: float) -> str:
    if place < test:
        return TEST
    return VALIDATION if place < test + validation else TRAINING


def _groups(items: Iterable[Item]) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for item in items:
        group = groups.get(item.dealt_with)
        if group is None:
            labels = frozenset({item.label})
            name = item.dealt_with
            groups[name] = _Group(name, position(item), labels, item.sets, TRAINING)
            continue
        if item.label not in group.labels:
            group.labels |= {item.label}
        if not item.sets <= group.sets:
            group.sets |= item.sets
    return groups


def _repair(groups: Sequence[_Group], wanted: Sequence[str]) -> bool:
    """Give each set that lacks the class a group of this class alone; say whether that went."""
    for name in wanted:
        if any(group.set == name for group in groups):
            continue
        alone = [group for group in groups if len(group.labels) == 1 and not group.sets]
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


def _too_few(short: Sequence[str], classes: int, fewest: int, key: str) -> DataError:
    return DataError(
        f"{key}: too few groups of readable files in {len(short)} of {classes} classes: "
        f"{', '.join(short)}; each needs {fewest} of its own, one for each set.",
        "Identical files count once, files named alike up to _nohash_ too. "
        "Add files, or leave these classes out with data.exclude.",
    )


def fold_count(units: Iterable[str], asked: int) -> int:
    """How many folds cross-validation can have.

    Args:
        units: Of development's items, what must not be split.
        asked: The number wished for.
    Returns:
        At most one fold for each unit; 0, meaning off, where that leaves fewer than four.
    """
    count = min(asked, len(set(units)))
    return count if count >= FEWEST_FOLDS else 0


def deal_folds(items: Sequence[Item], units: Sequence[str], folds: int) -> IntArray:
    """Deal items to the folds of cross-validation, in turn, by class and place.

    Args:
        items: Those of development, in any order.
        units: (items,) what must not be split; a unit goes with its first class, and at its
            items' lowest place.
        folds: Their number, at least 1.
    Returns:
        (items,) int64, from 0 to folds - 1; all items of a unit have the same.
    """
    order: dict[str, tuple[str, float]] = {}
    for item, unit in zip(items, units, strict=True):
        label, place = order.get(unit, (item.label, 2.0))
        order[unit] = min(label, item.label), min(place, position(item))
    in_turn = sorted(order, key=lambda unit: (*order[unit], unit))
    fold = {unit: turn % folds for turn, unit in enumerate(in_turn)}
    return np.array([fold[unit] for unit in units], dtype=np.int64)
