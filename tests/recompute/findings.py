# SPDX-License-Identifier: Apache-2.0
"""What was compared and where the run and its recomputation disagree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One disagreement: the file, the key in it, what stands there and what should."""

    file: str
    key: str
    found: object
    expected: object

    def __str__(self) -> str:
        """One line to print; a name in it cannot break the line."""
        return f"{self.file}: {self.key}: found {self.found!r}, expected {self.expected!r}"


class Broken(Exception):
    """A file is missing or so malformed that nothing in it can be compared."""

    def __init__(self, file: str, found: str, expected: str) -> None:
        """Keep the three as a finding."""
        super().__init__(found)
        self.finding = Finding(file, "(whole file)", found, expected)


@dataclass
class Findings:
    """Collects disagreements and counts all comparisons, so that an empty check shows."""

    found: list[Finding] = field(default_factory=list)
    compared: int = 0

    def claim(self, holds: bool, file: str, key: str, found: object, expected: object) -> None:
        """Count one comparison and keep it if it does not hold."""
        self.compared += 1
        if not holds:
            self.found.append(Finding(file, key, found, expected))

    def equal(self, file: str, key: str, found: object, expected: object) -> None:
        """Compare exactly."""
        self.claim(found == expected, file, key, found, expected)

    def close(
        self, file: str, key: str, found: Any, expected: float | None, tolerance: float = 1e-7
    ) -> None:
        """Compare numbers, `tolerance` being absolute up to 1 and relative beyond; null is null."""
        if not is_number(found) or expected is None:
            self.equal(file, key, found, expected)
            return
        room = tolerance * max(1.0, abs(expected))
        holds = math.isfinite(found) and abs(found - expected) <= room
        self.claim(holds, file, key, found, expected)

    def same_members(
        self, file: str, key: str, found: Iterable[str], expected: Iterable[str]
    ) -> None:
        """Compare as multisets; each member too many or missing is a finding of its own."""
        here, there = Counter(iter(found)), Counter(iter(expected))
        self.compared += 1
        for name in sorted(here.keys() | there.keys()):
            if here[name] != there[name]:
                self.found.append(Finding(file, f"{key} {name!r}", here[name], there[name]))


def is_number(value: object) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
