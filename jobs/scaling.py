# SPDX-License-Identifier: Apache-2.0
"""What a scaling sweep measured, from its results to tables.

A run without figures is a row that says why.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from jobs.errors import UsageError

STRONG, WEAK = "strong", "weak"
PARTS = ("extraction", "head")
RUN = re.compile(rf"({STRONG}|{WEAK})-([1-9][0-9]{{0,5}})")
"""Names of the run directories: the kind of scaling, and the size that was asked for."""

Tree = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One part of one run; None where nobody knows."""

    part: str
    """`extraction` or `head`."""
    scaling: str
    """`strong`: all of the data on every size. `weak`: data in proportion to the size."""
    size: int
    """Nodes, or ranks on one node, as asked for."""
    status: str
    """As `results.json` says; `not started` without one."""
    ranks: int | None = None
    images: int | None = None
    """What the part worked on."""
    seconds: float | None = None
    rate: float | None = None
    """Images a second."""
    speed_up: float | None = None
    """Its rate over that of the smallest size with figures."""
    efficiency: float | None = None
    """The speed-up over that of a world which loses nothing: 1 is perfect."""
    note: str = ""


def measure(folder: Path) -> list[Row]:
    """The rows of a scaling sweep, by part, kind and size.

    Args:
        folder: That of its plan.
    Raises:
        UsageError: No scaling sweep is there.
    """
    wanted = _wanted(folder)
    read = {name: _results(folder / name) for name in {name for _, _, name in wanted}}
    rows = [row_of(part, kind, size, read[name]) for part in PARTS for kind, size, name in wanted]
    return [row for part in PARTS for kind in (STRONG, WEAK) for row in _of(rows, part, kind)]


def row_of(part: str, kind: str, size: int, results: Tree) -> Row:
    """What one run's results say of a part, without any comparison."""
    status = str(results.get("status") or "not started")
    row = Row(part, kind, size, status, _whole(results, "world", "size"))
    if status != "complete":
        return replace(row, note=_WHY.get(status, "no figures"))
    if part == "extraction":
        row = replace(row, images=_whole(results, "bottlenecks", "computed"))
        seconds = _number(results, "bottlenecks", "seconds")
    else:
        row = replace(row, images=_whole(results, "data", "images"))
        seconds = _number(results, "head", "seconds")
    if not row.images or not seconds or not row.ranks:
        nothing = part == "extraction" and row.images == 0
        return replace(row, note="nothing was computed" if nothing else "no figures")
    reused = _whole(results, "bottlenecks", "reused") if part == "extraction" else 0
    note = f"{reused:,} more came from the cache" if reused else ""
    return replace(row, seconds=seconds, rate=row.images / seconds, note=note)


def compared(rows: Sequence[Row]) -> list[Row]:
    """Rows of one part and kind with speed-ups, against the smallest that has figures."""
    base = next((row for row in sorted(rows, key=lambda row: row.size) if row.rate), None)
    return [_against(base, row) for row in rows]


def as_csv(rows: Iterable[Row]) -> str:
    """All rows, numbers in full, an empty field where nobody knows."""
    text = io.StringIO(newline="")
    names = [field.name for field in fields(Row)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    """A table a part and kind."""
    blocks = ["# Scaling\n", _EXPLAINED]
    for part in PARTS:
        for kind in (STRONG, WEAK):
            if some := [row for row in rows if (row.part, row.scaling) == (part, kind)]:
                blocks.append(f"## {part.capitalize()}, {kind} scaling\n")
                blocks.append("".join(f"| {' | '.join(cells)} |\n" for cells in _table(some)))
    return "\n".join(blocks)


_WHY = {
    "not started": "it has left no results",
    "running": "it is running",
    "stopped": "it was stopped before its end; submit it again and it goes on",
    "failed": "it failed; its log says why",
}
_EXPLAINED = """\
Extraction: the time in which images became bottlenecks, without the start of TensorFlow. Head: the
time of its training. Strong scaling gives all of the data to every size, weak scaling data in
proportion to the size. The speed-up is the rate over that of the smallest size with figures;
efficiency is the share of it that a world which loses nothing would have.
"""


def _wanted(folder: Path) -> list[tuple[str, int, str]]:
    """Kind, size and directory of what the plan holds; the largest run serves both kinds."""
    try:
        tasks = json.loads((folder / "sweep.json").read_bytes())["tasks"]
        matches = [RUN.fullmatch(str(task["directory"])) for task in tasks]
    except (OSError, ValueError, KeyError, TypeError):
        matches = []
    found = sorted((m[1], int(m[2]), m[0]) for m in matches if m)
    if not found:
        raise UsageError(
            f"{folder}: no scaling sweep.", "Submit one with --scaling 1,2,4 and give its folder."
        )
    strong = [entry for entry in found if entry[0] == STRONG]
    if strong and len(strong) < len(found):
        found.append((WEAK, *strong[-1][1:]))
    return found


def _results(directory: Path) -> Tree:
    try:
        found = json.loads((directory / "results.json").read_bytes())
        return dict(found) if isinstance(found, dict) else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"status": "unreadable"}


def _number(results: Tree, section: str, key: str) -> float | None:
    found = results.get(section)
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _whole(results: Tree, section: str, key: str) -> int | None:
    value = _number(results, section, key)
    return None if value is None else int(value)


def _of(rows: Sequence[Row], part: str, kind: str) -> list[Row]:
    return compared([row for row in rows if (row.part, row.scaling) == (part, kind)])


def _against(base: Row | None, row: Row) -> Row:
    if not (base and base.rate and base.ranks and row.rate and row.ranks):
        return row
    speed_up = row.rate / base.rate
    return replace(row, speed_up=speed_up, efficiency=speed_up * base.ranks / row.ranks)


def _table(rows: Sequence[Row]) -> list[list[str]]:
    heading = "Size Ranks Images Seconds Images/s Speed-up Efficiency Status".split()
    table = [heading, ["---:"] * 7 + ["---"]]
    for row in rows:
        numbers = [f"{row.size}", _told(row.ranks, ","), _told(row.images, ",")]
        numbers += [_told(row.seconds, ".4g"), _told(row.rate, ".4g")]
        numbers += [_told(row.speed_up, ".2f"), _told(row.efficiency, ".0%")]
        table.append([*numbers, f"{row.status}: {row.note}" if row.note else row.status])
    return table


def _told(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
