# SPDX-License-Identifier: Apache-2.0
"""Bottlenecks of images: from the cache as far as it has them, else computed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.arrays import ByteArray
from trainer.cache_use import CacheUse
from trainer.config import Config
from trainer.data.images import BadFile
from trainer.data.plan import Plan
from trainer.errors import RetrainError, UsageError
from trainer.features import precision, weights
from trainer.features.backbone import FrozenBackbone, batch_size, of_settings
from trainer.features.backbones import NETWORKS
from trainer.features.cache import Cache, Known
from trainer.features.extract import Contents, Job, Share, compute, distinct, read_known
from trainer.features.hash_store import HashWriter
from trainer.features.pipeline import Decoder
from trainer.features.precision import Verdict
from trainer.features.preprocess import Decoded
from trainer.progress import Progress
from trainer.world.comm import World
from trainer.world.devices import Device, own_device, require_one_rank_a_gpu


@dataclass
class Extracted:
    """The outcome, the same on every rank but for the network's weights, which rank 0 has.

    Attributes:
        network: In the format that was used.
        weights_sha256: The weights' own hash.
        contents: The distinct ones of the plan's files.
        cache: Where the bottlenecks are.
        known: What of it is the run's.
        verdict: Of the check on a reduced format; None where there was none.
        unread: Files that could not be opened or read for the moment; their content may be good.
        computed: Bottlenecks computed by this run.
        startup_seconds: From here to the first batch: TensorFlow, the check, the first pass.
        seconds: From the first batch to the last one's being in the cache.
        shares: What each rank did.
    """

    network: FrozenBackbone
    weights_sha256: str
    contents: Contents
    cache: Cache
    known: Known
    verdict: Verdict | None
    unread: list[BadFile]
    computed: int
    startup_seconds: float
    seconds: float
    shares: list[Share]


def extract(
    plan: Plan, config: Config, cache: CacheUse, world: World, progress: Progress
) -> Extracted:
    """Compute the bottlenecks that the cache lacks; Collective.

    Args:
        plan: All files of the run.
        config: The backbone, the seed and the device.
        cache: The bottleneck cache.
        world: Shares the work.
        progress: Told how far it is.
    Raises:
        UsageError: The devices do not serve, or the backbone has no such layer.
        DataError: The weights do not serve, or a file changed while it was read.
        Stopped: Some rank was asked to stop; what was computed is in the cache.
    """
    started = time.monotonic()
    settings = config.backbone
    world.on_root(lambda: NETWORKS[settings.name].cut_at(settings.layer))
    devices = _devices(config, world)
    side = NETWORKS[settings.name].side
    with Decoder(plan.source.place, side, len(world.cores)) as decoder:
        worker = _Worker(plan, config, cache, devices, decoder, world, progress)
        worker.settle_precision()
        worker.start_up()
        ready = time.monotonic()
        unread = worker.compute_missing()
    shares = world.collect(worker.share)
    return Extracted(
        network=worker.network,
        weights_sha256=worker.weights_sha256,
        contents=worker.contents,
        cache=worker.cache,
        known=worker.known,
        verdict=worker.verdict,
        unread=world.join(unread),
        computed=sum(share.images for share in shares),
        startup_seconds=ready - started,
        seconds=time.monotonic() - ready,
        shares=shares,
    )


def _devices(config: Config, world: World) -> list[Device]:
    """The devices of all ranks; Collective, and so is an error."""
    try:
        mine: Device | UsageError = own_device(
            config.run.device, world.local_rank, world.local_size
        )
    except UsageError as error:
        mine = UsageError(f"{world.host}: {error.message}", error.todo)
    outcomes = world.collect(mine)
    for outcome in outcomes:
        if isinstance(outcome, UsageError):
            outcome.agreed = True
            raise outcome
    devices = [device for device in outcomes if isinstance(device, Device)]
    require_one_rank_a_gpu(list(zip(world.hosts, devices, strict=True)))
    return devices


class _Worker:
    """One rank's part of the extraction, step by step."""

    def __init__(
        self,
        plan: Plan,
        config: Config,
        use: CacheUse,
        devices: Sequence[Device],
        decoder: Decoder,
        world: World,
        progress: Progress,
    ) -> None:
        settings = config.backbone
        device = devices[world.rank]
        self.network = of_settings(settings, len(world.cores), device)
        self.network.precision = precision.agree_on(settings.precision, devices)
        self.size = min(batch_size(settings, device) for device in devices)
        self.share = Share(world.rank, world.host, device.kind)
        self.contents: Contents = distinct(plan.files, plan.digests)
        self.verdict: Verdict | None = None
        self._use = use
        self._decoder = decoder
        self._world = world
        self._progress = progress
        self._started = False
        self.weights_sha256 = world.on_root(lambda: self._load_weights(config))
        self._look()

    def _load_weights(self, config: Config) -> str:
        name, seed = config.backbone.weights, config.run.seed
        self.network.weights = weights.load(
            self.network.network, name, self._use.root, seed, self._progress
        )
        return weights.sha256(self.network.weights)

    def _look(self) -> None:
        """See what the cache has for the network's format."""
        fingerprint = self.network.fingerprint(self.weights_sha256)
        self.cache = Cache(self._use, fingerprint, self.network.features)
        self._world.on_root(
            lambda: self._use.note(self.cache.folder, self._in_words(), self._progress)
        )
        digests = list(self.contents.first)
        self.known = read_known(self.cache, digests, self._world, self._progress)
        self.missing = sorted(digest for digest in digests if digest not in self.known)
        self._progress.kept["bottlenecks"] = self._count_kept

    def _count_kept(self) -> int:
        """Contents of the run that the cache has now; damaged ones may be among them."""
        known = self.cache.read_index(self.contents.first, Progress())
        return sum(digest in known for digest in self.contents.first)

    def _in_words(self) -> str:
        return f"{self.network.network.name}, {self.network.cut}, {self.network.precision}"

    def settle_precision(self) -> None:
        """Fall back to float32 where a reduced format is not good enough for these images."""
        if self.network.precision == "float32":
            return
        self.verdict = self._world.on_root(
            lambda: precision.kept_verdict(self.cache, self.contents.first, self._progress)
        )
        if self.verdict is None and self.missing:
            self.verdict = self._check()
        if self.verdict is not None and not self.verdict.accepted:
            self._progress.warn(
                f"{self.verdict.precision} changes the bottlenecks too much "
                f"({self.verdict.error:.2g} of their spread, {len(self.verdict.images)} images "
                f"compared; at most {precision.LARGEST_ERROR}): float32 is used"
            )
            self.network = self.network.at("float32")
            self._look()

    def _check(self) -> Verdict:
        self._start()

        def read(digest: bytes) -> ByteArray | None:
            outcome = self._decoder.decode(self.contents.first[digest], digest)
            return outcome.pixels if isinstance(outcome, Decoded) else None

        digests = sorted(self.contents.first)
        verdict = precision.check(self.network, digests, read, self.size, self._world)
        self._world.on_root(lambda: precision.keep_verdict(self.cache, verdict))
        return verdict

    def _start(self) -> None:
        """Say what is to come, load TensorFlow, and give every rank the weights; once."""
        if self._started:
            return
        self._started = True
        self._progress.say(
            f"Bottlenecks: {len(self.missing):,} to compute "
            f"(ranks: {self._world.size}, {self.network.precision})"
        )
        self._world.on_root(lambda: self._use.require_writable(self.cache.folder))
        self._decoder.prepare()
        self._world.cut_short(self.network.set_up)
        self._world.use_horovod()
        self.network.weights = self._world.share(self.network.weights)

    def start_up(self) -> None:
        """Do what comes before the first batch, a pass over an empty one included."""
        if self.missing:
            self._start()
            self._world.on_root(lambda: self._use.require_writable(self.cache.folder))
            self._world.cut_short(lambda: self.network.warm_up(self.size))

    def compute_missing(self) -> list[BadFile]:
        """Compute what the cache lacks, and look into it again."""
        if not self.missing:
            return []
        job = Job(
            decoder=self._decoder,
            side=self.network.network.side,
            work=[(self.contents.first[digest], digest) for digest in self.missing],
            conflicts=self.contents.conflicts,
            hashes=HashWriter(self._use),
            size=self.size,
            network=self.network,
        )
        unread = compute(job, self.cache, self.share, self._world, self._progress)
        found = read_known(self.cache, self.missing, self._world, self._progress)
        self.known = self.known.joined(found)
        self._require_kept(unread)
        return unread

    def _require_kept(self, unread: list[BadFile]) -> None:
        """See that what was computed is there; Collective."""
        lost = sum(digest not in self.known for digest in self.missing)
        lost -= len(self._world.join(unread))
        if lost > 0:
            error = RetrainError(
                f"{self.cache.folder}: {lost:,} bottlenecks are lost or damaged just after they "
                "were written.",
                "Check the disk; started again, the same command computes them anew.",
            )
            error.agreed = True
            raise error
