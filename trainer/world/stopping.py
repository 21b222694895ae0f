# SPDX-License-Identifier: Apache-2.0
"""One answer to a signal: it is only noted here, and the world agrees on it at its next sum.

Nothing is saved inside a handler. Python's own handlers wait until the main thread is back from
whatever C code it is in; a thread of ours sees a signal at once, wherever the main thread is:

* at once: the request is noted. Where the main thread said that a stop may break off what it
  does (`at_once`), it does so; else it goes on to the next sum.
* a second request, not the echo of the first: the process ends.
* after some seconds: `unwinding` breaks off whatever Python code is running, and what a caller
  has put under `with` is tidied up.
* in the end, should the main thread be in C code still: `last_resort`. What files hold then is
  whole, as after a kill.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from trainer.errors import STOPPED, Stopped, told
from trainer.world.outcome import awaited

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
ECHO_SECONDS = 2.0
"""A scheduler and a launcher may each pass on the same request; within this time it is one."""
UNWIND_SECONDS = 6.5
LAST_SECONDS = 8.5
"""Since the request; a stop shall be over within 10 s."""
AGAIN_SECONDS = 1.0
"""Between two attempts to break something off: code in between may have swallowed the first."""
LOOK_SECONDS = 0.25
HEARD_SECONDS = 0.7
"""In which the process that started a rank surely looks whether it was asked to stop."""
NUDGE = signal.SIGURG
"""Makes the main thread look up; whoever has no use for it ignores it."""
MESSAGE = "stopped on request; what was computed is kept."
TODO = "Start the same command again; it goes on."


class Stopping:
    """Whether this process was asked to stop.

    Attributes:
        requested: It was.
        since: When, on the monotonic clock.
        unwinding: Whether to break off Python code that does not look up by itself in time.
        last_resort: Ends a process whose main thread does not come back.
        insisted: Told of a second request, with the signal's number; ends the process.
    """

    def __init__(self) -> None:
        """Start with nothing asked."""
        self.requested = False
        self.since = 0.0
        self.unwinding = False
        self.last_resort: Callable[[], None] = end_at_once
        self.insisted: Callable[[int], None] = lambda number: os._exit(128 + number)
        self._at_once = False
        self._counted: float | None = None
        self._broken_off = 0.0
        self._unwind = False
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def install(self) -> None:
        """Note SIGTERM, SIGINT and SIGUSR2 from now on; in the main thread."""
        signal.signal(NUDGE, self._look_up)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._attend, name="signals", daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, self._note)

    def note_only(self) -> None:
        """From here on a request is only noted, in what encloses this call too."""
        self._at_once = False

    def rest(self) -> None:
        """Hear nothing more: at its end Python puts back what would kill a rank that is done."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def request(self) -> None:
        """Note a request; from any thread."""
        if not self.requested:
            self.since = time.monotonic()
            self.requested = True
            os.write(self._writing, b"\0")  # no signal's number: the thread looks up

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a request raise Stopped in what is enclosed; in the main thread, no collective.

        Raises:
            Stopped: On this rank alone.
        """
        before, self._at_once = self._at_once, True
        try:
            with self.restored():
                self._look_up(NUDGE, None)
                yield
        finally:
            self._at_once = before

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Make a Stopped again of whatever libraries made of it, such as a TypeError."""
        before = self._broken_off
        try:
            yield
        except Exception:
            if self._broken_off == before:
                raise
            raise self._stopped() from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.request()
        self._look_up(number, frame)

    def _look_up(self, number: int, frame: FrameType | None) -> None:
        """Break off the main thread's work if that is wanted."""
        now = time.monotonic()
        if self._unwind or (
            self.requested and self._at_once and now - self._broken_off > AGAIN_SECONDS
        ):
            self._unwind, self._broken_off = False, now
            raise self._stopped()

    def _stopped(self) -> Stopped:
        error = Stopped(MESSAGE, TODO)
        error.agreed = False
        return error

    def _attend(self) -> None:
        """See signals when they come, and that a request is answered in time."""
        while True:
            pause = LOOK_SECONDS if self.requested else None
            if select.select([self._reading], [], [], pause)[0]:
                for number in os.read(self._reading, 64):
                    if number in SIGNALS:
                        self._count(number)
            if self.requested:
                self._press()

    def _count(self, number: int) -> None:
        """Tell a second request from an echo, by this thread's time: both may be seen late."""
        now = time.monotonic()
        if self._counted is not None and now - self._counted > ECHO_SECONDS:
            self.insisted(number)
        self._counted = self._counted or now
        self.request()

    def _press(self) -> None:
        passed = time.monotonic() - self.since
        if passed > LAST_SECONDS:
            self.last_resort()
        if self.unwinding and passed > UNWIND_SECONDS:
            self.unwinding, self._unwind = False, True
        if self._at_once or self._unwind:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, NUDGE)


def end_at_once() -> None:
    """End this process as stopped, whatever it is in."""
    message = "stopped on request in the middle of a long step; what was kept before it is kept."
    print(told(message, TODO), file=sys.stderr, flush=True)
    os._exit(STOPPED)


def leave(error: Stopped) -> NoReturn:
    """End, stopped before there was a world; of ranks that we started, who started them says it.

    They cannot tell a request from mpirun's way of ending the others when one was killed, but who
    started them can, as long as all are there. Without tidying up: where MPI has begun, its end
    would wait for the other ranks.
    """
    of_process().note_only()
    outcome = awaited()
    if outcome is None:
        print(told(error.message, error.todo), file=sys.stderr)
    elif outcome.here:
        with suppress(OSError):  # the disk is full, perhaps: mpirun's exit code then has to do
            outcome.asked.touch()
        time.sleep(HEARD_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)


_of_process: Stopping | None = None


def of_process() -> Stopping:
    """The one that listens in this process; installed with the first call."""
    global _of_process
    if _of_process is None:
        _of_process = Stopping()
        _of_process.install()
    return _of_process
