# SPDX-License-Identifier: Apache-2.0
"""The page's tables as plain rows: worked out here, laid out by the template.

Which files are in which set, copies and conflicts are read from the manifest, which `results.json`
only sums up; everything else stands in the results.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trainer.data.manifest import CONFLICT
from trainer.report.wording import NOTHING, interval, number, percent

Figures = dict[str, Any]
Rows = list[dict[str, str]]
Row = TypeVar("Row")
CellMaker = Callable[[Figures], tuple[str, str]]

LARGEST_MATRIX = 20
"""Classes up to which a confusion is drawn whole; beyond, its largest cells are listed."""
MOST_NAMED_COLUMNS = 5
"""Classes up to which a confusion's columns have room for names; beyond, they are numbered."""
MOST_PAIRS = 20
MOST_ROWS = 50

SETS = ("training", "validation", "test")

_SHADES = 5
_SOURCES = {
    "cross_validation": ("Cross-validation", "approximate: folds share training images"),
    "test": ("Test set", "scored once, chose nothing"),
    "validation": ("Validation", "seen in choosing"),
}


@dataclass(frozen=True)
class Excerpt(Generic[Row]):
    """The beginning of a list, and how many rows are left out."""

    rows: list[Row]
    left: int


def excerpt(rows: list[Row], most: int = MOST_ROWS) -> Excerpt[Row]:
    """Cut a list to what a page can show."""
    return Excerpt(rows[:most], max(0, len(rows) - most))


@dataclass(frozen=True)
class Source:
    """Something that was scored, and what limits it."""

    title: str
    note: str
    figures: Figures


def sources(results: Figures) -> list[Source]:
    """What a run scored, the most telling first."""
    return [
        Source(title, note, results[key])
        for key, (title, note) in _SOURCES.items()
        if results.get(key)
    ]


@dataclass(frozen=True)
class ScoreRow:
    """One figure of every source, in their order."""

    title: str
    note: str
    cells: list[tuple[str, str]]
    """Value and interval of each source; a value has not always one."""


def score_rows(scored: list[Source]) -> list[ScoreRow]:
    """The figures of each source in words, without those that none has."""
    rows = [
        ScoreRow(title, note, [cell(source.figures) for source in scored])
        for title, note, cell in _FIGURES
    ]
    return [row for row in rows if any(value != NOTHING for value, _ in row.cells)]


def _share(key: str, bounds: str = "") -> CellMaker:
    return lambda figures: (percent(figures.get(key)), _bounds(figures.get(bounds)))


def _bounds(interval95: list[float] | None) -> str:
    """An interval; none where draws from answers that are all right told nothing."""
    if not interval95 or interval95[0] == interval95[1]:
        return ""
    return interval(interval95)


def _number(key: str, digits: int = 0) -> CellMaker:
    return lambda figures: (number(figures.get(key), digits), "")


def _right(figures: Figures) -> tuple[str, str]:
    correct = figures.get("correct")
    return NOTHING if correct is None else f"{correct:,} of {figures['n']:,}", ""


def _effective(figures: Figures) -> tuple[str, str]:
    effective = figures.get("n_effective")
    same = effective is None or math.isclose(effective, figures["n"])
    return NOTHING if same else number(effective, 1), ""


def _guessing(figures: Figures) -> tuple[str, str]:
    return percent((figures.get("majority") or {}).get("share")), ""


_FIGURES: list[tuple[str, str, CellMaker]] = [
    ("Accuracy", "", _share("accuracy", "interval95")),
    ("Right", "", _right),
    ("Items", "", _number("n")),
    ("Items, effective", "what their groups leave", _effective),
    ("Always guessing", "the largest class", _guessing),
    ("Macro recall", "mean over classes", _share("macro_recall", "macro_recall_interval95")),
    ("Macro F1", "mean over classes", _share("macro_f1", "macro_f1_interval95")),
    ("Log loss", "smaller is better", _number("log_loss", 3)),
    ("Log loss, guessing", "by class shares", _number("prior_log_loss", 3)),
    ("Calibration error", "ECE; from 100 items on", _share("ece")),
    ("The same, perfect", "by chance alone", _share("ece_expected")),
]


@dataclass(frozen=True)
class Cell:
    """Items of one true class that got one label; the shade grows with their share of the row."""

    count: int
    shade: int
    right: bool


@dataclass(frozen=True)
class TruthRow:
    """All items of one true class, and which labels they got."""

    name: str
    cells: list[Cell]
    right: int
    total: int

    @property
    def recall(self) -> float | None:
        """Share of the class that was found; None for a class without items."""
        return self.right / self.total if self.total else None


def truth_rows(confusion: list[list[int]], classes: list[str]) -> list[TruthRow]:
    """A confusion by true class.

    Args:
        confusion: (classes, classes) items, rows the truth.
        classes: Names, in the same order.
    """
    return [
        TruthRow(name, list(_cells(counts, at)), counts[at], sum(counts))
        for at, (name, counts) in enumerate(zip(classes, confusion, strict=True))
    ]


def _cells(counts: list[int], truth: int) -> Iterator[Cell]:
    total = max(1, sum(counts))
    for label, count in enumerate(counts):
        yield Cell(count, math.ceil(_SHADES * count / total), label == truth)


@dataclass(frozen=True)
class Pair:
    """Items of one class that were taken for another."""

    truth: str
    predicted: str
    count: int
    total: int


def confused_pairs(rows: list[TruthRow]) -> list[Pair]:
    """The mistakes of a confusion, the most frequent first, ties in name order."""
    pairs = [
        Pair(row.name, rows[label].name, cell.count, row.total)
        for row in rows
        for label, cell in enumerate(row.cells)
        if cell.count and not cell.right
    ]
    return sorted(pairs, key=lambda pair: -pair.count)


@dataclass(frozen=True)
class Copy:
    """A file with the content of another one of its class."""

    path: str
    first: str


@dataclass(frozen=True)
class Given:
    """What the manifest tells about the images."""

    items: Counter[tuple[str, str]]
    """How many by class and set."""
    moved: int
    """Items that were moved to fill a set."""
    copies: list[Copy]
    conflicts: Rows


def given(manifest: Rows) -> Given:
    """Count items by class and set, and gather the files that are there twice.

    Args:
        manifest: The rows of manifest.csv; the first of equal files stands for all.
    """
    first: dict[str, str] = {}
    items: Counter[tuple[str, str]] = Counter()
    copies, conflicts = [], []
    moved = 0
    for row in manifest:
        if row["split"] == CONFLICT:
            conflicts.append(row)
        elif row["sha256"] in first:
            copies.append(Copy(row["path"], first[row["sha256"]]))
        else:
            first[row["sha256"]] = row["path"]
            items[row["label"], row["split"]] += 1
            moved += bool(row["moved"])
    return Given(items, moved, copies, conflicts)


def class_sets(given: Given, classes: list[str]) -> list[tuple[str, list[int]]]:
    """How many items of each class are in each set: training, validation, test."""
    if not given.items:
        return []
    return [(label, [given.items[label, each] for each in SETS]) for label in classes]


@dataclass(frozen=True)
class Alike:
    """Items that near-duplicates join."""

    rows: Rows
    """Of groups.csv, with `split` added."""

    @property
    def labels(self) -> int:
        """How many labels they have; with several, one is probably wrong."""
        return len({row["label"] for row in self.rows})


def alike(groups: Rows, manifest: Rows) -> list[Alike]:
    """Units that are more than a group, those with several labels first.

    Args:
        groups: The rows of groups.csv.
        manifest: Those of manifest.csv.
    """
    known = {row["sha256"]: row for row in manifest}
    units: defaultdict[str, Rows] = defaultdict(list)
    for row in groups:
        if row["sha256"] in known:
            units[row["unit"]].append(row | {"split": known[row["sha256"]]["split"]})
    joined = []
    for rows in units.values():
        dealt_with = {known[row["sha256"]]["group"] or row["sha256"] for row in rows}
        if len(dealt_with) > 1:
            joined.append(Alike(rows))
    return sorted(joined, key=lambda one: (-one.labels, one.rows[0]["path"]))
