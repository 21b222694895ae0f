# SPDX-License-Identifier: Apache-2.0
"""`retrain gather`: many runs on one page and in one CSV, drawn from their directories alone.

It may be called while jobs write: each run is shown as it was at the moment when it was read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from trainer.data.manifest import csv_line, write_csv
from trainer.errors import UsageError
from trainer.report.gather_columns import FIRST_CELLS, columns, csv_header, csv_rows
from trainer.report.pages import draw, link_to
from trainer.report.ranking import Group, Placed, accuracy, ranked
from trainer.report.runs import (
    UNREADABLE,
    FoundRun,
    Reader,
    differing,
    find_runs,
    is_run,
)
from trainer.report.values import bounds, class_names, number
from trainer.report.wording import count, interval, percent, visible
from trainer.rundir import STATUSES, RunDir, write_text

PAGE, TABLE = "index.html", "runs.csv"
MOST_SETTINGS = 30
"""Columns of settings on the page; runs.csv has all."""

_MARK = '<meta name="generator" content="retrain gather">'
_MARK_WITHIN = 4096
"""Characters of a page in which its mark stands."""
_MOST_SOURCES = 3
_MOST_TOLD = 5


@dataclass(frozen=True)
class Gathered:
    """What was found, and where it stands now."""

    page: Path
    table: Path
    groups: list[Group]

    def lines(self) -> list[str]:
        """The lines for the terminal."""
        rows = [row for group in self.groups for row in group.rows]
        told = [
            ("Runs", f"{len(rows):,}: {_statuses(rows)}"),
            *map(_told, self.groups[:_MOST_TOLD]),
        ]
        told += [("Page", visible(str(self.page))), ("Table", visible(str(self.table)))]
        return [f"{label:<8}{text}" for label, text in told if text]


def gather(words: Sequence[Path], out: Path | None) -> Gathered:
    """Write `index.html` and `runs.csv` over runs.

    Args:
        words: Run directories, and folders that hold some at any depth.
        out: Where to; else into the folder that was named alone, else into the current one.

    Raises:
        UsageError: A word is neither, or the files there are somebody else's.
        RetrainError: They cannot be written.
    """
    found = _find(words)
    alone = words[0] if len(words) == 1 and not is_run(words[0]) else Path()
    place = out or alone
    _make(place)
    page, table = place / PAGE, place / TABLE
    _require_ours(page, table)
    reader = Reader()
    read = [reader.read(folder) for folder in found]
    runs = [run for run in read if run is not None]
    if not runs:
        _refuse(words[0])
    groups, settings = ranked(runs), differing(runs)
    rows = csv_rows(groups, settings, lambda run: _folder(run, place))
    write_csv(table, csv_header(settings), rows)
    write_text(page, draw("gather.html", _values(groups, settings, place), "gather.js"))
    return Gathered(page, table, groups)


def _find(words: Sequence[Path]) -> list[Path]:
    """The run directories that these words name, each once."""
    found: dict[str, Path] = {}
    for word in words:
        folders = list(find_runs(word))
        if not folders:
            _refuse(word)
        for folder in folders:
            found.setdefault(os.path.realpath(folder), folder)
    return list(found.values())


def _refuse(word: Path) -> NoReturn:
    below = ", and none below it: no results.json anywhere" if word.is_dir() else ""
    raise UsageError(
        f"{word}: no run directory{below or ': results.json is not there'}.",
        "Give the folder that `retrain run` named at its end, or one that holds such folders.",
    )


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {place}: cannot be written: {error.strerror}.",
            "Give another folder with --out.",
        ) from None


def _require_ours(page: Path, table: Path) -> None:
    """Refuse to write over files that something else made, or where nothing can be written."""
    opening = csv_line(FIRST_CELLS).rstrip()
    for path, mark in ((page, _MARK), (table, opening)):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                ours = mark in file.read(_MARK_WITHIN)
        except FileNotFoundError:
            ours = os.access(path.parent, os.W_OK)
        except OSError:
            ours = False
        if not ours:
            raise UsageError(
                f"{path}: cannot be written, or was not made by `retrain gather`.",
                "Give another folder with --out.",
            )


def _statuses(rows: Sequence[Placed]) -> str:
    """How many runs have which status, in words."""
    counted = Counter(row.run.status for row in rows)
    return ", ".join(f"{counted[s]:,} {s}" for s in (*STATUSES, UNREADABLE) if counted[s])


def _told(group: Group) -> tuple[str, str]:
    """A line about the best of a group, empty where none has a rank."""
    if group.best is None:
        return "", ""
    run = group.best.run
    words = f"{visible(str(run.folder))}  ({_score(run)}; {count(group.ranked, 'run')} ranked)"
    return "Best", words


def _score(run: FoundRun) -> str:
    source = "cross_validation"
    loss, ends = number(run.results, source, "log_loss"), bounds(run.results, source, "interval95")
    told = f"right {percent(accuracy(run.results, source))}"
    within = f", 95%: {interval(ends)}" if ends else ""
    return f"log loss {loss:.4f}; {told}{within}" if loss is not None else told


def _values(groups: Sequence[Group], settings: Sequence[str], place: Path) -> dict[str, Any]:
    """What the page shows."""
    rows = [row for group in groups for row in group.rows]
    return {
        "total": len(rows),
        "statuses": _statuses(rows),
        "groups": [_section(group, settings, place) for group in groups],
        "of_known": sum(group.items is not None for group in groups),
        "best": _folder(groups[0].best.run, place) if groups[0].best else "",
        "best_score": _score(groups[0].best.run) if groups[0].best else "",
        "more_settings": max(0, len(settings) - MOST_SETTINGS),
        "table": TABLE,
    }


def _section(group: Group, settings: Sequence[str], place: Path) -> dict[str, Any]:
    """The runs on one set of items."""
    table = columns(group.rows, settings[:MOST_SETTINGS])
    tested = group.tested
    return {
        "given": group.items,
        "classes": max(len(class_names(row.run.results)) for row in group.rows),
        "sources": _sources(group)[:_MOST_SOURCES],
        "more_sources": max(0, len(_sources(group)) - _MOST_SOURCES),
        "columns": table,
        "rows": [(_heading(row, place), [c.cell(row) for c in table]) for row in group.rows],
        "ranked": group.ranked,
        "sharing": group.sharing,
        "test": tested and accuracy(tested.run.results, "test"),
        "tested": tested and _folder(tested.run, place),
    }


def _sources(group: Group) -> list[str]:
    """Where the items lay, by what the runs were told."""
    keys = ("data.images", "data.bottlenecks")
    told = [str(row.run.settings.get(key, "null")) for row in group.rows for key in keys]
    return sorted({source for source in told if source != "null"})


def _heading(row: Placed, place: Path) -> dict[str, Any]:
    """A run's folder, its name where that says more, and its report where there is one."""
    folder, report = _folder(row.run, place), RunDir(row.run.folder).report
    return {
        "folder": folder,
        "name": "" if row.run.name == Path(folder).name else row.run.name,
        "link": link_to(report, place) if report.is_file() else "",
        "best": row.rank == 1,
    }


def _folder(run: FoundRun, place: Path) -> str:
    """A run as the page names it, which lies in `place`."""
    return os.path.relpath(run.folder, place)
