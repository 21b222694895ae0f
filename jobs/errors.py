# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and the errors that people can mend; both as those of `retrain run`."""

from __future__ import annotations

import shlex
import sys

import click

DONE = 0
FAILED = 1
USAGE = 2
DATA = 3
STOPPED = 75
INTERRUPTED = 130


class JobError(click.ClickException):
    """What was found and where, and in `todo` the way out; exit code 1 unless a subclass says more.

    It is one of click's, so that the command that holds these commands can tell it without
    knowing this package.
    """

    exit_code = FAILED

    def __init__(self, message: str, todo: str = "") -> None:
        """Keep both sentences.

        Args:
            message: The file, key or job, and what was found there.
            todo: What the user can do about it; empty where nothing can be said.
        """
        super().__init__(message)
        self.todo = todo


class UsageError(JobError):
    """Wrong usage or configuration."""

    exit_code = USAGE


class NoAnswer(JobError):
    """The scheduler did not answer, which may pass."""


def shown(text: str, most: int | None = None) -> str:
    r"""A name on one line that a terminal prints and does not obey: `\n`, `\x1b`, `\udcff`.

    Args:
        text: The name.
        most: Signs up to which it is told whole.
    """
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return plain if most is None or len(plain) <= most else plain[: most - 3] + "..."


def printed(text: str) -> None:
    """Write to standard output, whatever letters it can hold."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)


def command_line(words: list[str]) -> str:
    """A command as a shell would take it, on one line."""
    return " ".join(shlex.quote(w) if w.isprintable() else _dollar_quoted(w) for w in words)


def _dollar_quoted(word: str) -> str:
    """A word with line ends or control characters, in bash's own quotes for them."""
    raw = word.encode("utf-8", "surrogateescape")
    plain = (chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in raw)
    return "$'" + "".join(plain) + "'"
