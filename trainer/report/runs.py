# SPDX-License-Identifier: Apache-2.0
"""Many run directories as they are found: being written, damaged, half removed or years old."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import yaml

from trainer.config import yaml_word
from trainer.data.manifest import read_csv
from trainer.errors import DataError, UsageError
from trainer.lock_owner import left_behind
from trainer.report.tables import SETS, Rows
from trainer.report.values import Tree, text, writable
from trainer.rundir import RunDir

Setting = str | int | float

UNREADABLE = "unreadable"
"""What stands for the status of a run whose results cannot be read."""

_SAYS_NOTHING = ("name", "run.cache", "run.stall_timeout")
"""Settings that change no result: whose run it is, and where and how patiently it ran."""
_DEEPEST = 4
"""Levels of a configuration; what is nested deeper counts as one value."""
_MOST_SETTINGS = 500
"""Of one file: a few lines of YAML can hold millions, by references."""
_LONGEST_PROBLEM = 200
_LONGEST_HOST = 64
_END_OF_TIME = 253402300800.0
"""The year 10000, which no calendar here knows."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Items:
    """What a run was given, in fingerprints: equal ones mean the same items."""

    development: str
    """Of contents and labels of what cross-validation scores."""
    test: str
    """Of the contents of the test set."""
    development_size: int
    test_size: int


@dataclass(frozen=True)
class FoundRun:
    """A run directory at one moment."""

    folder: Path
    """As it was named, or found below a named folder."""
    status: str
    """As in `results.json`, but `stopped` where that says `running` and it was killed; or
    `unreadable`."""
    problem: str = ""
    """What is wrong with it, in a few words; empty where nothing is."""
    results: Tree = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    """Values of `config.yaml` by dotted key."""
    items: Items | None = None
    """None where no manifest tells them."""
    written: float | None = None
    """When `results.json` was, in seconds since 1970."""

    @property
    def name(self) -> str:
        """As configured, else the folder's."""
        return text(self.results, "name") or self.folder.name or str(self.folder)


def find_runs(folder: Path) -> Iterator[Path]:
    """Find run directories: a folder itself, or at any depth below it, in path order.

    Links are followed, each folder is visited once; hidden ones, those that cannot be listed and
    those within a run are passed over.
    """
    left, visited = [folder], set()
    while left:
        here = left.pop()
        with suppress(OSError):  # it vanished, or is somebody else's
            place = here.stat()
            if (place.st_dev, place.st_ino) in visited:
                continue
            visited.add((place.st_dev, place.st_ino))
            if is_run(here):
                yield here
            else:
                left += sorted(_folders(here), reverse=True)


def _folders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir():
                yield folder / entry.name


def is_run(folder: Path) -> bool:
    """Whether results of a run lie there, whatever they say."""
    return RunDir(folder).results.is_file()


class Reader:
    """Reads run directories; what many of them share it works out once."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._items: dict[str, Items | None] = {}
        self._settings: dict[str, dict[str, Setting]] = {}

    def read(self, folder: Path) -> FoundRun | None:
        """Read one run.

        Returns:
            What is there; None where the results have gone, as when a run begins anew.
        """
        run = RunDir(folder)
        try:
            written = run.results.stat().st_mtime
            results = run.read_results()
        except (OSError, UsageError):
            return None
        except DataError as error:
            problem = error.message.removeprefix(f"{run.results}: ")
            return FoundRun(folder, UNREADABLE, writable(problem[:_LONGEST_PROBLEM]))
        except RecursionError:
            return FoundRun(folder, UNREADABLE, "cannot be read: nested too deeply.")
        items = self._read_items(run)
        status, problem = results["status"], ""
        if status == "complete" and items is None:
            problem = "its manifest.csv is missing or damaged."
        elif status == "running" and (owner := left_behind(run.lock)):
            status, problem = (
                "stopped",
                f"killed on {writable(owner.host[:_LONGEST_HOST])}; start it again.",
            )
        return FoundRun(
            folder,
            status,
            problem,
            results,
            self.settings(run),
            items,
            written if 0 <= written < _END_OF_TIME else None,
        )

    def _read_items(self, run: RunDir) -> Items | None:
        try:
            content = hashlib.sha256(run.manifest.read_bytes()).hexdigest()
            if content not in self._items:
                self._items[content] = _items(read_csv(run.manifest))
        except (OSError, DataError, KeyError):
            return None
        return self._items[content]

    def settings(self, run: RunDir) -> dict[str, Setting]:
        """Values of a run's `config.yaml` by dotted key; none where it cannot be read."""
        try:
            source = run.config.read_bytes()
            content = hashlib.sha256(source).hexdigest()
            if content not in self._settings:
                values = _flat(yaml.load(source, _Loader))
                self._settings[content] = dict(islice(values, _MOST_SETTINGS))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return {}
        return self._settings[content]


def _items(manifest: Rows) -> Items | None:
    """Fingerprints of a manifest; None where it holds no item."""
    sets = {
        name: {(r["sha256"], r["label"]) for r in manifest if r["split"] == name} for name in SETS
    }
    if not any(sets.values()):
        return None
    development = sets["training"] | sets["validation"]
    test = {content for content, _ in sets["test"]}
    return Items(
        _fingerprint(development),
        _fingerprint(test),
        len(development),
        len(test),
    )


def _fingerprint(items: set[str] | set[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(items)).encode()).hexdigest()


def _flat(tree: object, prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Setting]]:
    """Keys of a configuration, dotted, with their values: numbers, and all else as text."""
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        dotted = writable(f"{prefix}{key}")
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from _flat(value, f"{dotted}.", depth + 1)
        elif isinstance(value, str):
            yield dotted, writable(value)
        else:
            yield dotted, value if isinstance(value, (int, float)) else writable(yaml_word(value))


def differing(runs: Iterable[FoundRun]) -> list[str]:
    """Settings that do not have the same value in all of these runs, in order of their names.

    A run of an earlier version may lack a key: this alone is no difference.
    """
    first: dict[str, Setting] = {}
    found: set[str] = set()
    for run in runs:
        for key, value in run.settings.items():
            if first.setdefault(key, value) != value:
                found.add(key)
    return sorted(found.difference(_SAYS_NOTHING))
