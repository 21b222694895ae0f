# SPDX-License-Identifier: Apache-2.0
"""What a run learns from: a folder a class, a .tar of one, or a CSV manifest.

Names come first, and from them alone what is too little is refused. Then each file's status is
asked for once, the ranks sharing the work: on a network file system that is what takes time.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from trainer.config import Data
from trainer.data.images import MISSING, BadFile, Listing, SourceFile, look, require_enough
from trainer.data.index import State, state
from trainer.data.place import Place
from trainer.data.source_archive import list_archive, member_state
from trainer.data.source_folder import list_folder
from trainer.data.source_manifest import list_manifest, missing_rows
from trainer.errors import DataError, UsageError, listed

PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\x03\x04": "zip",
}
LOOKED_AT_ONCE = 100
LOOKING_THREADS = 8
"""A file server answers several questions at a time; asking costs next to no computing."""


@dataclass(frozen=True)
class Source:
    """Where the files of a run are.

    Attributes:
        path: As configured.
        key: The configuration's key for it, for messages.
        form: `folder`, `archive` or `manifest`.
    """

    path: Path
    key: str
    form: str

    @property
    def base(self) -> Path:
        """What the files' paths are relative to."""
        return self.path.parent if self.form == "manifest" else self.path

    def place(self, file: SourceFile) -> Place:
        """Where a file's content lies."""
        if self.form == "archive":
            return Place(os.fspath(self.path), file.offset, file.bytes)
        return Place(os.path.join(self.base, file.path))

    def state(self, file: SourceFile, status: os.stat_result) -> State:
        """What a file is known again by.

        Args:
            file: As listed.
            status: Of what `place` leads to.
        """
        if self.form == "archive":
            return member_state(file, status)
        return state(file.path, status)


def open_source(data: Data) -> Source:
    """See which kind of source the configuration names.

    Raises:
        DataError: It is a compressed archive, or cannot be read.
    """
    path, key = data.source, data.source_key
    if not path.is_file():
        return Source(path, key, "folder")
    start = _start(path, key)
    packed = [name for magic, name in PACKED.items() if start.startswith(magic)]
    if packed:
        raise DataError(
            f"{key} {path}: is packed by {packed[0]}, and would have to be unpacked at each start.",
            "Unpack it once and give the folder, or a .tar that is not compressed.",
        )
    tar = start[257:262] == b"ustar" or path.suffix == ".tar"
    return Source(path, key, "archive" if tar else "manifest")


def _start(path: Path, key: str) -> bytes:
    """The bytes that tell what a file is."""
    try:
        with Place(os.fspath(path)).open() as file:
            return file.read(512)
    except OSError as error:
        raise DataError(f"{key} {path}: cannot be read: {error.strerror}.") from None


def list_enough(data: Data) -> tuple[Source, Listing]:
    """List the names in the source, and refuse what they alone show to be too little.

    Returns:
        The source, and its listing in path order; the files' statuses are still to be asked for.
    Raises:
        DataError: No such source, fewer than two classes, or a class with too few files.
        UsageError: A class to leave out is not there.
    """
    source = open_source(data)
    listing = list_names(source, data.exclude)
    require_enough(listing, source.path, source.key)
    if data.images is not None and all(file.path.endswith(".txt") for file in listing.files):
        raise DataError(
            f"data.images {source.path}: holds only .txt files, no images.",
            f"For retrain.py's bottlenecks say data.bottlenecks={source.path}",
        )
    return source, listing


def list_names(source: Source, exclude: Sequence[str] = ()) -> Listing:
    """List a source in path order, some classes left out.

    Raises:
        DataError: It is not there, or broken.
        UsageError: A class to leave out is not there.
    """
    if source.form == "archive":
        listing = list_archive(source.path, source.key)
    elif source.form == "manifest":
        listing = list_manifest(source.path, source.key)
    else:
        listing = list_folder(source.path, source.key)
    _leave_out(listing, exclude, source.path)
    for files in (listing.files, listing.bad):
        files.sort(key=attrgetter("path"))
    return listing


def _leave_out(listing: Listing, exclude: Sequence[str], path: Path) -> None:
    """Drop classes."""
    known = listing.classes + listing.empty
    for name in exclude:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            todo = f"Did you mean {near[0]}?" if near else f"The classes: {listed(known)}."
            raise UsageError(f"data.exclude: {name}: no such class in {path}.", todo)
    left_out = set(exclude)
    listing.classes = [label for label in listing.classes if label not in left_out]
    listing.empty = [label for label in listing.empty if label not in left_out]
    listing.files = [file for file in listing.files if file.label not in left_out]
    listing.bad = [file for file in listing.bad if file.label not in left_out]


Seen = tuple[int, SourceFile | BadFile]
"""Place of a file in its listing, and what was found there."""


def unseen(listing: Listing) -> list[int]:
    """Places of the files whose status was not asked for yet."""
    return [place for place, file in enumerate(listing.files) if not file.state]


def look_at(
    source: Source, files: Sequence[SourceFile], places: Sequence[int]
) -> Iterator[list[Seen]]:
    """Ask for the status of the files at these places; some at a time, as they come in."""

    def look_at_some(first: int) -> list[Seen]:
        some = places[first : first + LOOKED_AT_ONCE]
        return [(place, look(source.base, files[place])) for place in some]

    with ThreadPoolExecutor(LOOKING_THREADS, "look") as threads:
        try:
            yield from threads.map(look_at_some, range(0, len(places), LOOKED_AT_ONCE))
        finally:
            threads.shutdown(cancel_futures=True)


def put_in(listing: Listing, seen: Iterable[Seen]) -> Listing:
    """A listing with what was seen of its files."""
    files: list[SourceFile | BadFile] = list(listing.files)
    for place, found in seen:
        files[place] = found
    bad = [*listing.bad, *(file for file in files if isinstance(file, BadFile))]
    good = [file for file in files if isinstance(file, SourceFile)]
    return replace(listing, files=good, bad=sorted(bad, key=attrgetter("path")))


def require_whole(source: Source, listing: Listing) -> None:
    """Refuse a listing of which, now that all was looked at, too little is left.

    Raises:
        DataError: That, or a manifest names files that are not there.
    """
    missing = [file.path for file in listing.bad if file.reason == MISSING]
    if source.form == "manifest" and missing:
        raise missing_rows(source.path, source.key, missing)
    require_enough(listing, source.path, source.key)
