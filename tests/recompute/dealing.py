# SPDX-License-Identifier: Apache-2.0
"""Items, groups, the split and the folds: sections 1, 2 and 4 of the method page."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

TRAINING, VALIDATION, TEST = "training", "validation", "test"
TIES = (TRAINING, VALIDATION, TEST)


class File(NamedTuple):
    """A readable file."""

    sha256: str
    label: str
    group: str
    wish: str = ""
    """The set that a manifest names, or empty."""


@dataclass(frozen=True)
class Item:
    """One distinct content: the file that stands for it, and its copies."""

    sha256: str
    path: str
    label: str
    group: str
    copies: tuple[str, ...]
    wishes: frozenset[str] = frozenset()
    """Sets that a manifest names for it or a copy."""

    @property
    def dealt_as(self) -> str:
        """What is dealt as one: the group, else the item alone."""
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


def gather(files: dict[str, File]) -> Items:
    """Fold files into items.

    Args:
        files: By relative path.
    """
    paths: dict[str, list[str]] = defaultdict(list)
    for path in sorted(files):
        paths[files[path].sha256].append(path)
    items, conflicts = [], []
    for sha256, same in paths.items():
        labels = {files[path].label for path in same}
        if len(labels) > 1:
            conflicts += same
            continue
        first, *copies = same
        wishes = frozenset(files[path].wish for path in same) - {""}
        items.append(Item(sha256, first, labels.pop(), files[first].group, tuple(copies), wishes))
    return Items(freed(sorted(items, key=lambda item: item.path)), conflicts)


def freed(items: list[Item]) -> list[Item]:
    """Items alone in a group of their own SHA-256's name, which groups.csv gives back, as alone."""
    sizes = Counter(item.group for item in items)
    return [
        replace(item, group="") if sizes[item.group] == 1 and item.group == item.sha256 else item
        for item in items
    ]


@dataclass(frozen=True)
class Dealt:
    """The set of one item, the set that a repair moved it from, and the one that was asked for."""

    set: str
    moved: str = ""
    given: str = ""
    """By a manifest, for the item or its group; or empty, as `moved` is where nothing was."""


class Undealable(Exception):
    """A repair finds no group to move; a run on such data must end with 3."""


def deal(items: Iterable[Item], validation: float, test: float) -> dict[str, Dealt]:
    """The split: SHA-256 of each item to its set."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.dealt_as].append(item)
    wishes = {group: wish_of(members) for group, members in groups.items()}
    sets = {
        group: Dealt(wishes[group] or first_set(members[0], validation, test), "", wishes[group])
        for group, members in groups.items()
    }
    wanted = [name for name, share in ((TEST, test), (VALIDATION, validation)) if share > 0]
    wanted, fewest = [*wanted, TRAINING], 3
    if all(wishes.values()):  # the manifest says all: then also which sets there are
        wanted = sorted(set(wishes.values()))
        fewest = len(wanted)
    for label in sorted({item.label for members in groups.values() for item in members}):
        its_own = {g: members for g, members in groups.items() if label in labels_of(members)}
        if len(its_own) < fewest:
            raise Undealable(f"class {label!r} has fewer than {fewest} groups")
        for name in wanted:
            repair(its_own, sets, label, name)
    return {item.sha256: sets[group] for group, members in groups.items() for item in members}


def labels_of(members: list[Item]) -> set[str]:
    """The classes of a group."""
    return {item.label for item in members}


def wish_of(members: list[Item]) -> str:
    """The one set that a manifest names for a group, or empty.

    Raises:
        Undealable: it names two.
    """
    wishes = sorted(frozenset().union(*(item.wishes for item in members)))
    if len(wishes) > 1:
        raise Undealable(f"the group of {members[0].path!r} stands under {wishes}")
    return wishes[0] if wishes else ""


def first_set(item: Item, validation: float, test: float) -> str:
    """The set that u alone gives."""
    if item.position < test:
        return TEST
    return VALIDATION if item.position < test + validation else TRAINING


def repair(groups: dict[str, list[Item]], sets: dict[str, Dealt], label: str, lacks: str) -> None:
    """Move one group of this class alone into a set that may have no item of the class.

    Args:
        groups: Those with an item of the class.
        sets: Of all groups; changed.
        label: The class, for the message.
        lacks: The set.
    """
    if any(sets[group].set == lacks for group in groups):
        return
    alone = [g for g, members in groups.items() if len(labels_of(members)) == 1]
    free = [group for group in alone if not wish_of(groups[group])]
    counts = Counter(sets[group].set for group in free)
    giver = max(TIES, key=lambda name: counts[name])
    if counts[giver] < 2:
        raise Undealable(f"class {label!r} has no group to give to {lacks}")
    givers = [group for group in free if sets[group].set == giver]
    lowest = min(givers, key=lambda group: groups[group][0].position)
    sets[lowest] = Dealt(lacks, giver)


def deal_like_retrain_py(
    items: Iterable[Item], folder: str, validation: float, test: float
) -> dict[str, Dealt]:
    """`compat: retrain`: retrain.py's rule on the paths below the folder that it was given."""
    dealt = {}
    for item in items:
        given, found = wish_of([item]), set_by_name(f"{folder}/{item.path}", validation, test)
        dealt[item.sha256] = Dealt(given or found, "", given)
    return dealt


def set_by_name(path: str, validation: float, test: float) -> str:
    """Place of SHA-1 of the path, up to `_nohash_`, of 2^27 - 1 places; validation comes first."""
    image = re.sub(r"(\.[a-zA-Z]+)(_[^/]*)?\.txt$", r"\1", path)  # of a bottleneck's
    number = int(hashlib.sha1(os.fsencode(image.split("_nohash_")[0])).hexdigest(), 16)
    percent = number % 2**27 * (100.0 / (2**27 - 1))
    if percent < 100 * validation:
        return VALIDATION
    return TEST if percent < 100 * (validation + test) else TRAINING


def fold_count(units: Iterable[str], asked: int) -> int:
    """M of section 4; 0 where cross-validation is off."""
    folds = min(asked, len(set(units)))
    return folds if folds >= 4 else 0


def deal_folds(items: list[Item], unit: dict[str, str], folds: int) -> dict[str, int]:
    """Deal development's units to folds in turn: SHA-256 to fold, from 0."""
    members: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        members[unit[item.sha256]].append(item)
    turn = sorted(
        members,
        key=lambda name: (
            min(item.label for item in members[name]),
            min(item.position for item in members[name]),
        ),
    )
    return {item.sha256: n % folds for n, name in enumerate(turn) for item in members[name]}
