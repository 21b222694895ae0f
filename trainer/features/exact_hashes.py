# SPDX-License-Identifier: Apache-2.0
"""Difference hashes that give the near-duplicates of whole pictures, few of which are decoded so.

The extraction leaves estimates of large JPEGs' hashes (`trainer.data.difference_hash`). Where one
leaves open whether two pictures are near-duplicates, they are decoded whole, once: the exact hash
is kept in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing

import numpy as np

from trainer.arrays import BoolArray
from trainer.cache_use import CacheUse
from trainer.data.dataset import Hashes
from trainer.data.difference_hash import UNKNOWN, DifferenceHash
from trainer.data.images import BadFile
from trainer.data.near_duplicates import HashArray
from trainer.data.source import Source
from trainer.data.undecided import undecided
from trainer.errors import RetrainError, listed
from trainer.features.cache import Known
from trainer.features.extract import Contents
from trainer.features.hash_store import HashWriter, read_hashes
from trainer.features.pipeline import Batch, Decoder, Work, decoded_batches
from trainer.features.preprocess import HASH_ALONE
from trainer.progress import Progress
from trainer.world.comm import World

AT_ONCE = 8
"""Pictures that a rank takes from the queue together."""
BATCHES_AHEAD = 1


class HashTable:
    """What is known of the hashes of a run's items."""

    def __init__(self, known: Mapping[bytes, DifferenceHash]) -> None:
        """Start with what is known of each content, by its SHA-256."""
        self._digests = list(known)
        self._place = {digest: place for place, digest in enumerate(known)}
        self._bits = np.zeros(len(known), np.uint64)
        self._unsure = np.zeros(len(known), np.uint64)
        self._hashed = np.zeros(len(known), np.bool_)
        self.put(known)

    def put(self, hashes: Mapping[bytes, DifferenceHash]) -> None:
        """Know better of some of the contents."""
        for digest, (bits, unsure) in hashes.items():
            place = self._place[digest]
            self._bits[place], self._hashed[place] = bits or 0, bits is not None
            self._unsure[place] = unsure

    def settle(self, digests: Iterable[bytes]) -> None:
        """Take the likeliest hash of some contents for exact, and none where nothing is known."""
        for digest in digests:
            place = self._place[digest]
            if int(self._unsure[place]) == UNKNOWN.unsure:
                self._bits[place], self._hashed[place] = 0, False
            self._unsure[place] = 0

    def undecided(self) -> list[bytes]:
        """Contents whose exact hash is wanted, in order; none at the end."""
        open_ = np.zeros(len(self._bits), np.bool_)
        open_[self._hashed] = undecided(self._bits[self._hashed], self._unsure[self._hashed])
        return self._chosen(open_)

    def _chosen(self, mask: BoolArray) -> list[bytes]:
        return [self._digests[place] for place in np.flatnonzero(mask).tolist()]

    def look_up(self, digests: Iterable[bytes]) -> tuple[HashArray, BoolArray]:
        """See `trainer.data.dataset.Hashes`."""
        places = np.array([self._place[digest] for digest in digests], np.int64)
        return self._bits[places], self._hashed[places]


def find_hashes(
    source: Source,
    contents: Contents,
    known: Known,
    use: CacheUse,
    world: World,
    progress: Progress,
) -> Hashes:
    """Decode whole what near-duplicates depend on; Collective.

    Args:
        source: Where the files are.
        contents: All of the run.
        known: What the extraction knows of them.
        use: The cache.
        world: Shares the work.
        progress: Told how far it is.
    Returns:
        Hashes of the items that could be read, from which the near-duplicates follow as from exact
        ones.
    Raises:
        DataError: A file changed while it was read.
        Stopped: Some rank was asked to stop; what was decoded is in the cache.
    """
    items = sorted(
        digest
        for digest in contents.first
        if digest in known and digest not in known.unreadable and digest not in contents.conflicts
    )
    bits, hashed = known.hashes(items)
    if hashed.all():
        return known.hashes
    lacking = {digest for digest, has in zip(items, hashed.tolist(), strict=True) if not has}
    others = world.on_root(lambda: read_hashes(use, lacking, progress))
    table = HashTable(
        {
            digest: others.get(digest, UNKNOWN) if digest in lacking else DifferenceHash(one)
            for digest, one in zip(items, bits.tolist(), strict=True)
        }
    )
    complete(table, _Whole(source, contents, use, world, progress).decode, progress)
    return table.look_up


Decode = Callable[[Sequence[bytes]], tuple[dict[bytes, DifferenceHash], list[BadFile]]]
"""From contents to their exact hashes, and those that could not be decoded whole."""


def complete(table: HashTable, decode: Decode, progress: Progress) -> None:
    """Ask for exact hashes until all pairs are decided.

    Args:
        table: What is known; holds the exact hashes afterwards.
        decode: Gives these.
        progress: Warned of those that could not be had.
    """
    failed: list[BadFile] = []
    while digests := table.undecided():
        found, bad = decode(digests)
        table.put(found)
        table.settle(digest for digest in digests if digest not in found)
        failed += bad
    if failed:
        told = listed([f"{file.path} {file.reason}" for file in failed], 3)
        progress.warn(
            f"{len(failed):,} images could not be decoded whole; whether they have near-duplicates "
            f"was decided by what a smaller size shows: {told}"
        )


class _Whole:
    """Decodes pictures whole, on all ranks."""

    def __init__(
        self,
        source: Source,
        contents: Contents,
        use: CacheUse,
        world: World,
        progress: Progress,
    ) -> None:
        self._source = source
        self._contents = contents
        self._writer = HashWriter(use)
        self._kept = True
        self._world = world
        self._progress = progress

    def decode(self, digests: Sequence[bytes]) -> tuple[dict[bytes, DifferenceHash], list[BadFile]]:
        """See `Decode`; Collective."""
        world = self._world
        self._progress.say(f"Near-duplicates: {len(digests):,} images to decode at full size")
        work = [(self._contents.first[digest], digest) for digest in digests]
        found: dict[bytes, DifferenceHash] = {}
        bad: list[BadFile] = []
        with (
            world.horovod_at_rest(),
            world.queue(-(-len(work) // AT_ONCE), BATCHES_AHEAD) as queue,
            Decoder(self._source.place, HASH_ALONE, len(world.cores)) as decoder,
            self._progress.track("Images decoded at full size", len(work)) as track,
            closing(
                decoded_batches(
                    lambda: _part(work, queue.take()),
                    decoder,
                    BATCHES_AHEAD,
                    lambda _: None,
                    lambda: world.stop_requested,
                    world.tick,
                )
            ) as batches,
        ):
            for batch in batches:
                self._sort(batch, found, bad)
                self._save(self._writer.commit_if_due)
                track.reach(min(queue.given * AT_ONCE, len(work)))
        self._save(self._writer.commit)
        world.agree()
        return dict(world.join(list(found.items()))), world.join(bad)

    def _sort(self, batch: Batch, found: dict[bytes, DifferenceHash], bad: list[BadFile]) -> None:
        for digest, dhash in zip(batch.digests, batch.hashes, strict=True):
            found[digest] = dhash
            self._writer.add(digest, dhash)
        bad += batch.unread
        for digest, reason in batch.unreadable:
            file = self._contents.first[digest]
            bad.append(BadFile(file.path, file.bytes, reason))

    def _save(self, commit: Callable[[], None]) -> None:
        """Write what was found; where nothing can be written, the next run decodes it again."""
        if not self._kept:
            return
        try:
            commit()
        except RetrainError as error:
            self._kept = False
            self._progress.say(f"{error.message} The next run decodes these images again.")


def _part(work: Work, number: int | None) -> Work | None:
    if number is None:
        return None
    return work[number * AT_ONCE : (number + 1) * AT_ONCE]
