# SPDX-License-Identifier: Apache-2.0
"""Files of the source: what is known of them before they are read, and what is too little.

A listing knows names, then sizes. Whether a content can be read is found out later, one file at a
time, so that a broken one costs a line in the quarantine, not the run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from trainer.data.index import State, state
from trainer.data.place import patiently
from trainer.errors import DataError

PASSED_OVER = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
FEWEST_FILES = 3  # one for each set
MOST_BYTES = 1 << 30
"""Of one file. 200 megapixels of 16-bit colour are more, but nobody classifies by these."""
NOHASH = "_nohash_"


class SourceFile(NamedTuple):
    """One file of the source; a tuple, since ranks are sent a million of them."""

    path: str
    """Relative to the source, with `/`, class folder included, as os.fsdecode gives it."""
    label: str
    bytes: int = 0
    state: State = b""
    """What `trainer.data.index` knows it again by; empty until it was looked at."""
    offset: int = -1
    """Where its content begins in the source, if that is an archive."""
    group: str = ""
    """As a manifest names it; see `group_of`."""
    set: str = ""
    """Training, validation or test, where a manifest says so."""


def group_of(file: SourceFile) -> str:
    """Name of a file's group; empty where it has none.

    As a manifest says, else what stands before `_nohash_` in the path, class folder included.
    """
    before, found, _ = file.path.partition(NOHASH)
    return file.group or (before if found else "")


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that cannot be used, for the quarantine."""

    path: str
    bytes: int
    reason: str
    """Plain words that follow the path: "is empty"."""
    label: str = ""
    """Known while the source is listed."""


@dataclass
class Listing:
    """What lies in the source, in the order of names and paths."""

    classes: list[str]
    """Those that hold anything."""
    files: list[SourceFile]
    bad: list[BadFile]
    outside: int = 0
    """Files in no class folder."""
    empty: list[str] = field(default_factory=list)
    """Classes that hold nothing."""


class Unreadable(Exception):
    """A content that cannot be used, and why."""

    @property
    def reason(self) -> str:
        """Plain words that follow the path."""
        return str(self)


def hidden(name: str) -> bool:
    """Whether a file or folder is passed over for its name."""
    return name.startswith(".") or name in PASSED_OVER


def look(base: Path, file: SourceFile) -> SourceFile | BadFile:
    """Ask for the status of a file that is known by its name only.

    Args:
        base: What its path is relative to.
        file: Links are followed.
    """
    path = os.path.join(base, file.path)
    try:
        status = patiently(lambda: os.stat(path))
    except OSError as error:
        return BadFile(file.path, 0, no_status(error, os.path.islink(path)), file.label)
    return judged(file, status)


def judged(file: SourceFile, status: os.stat_result) -> SourceFile | BadFile:
    """A file with its status, or why it will not be opened."""
    if not stat.S_ISREG(status.st_mode):
        return BadFile(file.path, 0, NOT_REGULAR, file.label)
    if status.st_size > MOST_BYTES:
        return BadFile(file.path, status.st_size, TOO_LARGE, file.label)
    return file._replace(bytes=status.st_size, state=state(file.path, status))


DANGLING = "is a link to something that is not there"
MISSING = "is not there"
NOT_REGULAR = "is a pipe, socket or device, no regular file"
TOO_LARGE = "is over 1 GiB"


def no_status(error: OSError, link: bool) -> str:
    """Why a file's status cannot be had."""
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return DANGLING if link else MISSING
    return f"cannot be read: {error.strerror}"


def require_enough(listing: Listing, root: Path, key: str) -> None:
    """Refuse what the listing alone shows to be too little: classes, or a class's usable groups.

    Raises:
        DataError: Names all such classes, with their counts.
    """
    files = Counter(file.label for file in listing.files)
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for file in listing.files:
        groups[file.label].add(group_of(file) or f"\0{file.path}")
    bad = Counter(file.label for file in listing.bad)
    counts = {
        label: _count(label, files[label], len(groups[label]), bad[label])
        for label in sorted(listing.classes + listing.empty)
    }
    if len(counts) < 2:
        raise _too_few_classes(list(counts.values()), listing.outside, root, key)
    few = [counts[label] for label in counts if len(groups[label]) < FEWEST_FILES]
    if few:
        what = "groups" if any(len(groups[label]) < files[label] for label in counts) else "files"
        example = f" {listing.bad[0].path} {listing.bad[0].reason}." if listing.bad else ""
        raise DataError(
            f"{key} {root}: too few {what} in {len(few)} of {len(counts)} classes: "
            f"{', '.join(few)}; each needs {FEWEST_FILES}.",
            f"Add files, or leave these classes out with data.exclude.{example}",
        )


def _count(label: str, files: int, groups: int, bad: int) -> str:
    told = f"{files}{' usable' if bad else ''}"
    told += f" in {groups} group{'s' if groups > 1 else ''}" if groups < files else ""
    return f"{label} ({told}{f', {bad} not' if bad else ''})"


def _too_few_classes(counts: list[str], outside: int, root: Path, key: str) -> DataError:
    found = f"one class only, {counts[0]}" if counts else "no class folders"
    todo = "Classes are the first-level folders of a folder or .tar, or the labels of a manifest."
    if outside and not counts:
        found += f", only files ({outside:,})"
        todo = f"Move them into one folder a class; or do you mean {root.absolute().parent}?"
    return DataError(f"{key} {root}: {found}; two classes are needed.", todo)
