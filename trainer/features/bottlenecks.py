# SPDX-License-Identifier: Apache-2.0
"""Bottlenecks of all files of a run, whatever they come from: images, or retrain.py's texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trainer.arrays import Float32Array
from trainer.cache_use import CacheUse
from trainer.config import Config
from trainer.data.dataset import Hashes
from trainer.data.duplicates import Item
from trainer.data.images import BadFile, Unreadable
from trainer.data.place import Place, patiently
from trainer.data.plan import Plan
from trainer.data.retrain_py import common_length, parse_bottleneck
from trainer.errors import DataError
from trainer.features.backbone import FrozenBackbone
from trainer.features.cache import Known
from trainer.features.exact_hashes import find_hashes
from trainer.features.extract import Share
from trainer.features.image_bottlenecks import Extracted, extract
from trainer.progress import Progress
from trainer.world.comm import World


class Reader(Protocol):
    """Where bottlenecks are read from, again and again."""

    @property
    def features(self) -> int:
        """Numbers in a bottleneck."""

    def read(self, items: Sequence[Item]) -> Float32Array:
        """(items, features) float32, in the order asked."""


@dataclass
class CacheReader:
    """Bottlenecks of images, in the cache."""

    known: Known
    features: int

    def read(self, items: Sequence[Item]) -> Float32Array:
        """See Reader."""
        return self.known.read([item.digest for item in items], self.features)


@dataclass
class TextReader:
    """Bottlenecks in retrain.py's text files, parsed where they lie: half a millisecond each."""

    places: dict[str, Place]
    """Where the content of each path is."""
    features: int

    def read(self, items: Sequence[Item]) -> Float32Array:
        """See Reader."""
        rows = np.empty((len(items), self.features), np.float32)
        for row, item in zip(rows, items, strict=True):
            row[:] = parse_bottleneck(self.places[item.path].read())
        return rows


@dataclass
class Features:
    """The outcome, the same on every rank but for the weights.

    Attributes:
        reader: Where the bottlenecks are.
        unreadable: The plan's files that could not be read.
        hashes: Looks up difference hashes of contents; None without pictures.
        backbone: The `backbone` section of results.json.
        bottlenecks: Its `bottlenecks` section, without the count of reused ones.
        shares: What each rank did.
        network: For the saved model, its weights there on rank 0; None without images.
    """

    reader: Reader
    unreadable: list[BadFile]
    hashes: Hashes | None
    backbone: dict[str, Any] | None
    bottlenecks: dict[str, Any]
    shares: list[Share]
    network: FrozenBackbone | None

    def reused(self, items: int) -> dict[str, Any]:
        """The `bottlenecks` section, with what of these items was there before."""
        return {**self.bottlenecks, "reused": items - self.bottlenecks["computed"]}


def find_bottlenecks(
    plan: Plan, config: Config, cache: CacheUse, world: World, progress: Progress
) -> Features:
    """Compute or read the bottlenecks of a plan's files; Collective.

    Args:
        plan: The files.
        config: The backbone, and which kind of files these are.
        cache: The bottleneck cache.
        world: Who shares the work.
        progress: Told how far it is.
    Raises:
        DataError: The weights do not serve, or no file could be read.
    """
    if config.data.images is None:
        return _from_texts(plan, world)
    return _from_images(plan, config, cache, world, progress)


def _from_images(
    plan: Plan, config: Config, cache: CacheUse, world: World, progress: Progress
) -> Features:
    extracted = extract(plan, config, cache, world, progress)
    network, verdict = extracted.network, extracted.verdict
    reduced = network.precision != "float32"
    return Features(
        reader=CacheReader(extracted.known, network.features),
        unreadable=_unreadable(plan, extracted),
        hashes=find_hashes(
            plan.source, extracted.contents, extracted.known, cache, world, progress
        ),
        backbone={
            "name": network.network.name,
            "weights": config.backbone.weights,
            "weights_sha256": extracted.weights_sha256,
            "layer": network.cut,
            "precision": network.precision,
            "features": network.features,
            "fingerprint": extracted.cache.fingerprint,
            "precision_error": verdict.error if verdict and reduced else None,
        },
        bottlenecks={
            "computed": extracted.computed,
            "reused": None,
            "seconds": extracted.seconds,
            "startup_seconds": extracted.startup_seconds,
            "images_per_second": _rate(extracted),
        },
        shares=extracted.shares,
        network=network,
    )


def _rate(extracted: Extracted) -> float | None:
    return extracted.computed / extracted.seconds if extracted.computed else None


def _unreadable(plan: Plan, extracted: Extracted) -> list[BadFile]:
    """Every file whose content no decoder could read, or that could not be read for the moment.

    Of copies one is read: what kept it from being read keeps them all out of this run.
    """
    paths = {file.path: file.reason for file in extracted.unread}
    pairs = list(zip(plan.files, plan.digests, strict=True))
    unread = {digest: paths[file.path] for file, digest in pairs if file.path in paths}
    reasons = extracted.known.unreadable | unread
    return [
        BadFile(file.path, file.bytes, reasons[digest])
        for file, digest in pairs
        if digest in reasons
    ]


def _from_texts(plan: Plan, world: World) -> Features:
    """Parse every text once, spread over the ranks, to learn which cannot be used."""
    mine = range(world.rank, len(plan.files), world.size)
    outcomes = dict(world.join([_length(plan, number) for number in mine]))
    lengths = [found for found in outcomes.values() if isinstance(found, int)]
    if not lengths:
        first = f" {plan.files[0].path} {outcomes[0]}." if outcomes else ""
        raise DataError(
            f"data.bottlenecks {plan.source.path}: none of {plan.found:,} files is a "
            f"bottleneck.{first}",
            "Give a folder a class of retrain.py's .txt files; for pictures say data.images.",
        )
    features = common_length(lengths)
    unreadable = [
        BadFile(file.path, file.bytes, reason)
        for number, file in enumerate(plan.files)
        if (reason := _reason(outcomes[number], features))
    ]
    return Features(
        reader=TextReader({file.path: plan.source.place(file) for file in plan.files}, features),
        unreadable=unreadable,
        hashes=None,
        backbone=None,
        bottlenecks={
            "computed": 0,
            "reused": None,
            "seconds": None,
            "startup_seconds": None,
            "images_per_second": None,
        },
        shares=world.collect(Share(world.rank, world.host)),
        network=None,
    )


def _length(plan: Plan, number: int) -> tuple[int, int | str]:
    try:
        content = patiently(plan.source.place(plan.files[number]).read)
        return number, len(parse_bottleneck(content))
    except Unreadable as error:
        return number, error.reason
    except OSError as error:
        return number, f"cannot be read: {error.strerror}"


def _reason(outcome: int | str, features: int) -> str:
    if isinstance(outcome, str):
        return outcome
    return "" if outcome == features else f"has {outcome:,} numbers; most have {features:,}"
