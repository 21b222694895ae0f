# SPDX-License-Identifier: Apache-2.0
"""A page on images that a finished run labelled: each picture, what was said of it, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.head.export import About
from trainer.report.embedded import Embedded
from trainer.report.pages import draw
from trainer.report.wording import count
from trainer.rundir import write_text

Figures = dict[str, Any]

_OF_UNFAMILIAR = "Of images unlike all in training nobody knows how often it is right."


class NewImages:
    """The page, as it grows."""

    def __init__(self, page: Path, about: About, min_confidence: float) -> None:
        """Begin an empty one.

        Args:
            page: Where it will be written.
            about: Its saved model.
            min_confidence: Below it, an answer counts as unsure.
        Raises:
            UsageError: It would lie in no folder.
        """
        if not page.parent.is_dir():
            raise UsageError(f"--report {page}: no such folder.", "Make it first.")
        self._page = page
        self._about = about
        self._min_confidence = min_confidence
        self._pictures = Embedded()
        self._cards: list[Figures] = []

    def add(self, entry: Figures) -> None:
        """Add one file; its pictures are JPEG files in bytes."""
        if not entry["error"]:
            for name in ("picture", "heat_map"):
                entry[name] = self._pictures.encoded(entry[name])
            for near in entry["neighbours"]:
                near["picture"] = self._pictures.encoded(near["picture"])
        self._cards.append(entry)

    def write(self) -> None:
        """Write it, whole or not at all.

        Raises:
            RetrainError: It cannot be written.
        """
        good = [card for card in self._cards if not card["error"]]
        bad = [card for card in self._cards if card["error"]]
        unfamiliar = sum(bool(card["unfamiliar"]) for card in good)
        limits = [
            self._about.weights_note,
            _OF_UNFAMILIAR if unfamiliar else "",
            f"{count(len(bad), 'file')} could not be read." if bad else "",
        ]
        values = {
            "name": self._about.name,
            "limits": [sentence for sentence in limits if sentence],
            "cards": good,
            "bad": bad,
            "unsure": sum(card["unsure"] for card in good),
            "unfamiliar": unfamiliar,
            "min_confidence": self._min_confidence,
            "counts": _counts(good),
            "scored_by": {},
        }
        write_text(self._page, draw("new_images.html", values))


def _counts(cards: list[Figures]) -> list[tuple[str, int]]:
    """How many images were taken for each class, the most frequent first."""
    counts: dict[str, int] = {}
    for card in cards:
        if not card["unsure"]:
            counts[card["predicted"]] = counts.get(card["predicted"], 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
