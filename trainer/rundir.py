# SPDX-License-Identifier: Apache-2.0
"""The run directory: every file name of a run, and whole-or-nothing writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.errors import NO_ROOM, DataError, RetrainError, UsageError, listed

SCHEMA = 1
STATUSES = ("running", "stopped", "complete", "failed")
GROWING = ("log.txt", "events", "lock")
"""What changes while or after the final mark is set, and so is not covered by it."""

MADE = (
    "config.yaml environment.json manifest.csv quarantine.csv groups.csv stages head model events "
    "predictions.csv suspects.csv analysis.json gallery results.json report.html .last-start.json"
).split()
"""Every name that a run makes in its directory, but for the lock and the log."""


class RunDir:
    """Where one run keeps everything it made."""

    def __init__(self, path: Path) -> None:
        """Name the files; nothing is touched."""
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.manifest = path / "manifest.csv"
        self.quarantine = path / "quarantine.csv"
        self.groups = path / "groups.csv"
        self.stages = path / "stages"
        self.complete = path / "stages" / "complete.json"
        self.head = path / "head"
        self.model = path / "model"
        self.predictions = path / "predictions.csv"
        self.suspects = path / "suspects.csv"
        self.analysis = path / "analysis.json"
        self.gallery = path / "gallery"
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.log = path / "log.txt"
        self.lock = path / "lock"
        self.last_start = path / ".last-start.json"

    def stage(self, name: str) -> Path:
        """The record of a finished stage."""
        return self.stages / f"{name}.json"

    def create(self) -> None:
        """Make the folder, and nothing in it yet: it may turn out to be somebody else's.

        Raises:
            UsageError: It cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".write-test.{socket.gethostname()}.{os.getpid()}.tmp"
            probe.touch()
            probe.unlink(missing_ok=True)  # the run that holds the folder may be cleaning up
        except OSError as error:
            raise UsageError(
                f"--out {self.path}: cannot be written: {error.strerror}.",
                "Give another folder with --out.",
            ) from None

    def read_results(self) -> dict[str, Any]:
        """The results, whatever their status.

        Raises:
            UsageError: There are none.
            DataError: They are broken, or a newer version wrote them.
        """
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
            schema, known = results["schema"], results["status"] in STATUSES
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{self.path}: no run directory: results.json is not there.",
                "Give the folder that `retrain run` named at its end, such as runs/NAME.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self.results, error) from None
        if not isinstance(schema, int) or schema > SCHEMA:
            raise DataError(
                f"{self.results}: schema {schema}; this version reads up to {SCHEMA}.",
                "Read it with the version that wrote it, or a newer one.",
            )
        if not known:
            raise DataError(
                f"{self.results}: damaged: status {results['status']!r}.",
                "Start the same `retrain run` again; it makes anew what is missing.",
            )
        return dict(results)

    def read_analysis(self) -> dict[str, Any]:
        """What the run found out besides its results; empty where it has not come so far.

        Raises:
            DataError: The file is broken.
        """
        try:
            return dict(json.loads(self.analysis.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(self.analysis, error) from None

    def status(self) -> str:
        """`running`, `stopped`, `complete`, `failed`, or empty where no run was."""
        return str(self.read_results()["status"]) if self.results.exists() else ""

    def marked_files(self) -> dict[str, str]:
        """SHA-256 of every file that the final mark covers, by path relative to the run."""
        return {name: sha256_of(self.path / name) for name in self._files()}

    def _files(self) -> Iterator[str]:
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path)
            if path == self.complete or name.parts[0] in GROWING or path.is_dir():
                continue
            if not any(part.startswith(".") for part in name.parts):
                yield name.as_posix()

    def write_complete(self, results: dict[str, Any]) -> None:
        """Set the final mark, then turn `results.json` complete: in this order, and last of all."""
        text = _json(results)
        files = self.marked_files()
        files[self.results.name] = hashlib.sha256(text.encode()).hexdigest()
        write_json(self.complete, {"files": files})
        write_text(self.results, text)

    def damaged(self) -> list[str]:
        """Files of a complete run that are not as the final mark says."""
        try:
            expected = dict(json.loads(self.complete.read_text(encoding="utf-8"))["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return [self.complete.name]
        present = self.marked_files()
        return sorted(name for name in expected if present.get(name) != expected[name])

    def require_undamaged(self) -> None:
        """Refuse a complete run that is not as it was finished; its page may be drawn anew.

        Raises:
            DataError: Tells which files were changed.
        """
        damaged = [name for name in self.damaged() if name != self.report.name]
        if damaged:
            raise DataError(
                f"{self.path}: changed since the run was finished: {listed(damaged)}.",
                "Start the same `retrain run` again; it makes anew what is damaged.",
            )

    def foreign(self) -> bool:
        """Whether the folder holds files, and none that a run begins with."""
        names = {path.name for path in _entries(self.path) if path.name[0] != "."}
        return bool(names - {"stages", "lock", "log.txt"}) and not self.config.exists()

    def clear(self) -> None:
        """Remove what an earlier run left here but `config.yaml`, which is there to be replaced.

        So the folder is seen to be a run's wherever this is cut short, and since the results go
        first, not to be a complete one's. Files that no run makes stay.

        Raises:
            RetrainError: Something cannot be removed.
        """
        for path in (self.results, *(self.path / name for name in MADE)):
            if path != self.config:
                remove(path)

    def clean(self) -> None:
        """Remove temporary files of runs that were killed; only under the lock.

        Only names that runs make count, so that a user's own `.notes.tmp` stays; links are not
        followed.

        Raises:
            RetrainError: Something cannot be removed.
        """
        for path in _entries(self.path):
            if _LEFT_HERE.fullmatch(path.name):
                remove(path)
        for folder in (self.path / name for name in MADE):
            if folder.is_dir() and not folder.is_symlink():
                for path in _entries(folder):
                    if _LEFT_BELOW.fullmatch(path.name):
                        remove(path)


_LEFT_HERE = re.compile(rf"\.({'|'.join(map(re.escape, (*MADE, 'lock', 'write-test')))})\..+\.tmp")
_LEFT_BELOW = re.compile(r"\..+\.tmp")


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: cannot be read: {type(error).__name__}.",
        "Start the same `retrain run` again; it makes anew what is missing.",
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise RetrainError(
            f"{folder}: cannot be listed: {error.strerror}.",
            "Check the folder's permissions, then start the same command again.",
        ) from None


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; of a link, the link.

    Raises:
        RetrainError: It cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RetrainError(
            f"{path}: cannot be removed: {error.strerror}.",
            "Check the folder's permissions, then start the same command again.",
        ) from None


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there is none.

    Raises:
        RetrainError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, None, error) from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces, in hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write a file whole or not at all, as JSON."""
    write_text(path, _json(value))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes, mark: str = "") -> None:
    """Write a file whole or not at all: a temporary file beside it, then one rename.

    Args:
        path: Where to.
        content: All of it.
        mark: Stands in the temporary name, for who must know his own leftovers among others'.
    Raises:
        RetrainError: The disk is full or another write fails; nothing is left half-written.
    """
    made = temporary(path, mark)
    try:
        with open(made, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except BaseException as error:
        with suppress(OSError):
            made.unlink()
        if isinstance(error, OSError):
            raise write_error(path, len(content), error) from None
        raise


def write_into(made: Path, folder: Path, name: str, content: bytes) -> None:
    """Write a file of a folder that `write_folder` is making.

    Args:
        made: The temporary folder.
        folder: What it will be called.
        name: Of the file.
        content: All of it.
    Raises:
        RetrainError: The write fails; it tells the file by the folder's own name.
    """
    try:
        (made / name).write_bytes(content)
    except OSError as error:
        raise write_error(folder / name, len(content), error) from None


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Write a folder whole or not at all: `fill` gets a temporary one, renamed when it is done."""
    made = temporary(path)
    try:
        made.mkdir()
        fill(made)
        if path.exists():
            shutil.rmtree(path)
        made.rename(path)
    except OSError as error:
        raise write_error(path, None, error) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def temporary(path: Path, mark: str = "") -> Path:
    """Where something is made before it gets its name in one rename: hidden, and one process's."""
    marked = f"{mark}." if mark else ""
    return path.with_name(f".{path.name}.{marked}{socket.gethostname()}.{os.getpid()}.tmp")


def write_error(path: Path, count: int | None, error: OSError) -> RetrainError:
    """The error for a write that failed, with path, bytes and what to do."""
    size = "" if count is None else f" ({count:,} bytes)"
    todo = "Free space or raise the quota, then start the same command again; it goes on."
    return RetrainError(
        f"{path}: cannot be written{size}: {error.strerror or error}.",
        todo
        if error.errno in NO_ROOM
        else "Check the folder's permissions, then start the same command again.",
    )
