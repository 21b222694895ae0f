# SPDX-License-Identifier: Apache-2.0
"""What a run left: the status in its results.json, and what the last lines of its log say."""

from __future__ import annotations

import os
import re
from pathlib import Path

from jobs.errors import shown
from jobs.files import results_status
from jobs.journal import Entry, mark
from jobs.states import FAILED, STOPPED, Left

RESULTS = "results.json"
_TAIL = 16384
"""Bytes of a log's end that are looked at."""
_ENDINGS = re.compile(r"^(Stopped  |Killed   |retrain: |slurmstepd: error: )\s*(.+)", re.MULTILINE)


def look(entry: Entry) -> Left:
    """What the run of a job left so far."""
    path = entry.run / RESULTS
    found = mark(path)
    status = results_status(path) if found else ""
    earlier = found is not None and found == entry.before
    ending, message = ending_of(tail(entry.log))
    return Left(status, earlier, ending, message)


def tail(path: Path) -> str:
    """The last lines of a file; empty where there is none."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL))
            return file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def ending_of(text: str) -> tuple[str, str]:
    """What the last lines of a log say of the end of the last start.

    Returns:
        `stopped`, `failed` or nothing; and the log's own words.
    """
    last = re.split(r"^Start    \d+", text, flags=re.MULTILINE)[-1]
    found = list(_ENDINGS.finditer(last))
    if not found:
        return "", ""
    # slurmstepd's word of a cancelled job and of one beyond its time limit, too.
    stopped = [m for m in found if m[1].startswith("Stopped") or " CANCELLED AT " in m[2]]
    own = [match for match in found if match[1] in ("Killed   ", "retrain: ")]
    chosen = (stopped or own or found)[-1]
    return (STOPPED if stopped else FAILED), shown(chosen[2].strip())
