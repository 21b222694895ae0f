# SPDX-License-Identifier: Apache-2.0
"""What the source holds: names, then contents, known before TensorFlow is loaded."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from trainer.cache_use import CacheUse
from trainer.config import Data
from trainer.data.images import BadFile, Listing, SourceFile
from trainer.data.index import Index, digest, settled
from trainer.data.place import Place, patiently
from trainer.data.source import Source, list_enough, look_at, put_in, require_whole, unseen
from trainer.errors import DataError, listed
from trainer.progress import Progress
from trainer.world.comm import World


@dataclass
class Plan:
    """The files of a run, the same on every rank.

    Attributes:
        source: Where they are.
        classes: Their names, in order.
        files: Those that could be hashed, in path order.
        digests: (files,) their SHA-256.
        bad: Those that could not be opened.
        outside: Files in no class folder.
    """

    source: Source
    classes: list[str]
    files: list[SourceFile]
    digests: list[bytes]
    bad: list[BadFile]
    outside: int

    @property
    def found(self) -> int:
        """All files below class folders."""
        return len(self.files) + len(self.bad)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all paths, contents and words of a manifest: whether data is the same."""
        total = hashlib.sha256()
        for file, content in zip(self.files, self.digests, strict=True):
            given = (file.label, file.group, file.set) if self.source.form == "manifest" else ()
            told = "\0".join((file.path, *given))
            total.update(told.encode("utf-8", "surrogateescape") + b"\0" + content)
        return total.hexdigest()


class Hashed(NamedTuple):
    """What the hashing of one file found."""

    content: bytes | str
    """Its SHA-256, or why it cannot be read."""
    settled: bool
    """Whether a later run may rely on that while the file's state is the same."""


def make_plan(data: Data, cache: CacheUse, verify: bool, world: World, progress: Progress) -> Plan:
    """List on rank 0, hash on all ranks what the index does not know; Collective.

    Args:
        data: The source.
        cache: The cache, which holds the index.
        verify: Hash every file, whatever the index knows.
        world: Who shares the work.
        progress: Told how far it is.
    Raises:
        DataError: As `list_enough`.
        Stopped: Some rank was asked to stop; what was hashed is in the index.
    """
    source, names = world.on_root(lambda: list_enough(data))
    if names.outside:
        progress.warn(
            f"{names.outside:,} files or links in {source.key} lie in no class folder and "
            "are passed over"
        )
    listing = _look(source, names, world, progress)
    index = Index(cache, data.source)
    progress.kept["files"] = lambda: _count_known(Index(cache, data.source), listing)
    contents: list[bytes | str | None] = world.on_root(
        lambda: _recall(index, listing, verify, progress)
    )
    unknown = [place for place, content in enumerate(contents) if content is None]
    if len(unknown) < len(contents):
        progress.say(
            f"{len(contents) - len(unknown):,} files unchanged since they were last hashed "
            "(retrain run --verify hashes all)"
        )
    hashed = _hash(source, listing, unknown, world, progress)
    world.on_root(lambda: _remember(index, listing, hashed, progress))
    world.agree()
    for place, found in hashed.items():
        contents[place] = found.content
    return assemble(source, listing, [content for content in contents if content is not None])


def _look(source: Source, names: Listing, world: World, progress: Progress) -> Listing:
    """Ask for the status of every file, spread over the ranks; Collective."""
    places, seen = unseen(names), []
    with progress.track("Files listed", len(places)) as track:
        for part in look_at(source, names.files, places[world.rank :: world.size]):
            seen += part
            track.reach(min(len(seen) * world.size, len(places)))
            world.tick()
            if world.stop_requested:
                break
    world.agree()
    listing = put_in(names, world.join(seen))
    world.on_root(lambda: require_whole(source, listing))
    return listing


def _recall(
    index: Index, listing: Listing, verify: bool, progress: Progress
) -> list[bytes | str | None]:
    """(files,) the SHA-256 of those that the index knows."""
    index.read([file.state for file in listing.files], progress)
    return [None if verify else index.digests.get(file.state) for file in listing.files]


def _count_known(index: Index, listing: Listing) -> int:
    """Files that need no hashing again."""
    return sum(content is not None for content in _recall(index, listing, False, Progress()))


def _hash(
    source: Source, listing: Listing, places: Sequence[int], world: World, progress: Progress
) -> dict[int, Hashed]:
    """Hash the files at these places, spread over the ranks; some only after a stop; Collective."""
    mine: dict[int, Hashed] = {}
    with progress.track("Files hashed", len(places)) as track:
        for place in places[world.rank :: world.size]:
            if world.stop_requested:
                break
            mine[place] = hash_file(source, listing.files[place])
            track.reach(min(len(mine) * world.size, len(places)))
            world.tick()
    return {place: found for part in world.collect(mine) for place, found in part.items()}


def hash_file(source: Source, file: SourceFile) -> Hashed:
    """Read a file once; a moment's trouble is waited for."""
    began = time.time()
    try:
        content, status = patiently(lambda: _digest(source.place(file)))
    except OSError as error:
        return Hashed(f"cannot be read: {error.strerror}", False)
    same = source.state(file, status) == file.state
    return Hashed(content, same and settled(status, began))


def _digest(place: Place) -> tuple[bytes, os.stat_result]:
    with place.open() as opened:
        return digest(opened), os.fstat(opened.fileno())


def _remember(
    index: Index, listing: Listing, hashed: Mapping[int, Hashed], progress: Progress
) -> None:
    """Renew the index, and tell of files whose content changed behind their state."""
    found: dict[bytes, bytes | None] = {}
    changed = []
    for place, one in hashed.items():
        file = listing.files[place]
        content = one.content if isinstance(one.content, bytes) else None
        found[file.state] = content if one.settled else None
        if content and index.digests.get(file.state, content) != content:
            changed.append(file.path)
    if changed:
        progress.warn(
            f"{len(changed):,} files changed while size, times and inode stayed as they were: "
            f"{listed(sorted(changed), 3)}; earlier runs may have taken them for unchanged"
        )
    index.renew([file.state for file in listing.files], found, progress)


def assemble(source: Source, listing: Listing, outcomes: Sequence[bytes | str]) -> Plan:
    """Set aside the files whose outcome is a reason instead of a digest."""
    plan = Plan(source, listing.classes, [], [], list(listing.bad), listing.outside)
    for file, outcome in zip(listing.files, outcomes, strict=True):
        if isinstance(outcome, str):
            plan.bad.append(BadFile(file.path, file.bytes, outcome))
        else:
            plan.files.append(file)
            plan.digests.append(outcome)
    return plan


def require_readable(bad: Sequence[BadFile], found: int, data: Data) -> None:
    """Refuse a source of which too much cannot be read.

    Raises:
        DataError: The share is above `data.max_bad`; tells the first reasons.
    """
    if len(bad) > data.max_bad * found:
        first = listed([f"{file.path} {file.reason}" for file in bad], 3)
        raise DataError(
            f"{data.source_key} {data.source}: {len(bad):,} of {found:,} files cannot be used, "
            f"more than data.max_bad={data.max_bad:g} allows.",
            f"First: {first}. Mend or remove them, or raise data.max_bad.",
        )
