# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates and the units that they join, all compared with all (section 1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dealing import Item

MOST_DIFFERENT = 5


@dataclass(frozen=True)
class Near:
    """Which items are near to which; each by its SHA-256."""

    partners: dict[str, set[str]]

    def apart(self, shas: Iterable[str], others: Iterable[str]) -> list[str]:
        """Those of some items that are near to none of the others."""
        known = set(others)
        return [sha for sha in shas if not self.partners.get(sha, set()) & known]


def find_near(items: Iterable[Item], hashes: dict[str, int | None]) -> Near:
    """Compare all items that have a hash."""
    known = {item.sha256: hashes[item.sha256] for item in items}
    partners: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs({sha: value for sha, value in known.items() if value is not None}):
        partners[one].add(other)
        partners[other].add(one)
    return Near(partners)


def pairs(hashes: dict[str, int]) -> Iterator[tuple[str, str]]:
    """All pairs within five bits."""
    shas, values = list(hashes), np.array(list(hashes.values()), np.uint64)
    for place, sha in enumerate(shas):
        rest = values[place + 1 :] ^ values[place]
        different = np.unpackbits(rest.view(np.uint8)).reshape(len(rest), 64).sum(axis=1)
        for other in np.flatnonzero(different <= MOST_DIFFERENT):
            yield sha, shas[place + 1 + int(other)]


def join_units(items: Iterable[Item], near: Near | None) -> dict[str, str]:
    """SHA-256 of each item to its unit's name: the first, in order, of all names joined."""
    unit = {item.sha256: item.dealt_as for item in items}
    members: dict[str, list[str]] = defaultdict(list)
    for sha, name in unit.items():
        members[name].append(sha)
    for one, others in (near.partners if near else {}).items():
        for other in others:
            first, last = sorted((unit[one], unit[other]))
            if first != last:
                unit |= dict.fromkeys(members[last], first)
                members[first] += members.pop(last)
    return unit
