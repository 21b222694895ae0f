# SPDX-License-Identifier: Apache-2.0
"""One start of `retrain` as a user would make it: its messages in files, its end waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import processes
from bad import Bad

ROOT = Path(__file__).parents[2]


def retrain(*words: object) -> list[str]:
    """The command `retrain` of this tree."""
    return [sys.executable, "-m", "trainer", *map(str, words)]


def environment(folder: Path) -> dict[str, str]:
    """This process's, without a cache or launcher of the outside, for a trial in this folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RETRAIN_", "SLURM_"))}
    return {
        **kept,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",  # so that a hang can be asked where it stands
        "TMPDIR": str(folder / "tmp"),
        processes.MARK: str(folder),
    }


class Running(Protocol):
    """A run that can be watched from outside."""

    folder: Path
    begun: float

    def told(self) -> str:
        """Its messages so far."""

    def ended(self) -> bool:
        """Whether it is over."""


class Start:
    """A command that was started for the trial in a folder."""

    def __init__(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        """Start it.

        Args:
            command: Program and words.
            folder: The trial's; its messages go into files there.
            variables: Added to the environment.
        """
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._strangers = set(self._temporary())
        self.number = len(list(folder.glob("told.*")))
        self.messages = folder / f"told.{self.number}"
        with open(self.messages, "wb") as told, open(folder / f"output.{self.number}", "wb") as out:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=told,
                cwd=folder,
                env={**environment(folder), **variables},
                start_new_session=True,
            )
        self.begun = time.monotonic()

    def left(self) -> list[str]:
        """Temporary folders of its own; those of earlier starts that were killed are not meant."""
        return sorted(set(self._temporary()) - self._strangers)

    def _temporary(self) -> list[str]:
        return [path.name for path in (self.folder / "tmp").glob("retrain-*")]

    def told(self) -> str:
        """Its messages so far."""
        return self.messages.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether it is over."""
        return self.child.poll() is not None

    def wait(self, seconds: float) -> int:
        """Its exit code.

        Raises:
            Bad: It has not ended in time; the folder then holds what it was doing.
        """
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            where = processes.describe(processes.find(self.folder))
            (self.folder / f"hang.{self.number}").write_text(where)
            processes.ask_for_stacks(self.folder)
            processes.end_all(self.folder)
            self.child.wait()
            raise Bad(f"hangs: not ended after {seconds:.0f} s (see hang.{self.number})") from None
