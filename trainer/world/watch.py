# SPDX-License-Identifier: Apache-2.0
"""The watch over a world: a run that makes no progress ends, and says which rank stands still.

Each rank has a thread for it. It sees whether its rank gets on (`tick`), and whether it waits for
others (`waiting`); twice a second it tells rank 0, and rank 0 tells everybody that it is there.
A rank stands still that does not wait for others and has not got on for `run.stall_timeout`
seconds, or that nothing was heard of for so long. Time in which a process did not run at all, such
as a suspended job's, is no time; time in which it computes, or its main thread is seen at one place
after another, counts a tenth, so that a long step, or the loading of TensorFlow from a slow disk,
is not taken for a standstill.

A wish to stop travels the same way: all ranks know of it within a second, wherever they are.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.arrays import IntArray
from trainer.errors import FAILED, listed
from trainer.world import stacks
from trainer.world.mail import Inbox, Outbox
from trainer.world.outcome import Outcome
from trainer.world.processes import condition
from trainer.world.standing import LONGEST_SECONDS, Standing, blamed
from trainer.world.stopping import Stopping

if TYPE_CHECKING:
    from mpi4py import MPI

PERIOD_SECONDS = 0.5
ANSWER_SECONDS = 3.0
"""For the stacks of ranks that can be reached."""
QUIET_SECONDS = 10.0
"""In which a rank that was asked for its stacks makes no judgement of its own."""
MOST_STACK_BYTES = 1 << 18

REPORT, WORD, STACKS = 1, 2, 3
ALIVE, ASK, END = 0, 1, 2


class Watch:
    """One rank's part of the watch; a thread that lives until `close`."""

    def __init__(
        self,
        comm: MPI.Comm,
        host: str,
        stopping: Stopping,
        timeout: float,
        log: Path | None,
        outcome: Outcome | None,
    ) -> None:
        """Begin; Collective.

        Args:
            comm: All ranks.
            host: This one's.
            stopping: Told of what others were asked.
            timeout: Seconds of standing still that are too many.
            log: The run's.
            outcome: Where a process that started the ranks looks for signs of life.
        """
        self._comm = comm.Dup()
        self._me = comm.Get_rank()
        self._hosts: list[str] = comm.allgather(host)
        self._processes: list[int] = comm.allgather(os.getpid())
        self._ranks = [Standing() for _ in self._hosts]
        self._stopping = stopping
        self._timeout = timeout
        self._log = log
        self._outcome = outcome if outcome and outcome.here else None
        self._stderr = os.dup(2)  # the original: a step may turn it away for a while
        self._moved = False
        self._place = 0
        self._waits = {"ranks": False, "queue": False}
        self._quiet = 0.0
        self._answer: MPI.Request | None = None
        size = len(self._ranks)
        self._reports = Inbox(self._comm, REPORT, 3) if self._me == 0 else None
        self._words = Inbox(self._comm, WORD, 2 + size)
        self._report = Outbox(self._comm, 0, REPORT, 3) if self._me else None
        others = [rank for rank in range(size) if rank != self._me]
        self._to = {rank: Outbox(self._comm, rank, WORD, 2 + size) for rank in others}
        if self._outcome and self._me == 0:
            self._outcome.beat()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def tick(self) -> None:
        """This rank got on."""
        self._moved = True

    @contextmanager
    def waiting(self, what: str = "ranks") -> Iterator[None]:
        """While this rank waits for others it cannot get on, and is not to blame."""
        self._waits[what] = True
        try:
            yield
        finally:
            self._waits[what] = False
            self._moved = True

    def close(self) -> None:
        """End; all ranks have met just before."""
        self._closed.set()
        self._thread.join()
        self._words.close()
        if self._reports:
            self._reports.close()

    def _run(self) -> None:
        before, computed = time.monotonic(), time.process_time()
        while not self._closed.wait(PERIOD_SECONDS):
            now, worked = time.monotonic(), time.process_time()
            self._age(min(now - before, LONGEST_SECONDS), worked - computed)
            before, computed = now, worked
            self._listen()
            self._speak()
            self._judge()

    def _age(self, passed: float, computed: float) -> None:
        busy = passed if self._went_elsewhere() else computed
        self._ranks[self._me].age(passed, self._moved, any(self._waits.values()), busy)
        self._moved = False
        self._quiet = max(0.0, self._quiet - passed)
        for number, rank in enumerate(self._ranks):
            rank.silent += passed * (number != self._me)

    def _went_elsewhere(self) -> bool:
        """Whether the main thread is at another place than at the last look."""
        before, self._place = self._place, stacks.fingerprint()
        return before != self._place

    def _listen(self) -> None:
        for source, (idle, waits, wish) in self._reports.take() if self._reports else ():
            rank = self._ranks[source]
            rank.idle, rank.waits, rank.silent = idle / 1000, bool(waits), 0.0
            self._heed(bool(wish))
        for source, (kind, wish, *marks) in self._words.take():
            self._ranks[source].silent = 0.0
            self._heed(bool(wish))
            if kind == END:
                os._exit(FAILED)
            if kind == ASK:
                self._answer_with_stacks(source, marks)

    def _heed(self, wish: bool) -> None:
        if wish:
            self._stopping.request()

    def _speak(self) -> None:
        me = self._ranks[self._me]
        if self._report:
            self._report.send([round(1000 * me.idle), me.waits, self._stopping.requested])
            return
        self._say(ALIVE)
        if self._outcome:
            self._outcome.beat()

    def _say(self, kind: int, marked: tuple[int, ...] = ()) -> None:
        marks = [int(rank in marked) for rank in range(len(self._ranks))]
        for outbox in self._to.values():
            outbox.send([kind, self._stopping.requested, *marks])

    def _judge(self) -> None:
        if self._quiet:
            return
        if self._me:
            # One after another, so that the first that is able to speaks for all.
            if self._ranks[0].silent > self._timeout + PERIOD_SECONDS * min(1 + self._me, 20):
                self._end((0,), "stands still")
            return
        guilty, what = blamed(self._ranks, self._timeout)
        if guilty:
            self._end(guilty, what)

    def _end(self, guilty: tuple[int, ...], what: str) -> None:
        """Name the ranks that are to blame, keep all stacks, and end the world."""
        conditions = {number: self._condition(number) for number in guilty}
        found = self._collect_stacks(guilty)
        names = listed([self._name(number, found, conditions[number]) for number in guilty], 8)
        message = (
            f"{names} {what}: no progress for {self._timeout:g} s (run.stall_timeout); "
            "all ranks are ended."
        )
        details = "".join(
            f"{self._title(number)}: {found.get(number, ('', 'cannot be reached'))[1]}\n"
            for number in range(len(self._ranks))
        )
        stacks.tell(message, details, self._log, self._stderr)
        if self._outcome:
            self._outcome.leave(FAILED)
        self._say(END)
        time.sleep(PERIOD_SECONDS)  # lets the word leave
        os._exit(FAILED)

    def _title(self, number: int) -> str:
        return f"rank {number} on {self._hosts[number]} (process {self._processes[number]})"

    def _name(self, number: int, found: dict[int, tuple[str, str]], condition: str) -> str:
        """A rank with what is known of why it stands still."""
        known = [condition, found.get(number, ("", ""))[0]]
        why = ", ".join(one for one in known if one) or "cannot be reached"
        return f"rank {number} on {self._hosts[number]} ({why})"

    def _near(self, number: int) -> bool:
        return self._hosts[number] == self._hosts[self._me]

    def _condition(self, number: int) -> str:
        return condition(self._processes[number]) if self._near(number) else ""

    def _rouse(self, numbers: tuple[int, ...]) -> None:
        """Let stopped ranks of this host run again, so that they can tell where they are."""
        for number in numbers:
            if number != self._me and self._near(number) and self._condition(number):
                try:
                    os.kill(self._processes[number], signal.SIGCONT)
                except OSError:
                    continue  # gone, or another user's process with its number

    def _collect_stacks(self, guilty: tuple[int, ...]) -> dict[int, tuple[str, str]]:
        """Place and stacks of every rank that answers in time."""
        from mpi4py import MPI

        buffers = {number: bytearray(MOST_STACK_BYTES) for number in self._to}
        coming = {
            number: self._comm.Irecv([buffer, MPI.BYTE], source=number, tag=STACKS)
            for number, buffer in buffers.items()
        }
        self._rouse(guilty)
        self._say(ASK, guilty)
        found = {self._me: (stacks.place(), "\n" + stacks.stacks())}
        until = time.monotonic() + ANSWER_SECONDS
        while len(found) < len(self._ranks) and time.monotonic() < until:
            for number in set(coming) - set(found):
                if coming[number].Test():
                    place, _, text = _text(buffers[number]).partition("\n")
                    found[number] = (place, "\n" + text)
            time.sleep(0.05)
        return found

    def _answer_with_stacks(self, asker: int, marks: IntArray | list[int]) -> None:
        from mpi4py import MPI

        self._quiet = QUIET_SECONDS
        self._rouse(tuple(number for number, mark in enumerate(marks) if mark))
        text = f"{stacks.place()}\n{stacks.stacks()}".encode("utf-8", "backslashreplace")
        content = text[:MOST_STACK_BYTES]
        self._answer = self._comm.Isend([content, MPI.BYTE], dest=asker, tag=STACKS)


def _text(buffer: bytearray) -> str:
    """What was written to the front of an empty buffer; it may be cut off within a letter."""
    return buffer.rstrip(b"\0").decode("utf-8", "replace")
