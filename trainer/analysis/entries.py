# SPDX-License-Identifier: Apache-2.0
"""What analysis.json tells of each item that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.analysis.evaluate import Predictions
from trainer.analysis.gallery import Wanted
from trainer.analysis.heatmaps import two_likeliest
from trainer.analysis.neighbours import Near, Neighbours, same
from trainer.analysis.shown import (
    MOST_BEFORE_AFTER,
    MOST_OF_A_CLASS,
    MOST_ON_SHEET,
    MOST_SUSPECTS,
    SHOWN_CLASSES,
    Chosen,
    least_sure_hits,
    some_of_each,
    worst_mistakes,
)
from trainer.analysis.suspects import flagged, most_suspicious_first
from trainer.arrays import BoolArray, FloatArray, IntArray
from trainer.data.dataset import Dataset
from trainer.data.duplicates import Item
from trainer.head.fitted import Fitted


@dataclass
class Answers:
    """All that heads said of items that they had not seen: out of fold, and of the test set.

    Attributes:
        sources: (n,) `oof` or `test`.
        positions: (n,) which items.
        labels: (n,) class numbers.
        probabilities: (n, classes).
        folds: (n,) fold whose head answered; -1 for the final head.
    """

    sources: list[str]
    positions: IntArray
    labels: IntArray
    probabilities: FloatArray
    folds: IntArray

    def of(self, source: str) -> IntArray:
        """Rows of one source."""
        return np.flatnonzero(np.array(self.sources, object) == source)


def gather_answers(dataset: Dataset, predictions: Sequence[Predictions]) -> Answers:
    """Join the sources that are no part of the fits or of the choice of L2."""
    parts = [found for found in predictions if found.source in ("oof", "test")]
    positions = [found.positions for found in parts]
    folds = [
        np.full(len(found.positions), -1) if found.folds is None else found.folds for found in parts
    ]
    empty = np.empty((0, len(dataset.classes)))
    joined = np.concatenate([np.empty(0, np.int64), *positions])
    return Answers(
        [found.source for found in parts for _ in found.positions],
        joined,
        dataset.labels[joined],
        np.concatenate([empty, *(found.probabilities for found in parts)]),
        np.concatenate([np.empty(0, np.int64), *folds]),
    )


def choose(answers: Answers, dataset: Dataset) -> Chosen:
    """Which rows and items are shown."""
    headline = answers.of("test" if "test" in answers.sources else "oof")
    digests = [item.digest for item in dataset.items(answers.positions[headline])]
    before = some_of_each(answers.labels[headline], digests, MOST_BEFORE_AFTER, MOST_BEFORE_AFTER)
    held_out = answers.of("oof")
    order = most_suspicious_first(answers.labels[held_out], answers.probabilities[held_out])
    mask = flagged(answers.labels[held_out], answers.probabilities[held_out])
    return Chosen(
        before_after=headline[before].tolist(),
        mistakes=worst_mistakes(answers.labels, answers.probabilities),
        unsure=least_sure_hits(answers.labels, answers.probabilities),
        suspects=held_out[order[mask[order]]][:MOST_SUSPECTS].tolist(),
        sheet=some_of_each(
            dataset.labels,
            [item.digest for item in dataset.gathered.items],
            MOST_ON_SHEET,
            MOST_OF_A_CLASS,
        ).tolist(),
    )


def wanted_pictures(
    chosen: Chosen,
    answers: Answers,
    dataset: Dataset,
    fitted: Fitted,
    near: dict[int, list[Near]],
) -> list[Wanted]:
    """The pictures to make: those with heat maps first, each file once."""
    found: dict[bytes, Wanted] = {}
    for row in chosen.rows():
        fold = int(answers.folds[row])
        item = dataset.gathered.items[int(answers.positions[row])]
        head = fitted.head_of(None if fold < 0 else fold)
        found[item.digest] = Wanted(
            item.path, item.digest, head, two_likeliest(answers.probabilities[row])
        )
    others = [Wanted(one.path, one.digest) for row in chosen.rows() for one in near[row]]
    others += [plain(dataset.gathered.items[place]) for place in chosen.sheet]
    for one in others:
        found.setdefault(one.digest, one)
    return list(found.values())


def plain(item: Item) -> Wanted:
    """An item without its heat map."""
    return Wanted(item.path, item.digest)


def barred(
    answers: Answers, rows: list[int], dataset: Dataset, neighbours: Neighbours
) -> BoolArray:
    """(rows, kept) which kept items are of the same unit as a shown one: its near-copies."""
    unit_of = dict(
        zip((item.digest for item in dataset.gathered.items), dataset.units, strict=True)
    )
    kept = np.array([unit_of[digest] for digest in neighbours.digests], object)
    mine = [dataset.units[place] for place in answers.positions[rows].tolist()]
    return same(np.array(mine, object), kept)


def entry(
    answers: Answers,
    row: int,
    dataset: Dataset,
    near: list[Near],
    limit: float,
    names: set[str],
) -> dict[str, Any]:
    """One shown item as it stands in analysis.json; `names` are the pictures that there are."""
    probabilities, classes = answers.probabilities[row], dataset.classes
    item = dataset.gathered.items[int(answers.positions[row])]
    order = np.argsort(-probabilities, kind="stable")
    told = [*order[:SHOWN_CLASSES].tolist()]
    label = int(answers.labels[row])
    told += [label] if label not in told else []
    file = Wanted(item.path, item.digest)
    return {
        "path": item.path,
        "sha256": item.digest.hex(),
        "label": item.label,
        "source": answers.sources[row],
        "fold": int(answers.folds[row]) if answers.folds[row] >= 0 else None,
        "predicted": classes[told[0]],
        "runner_up": classes[told[1]],
        "probabilities": [
            {"label": classes[number], "probability": float(probabilities[number])}
            for number in told
        ],
        "picture": _if_there(file.picture, names),
        "heat_map": _if_there(file.heat_map, names),
        "unfamiliar": bool(near and near[0].distance > limit),
        "neighbours": [
            {
                "path": one.path,
                "label": classes[one.label],
                "distance": one.distance,
                "picture": _if_there(Wanted(one.path, one.digest).picture, names),
            }
            for one in near
        ],
    }


def sheet(chosen: Chosen, dataset: Dataset, names: set[str]) -> list[dict[str, Any]]:
    """The contact sheet as it stands in analysis.json."""
    items = [dataset.gathered.items[place] for place in chosen.sheet]
    return [
        {"path": item.path, "label": item.label, "picture": plain(item).picture}
        for item in items
        if plain(item).picture in names
    ]


def _if_there(name: str, names: set[str]) -> str | None:
    return name if name in names else None
