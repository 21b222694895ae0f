# SPDX-License-Identifier: Apache-2.0
"""A folder with one folder a class: names only, so that a million files are listed in seconds.

Links are followed once: one that leads back above itself, or where another link of its class has
led, is bad, so that the listing ends whatever the links do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from trainer.data.images import (
    BadFile,
    Listing,
    SourceFile,
    hidden,
    judged,
    no_status,
)
from trainer.data.place import patiently
from trainer.errors import DataError


def list_folder(root: Path, key: str) -> Listing:
    """List every file below the class folders; none is opened.

    Args:
        root: The folder that holds one folder a class.
        key: The configuration's key for `root`, for messages.
    Returns:
        Files, most of them not looked at yet.
    Raises:
        DataError: `root` is not there or no folder, or a folder cannot be read.
    """
    entries = _scan(root, "", key)
    folders = [e.name for e in entries if os.path.isdir(e) and not os.path.samefile(e, root)]
    listing = Listing([], [], [], outside=len(entries) - len(folders))
    for label in folders:
        found = list(_walk(root, label, key))
        (listing.classes if found else listing.empty).append(label)
        listing.files += (file for file in found if isinstance(file, SourceFile))
        listing.bad += (file for file in found if isinstance(file, BadFile))
    return listing


def _scan(root: Path, folder: str, key: str) -> list[os.DirEntry[str]]:
    """Entries that are not passed over, by name, so that every file system gives one order."""
    try:
        kept = [e for e in patiently(lambda: _entries(root / folder)) if not hidden(e.name)]
    except OSError as error:
        # Not for the quarantine: nobody knows how many files stay behind a closed door.
        found = {errno.ENOENT: "no such folder", errno.ENOTDIR: "is no folder"}
        told = found.get(error.errno or 0, f"cannot be read: {error.strerror}")
        todo = "Give a folder that holds one folder a class, all of them readable."
        raise DataError(f"{key} {root / folder}: {told}.", todo) from None
    return sorted(kept, key=attrgetter("name"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _walk(root: Path, label: str, key: str) -> Iterator[SourceFile | BadFile]:
    """Everything below one class folder; a folder is known again by its device and inode."""
    linked: set[tuple[int, int]] = set()
    waiting = [(label, frozenset(_place(os.stat(folder)) for folder in (root, root / label)))]
    while waiting:
        folder, above = waiting.pop()
        for entry in _scan(root, folder, key):
            path = f"{folder}/{entry.name}"
            if entry.is_file(follow_symlinks=False):  # known from the folder's own entry
                yield SourceFile(path, label)
                continue
            try:
                status = entry.stat()
            except OSError as error:
                yield BadFile(path, 0, no_status(error, entry.is_symlink()), label)
                continue
            if not entry.is_dir():
                yield judged(SourceFile(path, label), status)
                continue
            place = _place(status)
            if place in above or (entry.is_symlink() and place in linked):
                yield BadFile(path, 0, "is a link to a folder that is listed already", label)
            else:
                linked.update({place} if entry.is_symlink() else ())
                waiting.append((path, above | {place}))


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
