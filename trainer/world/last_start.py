# SPDX-License-Identifier: Apache-2.0
"""What a start leaves for the next one, in case that it is killed with all its processes.

Such a run cannot tell that the kernel killed it for want of memory; the next one can. The note
lies in the run directory while the run holds it, and only a run that was killed leaves it there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from trainer.rundir import RunDir, write_json
from trainer.world.memory import Kills


@contextmanager
def noting(run: RunDir, say: Callable[[str], None]) -> Iterator[None]:
    """Tell what the note of a killed run shows, and leave one; on rank 0, under the lock.

    Raises:
        RetrainError: The note cannot be written.
    """
    if killed := _killed(run):
        say(f"Warning: the last start was cut off: {killed}; fewer ranks or more memory may help")
    write_json(run.last_start, asdict(Kills.now()))
    try:
        yield
    finally:
        with suppress(OSError):  # what stays tells the next start of no killing but one that was
            run.last_start.unlink()


def leave_cause(run: RunDir, killed: str) -> None:
    """Put what is known already of a run's end in place of its note; by who outlived the ranks.

    Raises:
        RetrainError: It cannot be written.
    """
    if run.last_start.exists():  # else it ended in order, but for a part of it that was killed
        write_json(run.last_start, killed)


def _killed(run: RunDir) -> str:
    """How the last start was killed for want of memory; empty where it was not."""
    try:
        left = json.loads(run.last_start.read_text(encoding="utf-8"))
        return left if isinstance(left, str) else Kills.of(left).since()
    except (OSError, ValueError, TypeError):
        return ""  # it ended in order, or its note is damaged
