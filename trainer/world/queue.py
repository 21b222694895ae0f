# SPDX-License-Identifier: Apache-2.0
"""The work queue: numbers 0 to total - 1, each given once to whichever rank asks next.

A thread on rank 0 answers, so that nobody waits for rank 0's own computing. One-sided MPI would
need no thread, but over TCP its calls wait until rank 0 enters MPI by itself: seconds, not
microseconds, while it computes.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from trainer.world.stopping import Stopping

if TYPE_CHECKING:
    from types import TracebackType

    from mpi4py import MPI

ASK, ANSWER = 1, 2
END = -1
POLL_SECONDS = 0.001


class WorkQueue:
    """Who computes what; a context that every rank enters and takes from until it gets None."""

    def __init__(self, comm: MPI.Comm, total: int, stopping: Stopping) -> None:
        """Open the queue; Collective."""
        self._comm = comm.Dup()
        self._total = total
        self._stopping = stopping
        self._next = 0
        self._lock = threading.Lock()
        self._ended = False
        self._server = threading.Thread(target=self._serve, daemon=True)
        if self._comm.Get_rank() == 0:
            self._server.start()

    @property
    def given(self) -> int:
        """How many numbers were handed out; known on rank 0 alone."""
        return self._next

    def take(self) -> int | None:
        """The next number, or None when all are given out or some rank was asked to stop."""
        if self._ended:
            return None
        if self._comm.Get_rank() == 0:
            number = self._hand_out(self._stopping.requested)
        else:
            number = self._ask()
        self._ended = number == END
        return None if self._ended else number

    def _ask(self) -> int:
        self._comm.Send(np.array([self._stopping.requested], np.int64), dest=0, tag=ASK)
        answer = np.empty(1, np.int64)
        self._comm.Recv(answer, source=0, tag=ANSWER)
        return int(answer[0])

    def _hand_out(self, stop: bool) -> int:
        with self._lock:
            if stop:
                self._total = self._next
            if self._next >= self._total:
                return END
            self._next += 1
            return self._next - 1

    def _serve(self) -> None:
        """Answer until every other rank was told that it is the end."""
        from mpi4py import MPI

        status, wish = MPI.Status(), np.empty(1, np.int64)
        waiting = self._comm.Get_size() - 1
        while waiting:
            if not self._comm.Iprobe(MPI.ANY_SOURCE, ASK, status):
                time.sleep(POLL_SECONDS)
                continue
            asker = status.Get_source()
            self._comm.Recv(wish, source=asker, tag=ASK)
            number = self._hand_out(bool(wish[0]) or self._stopping.requested)
            self._comm.Send(np.array([number], np.int64), dest=asker, tag=ANSWER)
            waiting -= number == END

    def __enter__(self) -> WorkQueue:
        """Take from it inside."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; Collective, unless an error ends all ranks anyway."""
        if error is None:
            while self.take() is not None:
                pass
            if self._server.is_alive():
                self._server.join()
            self._comm.Free()
