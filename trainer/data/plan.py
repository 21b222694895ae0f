# SPDX-License-Identifier: Apache-2.0
"""What the source holds: names, then contents, known before TensorFlow is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.config import Data
from trainer.data.images import BadFile, Listing, SourceFile, digest, list_source, require_enough
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


def make_plan(data: Data, world: World, progress: Progress) -> Plan:
    """List on rank 0, hash on all ranks; Collective.

    Raises:
        DataError: As `list_enough`.
        Stopped: Some rank was asked to stop.
    """
    listing = world.on_root(lambda: list_enough(data))
    if listing.outside:
        progress.warn(
            f"{listing.outside:,} files or links in {data.source_key} lie in no class folder and "
            "are passed over"
        )
    digests = world.collect(_hash(data.source, listing.files[world.rank :: world.size], world))
    world.agree()
    return assemble(data.source, listing, _interleave(digests, len(listing.files)))


def _hash(root: Path, files: Sequence[SourceFile], world: World) -> list[bytes | str]:
    """SHA-256 of each file, or why it cannot be read; cut short where a stop is wished."""
    found: list[bytes | str] = []
    for file in files:
        if world.stop_requested:
            break
        found.append(hash_or_reason(root / file.path))
    return found


def hash_or_reason(path: Path) -> bytes | str:
    """SHA-256 of a file, or in plain words why it cannot be read now."""
    try:
        return digest(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _interleave(parts: list[list[bytes | str]], count: int) -> list[bytes | str]:
    joined = np.empty(count, dtype=object)
    for rank, part in enumerate(parts):
        joined[rank :: len(parts)] = part
    return list(joined)


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
