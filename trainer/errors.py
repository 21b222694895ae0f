# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and the errors that people can mend.

An error says what was found and where; `todo` says the way out. The command line prints both in
one to three lines and ends with the error's code; a traceback is for bugs only.
"""

from __future__ import annotations

import errno
import re

DONE = 0
FAILED = 1
USAGE = 2
DATA = 3
STOPPED = 75


class RetrainError(Exception):
    """An end of the run that its user can understand; exit code 1 unless a subclass says more."""

    exit_code = FAILED
    agreed = False
    """Whether all ranks raise it together, so that none needs to end the others."""

    def __init__(self, message: str, todo: str = "") -> None:
        """Keep both sentences.

        Args:
            message: The file or key, and what was found there.
            todo: What the user can do about it; empty where nothing can be said.
        """
        super().__init__(message)
        self.message = message
        self.todo = todo


class UsageError(RetrainError):
    """Wrong usage or configuration."""

    exit_code = USAGE


class DataError(RetrainError):
    """The data or the weights do not serve."""

    exit_code = DATA


class Stopped(RetrainError):
    """The run was asked to stop, has kept its work, and goes on when started again."""

    exit_code = STOPPED
    agreed = True


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write is answered where a disk, a quota or a limit is full."""

GO_ON = "Start the same command again; it goes on with what was kept."
"""The way out wherever a run ends that can be gone on with."""

DEBUG = "RETRAIN_DEBUG"
"""Set by --debug, for the ranks that are started: show where in the code an error came from."""

BY_CODE = {kind.exit_code: kind for kind in (RetrainError, UsageError, DataError, Stopped)}
"""The class for each exit code, to raise an error again on the ranks that did not meet it."""


def listed(names: list[str], most: int = 5) -> str:
    """Join names for a sentence; beyond `most` only their number is told."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def told(message: str, todo: str) -> str:
    """An error as it is shown: what was found and where, and below it the way out."""
    lines = [f"retrain: {message}", *([f"  {todo}"] if todo else [])]
    return "\n".join(printable(line) for line in lines)


def printable(text: str) -> str:
    """A line in which nothing is left that a terminal would obey."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Names of files may hold these; a terminal must not obey them."""
