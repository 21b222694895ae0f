# SPDX-License-Identifier: Apache-2.0
"""A program: runs on a disk that fails from the n-th change in the run directory on, for every n.

Every fourth is started again once the disk is mended. Prints a line for each n: the error number,
what failed first, the exit code, what was told, and what was then found wrong. Python's own calls
are failed, so that each of them is met, whatever a real disk would buffer.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer import progress
from trainer.analysis import scores
from trainer.cli import main
from trainer.report import pages
from trainer.world import launch

ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EIO)
FULL = (errno.ENOSPC, errno.EDQUOT)
CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.remove": 0, "os.rmdir": 0}
"""Events of Python's audit, with the place of the path among their arguments."""
REMOVALS = ("os.remove", "os.rmdir")


class Disk:
    """Fails, while it is told to, what this process changes in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._left = -1
        self._error = 0
        self._thread = threading.get_ident()  # the heartbeat beats when it likes
        self.first: tuple[str, str] | None = None
        sys.addaudithook(self._hear)
        vars(os)["fsync"] = lambda number: self.change(
            "fsync", os.readlink(f"/proc/self/fd/{number}")
        )

        class Log(io.FileIO):
            def write(log, line: Any) -> int:  # noqa: N805 - self is the disk
                self.change("write", str(log.name))
                return super().write(line)

        vars(progress)["FileIO"] = Log

    @contextlib.contextmanager
    def failing(self, after: int, error: int) -> Iterator[None]:
        self._left, self._error, self.first = after, error, None
        yield
        self._left = -1

    def change(self, event: str, path: str) -> None:
        """Count a change, and fail it if it comes too late."""
        if self._left < 0 or threading.get_ident() != self._thread:
            return
        if not path.startswith(self._folder) or (event in REMOVALS and self._error in FULL):
            return
        if self._left > 0:
            self._left -= 1
            return
        self.first = self.first or (event, path)
        raise OSError(self._error, os.strerror(self._error), path)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.change(event, os.fspath(arguments[0]))
        elif event in CHANGES:
            self.change(event, os.fspath(arguments[CHANGES[event]]))


def run(words: list[str]) -> tuple[int, str]:
    """`retrain` in this process: its exit code, and what it told."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(words)
        except SystemExit as end:
            return int(end.code or 0), told.getvalue()
    raise AssertionError("it did not end")


def files(folder: Path) -> list[str]:
    """All, but of files of events, which have the time in their names, only how many they are."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(re.sub(r"tfevents\.\d+", "tfevents", name) for name in names)


def fail_everywhere(config: str, folder: Path) -> None:
    vars(launch)["in_world"] = lambda: True  # this process is the rank, and starts none
    words = ["run", config, "--out"]
    reference, out = folder / "reference", folder / "run"
    assert run([*words, str(reference)])[0] == 0
    disk = Disk(out)
    scores.BOOTSTRAP_DRAWS = 20
    pages._environment = functools.cache(pages._environment)  # the templates once for all runs
    for number in range(1000):
        error = ERRORS[number % len(ERRORS)]
        with disk.failing(number, error):
            code, told = run([*words, str(out)])
        if disk.first is None:
            return
        wrong = [name for name in files(out) if ".tmp" in name and error in FULL]
        (out / "lock").unlink(missing_ok=True)  # it tells of this process, which is still there
        if number % 4 == 3:  # each takes a moment, and meets every error
            wrong += mended([*words, str(out)], reference, out)
        event, path = disk.first
        print(json.dumps([error, event, path, code, told, wrong]), flush=True)
        shutil.rmtree(out, ignore_errors=True)  # the first did not let it be made


def mended(words: list[str], reference: Path, out: Path) -> list[str]:
    """What is wrong with a run that was started again."""
    code, told = run(words)
    if code or files(out) != files(reference):
        return [f"then {code}: {told[-500:]} {files(out)}"]
    expected, found = (at / "predictions.csv" for at in (reference, out))
    return [] if expected.read_bytes() == found.read_bytes() else ["other predictions"]


if __name__ == "__main__":
    fail_everywhere(sys.argv[1], Path(sys.argv[2]))
