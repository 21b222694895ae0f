# SPDX-License-Identifier: Apache-2.0
"""Jobs in a table of 80 columns."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import shown
from jobs.follow import Standing

WIDTH = 80
_HEADINGS = ("JOB", "NAME", "STATE", "SINCE", "TOOK", "WHERE")
_WIDEST = (16, 20, 9, 12, 9)
"""Of each column but the last, which has the rest."""


def table(standings: Sequence[Standing], now: float) -> list[str]:
    """A line a job, and its reason below it where there is one."""
    rows = [_row(standing, now) for standing in standings]
    widths = [
        min(most, max(len(row[at]) for row in [_HEADINGS, *rows]))
        for at, most in enumerate(_WIDEST)
    ]
    lines = [_line(_HEADINGS, widths)]
    for standing, row in zip(standings, rows, strict=True):
        lines.append(_line(row, widths))
        if standing.verdict.why:
            lines.append(_cut(f"  {shown(standing.verdict.why)}", WIDTH))
    return lines


def _row(standing: Standing, now: float) -> tuple[str, ...]:
    entry, seen, state = standing.entry, standing.seen, standing.verdict.state
    began = (seen and (seen.started or seen.submitted)) or entry.submitted
    ended = (seen and seen.ended) or (None if standing.verdict.over else now)
    took = elapsed(ended - began) if ended else ""
    since = time.strftime("%b %d %H:%M", time.localtime(began))
    return entry.job, shown(entry.name), state, since, took, shown(_from_here(entry.run))


def elapsed(seconds: float) -> str:
    """A time as 0:42, 1:02:03 or 2d 03:04."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _from_here(path: Path) -> str:
    """A path as one may type it here, where that is shorter."""
    relative = os.path.relpath(path)
    return min(str(path), relative, key=len)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    fixed = [_cut(cell, width).ljust(width) for cell, width in zip(cells, widths, strict=False)]
    left = "  ".join(fixed) + "  "
    return (left + _cut(cells[-1], WIDTH - len(left), from_left=True)).rstrip()


def _cut(text: str, width: int, from_left: bool = False) -> str:
    """A text in so many columns; of a path its end says most."""
    if len(text) <= width:
        return text
    return "…" + text[-(width - 1) :] if from_left else text[: width - 1] + "…"
