# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of processes of this host (Linux: proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

GONE = "gone"
STATES = {
    "T": "stopped by SIGSTOP",
    "t": "stopped by a debugger",
    "D": "waiting for a disk or a file system",
    "Z": GONE,
    "X": GONE,
}


def condition(process: int) -> str:
    """What keeps a process from going on, in words; empty where the kernel knows of nothing."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="latin-1")
    except OSError:
        return GONE
    return STATES.get(text.rpartition(")")[2].split()[0], "")


def children(process: int) -> list[int]:
    """Processes that this one, by any of its threads, has started."""
    found: list[int] = []
    try:
        for path in sorted(Path(f"/proc/{process}/task").glob("*/children")):
            found += map(int, path.read_text(encoding="ascii").split())
    except OSError:
        return []  # it has just ended
    return found


def variable(process: int, name: str) -> str:
    """An environment variable that a process was started with; empty where it cannot be read."""
    try:
        entries = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    found = [entry for entry in entries if entry.startswith(os.fsencode(name) + b"=")]
    return os.fsdecode(found[0].partition(b"=")[2]) if found else ""


def held_back(process: int, number: int) -> bool:
    """Whether a signal was sent to a process that blocks it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="latin-1").splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
