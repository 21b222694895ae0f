# SPDX-License-Identifier: Apache-2.0
"""Programs that the bench starts: watched while they run, and ended with it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PEERS = Path(__file__).parent / "peers"
PROJECT = Path(__file__).parents[2]
GRACE_SECONDS = 10.0
GLANCE_SECONDS = 0.1
LAST_WORDS = 1500
"""Characters of a failed child's messages that are shown."""


class Failed(Exception):
    """A part of the bench could not be measured, and why."""


@dataclass
class Ended:
    """A child that ended well: what it wrote to standard output, and how long it ran."""

    output: str
    wall_seconds: float


def peer(name: str, *words: str | Path) -> list[str]:
    """The command of a program in peers/."""
    return [sys.executable, str(PEERS / f"{name}.py"), *map(str, words)]


def retrain(*words: str | Path) -> list[str]:
    """The command `retrain` of this tree."""
    return [sys.executable, "-m", "trainer", *map(str, words)]


def run(
    command: Sequence[str],
    cores: Collection[int] | None = None,
    heard: Callable[[str], None] = lambda _: None,
    glance: Callable[[int], None] = lambda _: None,
) -> Ended:
    """Run a program to its end.

    Args:
        command: The program and its words.
        cores: Those that it may use; all of this process's by default.
        heard: Told each piece of the messages as it comes.
        glance: Called with the program's process id about ten times a second.
    Raises:
        Failed: It ended with another code than 0.
    """
    started = time.monotonic()
    with started_child(command, subprocess.PIPE, cores) as child:
        messages, output = _listen(child, heard, glance)
        code = child.wait()
    if code:
        raise Failed(f"{' '.join(command)}: exit code {code}\n{messages[-LAST_WORDS:].strip()}")
    return Ended(output, time.monotonic() - started)


@contextmanager
def started_child(
    command: Sequence[str],
    stderr: int,
    cores: Collection[int] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that the terminal's Ctrl-C does not reach, and that does not outlive the block."""
    child = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=PROJECT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        start_new_session=True,
    )
    try:
        if cores:
            os.sched_setaffinity(child.pid, cores)
        yield child
    finally:
        _end(child)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()


def _listen(
    child: subprocess.Popen[bytes],
    heard: Callable[[str], None],
    glance: Callable[[int], None],
) -> tuple[str, str]:
    """Read messages and output until both end."""
    assert child.stdout
    assert child.stderr
    output, messages = child.stdout.fileno(), child.stderr.fileno()
    texts = {output: b"", messages: b""}
    open_ends = set(texts)
    while open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], GLANCE_SECONDS)
        for end in ready:
            piece = os.read(end, 65536)
            texts[end] += piece
            if not piece:
                open_ends.discard(end)
            elif end == messages:
                heard(piece.decode(errors="replace"))
        glance(child.pid)
    return texts[messages].decode(errors="replace"), texts[output].decode()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask a child that still runs to end, and insist, also with what it started."""
    if child.poll() is None:
        family = psutil.Process(child.pid).children(recursive=True)
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    child.kill()
    child.wait()
