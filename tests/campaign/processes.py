# SPDX-License-Identifier: Apache-2.0
"""The processes of a trial, found by a variable that they all inherit, and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "CAMPAIGN_TRIAL"
"""Names the trial's folder in the environment of whatever a trial starts."""
OF_RANKS = (b"OMPI_COMM_WORLD_RANK=", b"RETRAIN_OUTCOME=")
"""Variables that mpirun, or the process that started a single rank, gives to a rank alone."""
LAUNCHERS = ("mpirun", "prterun", "prted", "prte")


@dataclass(frozen=True)
class Process:
    """A process of a trial.

    Attributes:
        pid: Its number.
        role: `starter`, `mpirun`, `rank` or `helper`, such as a decoder.
        words: Its command line.
    """

    pid: int
    role: str
    words: str


def find(folder: Path) -> list[Process]:
    """All that run for the trial in this folder, zombies not counted."""
    return list(_find(os.fsencode(f"{MARK}={folder}")))


def _find(mark: bytes) -> Iterator[Process]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables = (path / "environ").read_bytes().split(b"\0")
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in variables and words[0]:
            text = b" ".join(words).decode(errors="replace").strip()
            yield Process(int(path.name), _role(words, variables), text)


def _role(words: list[bytes], variables: list[bytes]) -> str:
    if os.path.basename(words[0]).decode(errors="replace") in LAUNCHERS:
        return "mpirun"
    if b"trainer" not in words or b"run" not in words:
        return "helper"
    return "rank" if any(entry.startswith(OF_RANKS) for entry in variables) else "starter"


def ranks(found: Iterable[Process]) -> list[int]:
    """The process ids of ranks; a starter may be the only one itself."""
    found = list(found)
    apart = [process.pid for process in found if process.role == "rank"]
    alone = not any(process.role == "mpirun" for process in found)
    return apart or [process.pid for process in found if process.role == "starter" and alone]


def send(pids: Iterable[int], number: int) -> int:
    """Signal processes; gives how many were still there."""
    reached = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            reached += 1
    return reached


def wait_until_gone(folder: Path, seconds: float) -> list[Process]:
    """Wait for the end of a trial's processes; gives those that are left."""
    end = time.monotonic() + seconds
    while (left := find(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def end_all(folder: Path) -> None:
    """Kill what still runs for a trial, stopped ones included."""
    for _ in range(20):
        if not send((process.pid for process in find(folder)), signal.SIGKILL):
            return
        time.sleep(0.1)


def describe(found: Iterable[Process]) -> str:
    """Where processes are: state, and what the kernel has them wait for."""
    return "\n".join(f"{process.pid} {process.role} {_state(process.pid)}" for process in found)


def _state(pid: int) -> str:
    folder = Path(f"/proc/{pid}")
    try:
        state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return f"state {state}, in {(folder / 'wchan').read_text() or '?'}"
    except OSError:
        return "gone"


def ask_for_stacks(folder: Path) -> None:
    """Have Python's fault handler print every thread's stack to the messages; ends them."""
    send((process.pid for process in find(folder) if process.role != "mpirun"), signal.SIGCONT)
    send((process.pid for process in find(folder) if process.role != "mpirun"), signal.SIGABRT)
    time.sleep(1)
