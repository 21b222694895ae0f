# SPDX-License-Identifier: Apache-2.0
"""The parent's side of `trainer.features.decoding`: a process that decodes, and what ends it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import numpy as np

from trainer.data.difference_hash import DifferenceHash
from trainer.errors import RetrainError
from trainer.features.decoding import (
    ANSWER,
    CHANGED,
    FAILED,
    GO,
    HASH,
    IGNORED,
    MEMORY,
    PIXELS,
    UNASKED,
    UNREAD,
    UNREADABLE,
    write,
)
from trainer.features.preprocess import Decoded

PROGRAM = "trainer.features.decoding"
PIPE_BYTES = 1 << 20
"""So that an image passes at once, and its decoder need not wait for us to take it."""

CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}

Hold = Callable[[int], AbstractContextManager[None]]
"""Keeps so many bytes of memory as long as it is entered."""


class Ended(Exception):
    """The process ended over an image."""

    def __init__(self, code: int) -> None:
        """Keep what subprocess says of its end: minus a signal's number, or an exit code."""
        super().__init__(code)
        self._code = code

    def reason(self, cpu_seconds: float) -> str | None:
        """Why the image is at fault, in words that follow its path; None where it need not be."""
        if self._code == -signal.SIGPROF:
            return f"takes more than {cpu_seconds:g} s of computing to decode"
        if -self._code in CRASHES:
            return f"makes the decoder crash ({signal.Signals(-self._code).name})"
        return None


class Changed(Exception):
    """The content is not the one that was meant."""


class DecoderProcess:
    """One process; asked by one thread at a time."""

    def __init__(self, cpu_seconds: float) -> None:
        """Start it.

        Args:
            cpu_seconds: Of computing, after which the kernel ends it over an image.
        Raises:
            RetrainError: It cannot be started.
            Ended: It was killed before it was ready.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(cpu_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what comes is read straight to where it is wanted
            env=_environment(),
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        with suppress(OSError):  # too many pipes of one user: it goes on with smaller ones
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        try:
            self._read(ANSWER.size)
        except Ended:
            self.close()
            code = self._process.returncode
            if -code in (signal.SIGKILL, *IGNORED):  # it does not ignore them yet
                raise
            raise _no_start(code) from None

    def ask(self, request: bytes, side: int, hold: Hold) -> Decoded | str | OSError:
        """Let it decode one image.

        Args:
            request: As `trainer.features.decoding.request` makes it.
            side: As asked for.
            hold: For the memory that it wants.
        Returns:
            The image, why its content is unreadable, or what kept it from being read now.
        Raises:
            Ended: It is no more.
            Changed: The content is another.
        """
        self._send(request)
        kind, length, number = self._receive()
        if kind != MEMORY:
            return self._outcome(kind, length, number, side)
        with hold(number):
            self._send(GO)
            return self._outcome(*self._receive(), side)

    def _send(self, content: bytes) -> None:
        try:
            write(self._requests.fileno(), content)
        except BrokenPipeError:
            raise Ended(self._process.wait()) from None

    def _receive(self) -> tuple[bytes, int, int]:
        kind, length, number = ANSWER.unpack(self._read(ANSWER.size))
        return kind, length, number

    def _read(self, length: int) -> bytearray:
        content = bytearray(length)
        self._fill(memoryview(content))
        return content

    def _fill(self, room: memoryview) -> None:
        """Read as much as there is room for."""
        while room:
            count = os.readv(self._answers.fileno(), [room])
            if not count:
                raise Ended(self._process.wait())
            room = room[count:]

    def _outcome(self, kind: bytes, length: int, number: int, side: int) -> Decoded | str | OSError:
        if kind == PIXELS:
            hashed, bits, unsure, width, height = HASH.unpack(self._read(HASH.size))
            pixels = np.empty((side, side, 3), np.uint8)
            self._fill(pixels.reshape(-1).data)
            dhash = DifferenceHash(bits if hashed else None, unsure)
            return Decoded(pixels, dhash, (width, height))
        words = self._read(length).decode()
        if kind == UNREADABLE:
            return words
        if kind == UNREAD:
            return OSError(number, words)
        if kind == CHANGED:
            raise Changed
        assert kind == FAILED, kind
        raise RuntimeError(f"in a decoding process:\n{words}")

    def kill(self) -> None:
        """End it, whatever it does; a thread that waits for it gets `Ended`."""
        self._process.kill()

    def close(self) -> None:
        """Let go of one that has ended, or is about to."""
        self._requests.close()
        self._answers.close()
        self._process.wait()


def _no_start(code: int) -> RetrainError:
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return RetrainError(
        f"{sys.executable} -m {PROGRAM}: ended {how} before it was ready.",
        "`retrain doctor` looks at this installation.",
    )


def _environment() -> dict[str, str]:
    """Ours, so that it finds the modules that we found; and what suits it."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "PYTHONSAFEPATH": "1",
        # numpy would start threads.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        # The C library (mallopt(3)) would give back the memory of every image, for the kernel to
        # clear before the next: a quarter of all computing at 600 x 340 pixels.
        "MALLOC_MMAP_THRESHOLD_": str(UNASKED),
        "MALLOC_TRIM_THRESHOLD_": str(UNASKED),
    }
