# SPDX-License-Identifier: Apache-2.0
"""What the page over many runs tells of each, and what its CSV does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from trainer.report.ranking import Group, Placed, accuracy, learnt_nothing
from trainer.report.runs import FoundRun, Setting
from trainer.report.values import bounds, number, text
from trainer.report.wording import NOTHING, duration, interval, percent
from trainer.report.wording import number as figure

_CV = "cross_validation"
_LONGEST_VALUE = 120

FIRST_CELLS = ("data", "rank", "name", "folder", "status", "problem")
"""With which every runs.csv begins."""
_FIGURES = (
    "log_loss accuracy accuracy_low accuracy_high images macro_recall test_accuracy test_low "
    "test_high test_images test_shared_by nothing_learnt weights_note seconds gpu_hours finished"
).split()


@dataclass(frozen=True)
class Cell:
    """One figure of one run."""

    shown: str
    small: str = ""
    value: float | None = None
    """What a number is sorted by."""


@dataclass(frozen=True)
class Column:
    """One figure of all runs."""

    title: str
    note: str
    cell: Callable[[Placed], Cell]
    is_number: bool = True


def columns(rows: Sequence[Placed], settings: Iterable[str]) -> list[Column]:
    """The columns of a table in which some run has something to show."""
    chosen = [*_COLUMNS, *(_setting(key, rows) for key in settings)]
    return [column for column in chosen if any(column.cell(r).shown != NOTHING for r in rows)]


def _rank(row: Placed) -> Cell:
    return Cell(str(row.rank), value=row.rank) if row.rank else Cell(NOTHING)


def _status(row: Placed) -> Cell:
    return Cell(row.run.status, row.run.problem)


def _log_loss(row: Placed) -> Cell:
    loss = number(row.run.results, _CV, "log_loss")
    return Cell(figure(loss, 4), value=loss)


def _accuracy(row: Placed) -> Cell:
    return _share(row, _CV)


def _test(row: Placed) -> Cell:
    return _share(row, "test") if row.shows_test else Cell(NOTHING)


def _share(row: Placed, source: str) -> Cell:
    share, ends = accuracy(row.run.results, source), bounds(row.run.results, source, "interval95")
    return Cell(percent(share), interval(ends) if ends else "", share)


def _watch(row: Placed) -> Cell:
    words = ["nothing learnt"] if learnt_nothing(row.run.results) else []
    words += ["not pretrained"] if text(row.run.results, "weights_note") else []
    return Cell(" · ".join(words) or NOTHING)


def _time(row: Placed) -> Cell:
    seconds = number(row.run.results, "seconds", "total")
    return Cell(duration(seconds), value=seconds)


def _gpu_hours(row: Placed) -> Cell:
    hours = number(row.run.results, "gpu_hours")
    return Cell(figure(hours, 2), value=hours)


def _finished(row: Placed) -> Cell:
    at = finished(row)
    return Cell(f"{at:%Y-%m-%d %H:%M}", value=at.timestamp()) if at else Cell(NOTHING)


def finished(row: Placed) -> datetime | None:
    """When the run's results were written last; None for a run that is still writing them."""
    written = None if row.run.status == "running" else row.run.written
    return None if written is None else datetime.fromtimestamp(written, timezone.utc)


_COLUMNS = [
    Column("Rank", "", _rank),
    Column("Log loss", "cross-validated", _log_loss),
    Column("Accuracy", "cross-validated, 95%", _accuracy),
    Column("Test accuracy", "of the best alone", _test),
    Column("Status", "", _status, is_number=False),
    Column("Watch", "", _watch, is_number=False),
    Column("Time", "", _time),
    Column("GPU hours", "", _gpu_hours),
    Column("Finished", "UTC", _finished),
]


def _setting(key: str, rows: Sequence[Placed]) -> Column:
    """A column of one setting; of numbers where every run that has it has one."""

    def cell(row: Placed) -> Cell:
        value = row.run.settings.get(key)
        return Cell(NOTHING) if value is None else Cell(_word(value), value=_number(value))

    values = [row.run.settings[key] for row in rows if key in row.run.settings]
    numbers = all(_number(value) is not None for value in values)
    return Column(key, "", cell, is_number=numbers)


def _number(value: Setting) -> float | None:
    return number({"value": value}, "value")


def _word(value: Setting) -> str:
    """A setting as its file writes it, cut where it is longer than a table bears."""
    if isinstance(value, bool):
        return str(value).lower()
    word = f"{value:g}" if isinstance(value, float) else str(value)
    return word if len(word) <= _LONGEST_VALUE else f"{word[:_LONGEST_VALUE]}…"


def csv_header(settings: Sequence[str]) -> list[str]:
    """The columns of runs.csv."""
    return [*FIRST_CELLS, *_FIGURES, *settings]


def csv_rows(
    groups: Sequence[Group], settings: Sequence[str], folder_of: Callable[[FoundRun], str]
) -> Iterator[list[object]]:
    """The rows of runs.csv.

    Args:
        groups: Ranked runs.
        settings: Keys that differ.
        folder_of: How the file names a run's folder.
    """
    for place, group in enumerate(groups, 1):
        for row in group.rows:
            run = row.run
            yield [
                place if group.items else None,
                row.rank,
                run.name,
                folder_of(run),
                run.status,
                run.problem,
                *_figures(row, group.sharing),
                *(_csv_value(run.settings.get(key)) for key in settings),
            ]


def _figures(row: Placed, sharing: int) -> Iterator[object]:
    results = row.run.results
    yield number(results, _CV, "log_loss")
    yield from _shares(row, _CV)
    yield number(results, _CV, "macro_recall")
    yield from [*_shares(row, "test"), sharing] if row.shows_test else [None] * 5
    yield _csv_value(learnt_nothing(results))
    yield text(results, "weights_note") or None
    yield number(results, "seconds", "total")
    yield number(results, "gpu_hours")
    at = finished(row)
    yield f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None


def _shares(row: Placed, source: str) -> list[object]:
    """Accuracy, its bounds and the number of items."""
    results = row.run.results
    low, high = bounds(results, source, "interval95") or (None, None)
    items = number(results, source, "n")
    return [accuracy(results, source), low, high, None if items is None else int(items)]


def _csv_value(value: Setting | None) -> object:
    return str(value).lower() if isinstance(value, bool) else value
