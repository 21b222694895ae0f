# SPDX-License-Identifier: Apache-2.0
"""How stages speak: one small interface that rank 0 draws and the other ranks keep silent.

A terminal gets a bar that is redrawn; a batch log gets a line now and then, at growing intervals.
Everything said also goes to the run's log, with the time.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import SEEK_END, FileIO
from pathlib import Path
from typing import TextIO

from trainer.rundir import write_error

FIRST_LINE_SECONDS = 5.0
LONGEST_SILENCE_SECONDS = 60.0
ERASE = "\r\x1b[K"
"""Moves a terminal to the start of its line and empties it (ECMA-48: CR, EL)."""


class Progress:
    """The voice of one run; with no stream it is silent and only remembers warnings."""

    def __init__(self, stream: TextIO | None = None, terminal: bool = False) -> None:
        """Speak to a stream.

        Args:
            stream: Where lines go, usually standard error; None for ranks that do not speak.
            terminal: Whether a bar can be redrawn in place.
        """
        self._stream = stream
        self._terminal = terminal
        self._log: FileIO | None = None
        self.warnings: list[str] = []
        self.kept: dict[str, Callable[[], int]] = {}
        """Count what the next start need not do again; asked at a stop, by kind."""

    @contextmanager
    def logging_to(self, path: Path) -> Iterator[None]:
        """Also append what is said to a log.

        Raises:
            RetrainError: It cannot be opened; later also where the disk is full, but once: what is
                said on the way out of that is not to hide it.
        """
        try:
            log = FileIO(str(path), "a")
        except OSError as error:
            raise write_error(path, None, error) from None
        self._log = log
        try:
            yield
        finally:
            self._log = None
            with suppress(OSError):  # each line told its own error
                log.close()

    def say(self, text: str) -> None:
        """Tell a step in one line."""
        self._emit(text)

    def warn(self, text: str) -> None:
        """Tell what limits the result; it will stand in the results and on the report."""
        if text not in self.warnings:
            self.warnings.append(text)
            self._emit(f"Warning: {text}")

    def note(self, text: str) -> None:
        """Write to the log alone what the terminal is told in other words."""
        log = self._log
        if log:
            line = f"{time.strftime('%H:%M:%S')} {text}\n".encode("utf-8", "backslashreplace")
            try:
                _append(log, line)
            except OSError as error:
                self._log = None
                raise write_error(Path(str(log.name)), len(line), error) from None

    def _emit(self, text: str) -> None:
        self._show(f"{ERASE if self._terminal else ''}{text}\n")
        self.note(text)

    def _show(self, text: str) -> None:
        """Write to the stream; one that cannot be written any more is no reason to end a run."""
        if self._stream:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                self._stream = None
                self.note(f"From here on in this log alone: standard error: {error.strerror}")

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Track]:
        """Follow long work.

        Args:
            what: The work in a word or two, such as "Bottlenecks".
            total: How many steps it has.
        """
        track = Track(self, what, total)
        try:
            yield track
        finally:
            track.erase()


class Track:
    """One piece of long work, told as it goes."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        """Start at zero; `Progress.track` makes these."""
        self._progress = progress
        self._what = what
        self._total = total
        self._started = time.monotonic()
        self._next = self._started + (0.0 if progress._terminal else FIRST_LINE_SECONDS)
        self._interval = FIRST_LINE_SECONDS
        self._drawn = False

    def reach(self, done: int) -> None:
        """Tell how many steps are done; called as often as one likes."""
        now = time.monotonic()
        if now < self._next or self._progress._stream is None:
            return
        seconds = now - self._started
        speed = done / seconds if seconds > 0 else 0.0
        rest = f", about {_span((self._total - done) / speed)} left" if speed > 0 else ""
        text = f"{self._what}: {done:,} of {self._total:,}, {speed:.1f}/s{rest}"
        if self._progress._terminal:
            self._draw(text, done)
            self._next = now + 0.1
        else:
            self._progress.say(text)
            self._next = now + self._interval
            self._interval = min(2 * self._interval, LONGEST_SILENCE_SECONDS)

    def _draw(self, text: str, done: int) -> None:
        columns = shutil.get_terminal_size().columns
        room = columns - len(text) - 4
        filled = round(room * done / max(1, self._total))
        bar = f"[{'=' * filled}{' ' * (room - filled)}] " if room >= 10 else ""
        self._progress._show(ERASE + f"{bar}{text}"[: columns - 1])
        self._drawn = True

    def erase(self) -> None:
        """Remove the bar; the stage says in a line what came of it."""
        if self._drawn:
            self._progress._show(ERASE)


def _append(log: FileIO, line: bytes) -> None:
    """Write a whole line or none of it: a full disk takes what still fits."""
    before = log.seek(0, SEEK_END)
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[log.write(rest) :]
    except OSError:
        with suppress(OSError):
            log.truncate(before)
        raise


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def to_stderr(terminal: bool | None = None) -> Progress:
    """A voice on standard error; `terminal` overrides what the stream says of itself."""
    return Progress(sys.stderr, sys.stderr.isatty() if terminal is None else terminal)
