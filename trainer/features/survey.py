# SPDX-License-Identifier: Apache-2.0
"""What lies in a cache, whose it is, and when any run last used it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainer.cache_use import KEY_LENGTH, PARTS, RUNS
from trainer.data.index import SUFFIX as INDEX
from trainer.features.precision import SUFFIX as VERDICT
from trainer.features.shards import SUFFIX as SHARD
from trainer.features.shards import read_counts
from trainer.shared import Damaged, opened, read_sealed

EARLIER = (".shard", ".shard2")
"""Of layouts that no version reads any more."""
COMPUTED = (SHARD, VERDICT, INDEX, *EARLIER)
"""Of files that cost nothing but time when they are gone."""
HALF_WRITTEN = (".tmp", ".part")
MOST_TEXT = 4096


@dataclass(frozen=True)
class File:
    """One file; what a link leads to is none of the cache's."""

    path: Path
    owner: int
    bytes: int
    changed: float
    """Seconds since 1970, by the file system's clock."""

    @property
    def is_shard(self) -> bool:
        """Whether it holds bottlenecks that this version reads."""
        return self.path.name.endswith(SHARD) and not self.path.name.startswith(".")

    @property
    def is_left_over(self) -> bool:
        """Whether it is half of what was to be written."""
        return self.path.name.startswith(".") and self.path.name.endswith(HALF_WRITTEN)

    def bottlenecks(self) -> int | None:
        """How many a shard holds; None where it is damaged or may not be read."""
        try:
            with opened(self.path) as file:
                return read_counts(file).rows
        except (OSError, Damaged):
            return None


@dataclass(frozen=True)
class Use:
    """A run's marker.

    Attributes:
        file: The marker; its last change is the run's last use.
        key: Begins the name of the folder that is used.
        told: What it says, all of it text; empty where it cannot be read.
    """

    file: File
    key: str
    told: dict[str, str]

    @property
    def lock(self) -> Path | None:
        """The lock that its run holds while it runs."""
        run = self.told.get("run", "")
        return Path(run, "lock") if run.startswith("/") and "\0" not in run else None


@dataclass
class Folder:
    """A folder of the cache: of one fingerprint, of one source, or all weights."""

    path: Path
    files: list[File] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)

    @property
    def last_used(self) -> float:
        """When it was last used or written to, in seconds since 1970; 0 where it is empty."""
        times = [use.file.changed for use in self.uses]
        return max([*times, *(file.changed for file in self.files)], default=0.0)

    @property
    def what(self) -> str:
        """What it holds, as the latest marker says."""
        uses = sorted(self.uses, key=lambda use: use.file.changed)
        said = [use.told["what"] for use in uses if use.told.get("what")]
        return said[-1] if said else ""


@dataclass
class Survey:
    """All of a cache.

    Attributes:
        folders: Of bottlenecks and of sources.
        others: Files that belong to none of these.
        markers: Of all runs.
        closed: Folders that this user may not look into.
    """

    folders: list[Folder]
    others: list[File]
    markers: list[Use]
    closed: list[Path]

    def files(self) -> list[File]:
        """All of them."""
        below = [file for folder in self.folders for file in folder.files]
        return [*below, *self.others, *(use.file for use in self.markers)]


def look_through(root: Path) -> Survey:
    """Look at everything in a cache once; nothing is changed."""
    survey = Survey([], [], [], [])
    for name in PARTS:
        for path in _entries(root / name, survey.closed):
            status = _status(path)
            if status and stat.S_ISDIR(status.st_mode):
                survey.folders.append(Folder(path, _files(path, survey.closed)))
            elif status and name == RUNS and not path.name.startswith("."):
                survey.markers.append(_use(_file(path, status)))
            elif status:
                survey.others.append(_file(path, status))
    survey.others += _files(root, survey.closed)
    for folder in survey.folders:
        key = folder.path.name[:KEY_LENGTH]
        folder.uses = [use for use in survey.markers if use.key == key]
    return survey


def _entries(folder: Path, closed: list[Path]) -> Iterator[Path]:
    try:
        yield from sorted(Path(entry.path) for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        closed.append(folder)


def _files(folder: Path, closed: list[Path]) -> list[File]:
    found = ((path, _status(path)) for path in _entries(folder, closed))
    return [
        _file(path, status) for path, status in found if status and not stat.S_ISDIR(status.st_mode)
    ]


def _status(path: Path) -> os.stat_result | None:
    with suppress(OSError):  # removed just now
        return path.lstat()
    return None


def _file(path: Path, status: os.stat_result) -> File:
    return File(path, status.st_uid, status.st_size, status.st_mtime)


def _use(file: File) -> Use:
    try:
        told = read_sealed(file.path)
    except (OSError, Damaged):
        told = {}
    said = told.items() if isinstance(told, dict) else ()
    texts = {key: value[:MOST_TEXT] for key, value in said if isinstance(value, str)}
    return Use(file, file.path.name.partition("-")[0], texts)


def in_order(folders: Sequence[Folder]) -> list[Folder]:
    """The folders, those that were used last first."""
    return sorted(folders, key=lambda folder: -folder.last_used)
