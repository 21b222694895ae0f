# SPDX-License-Identifier: Apache-2.0
"""What the source holds: names, then contents, known before TensorFlow is loaded."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trainer.config import Data
from trainer.data.images import BadFile, Listing, SourceFile, list_source, require_enough
from trainer.data.index import Index, digest, settled
from trainer.errors import DataError, listed
from trainer.progress import Progress
from trainer.world.comm import World


@dataclass
class Plan:
    """The files of a run, the same on every rank.

    Attributes:
        root: The folder that holds the classes.
        classes: Their names, in order.
        files: Those that could be hashed, in path order.
        digests: (files,) their SHA-256.
        bad: Those that could not be opened.
        outside: Files in no class folder.
    """

    root: Path
    classes: list[str]
    files: list[SourceFile]
    digests: list[bytes]
    bad: list[BadFile]
    outside: int

    @property
    def found(self) -> int:
        """All files below class folders."""
        return len(self.files) + len(self.bad)

    def fingerprint(self) -> str:
        """SHA-256 over all paths and contents: whether a run goes on with the same data."""
        total = hashlib.sha256()
        for file, content in zip(self.files, self.digests, strict=True):
            total.update(file.path.encode("utf-8", "surrogateescape") + b"\0" + content)
        return total.hexdigest()


def list_enough(data: Data) -> Listing:
    """List the source and refuse what the listing alone shows to be too little.

    Raises:
        DataError: No such folder, fewer than two classes, or a class with too few files.
    """
    listing = list_source(data.source, data.exclude, data.source_key)
    require_enough(listing, data.source, data.source_key)
    if data.images is not None and all(file.path.endswith(".txt") for file in listing.files):
        raise DataError(
            f"data.images {data.source}: holds only .txt files, no images.",
            f"For retrain.py's bottlenecks say data.bottlenecks={data.source}",
        )
    return listing


class _Hashed(NamedTuple):
    """What the hashing of one file found."""

    content: bytes | str
    """Its SHA-256, or why it cannot be read."""
    settled: bool
    """Whether a later run may rely on that while the file's state is the same."""


def make_plan(data: Data, cache: Path, verify: bool, world: World, progress: Progress) -> Plan:
    """List on rank 0, hash on all ranks what the index does not know; Collective.

    Args:
        data: The source.
        cache: The folder of the cache, which holds the index.
        verify: Hash every file, whatever the index knows.
        world: Who shares the work.
        progress: Told how far it is.
    Raises:
        DataError: As `list_enough`.
        Stopped: Some rank was asked to stop; what was hashed is in the index.
    """
    listing = world.on_root(lambda: list_enough(data))
    if listing.outside:
        progress.warn(
            f"{listing.outside:,} files or links in {data.source_key} lie in no class folder and "
            "are passed over"
        )
    index = Index(cache, data.source)
    contents: list[bytes | str | None] = world.on_root(lambda: _recall(index, listing, verify))
    unknown = [place for place, content in enumerate(contents) if content is None]
    if len(unknown) < len(contents):
        progress.say(
            f"{len(contents) - len(unknown):,} files unchanged since they were last hashed "
            "(retrain run --verify hashes all)"
        )
    hashed = _hash(data.source, listing, unknown, world, progress)
    world.on_root(lambda: _remember(index, listing, hashed, progress))
    world.agree()
    for place, found in hashed.items():
        contents[place] = found.content
    return assemble(data.source, listing, [content for content in contents if content is not None])


def _recall(index: Index, listing: Listing, verify: bool) -> list[bytes | str | None]:
    """(files,) the SHA-256 of those that the index knows."""
    index.read()
    return [None if verify else index.digests.get(file.state) for file in listing.files]


def _hash(
    root: Path, listing: Listing, places: Sequence[int], world: World, progress: Progress
) -> dict[int, _Hashed]:
    """Hash the files at these places, spread over the ranks; some only after a stop; Collective."""
    mine: dict[int, _Hashed] = {}
    with progress.track("Files hashed", len(places)) as track:
        for place in places[world.rank :: world.size]:
            if world.stop_requested:
                break
            mine[place] = _hash_one(root, listing.files[place])
            track.reach(min(len(mine) * world.size, len(places)))
    return {place: found for part in world.collect(mine) for place, found in part.items()}


def _hash_one(root: Path, file: SourceFile) -> _Hashed:
    path, began = root / file.path, time.time()
    content = hash_or_reason(path)
    whole = isinstance(content, bytes)
    return _Hashed(content, whole and settled(path, file.path, file.state, began))


def _remember(
    index: Index, listing: Listing, hashed: Mapping[int, _Hashed], progress: Progress
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


def hash_or_reason(path: Path) -> bytes | str:
    """SHA-256 of a file, or in plain words why it cannot be read now."""
    try:
        return digest(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def assemble(root: Path, listing: Listing, outcomes: Sequence[bytes | str]) -> Plan:
    """Set aside the files whose outcome is a reason instead of a digest."""
    plan = Plan(root, listing.classes, [], [], list(listing.bad), listing.outside)
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
