# SPDX-License-Identifier: Apache-2.0
"""A rank made slower from outside, as if its machine had other work to do."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import TracebackType

PERIOD_SECONDS = 0.04
"""Short against a batch, so that the rank seems slow and not absent."""


class Slowed:
    """Lets a process run for a share of the time only; a context, and `begin` starts it."""

    def __init__(self, share: float) -> None:
        """Note how much; nothing is slowed yet.

        Args:
            share: Of the time in which the process may run, above 0 and below 1.
        """
        self._share = share
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self.seconds = 0.0
        """For how long it was slowed."""
        self.ran_seconds = 0.0
        """For how much of that it might run."""

    def __enter__(self) -> Slowed:
        """Stop slowing at the end of the block at the latest."""
        return self

    def begin(self, pid: int) -> None:
        """Slow this process from now on until it ends or the block does."""
        self._pid = pid
        self._thread = threading.Thread(target=self._alternate, daemon=True)
        self._thread.start()

    def _alternate(self) -> None:
        """Stop and continue; what one period ran too long, the next one runs less."""
        started = time.monotonic()
        with suppress(ProcessLookupError):
            while not self._ended.is_set():
                os.kill(self._pid, signal.SIGCONT)
                woken = time.monotonic()
                due = self._share * (woken - started + PERIOD_SECONDS) - self.ran_seconds
                time.sleep(max(0.0, due))
                os.kill(self._pid, signal.SIGSTOP)
                self.ran_seconds += time.monotonic() - woken
                time.sleep(PERIOD_SECONDS * (1 - self._share))
                self.seconds = time.monotonic() - started

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the process run freely again."""
        self._ended.set()
        if self._thread:
            self._thread.join()
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGCONT)


def ideal_seconds(images: float, rate: float, ranks: int, share: float) -> float:
    """The time that the work would take if it were dealt perfectly.

    Args:
        images: How many.
        rate: Images a second of all ranks unslowed.
        ranks: How many, alike but for one.
        share: Of its speed that this one has left.
    """
    return images / (rate * (ranks - 1 + share) / ranks)
