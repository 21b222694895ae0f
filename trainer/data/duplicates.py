# SPDX-License-Identifier: Apache-2.0
"""Items and groups: what counts as one image, and what must stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.data.images import SourceFile, group_of
from trainer.data.near_duplicates import Near


@dataclass(frozen=True, slots=True)
class Item:
    """One distinct content under one label."""

    digest: bytes
    """SHA-256 of the file, 32 bytes."""
    path: str
    """The first in path order of the files with this content."""
    label: str
    group: str
    """Name of the group that must not be split; empty for an item alone."""
    copies: tuple[str, ...]
    """Paths of the other files with this content."""
    sets: frozenset[str] = frozenset()
    """Where a manifest wants it; at most one set, if it is to be dealt."""

    @property
    def dealt_with(self) -> str:
        """Name of what is dealt as one: its group, else its own SHA-256."""
        return self.group or self.digest.hex()


@dataclass
class Items:
    """What the readable files come down to."""

    items: list[Item]
    """In the order of their digests, which no renaming changes."""
    conflicts: list[tuple[SourceFile, bytes]]
    """Files, with their digests, whose content lies under two labels; in path order."""


def gather_items(files: Sequence[SourceFile], digests: Sequence[bytes]) -> Items:
    """Count each content once, and set aside what lies under two labels.

    Args:
        files: The readable files, in any order.
        digests: The SHA-256 of each.
    """
    by_digest: dict[bytes, list[SourceFile]] = {}
    for file, digest in sorted(zip(files, digests, strict=True), key=lambda pair: pair[0].path):
        by_digest.setdefault(digest, []).append(file)
    gathered = Items([], [])
    for digest in sorted(by_digest):
        same = by_digest[digest]
        if len({file.label for file in same}) > 1:
            gathered.conflicts += ((file, digest) for file in same)
        else:
            gathered.items.append(_item(digest, same))
    gathered.conflicts.sort(key=lambda conflict: conflict[0].path)
    _free_lone_units(gathered.items)
    return gathered


def _item(digest: bytes, same: Sequence[SourceFile]) -> Item:
    """Files of one content and label as an item, the first in path order standing for them."""
    first, *others = same
    return Item(
        digest=digest,
        path=first.path,
        label=first.label,
        group=group_of(first),
        copies=tuple(file.path for file in others),
        sets=frozenset(file.set for file in same if file.set),
    )


def _free_lone_units(items: list[Item]) -> None:
    """Of a groups.csv that is given back: an item that was alone is so again, not a group of one.

    Its unit is its own SHA-256, and as a group's name that would deal it to another set.
    """
    members = Counter(item.group for item in items)
    for place, item in enumerate(items):
        if members[item.group] == 1 and item.group == item.digest.hex():
            items[place] = replace(item, group="")


def unit_names(items: Sequence[Item], near: Near | None) -> list[str]:
    """What cross-validation must not split: groups, and what near-duplicates join to one.

    Args:
        items: All items.
        near: Which of them are near-duplicates; None where that is not known.
    Returns:
        (items,) the first name, in order, of all that are joined.
    """
    names = [item.dealt_with for item in items]
    if near is None:
        return names
    joined = _Joined(names)
    first: dict[int, str] = {}
    for name, group in zip(names, near.groups().tolist(), strict=True):
        joined.join(first.setdefault(group, name), name)
    return [joined.first(name) for name in names]


class _Joined:
    """Names that are joined, step by step; the first in order stands for all of them.

    Source: Tarjan and van Leeuwen 1984, Worst-case analysis of set union algorithms, J. ACM 31,
    page 250, path halving.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._above = {name: name for name in names}

    def first(self, name: str) -> str:
        above = self._above
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        self._above[high] = low
