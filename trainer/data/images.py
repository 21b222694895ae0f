# SPDX-License-Identifier: Apache-2.0
"""Files of the source: which there are, and which can be used.

The listing knows names and sizes only. Whether a content can be read is found out later, one file
at a time, so that a broken one costs a line in the quarantine, not the run.
"""

from __future__ import annotations

import difflib
import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from trainer.data.index import State, state
from trainer.errors import DataError, UsageError, listed

PASSED_OVER = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
FEWEST_FILES = 3  # one for each set


class SourceFile(NamedTuple):
    """A regular file below a class folder; a tuple, since ranks are sent a million of them."""

    path: str
    """Relative to the source, with `/`, class folder included, as os.fsdecode gives it."""
    label: str
    bytes: int
    state: State = b""
    """What `trainer.data.index` knows it again by."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that cannot be used, for the quarantine."""

    path: str
    bytes: int
    reason: str
    """Plain words that follow the path: "is empty"."""


@dataclass
class Listing:
    """What lies in the source, in the order of names and paths."""

    classes: list[str]
    """Class folders that hold anything."""
    files: list[SourceFile]
    bad: list[BadFile]
    outside: int
    """Files in no class folder."""
    empty: list[str] = field(default_factory=list)
    """Class folders that hold nothing."""


class Unreadable(Exception):
    """A content that cannot be used, and why."""

    @property
    def reason(self) -> str:
        """Plain words that follow the path."""
        return str(self)


def list_source(root: Path, exclude: Sequence[str], key: str) -> Listing:
    """List every file below the class folders; none is opened.

    Links are followed once: one that leads back above itself, or where another link of its class
    has led, is bad, so that the listing ends whatever the links do.

    Args:
        root: The folder that holds one folder a class.
        exclude: Classes to leave out.
        key: The configuration's key for `root`, for messages.
    Raises:
        DataError: `root` is not there or no folder, or a folder cannot be read.
        UsageError: A class to leave out is not there.
    """
    entries = _scan(root, "", key)
    folders = [e.name for e in entries if os.path.isdir(e) and not os.path.samefile(e, root)]
    _require_known(exclude, folders, root)
    listing = Listing([], [], [], outside=len(entries) - len(folders))
    for label in sorted(set(folders) - set(exclude)):
        found = list(_walk(root, label, key))
        (listing.classes if found else listing.empty).append(label)
        listing.files += (file for file in found if isinstance(file, SourceFile))
        listing.bad += (file for file in found if isinstance(file, BadFile))
    listing.files.sort(key=attrgetter("path"))
    listing.bad.sort(key=attrgetter("path"))
    return listing


def _scan(root: Path, folder: str, key: str) -> list[os.DirEntry[str]]:
    """Entries that are not passed over, by name, so that every file system gives one order."""
    try:
        with os.scandir(root / folder) as entries:
            kept = [e for e in entries if e.name[0] != "." and e.name not in PASSED_OVER]
    except OSError as error:
        # Not for the quarantine: nobody knows how many files stay behind a closed door.
        found = {errno.ENOENT: "no such folder", errno.ENOTDIR: "is no folder"}
        told = found.get(error.errno or 0, f"cannot be read: {error.strerror}")
        todo = "Give a folder that holds one folder a class, all of them readable."
        raise DataError(f"{key} {root / folder}: {told}.", todo) from None
    return sorted(kept, key=attrgetter("name"))


def _require_known(exclude: Sequence[str], folders: Sequence[str], root: Path) -> None:
    for name in exclude:
        if name not in folders:
            near = difflib.get_close_matches(name, folders, n=1, cutoff=0.5)
            todo = f"Did you mean {near[0]}?" if near else f"The classes: {listed(list(folders))}."
            raise UsageError(f"data.exclude: {name}: no such class in {root}.", todo)


def _walk(root: Path, label: str, key: str) -> Iterator[SourceFile | BadFile]:
    """Everything below one class folder; a folder is known again by its device and inode."""
    linked: set[tuple[int, int]] = set()
    waiting = [(label, frozenset(_place(os.stat(folder)) for folder in (root, root / label)))]
    while waiting:
        folder, above = waiting.pop()
        for entry in _scan(root, folder, key):
            path = f"{folder}/{entry.name}"
            try:
                status = entry.stat()
            except OSError as error:
                yield BadFile(path, 0, _no_status(entry, error))
                continue
            place = _place(status)
            if stat.S_ISREG(status.st_mode):
                yield SourceFile(path, label, status.st_size, state(path, status))
            elif not stat.S_ISDIR(status.st_mode):
                yield BadFile(path, 0, "is a pipe, socket or device, no regular file")
            elif place in above or (entry.is_symlink() and place in linked):
                yield BadFile(path, 0, "is a link to a folder that is listed already")
            else:
                linked.update({place} if entry.is_symlink() else ())
                waiting.append((path, above | {place}))


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _no_status(entry: os.DirEntry[str], error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno == errno.ENOENT and entry.is_symlink():
        return "is a link to something that is not there"
    return f"cannot be read: {error.strerror}"


def require_enough(listing: Listing, root: Path, key: str) -> None:
    """Refuse what the listing alone shows to be too little: classes, or usable files in a class.

    Raises:
        DataError: Names all such classes, with their counts.
    """
    usable = Counter(file.label for file in listing.files)
    bad = Counter(file.path.partition("/")[0] for file in listing.bad)
    counts = {
        label: f"{label} ({usable[label]}{f' usable, {bad[label]} not' if bad[label] else ''})"
        for label in sorted(listing.classes + listing.empty)
    }
    if len(counts) < 2:
        raise _too_few_classes(list(counts.values()), listing.outside, root, key)
    few = [counts[label] for label in counts if usable[label] < FEWEST_FILES]
    if few:
        example = f" {listing.bad[0].path} {listing.bad[0].reason}." if listing.bad else ""
        raise DataError(
            f"{key} {root}: too few files in {len(few)} of {len(counts)} classes: "
            f"{', '.join(few)}; each needs {FEWEST_FILES}.",
            f"Add files, or leave these classes out with data.exclude.{example}",
        )


def _too_few_classes(counts: list[str], outside: int, root: Path, key: str) -> DataError:
    found = f"one class only, {counts[0]}" if counts else "no class folders"
    todo = "Give the folder whose first-level folders are the classes."
    if outside and not counts:
        found += f", only files ({outside:,})"
        todo = f"Move them into one folder a class; or do you mean {root.absolute().parent}?"
    return DataError(f"{key} {root}: {found}; two classes are needed.", todo)
