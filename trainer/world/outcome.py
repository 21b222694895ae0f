# SPDX-License-Identifier: Apache-2.0
"""What ranks leave in a folder for the process that started them, on its own host.

outcome     the exit code; the first word counts
alive       touched twice a second by rank 0
asked       there once a rank was asked to stop, before there was a world that could agree
stacks-N    the stacks of process N, where it was asked for them by SIGUSR1
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path

OUTCOME = "RETRAIN_OUTCOME"
"""Names the file in which rank 0 leaves the exit code for the process that started the ranks."""
WANT_STACKS = signal.SIGUSR1


class Outcome:
    """One run's folder, seen from either side."""

    def __init__(self, path: Path) -> None:
        """Name the files; nothing is touched."""
        self.path = path
        self.alive = path.with_name("alive")
        self.asked = path.with_name("asked")

    def stacks(self, process: int) -> Path:
        """Where a process writes its stacks."""
        return self.path.with_name(f"stacks-{process}")

    @property
    def here(self) -> bool:
        """Whether the folder is on this host."""
        return self.path.parent.is_dir()

    def code(self) -> int | None:
        """The exit code; None where none was left."""
        return int(self.path.read_text(encoding="ascii")) if self.path.exists() else None

    def leave(self, code: int) -> bool:
        """Leave the exit code, whole or not at all; False where one was there."""
        temporary = self.path.with_name(f"outcome-{os.getpid()}")
        temporary.write_text(str(code), encoding="ascii")
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def beat(self) -> None:
        """Show that there is life."""
        self.alive.touch()

    def last_beat(self) -> int:
        """When there was life, in nanoseconds on some clock; 0 where there was none yet."""
        try:
            return self.alive.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def write_stacks_when_asked(self) -> None:
        """Let this process write its stacks when it is asked, whatever it is in."""
        file = open(self.stacks(os.getpid()), "wb", buffering=0)  # noqa: SIM115 (for good)
        faulthandler.register(WANT_STACKS, file, all_threads=True)


def awaited() -> Outcome | None:
    """Where the process that started this one looks for its outcome; None where none does."""
    name = os.environ.get(OUTCOME)
    return Outcome(Path(name)) if name else None
