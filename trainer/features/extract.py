# SPDX-License-Identifier: Apache-2.0
"""The extraction: every image that the cache does not know yet becomes a bottleneck.

All ranks draw batches from one queue; each writes shards of its own. The queue decides who
computes, never what: batches are padded to one shape, and no row depends on its neighbours.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer.arrays import ByteArray, Float32Array
from trainer.config import Backbone
from trainer.data.images import BadFile, SourceFile, Unreadable
from trainer.data.plan import Plan
from trainer.errors import DataError
from trainer.features.backbone import FrozenBackbone, batch_size
from trainer.features.cache import Cache, Known, ShardWriter
from trainer.features.preprocess import SIDE, pixels
from trainer.progress import Progress
from trainer.world.comm import World
from trainer.world.queue import WorkQueue

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


@dataclass
class Extracted:
    """The extraction's outcome, the same on every rank.

    Attributes:
        known: Where each content's bottleneck lies.
        unread: Files that could not be opened or read for the moment; their content may be good.
        computed: Bottlenecks computed by this run.
        shares: What each rank did.
    """

    known: Known
    unread: list[BadFile]
    computed: int
    seconds: float
    shares: list[Share]


@dataclass
class _Batch:
    """Decoded images on their way to the network; what could not be decoded stands beside."""

    digests: list[bytes] = field(default_factory=list)
    pixels: list[ByteArray] = field(default_factory=list)
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)
    unread: list[BadFile] = field(default_factory=list)


def extract(
    plan: Plan,
    settings: Backbone,
    network: FrozenBackbone,
    cache: Cache,
    world: World,
    progress: Progress,
) -> Extracted:
    """Compute the bottlenecks that the cache lacks; Collective.

    Args:
        plan: All files of the run.
        settings: The backbone section of the configuration.
        network: Its weights are there on rank 0 alone.
        cache: Where bottlenecks are kept.
    Raises:
        DataError: A file changed while it was read.
        Stopped: Some rank was asked to stop; what was computed is in the cache.
    """
    started = time.monotonic()
    first, conflicts = _contents(plan.files, plan.digests)
    known = world.on_root(lambda: cache.read_index(progress))
    _forget_damaged(known, list(first), world, progress)
    missing = sorted(digest for digest in first if digest not in known)
    share = Share(world.rank, world.host)
    unread: list[BadFile] = []
    if missing:
        progress.say(f"Bottlenecks: {len(missing):,} to compute (ranks: {world.size})")
        share.device = network.device
        world.use_horovod()
        world.agree()
        network.weights = world.share(network.weights)
        job = _Job(
            root=plan.root,
            work=[(first[digest], digest) for digest in missing],
            conflicts=conflicts,
            size=batch_size(settings, share.device),
            network=network,
        )
        unread = _compute(job, ShardWriter(cache), share, world, progress)
        known = world.on_root(lambda: cache.read_index(progress))
    shares = world.collect(share)
    return Extracted(
        known=known,
        unread=world.join(unread),
        computed=sum(one.images for one in shares),
        seconds=time.monotonic() - started,
        shares=shares,
    )


def _contents(
    files: Sequence[SourceFile], digests: Sequence[bytes]
) -> tuple[dict[bytes, SourceFile], set[bytes]]:
    """A file for each content, and the contents that lie under two labels: no items, not counted.

    They are computed all the same: whether they can be read decides what they are counted as.
    """
    first: dict[bytes, SourceFile] = {}
    conflicts = set()
    for file, digest in zip(files, digests, strict=True):
        if first.setdefault(digest, file).label != file.label:
            conflicts.add(digest)
    return first, conflicts


def _forget_damaged(known: Known, digests: list[bytes], world: World, progress: Progress) -> None:
    """Check the bottlenecks that will be used, each rank some shards; pass over damaged ones."""
    mine = known.shards_of(digests)[world.rank :: world.size]
    damaged = set(world.join([shard.path for shard in mine if not shard.sound()]))
    for path in sorted(damaged):
        progress.warn(f"{path}: damaged shard, computed anew (its bottlenecks were changed)")
    known.forget(damaged)


@dataclass
class _Job:
    """What is to be computed, the same on every rank.

    Attributes:
        work: A file for each missing content.
        conflicts: Contents that do not count as items.
        size: Images in a batch.
        network: From a batch of pixels to bottlenecks.
    """

    root: Path
    work: list[tuple[SourceFile, bytes]]
    conflicts: set[bytes]
    size: int
    network: Compute

    def grains(self) -> int:
        """Batches in all."""
        return -(-len(self.work) // self.size)


def _compute(
    job: _Job, writer: ShardWriter, share: Share, world: World, progress: Progress
) -> list[BadFile]:
    """Draw batches from the queue until it is empty or a stop is wished; commit in either case."""
    unread: list[BadFile] = []
    total = len(job.work)
    with world.queue(job.grains()) as queue, progress.track("Bottlenecks", total) as track:
        for batch in _decoded(job, queue, share, len(world.cores)):
            if world.stop_requested:
                break
            unread += batch.unread
            _keep(batch, job, writer, share)
            track.reach(min(queue.given * job.size, total))
    writer.commit()
    world.agree()
    return unread


def _decoded(job: _Job, queue: WorkQueue, share: Share, threads: int) -> Iterator[_Batch]:
    """Decode one batch ahead of the network, on as many threads as the rank has cores."""
    with ThreadPoolExecutor(threads) as decoders, ThreadPoolExecutor(1) as ahead:

        def prepare() -> _Batch | None:
            number = queue.take()
            if number is None:
                return None
            grain = job.work[number * job.size : (number + 1) * job.size]
            return _decode(job.root, grain, decoders)

        coming = ahead.submit(prepare)
        while True:
            started = time.monotonic()
            batch = coming.result()
            share.wait_seconds += time.monotonic() - started
            if batch is None:
                return
            coming = ahead.submit(prepare)
            yield batch


def _decode(
    root: Path, grain: list[tuple[SourceFile, bytes]], decoders: ThreadPoolExecutor
) -> _Batch:
    batch = _Batch()
    outcomes = list(decoders.map(lambda pair: _read(root, *pair), grain))
    for (file, digest), outcome in zip(grain, outcomes, strict=True):
        if isinstance(outcome, str):
            batch.unreadable.append((digest, outcome))
        elif isinstance(outcome, OSError):
            reason = f"cannot be read: {outcome.strerror}"
            batch.unread.append(BadFile(file.path, file.bytes, reason))
        else:
            batch.digests.append(digest)
            batch.pixels.append(outcome)
    return batch


def _read(root: Path, file: SourceFile, digest: bytes) -> ByteArray | str | OSError:
    """A file's pixels, or why its content is unreadable, or what kept it from being read now."""
    try:
        content = (root / file.path).read_bytes()
    except OSError as error:
        return error
    if hashlib.sha256(content).digest() != digest:
        raise DataError(
            f"{root / file.path}: changed while the run was reading it.",
            "Start again when the folder is at rest.",
        )
    try:
        return pixels(content)
    except Unreadable as error:
        return error.reason


def _keep(batch: _Batch, job: _Job, writer: ShardWriter, share: Share) -> None:
    """Compute one batch, padded to the one shape that all batches have."""
    started = time.monotonic()
    for digest, reason in batch.unreadable:
        writer.add_unreadable(digest, reason)
    if batch.digests:
        padded = np.zeros((job.size, SIDE, SIDE, 3), np.uint8)
        padded[: len(batch.pixels)] = batch.pixels
        for digest, row in zip(batch.digests, job.network(padded), strict=False):
            writer.add(digest, row)
    share.images += sum(digest not in job.conflicts for digest in batch.digests)
    share.busy_seconds += time.monotonic() - started
    writer.commit_if_due()
