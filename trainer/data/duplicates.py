# SPDX-License-Identifier: Apache-2.0
"""Items and groups: what counts as one image, and what must stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.images import SourceFile

NOHASH = "_nohash_"


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

    @property
    def unit(self) -> str:
        """What keeps it together with others: its group's name, else its own SHA-256."""
        return self.group or self.digest.hex()


@dataclass
class Items:
    """What the readable files come down to."""

    items: list[Item]
    """In the order of their digests, which no renaming changes."""
    conflicts: list[tuple[SourceFile, bytes]]
    """Files, with their digests, whose content lies under two labels; in path order."""


def group_of(path: str) -> str:
    """Name of a path's group: what stands before `_nohash_`, class folder included; or empty."""
    before, found, _ = path.partition(NOHASH)
    return before if found else ""


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
            first, *others = same
            copies = tuple(file.path for file in others)
            group = group_of(first.path)
            gathered.items.append(Item(digest, first.path, first.label, group, copies))
    gathered.conflicts.sort(key=lambda conflict: conflict[0].path)
    return gathered
