# SPDX-License-Identifier: Apache-2.0
"""The table of fitted items, made by all ranks, and what neighbours alone would predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.analysis.neighbours import (
    NEAREST,
    Nearest,
    Neighbours,
    Space,
    most_kept,
    same,
    unfamiliar_limit,
    vote,
)
from trainer.analysis.scores import group_numbers
from trainer.arrays import Array, Float32Array, FloatArray, IntArray
from trainer.data.dataset import Dataset
from trainer.data.sets import TEST
from trainer.features.bottlenecks import Reader
from trainer.head.rows import moments, own_rows, spread, useful
from trainer.world.comm import World


@dataclass
class Found:
    """The kept items, and how their neighbours would have labelled.

    Attributes:
        neighbours: The kept items.
        summary: The `neighbours` section of analysis.json.
    """

    neighbours: Neighbours
    summary: dict[str, Any]


def find_neighbours(
    dataset: Dataset, values: Float32Array, reader: Reader, seed: int, world: World
) -> Found:
    """Keep the fitted items, learn what distance is unusual, and score a k-NN; Collective.

    Args:
        dataset: The items.
        values: (own, features) this rank's bottlenecks of development.
        reader: The bottlenecks of the test set.
        seed: Of the sample, where not all items can be kept.
        world: Shares the rows.
    """
    items = dataset.items(dataset.development)
    own = own_rows(len(items), world)
    space = _space(values, own, len(items), world)
    kept = sampled(len(items), most_kept(values.shape[1], _words(items)), seed)
    mine = kept[(kept >= own.start) & (kept < own.stop)] - own.start
    neighbours = Neighbours(
        space=space,
        table=world.gather(space.quantised(values[mine])),
        labels=dataset.labels[dataset.development][kept],
        paths=[items[place].path for place in kept.tolist()],
        digests=[items[place].digest for place in kept.tolist()],
        total=len(items),
    )
    units = group_numbers([dataset.units[place] for place in dataset.development[kept].tolist()])
    nearest, voted = _among_themselves(
        neighbours, values[mine], units, dataset, kept, mine + own.start
    )
    neighbours.limit = unfamiliar_limit(world.gather(nearest))
    world.agree()
    return Found(
        neighbours,
        {
            "kept": len(kept),
            "of": len(items),
            "limit": None if np.isinf(neighbours.limit) else neighbours.limit,
            "k": NEAREST,
            "out_of_fold": _scored(world.gather(voted), dataset.labels[dataset.development][kept])
            if dataset.fold_count
            else None,
            "test": _of_test(neighbours, dataset, reader, world),
        },
    )


def _words(items: list[Any]) -> int:
    """Bytes of a path, on average and rounded up."""
    return -(
        -sum(len(item.path.encode("utf-8", "surrogateescape")) for item in items) // len(items)
    )


def _space(values: Float32Array, own: slice, count: int, world: World) -> Space:
    with spread(values, own, count, world) as rows:
        found = moments(rows, np.zeros(count, np.int64), 1)
    mean, deviation = found.combine(np.ones(1))
    return Space(mean, np.where(useful(mean, deviation), deviation, np.inf))


def sampled(count: int, most: int, seed: int) -> IntArray:
    """All positions, or a seeded sample of so many, in order."""
    if count <= most:
        return np.arange(count)
    chosen = np.random.default_rng(seed).choice(count, most, replace=False)
    return np.sort(chosen)


def _among_themselves(
    neighbours: Neighbours,
    rows: Float32Array,
    units: IntArray,
    dataset: Dataset,
    kept: IntArray,
    places: IntArray,
) -> tuple[FloatArray, IntArray]:
    """This rank's kept items among all kept ones.

    Returns:
        Distance to the nearest outside each one's unit, and the class that the nearest outside its
        fold vote for.
    """
    mine = np.searchsorted(kept, places)
    folds = dataset.folds[kept]
    count = min(NEAREST, len(kept))
    nearest = np.full(len(rows), np.inf)
    outside = Nearest(np.zeros((len(rows), count), np.int64), np.full((len(rows), count), np.inf))
    for block, distances in neighbours.distances(rows):
        distances[same(units[mine[block]], units)] = np.inf
        nearest[block] = distances.min(axis=1, initial=np.inf)
        distances[same(folds[mine[block]], folds)] = np.inf  # a fold holds its units whole
        outside.put(block, distances)
    return nearest, vote(outside, neighbours.labels, len(dataset.classes))


def _of_test(
    neighbours: Neighbours, dataset: Dataset, reader: Reader, world: World
) -> dict[str, Any] | None:
    """What the neighbours say of the test set; Collective."""
    positions = dataset.positions(TEST)
    own = own_rows(len(positions), world)
    nearest = neighbours.nearest(reader.read(dataset.items(positions[own])))
    voted = world.gather(vote(nearest, neighbours.labels, len(dataset.classes)))
    far = world.gather(nearest.distances[:, 0] > neighbours.limit)
    if not len(positions):
        return None
    return {**_scored(voted, dataset.labels[positions]), "unfamiliar": int(far.sum())}


def _scored(voted: Array, labels: IntArray) -> dict[str, Any]:
    return {"n": len(labels), "accuracy": float((voted == labels).mean())}
