# SPDX-License-Identifier: Apache-2.0
"""`retrain compare`: two runs on the images that both scored.

A and B are the first and the second run. Images are matched by content, so that they may have been
renamed in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.analysis.paired import Pairs, difference_interval, mcnemar, pairs
from trainer.analysis.scores import effective_size
from trainer.data.manifest import read_csv
from trainer.errors import DataError, UsageError, listed
from trainer.report.runs import FoundRun, Reader, Setting, differing
from trainer.report.tables import Rows
from trainer.report.values import class_names
from trainer.report.wording import count, quoted, shell_word
from trainer.rundir import RunDir

TEST, OUT_OF_FOLD = "test", "oof"
"""As `predictions.csv` calls them."""

Row = dict[str, str]
Matched = list[tuple[Row, Row]]

_WANTED = ("path", "sha256", "group", "label", "source", "fold", "predicted")


@dataclass(frozen=True)
class Compared:
    """Two runs on the images of one source."""

    source: str
    """`test` or `oof`, which is approximate: folds share training images."""
    counts: Pairs
    effective: float
    """How many independent images say as much, where some are grouped."""
    lost: Matched
    """Images that A has right and B wrong: their two rows of predictions.csv."""
    gained: Matched
    """Those that B has right and A wrong."""

    @property
    def chance(self) -> float:
        """How often chance alone parts two equally good runs so far; it counts single images."""
        return mcnemar(self.counts.only_first, self.counts.only_second)

    @property
    def difference(self) -> float:
        """Accuracy of B minus that of A."""
        return (self.counts.second - self.counts.first) / self.counts.n

    @property
    def interval(self) -> tuple[float, float]:
        """95% bounds of the difference; grouped images count as their effective number."""
        share = self.effective / self.counts.n
        table = self.counts.only_first, self.counts.only_second, self.counts.n
        return difference_interval(*(share * items for items in table))


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, and where they part."""

    first: Path
    second: Path
    sources: list[Compared]
    """The test set first; none of them is without images."""
    relabelled: Matched
    """Images whose labels differ, which are left out."""
    settings: list[tuple[str, Setting | None, Setting | None]]
    """Those that differ: key and both values; None where a run does not know the key."""
    notes: list[str]
    """What else to keep in mind, as sentences."""


def compare(first: Path, second: Path) -> Comparison:
    """Compare two finished runs.

    Raises:
        UsageError: One is no run, or has not been finished.
        DataError: They have no image in common, or files are damaged.
    """
    runs = [_finished(path) for path in (first, second)]
    rows = [_predictions(RunDir(path)) for path in (first, second)]
    sources: list[Compared] = []
    relabelled: dict[str, tuple[Row, Row]] = {}
    notes: list[str] = []
    for source in (TEST, OUT_OF_FOLD):
        matched = _match(*([row for row in each if row["source"] == source] for each in rows))
        relabelled |= {a["sha256"]: (a, b) for a, b in matched if a["label"] != b["label"]}
        same = [(a, b) for a, b in matched if a["label"] == b["label"]]
        if source == OUT_OF_FOLD and not _same_folds(same):
            notes.append(_OTHER_FOLDS)
        elif same:
            sources.append(_compared(source, same))
    if not sources:
        raise _nothing_shared(first, second, len(relabelled), notes)
    notes = [*_classes(runs), *notes, *_apart(rows), *_grouped(sources)]
    return Comparison(first, second, sources, list(relabelled.values()), _settings(runs), notes)


def _finished(path: Path) -> FoundRun:
    run = RunDir(path)
    results = run.read_results()
    status = results["status"]
    if status != "complete":
        raise UsageError(
            f"{path}: not finished: {status}.",
            f"Let `retrain run {shell_word(str(path / 'config.yaml'))} --out "
            f"{shell_word(str(path))}` come to its end, then compare again.",
        )
    return FoundRun(path, status, results=results, settings=Reader().settings(run))


def _predictions(run: RunDir) -> Rows:
    """The predictions that count here, as far as the columns that do.

    Raises:
        DataError: They are damaged.
    """
    rows = read_csv(run.predictions)
    lacking = [key for key in _WANTED if rows and key not in rows[0]]
    if lacking or run.predictions.name in run.damaged():
        raise DataError(
            f"{run.predictions}: changed since the run was finished.",
            "Start the same `retrain run` again; it makes anew what is damaged.",
        )
    return [row for row in rows if row["source"] in (TEST, OUT_OF_FOLD)]


def _match(first: Rows, second: Rows) -> Matched:
    """Rows of the same content, in the first's order."""
    known = {row["sha256"]: row for row in second}
    return [(row, known[row["sha256"]]) for row in first if row["sha256"] in known]


def _same_folds(matched: Matched) -> bool:
    """Whether the folds part these images alike, whatever their numbers."""
    met = {(a["fold"], b["fold"]) for a, b in matched}
    return len({a for a, _ in met}) == len(met) == len({b for _, b in met})


def _compared(source: str, matched: Matched) -> Compared:
    first, second = (
        np.array([pair[run]["predicted"] == pair[run]["label"] for pair in matched])
        for run in (0, 1)
    )
    # Where the runs group differently, the more cautious number counts.
    effective = min(effective_size([pair[run]["group"] for pair in matched]) for run in (0, 1))
    return Compared(
        source,
        pairs(first, second),
        effective,
        [matched[place] for place in np.flatnonzero(first & ~second)],
        [matched[place] for place in np.flatnonzero(~first & second)],
    )


def _settings(runs: list[FoundRun]) -> list[tuple[str, Setting | None, Setting | None]]:
    first, second = (run.settings for run in runs)
    return [(key, first.get(key), second.get(key)) for key in differing(runs)]


_OTHER_FOLDS = (
    "The images were dealt into other folds, so that cross-validation is not compared: the runs "
    "were fitted on other images there."
)


def _classes(runs: list[FoundRun]) -> list[str]:
    """A note where one run knows classes that the other does not."""
    first, second = (class_names(run.results) for run in runs)
    notes = []
    for name, own, others in (("A", first, second), ("B", second, first)):
        if alone := [label for label in own if label not in others]:
            notes.append(f"{name} alone knows {listed(list(map(quoted, alone)))}.")
    return notes


def _apart(rows: list[Rows]) -> list[str]:
    """A note where one run tests on what the other was fitted on."""
    test, development = (
        [{row["sha256"] for row in each if row["source"] == source} for each in rows]
        for source in (TEST, OUT_OF_FOLD)
    )
    apart = len(test[0] & development[1]) + len(test[1] & development[0])
    if not apart:
        return []
    return [
        f"{_images(apart)} in the test set of one run and in development of the other: left out."
    ]


def _images(number: int) -> str:
    return f"{count(number, 'image')} {'is' if number == 1 else 'are'}"


def _grouped(sources: Iterable[Compared]) -> list[str]:
    grouped = [each for each in sources if each.effective < each.counts.n - 1e-9]
    if not grouped:
        return []
    told = " and ".join(f"{each.effective:,.1f} instead of {each.counts.n:,}" for each in grouped)
    return [
        f"Some images are grouped: the intervals count {told}. McNemar's test counts single "
        "images, so that its chance is too small rather than too large."
    ]


def _nothing_shared(first: Path, second: Path, relabelled: int, notes: list[str]) -> DataError:
    labels = [f"{_images(relabelled)} in both, under other labels."] if relabelled else []
    return DataError(
        " ".join([f"{first} and {second}: no image that both scored alike.", *labels, *notes]),
        "Compare runs on the same images, with a test set, or cross-validated on the same folds.",
    )
