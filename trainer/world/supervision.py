# SPDX-License-Identifier: Apache-2.0
"""The process that started the ranks waits for them, and ends what does not end by itself.

Most of the time it only waits. It passes on a request to stop; it sees that the ranks end soon
after they said how, or after a request; and that they are alive: where all of them are stopped,
or the only one, nobody else can tell.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from trainer.errors import FAILED, STOPPED
from trainer.world import stacks
from trainer.world.outcome import WANT_STACKS, Outcome
from trainer.world.processes import children, condition, held_back, variable
from trainer.world.standing import LONGEST_SECONDS
from trainer.world.stopping import Stopping

RANK = "OMPI_COMM_WORLD_RANK"
LOOK_SECONDS = 0.5
END_SECONDS = 20.0
"""For ranks to end after they left their outcome."""
STOPPED_END_SECONDS = 1.5
"""The same after a request, of whose 10 s the most may be gone."""
STOP_SECONDS = 9.3
"""For ranks to end after a request; a stop shall be over within 10 s."""
KILL_SECONDS = 0.7
"""For what was killed to be gone, and for mpirun to see it and tidy up."""
START_SECONDS = 120.0
"""At least so long may ranks take to find each other."""
LATER_SECONDS = 10.0
"""So much longer than the ranks' own watch waits; a single rank has nobody else."""


class Supervisor:
    """Waits for a child that is one rank, or mpirun or srun with ranks."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        ranks: int | None,
        outcome: Outcome,
        stopping: Stopping,
        stall_timeout: float,
        log: Path | None,
    ) -> None:
        """Look after a child that has just been started.

        Args:
            child: Leads a process group of its own.
            ranks: How many there are, a single one being the child; None where some are elsewhere.
            outcome: Where the ranks leave how they ended.
            stopping: Whether this process was asked to stop.
            stall_timeout: Seconds without a sign of life that are too many.
            log: The run's.
        """
        self._child = child
        self._alone = ranks == 1
        self._ranks_here = ranks
        self._by_slurm = os.path.basename(os.fsdecode(child.args[0])) == "srun"  # type: ignore[index, arg-type]
        self._outcome = outcome
        self._stopping = stopping
        self._stall_timeout = stall_timeout
        self._log = log
        self._told = self._insisted = False
        self._left = 0.0
        self._beat, self._silent = 0, 0.0
        self._seen, self._empty = False, 0.0

    def insist(self, number: int) -> None:
        """End the ranks at once, at a second request."""
        self._insisted = True

    def wait(self) -> int | None:
        """The exit code of the ranks; None where they ended without leaving one."""
        ended = threading.Thread(target=self._child.wait, daemon=True)
        ended.start()
        before = time.monotonic()
        while ended.is_alive():
            ended.join(LOOK_SECONDS)
            now = time.monotonic()
            passed, before = min(now - before, LONGEST_SECONDS), now
            if not ended.is_alive():
                break
            code = self._look(passed)
            if code is not None:
                self._kill()
                return code
            if self._deserted(passed):
                self._kill()
        return self._outcome.code()

    def _pass_on(self) -> None:
        """Ask the ranks to stop, once: as SIGUSR2, which mpirun forwards.

        Before they are a world there is nothing to agree on, and mpirun may have nobody yet to
        forward it to: SIGHUP lets it end at once.
        """
        if not self._told:
            self._told = True
            early = not self._alone and not self._outcome.last_beat()
            with suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGHUP if early else signal.SIGUSR2)

    def _look(self, passed: float) -> int | None:
        """See to the child; gives the exit code where it is to be ended."""
        if any(held_back(self._child.pid, one) for one in (signal.SIGTERM, signal.SIGINT)):
            self._stopping.request()  # sent to mpirun, which would end its ranks in a moment
        if self._outcome.asked.exists() and len(self._ranks()) == self._ranks_here:
            self._stopping.request()  # mpirun asks a rank only once it has lost another
        if self._insisted:
            return STOPPED
        if self._stopping.requested:
            self._pass_on()
            if time.monotonic() - self._stopping.since > STOP_SECONDS:
                return STOPPED
        code = self._outcome.code()
        if code is not None:
            self._left += passed
            stop = code == STOPPED or self._stopping.requested
            patience = STOPPED_END_SECONDS if stop else END_SECONDS
            return code if self._left > patience else None
        return self._listen(passed)

    def _deserted(self, passed: float) -> bool:
        """Whether mpirun stays without ranks, as it may where one ended early."""
        ranks = self._ranks()
        self._seen = self._seen or bool(ranks)
        self._empty = 0.0 if ranks else self._empty + passed
        return self._seen and self._empty > END_SECONDS

    def _listen(self, passed: float) -> int | None:
        """See that somebody is alive."""
        beat = self._outcome.last_beat()
        self._silent = 0.0 if beat != self._beat else self._silent + passed
        self._beat = beat
        patience = self._stall_timeout + (0 if self._alone else LATER_SECONDS)
        if self._silent <= (patience if beat else max(patience, START_SECONDS)):
            return None
        self._tell()
        return FAILED

    def _ranks(self) -> list[int]:
        """The processes of ranks on this host."""
        if self._alone:
            return [self._child.pid]
        return [one for one in children(self._child.pid) if variable(one, RANK)]

    def _tell(self) -> None:
        """Name the ranks of this host, and keep their stacks."""
        names, details = [], []
        for process in self._ranks():
            rank = variable(process, RANK) or "0"
            why = condition(process)
            names.append(f"rank {rank} on {os.uname().nodename}" + (f" ({why})" if why else ""))
            details.append(f"rank {rank} (process {process}):\n{self._stacks(process)}")
        message = (
            f"{', '.join(names) or 'the ranks'}: no sign of life for {self._silent:.0f} s "
            "(run.stall_timeout); all ranks are ended."
        )
        stacks.tell(message, "".join(details), self._log)

    def _stacks(self, process: int) -> str:
        path = self._outcome.stacks(process)
        if not path.exists():
            return "  not known\n"
        with suppress(OSError):
            os.kill(process, signal.SIGCONT)
            os.kill(process, WANT_STACKS)
        time.sleep(LOOK_SECONDS)
        return path.read_text(encoding="utf-8", errors="replace")

    def _kill(self) -> None:
        """End everything: mpirun, when its ranks here are gone, ends those of other hosts.

        srun has none below itself, and ends them all when it is asked to end.
        """
        for process in self._ranks():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if self._by_slurm:
            self._child.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(KILL_SECONDS)
            return
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):  # in a file system that stands still
            self._child.wait(KILL_SECONDS)
