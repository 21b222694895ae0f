# SPDX-License-Identifier: Apache-2.0
"""A job's life: queued, running, ended, and what is told of it."""

from __future__ import annotations

import contextlib
import os
import random
import string
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO

from .orders import Order
from .place import Place
from .site import Site

SUBMITTED, RUNNING = "SUBMITTED", "PROCESSING STARTING"
COMPLETED, FAILED = "COMPLETED", "COMPLETED WITH ERROR"
TERMINATED, CANCELED = "TERMINATED", "CANCELED"

GRACE_SECONDS = 3.0
_TERM = 15
_TERMINATED_CODE, _CANCELED_CODE = -15, -9


class Job:
    """One job; its own thread sees it from the queue to the end."""

    def __init__(self, site: Site, order: Order, number: int) -> None:
        """Record it; `start` puts it into the queue."""
        self.order, self.number = order, number
        letters = "".join(random.choices(string.ascii_uppercase + string.digits, k=5))
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        self.owner = site.user
        self.name = f"{stamp}-{letters}-{order.app}-{self.owner}_s1"
        self.label = order.label
        self.status = SUBMITTED
        self.suspended = False
        self.exit_code: int | None = None
        self.submitted, self.started, self.ended = time.time(), 0.0, 0.0
        self.place = Place(site, order, number, self.name)
        self._delay = site.delay
        self._fate: str | None = None
        self._leave_queue = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._timers: list[threading.Timer] = []
        self._thread = threading.Thread(target=self._live, name=f"job {number}")

    def start(self) -> None:
        """Let it wait for its turn and run, beside the caller."""
        self._thread.start()

    def wait(self) -> None:
        """Until it has ended and cleared up."""
        self._thread.join()

    def stop(self, fate: str, grace: float = 0.0) -> bool:
        """Let it end as `fate`: TERM and then KILL, or KILL at once; False if it has ended."""
        with self._lock:
            if self.ended:
                return False
            self._fate = fate
            self._leave_queue.set()
            if grace:
                self._tell(_TERM)
                self._later(grace, self._kill)
            else:
                self._kill()
        return True

    def signal(self, number: int) -> int:
        """Send a signal to the command and its group; the command's process number."""
        with self._lock:
            self._tell(number)
        self.suspended = number == 20
        return int(self._reported(0) or 0)

    def log(self, lines: int) -> bytes:
        """The last lines of what it wrote; 0: all."""
        written = self.place.log.read_bytes().splitlines(keepends=True)
        return b"".join(written[-lines:])

    @property
    def seconds(self) -> float:
        """How long it ran, once it has ended."""
        return self.ended - self.started if self.started and self.ended else 0.0

    def _live(self) -> None:
        try:
            if self._leave_queue.wait(self._delay):
                self._fate = CANCELED
            else:
                self._run()
            self.place.clear()
        finally:
            for timer in self._timers:
                timer.cancel()
            self._conclude()

    def _run(self) -> None:
        with self.place.log.open("ab", buffering=0) as log:
            log.write(self._preamble().encode())
            with self._lock:
                process = subprocess.Popen(
                    self.place.way_in(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                )
                self._process = process
                self.started, self.status = time.time(), RUNNING
                if self.order.walltime is not None:
                    end = (TERMINATED, GRACE_SECONDS)
                    self._later(self.order.walltime, lambda: self.stop(*end))
                if self._fate is not None:
                    self._kill()
            assert process.stdout is not None
            if self.place.boxed:  # who opens /dev/stderr by name needs to own the pipe
                user = self.place.user
                os.fchown(process.stdout.fileno(), user.uid, user.gid)
            _copy(process.stdout, log)
            process.wait()
        with self._lock:
            self._close_input()

    def _conclude(self) -> None:
        reported = self._reported(1)
        code = int(reported) if reported else _TERMINATED_CODE
        with self._lock:
            fate = self._fate or (COMPLETED if code == 0 else FAILED)
            if fate == TERMINATED:
                code = _TERMINATED_CODE
            self.exit_code = _CANCELED_CODE if fate == CANCELED else code
            self.status = fate
            self.ended = time.time()

    def _preamble(self) -> str:
        """What the platform says before the command's own output."""
        order = self.order
        said = [
            f"Job {self.number} has {order.nodes} x {order.machine.name}",
            f"Nodes answer: {' '.join(self.place.nodes)}",
            f"Vault {order.vault} is at /data",
        ]
        if order.verbose:
            said.append(f"Command: {order.argv}")
        return "".join(f"INIT[1]: {line}\n" for line in said) + "#" * 79 + "\n"

    def _reported(self, line: int) -> str:
        """What the box wrote down: the command's process number, then its exit code."""
        report = self.place.report
        lines = report.read_text().splitlines() if report.exists() else []
        return lines[line] if len(lines) > line else ""

    def _later(self, seconds: float, call: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _tell(self, number: int) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                self._process.stdin.write(f"{number}\n".encode())
                self._process.stdin.flush()

    def _kill(self) -> None:
        """The end of its input tells the box to end everything in it."""
        self._close_input()

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def _copy(source: IO[bytes], log: IO[bytes]) -> None:
    """Until all writers are gone."""
    with source:
        while chunk := os.read(source.fileno(), 65536):
            log.write(chunk)
