# SPDX-License-Identifier: Apache-2.0
"""The jobs that were submitted from here: one small file each, beside the run directories.

Many may write at once: each job has a file of its own, which is written whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jobs.errors import JobError, UsageError, shown
from jobs.files import write_whole
from jobs.states import Verdict

FOLDER = Path("runs") / ".retrain-jobs"
SCHEMA = 1
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A job's number; nothing that a command line could take for an option, or a path for a folder."""

Mark = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One job."""

    job: str
    scheduler: str
    name: str
    run: Path
    log: Path
    folder: Path
    """Where it was submitted from."""
    command: tuple[str, ...]
    submitted: float
    """Seconds since 1970."""
    before: Mark | None = None
    """The results.json that was there before it, as `mark` tells it."""
    verdict: Verdict | None = None
    """What became of it, once nothing can change that."""
    alias: str = ""
    """Its other name, where the scheduler has given it one."""


def mark(path: Path) -> Mark | None:
    """What tells a file from a later one of the same name: its time in ns, its inode."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


class Journal:
    """The entries below one folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Name its folder; nothing is made yet."""
        self.folder = folder

    def write(self, entry: Entry) -> None:
        """Write an entry, in place of an earlier one for the same job.

        Raises:
            JobError: It cannot be written.
        """
        path = self.folder / f"{entry.scheduler}-{entry.job}.json"
        tree: dict[str, Any] = {"schema": SCHEMA, **asdict(entry)}
        text = json.dumps(tree, indent=1, default=str) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        except OSError as error:
            raise JobError(
                f"{shown(str(path))}: cannot be written: {error.strerror}.",
                "`retrain status` cannot show the job.",
            ) from None

    def require_writable(self) -> None:
        """See before a job is handed over that it can be written down.

        Raises:
            UsageError: The folder cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UsageError(
                f"{shown(str(self.folder))}: cannot be written: {error.strerror}.",
                "Submit from a folder in which you may write; jobs are written down there.",
            ) from None

    def settle(self, entry: Entry, verdict: Verdict) -> None:
        """Keep what became of a job, where that can be written; it is only asked less then."""
        with suppress(JobError):
            self.write(replace(entry, verdict=verdict))

    def entries(self) -> list[Entry]:
        """All that can be read, oldest first."""
        found = [_read(path) for path in self.folder.glob("*.json")]
        return sorted((e for e in found if e), key=lambda e: (e.submitted, e.job))

    def find(self, words: Sequence[str]) -> list[Entry]:
        """The entries that these words name: a job's number or name, or a run's directory or name.

        Of a run, the job that was submitted last.

        Raises:
            UsageError: A word names none.
        """
        entries = self.entries()
        return [entry for word in words for entry in self._named(word, entries)]

    def _named(self, word: str, entries: list[Entry]) -> list[Entry]:
        jobs = [e for e in entries if word in (e.job, e.alias) or e.job.startswith(f"{word}_")]
        run = os.path.abspath(word)
        runs = [e for e in entries if word == e.name or run == str(e.run)]
        if jobs or runs:
            return jobs or runs[-1:]
        raise UsageError(
            f"{shown(word)}: no such job in {shown(str(self.folder))}.",
            "`retrain status`, in the folder that you submitted from, lists them.",
        )


def _read(path: Path) -> Entry | None:
    """An entry; None where another program or a later version wrote it."""
    try:
        tree = json.loads(path.read_bytes())
        if tree.pop("schema") != SCHEMA:
            return None
        before, verdict = tree.pop("before"), tree.pop("verdict")
        alias = str(tree.pop("alias", ""))  # earlier versions had none
        run, log, folder = (Path(str(tree.pop(key))) for key in ("run", "log", "folder"))
        command = tuple(str(word) for word in tree.pop("command"))
        submitted = float(tree.pop("submitted"))
        job, scheduler, name = (str(tree.pop(key)) for key in ("job", "scheduler", "name"))
        if tree or not _JOB.fullmatch(job):
            return None
        return Entry(
            job,
            scheduler,
            name,
            run,
            log,
            folder,
            command,
            submitted,
            before=(int(before[0]), int(before[1])) if before else None,
            verdict=Verdict(**verdict) if verdict else None,
            alias=alias,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None
