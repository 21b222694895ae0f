# SPDX-License-Identifier: Apache-2.0
"""The extraction: every image that the cache does not know yet becomes a bottleneck.

All ranks draw batches from one queue; each writes shards of its own. The queue decides who
computes, never what: batches are padded to one shape, and no row depends on its neighbours.
Reading, decoding, computing and writing go on at the same time, each a little ahead of the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainer.arrays import ByteArray, Float32Array
from trainer.data.images import BadFile, SourceFile
from trainer.errors import DataError, RetrainError
from trainer.features.cache import Cache, Known
from trainer.features.hash_store import HashWriter
from trainer.features.pipeline import Batch, Decoder, Work, decoded_batches
from trainer.features.shard_writer import ShardWriter
from trainer.progress import Progress
from trainer.world.comm import World

MOST_COPIES = 3
"""Of a bottleneck that are looked at where one is damaged, before it is computed anew."""
BATCHES_AHEAD = 1
"""Begun beside the one being computed. One keeps the network busy; a slow rank ends with fewer."""

Compute = Callable[[ByteArray], Float32Array]


@dataclass
class Share:
    """What one rank did of the extraction."""

    rank: int
    host: str
    device: str = "cpu"
    images: int = 0
    busy_seconds: float = 0.0
    wait_seconds: float = 0.0

    def waited(self, seconds: float) -> None:
        """Add to the time that the network had nothing to compute."""
        self.wait_seconds += seconds


@dataclass
class Contents:
    """The distinct contents of a run.

    Attributes:
        first: A file for each.
        conflicts: Those that lie under two labels: no items, not counted. They are computed all
            the same: whether they can be read decides what they are counted as.
    """

    first: dict[bytes, SourceFile]
    conflicts: set[bytes]


def distinct(files: Sequence[SourceFile], digests: Sequence[bytes]) -> Contents:
    """Gather files by their contents."""
    first: dict[bytes, SourceFile] = {}
    conflicts = set()
    for file, digest in zip(files, digests, strict=True):
        if first.setdefault(digest, file).label != file.label:
            conflicts.add(digest)
    return Contents(first, conflicts)


def read_known(cache: Cache, digests: Iterable[bytes], world: World, progress: Progress) -> Known:
    """What the cache holds of these contents, each bottleneck read and found sound; Collective."""
    known, wanted = Known([], {}), set(digests)
    for _ in range(MOST_COPIES):
        found = world.on_root(partial(cache.read_index, wanted, progress))
        lost = world.join(found.lost(world.rank, world.size))
        wanted = {digest for loss in lost for digest in loss.digests}
        known = known.joined(found.without(wanted))
        if not lost:
            break
        cache.pass_over(lost, progress)
    return known


@dataclass
class Job:
    """What is to be computed, the same on every rank.

    Attributes:
        decoder: Makes the network's input of files.
        side: Pixels a side of that input.
        work: A file for each missing content.
        conflicts: Contents that do not count as items.
        hashes: Takes difference hashes that no shard can hold.
        size: Images in a batch.
        network: From a batch of pixels to bottlenecks.
    """

    decoder: Decoder
    side: int
    work: Work
    conflicts: set[bytes]
    hashes: HashWriter
    size: int
    network: Compute

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-len(self.work) // self.size)

    def part(self, number: int | None) -> Work | None:
        """The files of one batch."""
        if number is None:
            return None
        return self.work[number * self.size : (number + 1) * self.size]

    def bottlenecks(self, batch: Batch) -> Sequence[Float32Array] | Float32Array:
        """Compute a batch's.

        Raises:
            DataError: They are not finite, so that no head could be fitted to them.
        """
        if not batch.digests:
            return ()
        rows = self.network(self.padded(batch.pixels))[: len(batch.digests)]
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            digest = batch.digests[int(np.argmin(finite))]
            path = next(file.path for file, content in self.work if content == digest)
            raise DataError(
                f"{path}: the network gives numbers that are not finite.",
                "Say backbone.precision=float32; if that is so already, give other weights.",
            )
        return rows

    def padded(self, pixels: Sequence[ByteArray]) -> ByteArray:
        """(size, side, side, 3): a batch in the one shape that all batches have."""
        batch = np.zeros((self.size, self.side, self.side, 3), np.uint8)
        batch[: len(pixels)] = pixels
        return batch


def compute(
    job: Job, cache: Cache, share: Share, world: World, progress: Progress
) -> list[BadFile]:
    """Draw batches from the queue until it is empty or a stop is wished; Collective.

    What was computed is in the cache in either case.

    Args:
        job: What to compute.
        cache: Where to put it.
        share: Told what this rank does.
        world: Shares the work.
        progress: Told how far all are.
    Returns:
        Files that this rank could not open or read for the moment.
    Raises:
        DataError: A file changed while it was read.
        Stopped: Some rank was asked to stop.
    """
    unread: list[BadFile] = []
    total = len(job.work)
    with (
        world.horovod_at_rest(),
        world.queue(job.batches, BATCHES_AHEAD) as queue,
        _Saver(ShardWriter(cache), job.hashes) as saver,
        progress.track("Bottlenecks", total) as track,
        closing(
            decoded_batches(
                lambda: job.part(queue.take()),
                job.decoder,
                BATCHES_AHEAD,
                share.waited,
                lambda: world.stop_requested,
                world.tick,
            )
        ) as batches,
    ):
        for batch in batches:
            if world.stop_requested or saver.failure:
                queue.close()
                break
            started = time.monotonic()
            saver.save(batch, job.bottlenecks(batch))
            unread += batch.unread
            share.images += sum(digest not in job.conflicts for digest in batch.digests)
            share.busy_seconds += time.monotonic() - started
            world.tick()
            track.reach(min(queue.given * job.size, total))
    for failure in filter(None, world.collect(saver.failure)):
        failure.agreed = True
        raise failure
    world.agree()
    return unread


class _Saver:
    """Writes one batch while the next is computed; a context that commits at its end.

    Attributes:
        failure: Why nothing is written any more. All ranks learn of it before any ends, so that
            the others commit what they have, and a full disk is told once.
    """

    def __init__(self, writer: ShardWriter, hashes: HashWriter) -> None:
        self._writer = writer
        self._hashes = hashes
        self._thread = ThreadPoolExecutor(1, "write")
        self._last: Future[None] | None = None
        self.failure: RetrainError | None = None

    def __enter__(self) -> _Saver:
        return self

    def save(self, batch: Batch, rows: Sequence[Float32Array] | Float32Array) -> None:
        """Hand over a batch, when the one before is written."""
        self._finish()
        if not self.failure:
            self._last = self._thread.submit(self._write, batch, rows)

    def _write(self, batch: Batch, rows: Sequence[Float32Array] | Float32Array) -> None:
        for digest, reason in batch.unreadable:
            self._writer.add_unreadable(digest, reason)
        for digest, row, dhash in zip(batch.digests, rows, batch.hashes, strict=True):
            self._writer.add(digest, row, dhash.bits if dhash.exact else None)
            if dhash.bits is None or not dhash.exact:
                self._hashes.add(digest, dhash)
        self._hashes.commit_if_due()
        self._writer.commit_if_due()

    def _finish(self) -> None:
        try:
            if self._last:
                self._last.result()
        except RetrainError as error:
            self.failure = self.failure or error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._thread:
            if kind is None:
                self._finish()
            if kind is None and not self.failure:
                self._last = self._thread.submit(self._commit)
                self._finish()

    def _commit(self) -> None:
        self._hashes.commit()
        self._writer.commit()
