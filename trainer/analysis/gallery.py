# SPDX-License-Identifier: Apache-2.0
"""The pictures that a page shows, made by the ranks that have the network running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.analysis.heatmaps import evidence
from trainer.analysis.pictures import heat_map, small_size, thumbnail
from trainer.arrays import FloatArray
from trainer.data.images import SourceFile
from trainer.data.plan import Plan
from trainer.features.backbone import FrozenBackbone
from trainer.features.pipeline import Decoder
from trainer.features.preprocess import Decoded
from trainer.progress import Progress
from trainer.world.comm import World


@dataclass(frozen=True)
class Wanted:
    """A picture to be shown.

    Attributes:
        path, digest: Of the file, as in the manifest.
        head: W (features, classes) and b (classes,) of the head whose evidence is shown too; None
            for no heat map.
        classes: The predicted one and the runner-up.
    """

    path: str
    digest: bytes
    head: tuple[FloatArray, FloatArray] | None = None
    classes: tuple[int, int] = (0, 0)

    @property
    def picture(self) -> str:
        """Name of the small picture's file."""
        return f"{self.digest.hex()[:16]}.jpg"

    @property
    def heat_map(self) -> str:
        """Name of the heat map's file."""
        return f"{self.digest.hex()[:16]}-evidence.jpg"


Pictures = dict[str, bytes]
"""JPEG files by name."""


def make_pictures(
    wanted: Sequence[Wanted],
    plan: Plan,
    network: FrozenBackbone,
    batch: int,
    world: World,
    progress: Progress,
) -> Pictures:
    """Make small pictures and heat maps; Collective.

    Args:
        wanted: The same on every rank.
        plan: Where the files are.
        network: Runs on every rank, or else has its weights on rank 0 alone.
        batch: Images in one step of it.
        world: Shares the work.
        progress: Told how far it is, and of files that cannot be read any more.
    Raises:
        DataError: A file changed since it was hashed.
        Stopped: Some rank was asked to stop.
    """
    sharers = world.size if all(world.collect(network.is_running)) else 1
    mine = wanted[world.rank :: sharers] if world.rank < sharers else []
    world.cut_short(lambda: _start(network, batch, mine))
    files = _files(plan, mine)
    made: Pictures = {}
    lost: list[str] = []
    with (
        Decoder(plan.source.place, network.network.side, len(world.cores)) as decoder,
        progress.track("Pictures", len(wanted)) as track,
    ):
        for first in range(0, len(mine), batch):
            if world.stop_requested:
                break
            part = mine[first : first + batch]
            futures = decoder.start([(files[one.path], one.digest) for one in part])
            decoded = [(one, future.result()) for one, future in zip(part, futures, strict=True)]
            good = [(one, image) for one, image in decoded if isinstance(image, Decoded)]
            lost += [one.path for one, image in decoded if not isinstance(image, Decoded)]
            made |= _thumbnails(good) | _heat_maps(good, network, batch)
            track.reach(min((first + batch) * sharers, len(wanted)))
            world.tick()
    world.agree()
    if unread := world.join(lost):
        progress.warn(f"{len(unread):,} pictures for the report cannot be read any more")
    return {name: content for part in world.collect(made) for name, content in part.items()}


def _start(network: FrozenBackbone, batch: int, wanted: Sequence[Wanted]) -> None:
    """Get the network ready, where it is to explain something and does not run yet."""
    if not network.is_running and any(one.head is not None for one in wanted):
        network.set_up()
        network.warm_up(batch)


def _files(plan: Plan, wanted: Sequence[Wanted]) -> dict[str, SourceFile]:
    paths = {one.path for one in wanted}
    return {file.path: file for file in plan.files if file.path in paths}


def _thumbnails(good: list[tuple[Wanted, Decoded]]) -> Pictures:
    return {one.picture: thumbnail(image.pixels, small_size(*image.size)) for one, image in good}


def _heat_maps(good: list[tuple[Wanted, Decoded]], network: FrozenBackbone, batch: int) -> Pictures:
    explained = [(one, image) for one, image in good if one.head is not None]
    if not explained:
        return {}
    side = network.network.side
    pixels = np.zeros((batch, side, side, 3), np.uint8)
    for row, (_, image) in zip(pixels, explained, strict=False):
        row[:] = image.pixels
    maps = network.maps(pixels)
    made = {}
    for (one, image), cells in zip(explained, maps, strict=False):
        assert one.head is not None
        found = evidence(cells, one.head, *one.classes)
        made[one.heat_map] = heat_map(image.pixels, small_size(*image.size), found)
    return made
