# SPDX-License-Identifier: Apache-2.0
"""The work queue: numbers 0 to total - 1, each given once to whichever rank asks next.

Numbers are given out several at a time, fewer towards the end. A rank that is so slow that the
others would have done the rest before it had done one more gets none: the last number, not the
first, decides when a run ends.

A thread on rank 0 answers, so that nobody waits for rank 0's own computing. One-sided MPI would
need no thread, but over TCP its calls wait until rank 0 enters MPI by itself: seconds, not
microseconds, while it computes.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from trainer.world.stopping import Stopping
from trainer.world.watch import Watch

if TYPE_CHECKING:
    from types import TracebackType

    from mpi4py import MPI

ASK, ANSWER = 1, 2
POLL_SECONDS = 0.01
"""Between two looks for who asks or what was answered. Every rank holds numbers ahead while it
waits, and each look costs the core that computes on a little: 0.02 ms."""
MOST_AT_ONCE = 8
SHARE = 4
"""A rank gets at most one part in SHARE x ranks of what is left."""
NEARLY = 0.1
"""A rank may end so much of a number later than the others would without it: clocks are not exact,
and of two ranks that would end together either may go on."""
EXACT = 2
"""With no more numbers left than so many a rank, it counts that they cannot be shared in parts."""
END = range(0)


class Dealer:
    """Decides who gets which numbers; on rank 0 alone, and free of MPI."""

    def __init__(self, total: int, ranks: int, ahead: int) -> None:
        """Start at 0.

        Args:
            total: Numbers to give out.
            ranks: Who may ask.
            ahead: Numbers that a rank still holds undone when it asks for more.
        """
        self.given = 0
        self._total = total
        self._ahead = ahead
        self._asked: dict[int, tuple[float, int]] = {}
        self._turns: Counter[int] = Counter()
        self._seconds: dict[int, float] = {}
        self._asking = set(range(ranks))

    def deal(self, rank: int, now: float) -> range:
        """The next numbers for a rank; none where it shall end.

        Args:
            rank: Who asks.
            now: Seconds on any clock; what a rank needs for a number is learnt from it.
        """
        self._learn(rank, now)
        left = self._total - self.given
        count = min(left, MOST_AT_ONCE, max(1, left // (SHARE * len(self._asking))))
        count = min(count, self._in_time(rank, left, now))
        self._asked[rank] = (now, count)
        if count <= 0:
            self._asking.discard(rank)
            return END
        self.given += count
        return range(self.given - count, self.given)

    def close(self) -> None:
        """Give out no more."""
        self._total = self.given

    def _learn(self, rank: int, now: float) -> None:
        """Seconds a number, the mean of the last turn and of what was known before.

        The first turns only fill what the rank holds ahead: no measure of its work.
        """
        self._turns[rank] += 1
        if self._turns[rank] > self._ahead + 1:
            asked, count = self._asked[rank]
            seconds = max((now - asked) / count, 1e-9)
            self._seconds[rank] = (seconds + self._seconds.get(rank, seconds)) / 2

    def _in_time(self, rank: int, left: int, now: float) -> int:
        """How many numbers the rank can do before the others would have done all that is left."""
        others = [one for one in self._asking - {rank} if one in self._seconds]
        if rank not in self._seconds or not others:
            return left
        free = {one: self._asked[one][0] + self._held(one) * self._seconds[one] for one in others}
        end = _end([(max(free[one], now), self._seconds[one]) for one in others], left)
        return int((end - now) / self._seconds[rank] + NEARLY) - self._ahead

    def _held(self, rank: int) -> int:
        """What a rank had yet to do when it had got its last numbers."""
        return self._ahead + self._asked[rank][1]


def _end(ranks: list[tuple[float, float]], left: int) -> float:
    """When some ranks would be done with so many more numbers.

    Args:
        ranks: For each, when it is free, and its seconds a number.
        left: Numbers.
    """
    if left > EXACT * len(ranks):
        ready = sum(free / seconds for free, seconds in ranks)
        return (left + ready) / sum(1 / seconds for _, seconds in ranks)
    nexts = [(free + seconds, seconds) for free, seconds in ranks]
    heapq.heapify(nexts)
    end = 0.0
    for _ in range(left):
        end, seconds = nexts[0]
        heapq.heapreplace(nexts, (end + seconds, seconds))
    return end


class WorkQueue:
    """Who computes what; a context that every rank enters and takes from until it gets None."""

    def __init__(
        self, comm: MPI.Comm, total: int, ahead: int, stopping: Stopping, watch: Watch
    ) -> None:
        """Open the queue; Collective. Use `World.queue`."""
        self._comm = comm.Dup()
        self._watch = watch
        self._stopping = stopping
        self._dealer = Dealer(total, comm.Get_size(), ahead)
        self._lock = threading.Lock()
        self._mine = END
        self._ended = False
        self._closed = False
        self._server = threading.Thread(target=self._serve, daemon=True)
        if self._comm.Get_rank() == 0:
            self._server.start()

    @property
    def given(self) -> int:
        """How many numbers were handed out; known on rank 0 alone."""
        return self._dealer.given

    @property
    def _wishes_end(self) -> bool:
        return self._closed or self._stopping.requested

    def close(self) -> None:
        """Let nothing more be given out, to this rank and, when they ask next, to the others."""
        self._closed = True

    def take(self) -> int | None:
        """The next number, or None when all are given out or some rank closed it or is to stop."""
        if self._wishes_end:
            self._mine = END  # what it holds is left undone
        if not self._mine and not self._ended:
            self._mine = self._ask()
            self._ended = not self._mine
        if not self._mine:
            return None
        number, self._mine = self._mine[0], self._mine[1:]
        return number

    def _ask(self) -> range:
        if self._comm.Get_rank() == 0:
            return self._hand_out(0, self._wishes_end)
        self._comm.Send(np.array([self._wishes_end], np.int64), dest=0, tag=ASK)
        answer = np.empty(2, np.int64)
        coming = self._comm.Irecv(answer, source=0, tag=ANSWER)
        with self._watch.waiting("queue"):
            while not coming.Test():  # to wait in MPI is to spin, on a core that has better to do
                time.sleep(POLL_SECONDS)
        return range(int(answer[0]), int(answer[1]))

    def _hand_out(self, rank: int, stop: bool) -> range:
        with self._lock:
            if stop:
                self._dealer.close()
            return self._dealer.deal(rank, time.monotonic())

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
            numbers = self._hand_out(asker, bool(wish[0]) or self._wishes_end)
            answer = np.array([numbers.start, numbers.stop], np.int64)
            self._comm.Send(answer, dest=asker, tag=ANSWER)
            waiting -= not numbers

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
                with self._watch.waiting():
                    self._server.join()
            self._comm.Free()
