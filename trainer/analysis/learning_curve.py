# SPDX-License-Identifier: Apache-2.0
"""Would more images help: heads fitted on parts of development, scored out of fold.

There are five seeded draws. In each, the items have a random order, and a share of development is
the beginning of it. Draw d is scored on the folds k with k mod 5 = d, by fits without fold k; so
each item is scored once at each share, always by heads that had not seen its fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.arrays import BoolArray, Float32Array, FloatArray, IntArray
from trainer.head.development import Development
from trainer.head.lbfgs import solve
from trainer.head.objective import Objective, make_subset
from trainer.head.rows import own_rows, spread
from trainer.head.standings import Standing
from trainer.head.train import score_items
from trainer.world.comm import World

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
HALF, ALL = SHARES.index(0.5), SHARES.index(1.0)
DRAWS = 5
FEWEST_ITEMS = 100
TOLERANCE, LEAST_TOLERANCE = 1e-3, 1e-5
"""Of the gradient norm, times L2, and at least: a curve of accuracies needs no more."""
STEPS = 20
"""A draw's order is cut into so many parts, which every share consists of: rows of one part and
fold are treated alike by every fit."""


def learning_curve(
    values: Float32Array,
    development: Development,
    balanced: bool,
    l2: float,
    head: tuple[FloatArray, FloatArray],
    units: IntArray,
    seed: int,
    world: World,
) -> dict[str, Any] | None:
    """Score heads on growing shares of development; Collective.

    Args:
        values: (own, features) this rank's bottlenecks of development.
        development: Labels and folds.
        balanced: Whether classes are weighted alike.
        l2: The strength of the final head.
        head: Its weights and bias, from which the solver learns what to expect.
        units: (items,) number of what is never split.
        seed: Of the draws.
        world: Who shares the rows.

    Returns:
        `points`: rows {share, items, accuracy, draws}; `step`, what the accuracy gains from 50 to
        100%, its paired `standard_error` (clustered by units), and whether it is `still_rising`.
        None below 100 items, and without folds.
    """
    count = len(development.labels)
    if count < FEWEST_ITEMS or not development.fold_count:
        return None
    curvature = world.gather(_curvature(score_items(head, values)))
    draws = [
        _score(draw, values, development, balanced, l2, curvature, seed, world)
        for draw in range(DRAWS)
    ]
    return summarised(draws, units)


@dataclass
class Draw:
    """What one draw found.

    Attributes:
        items: (shares,) how many were fitted on, on average over its folds.
        scored: (n,) which items were scored.
        correct: (shares, n) whether each was right.
    """

    items: FloatArray
    scored: IntArray
    correct: BoolArray


def _score(
    draw: int,
    values: Float32Array,
    development: Development,
    balanced: bool,
    l2: float,
    curvature: FloatArray,
    seed: int,
    world: World,
) -> Draw:
    """Fit and score one draw; Collective."""
    labels, classes = development.labels, development.classes
    parts = parts_of(len(labels), (seed, draw))
    folds = folds_of(draw, development.fold_count)
    subsets = [
        make_subset(
            (parts < round(share * STEPS)) & (development.folds != fold), labels, classes, balanced
        )
        for share, fold in _fits(folds)
    ]
    apart = np.searchsorted(folds, development.folds)  # all other folds are treated alike
    apart[~np.isin(development.folds, folds)] = len(folds)
    cells = np.unique(apart * STEPS + parts, return_inverse=True)[1].reshape(-1)
    own = own_rows(len(labels), world)
    heads = np.arange(len(subsets))
    with spread(values, own, len(labels), world) as rows:
        objective = Objective(rows, labels, cells.astype(np.int64), subsets, classes)
        objective.preconditioner.adapt(curvature[objective.preconditioner.sampled])
        starts = [Standing(np.zeros(objective.size)) for _ in heads]
        tolerance = max(LEAST_TOLERANCE, TOLERANCE * l2)
        minima = solve(objective, heads, starts, np.full(len(heads), l2), tolerance)
        points = np.array([minimum.parameters for minimum in minima])
        predicted = objective.log_probabilities(heads, points).argmax(axis=2)
        right = world.gather((predicted == labels[own, None]).astype(np.int64)) > 0
    world.agree()
    fitted = np.array([subset.fitted.sum() for subset in subsets]).reshape(-1, len(folds))
    scored = [np.flatnonzero(development.folds == fold) for fold in folds]
    correct = [
        np.concatenate(
            [right[members, row * len(folds) + place] for place, members in enumerate(scored)]
        )
        for row in range(len(SHARES))
    ]
    return Draw(fitted.mean(axis=1), np.concatenate(scored), np.array(correct))


def _curvature(probabilities: FloatArray) -> FloatArray:
    """(n,) of the softmax at each row, as `Preconditioner.adapt` wants it."""
    spread_out: FloatArray = (probabilities * (1 - probabilities)).sum(axis=1)
    return spread_out / (probabilities.shape[1] - 1)


def _fits(folds: list[int]) -> Iterator[tuple[float, int]]:
    return ((share, fold) for share in SHARES for fold in folds)


def folds_of(draw: int, fold_count: int) -> list[int]:
    """The folds that a draw is scored on; with fewer than five, some are scored twice."""
    return list(range(draw, fold_count, DRAWS)) or [draw % fold_count]


def parts_of(count: int, seed: tuple[int, int]) -> IntArray:
    """(count,) the part, 0 to 19, of a random order that each item lies in, all equally large."""
    order = np.random.default_rng(seed).permutation(count)
    parts = np.empty(count, np.int64)
    parts[order] = np.arange(count) * STEPS // count
    return parts


def summarised(draws: list[Draw], units: IntArray) -> dict[str, Any]:
    """Pool what the draws found.

    Args:
        draws: All of them; each item was scored in at least one.
        units: (items,) number of what is never split.
    """
    times = np.zeros(len(units))
    right = np.zeros((len(SHARES), len(units)))
    for draw in draws:
        times[draw.scored] += 1
        right[:, draw.scored] += draw.correct
    right /= times
    gained = right[ALL] - right[HALF]
    error = paired_standard_error(gained, units)
    accuracies = right.mean(axis=1)
    items = np.mean([draw.items for draw in draws], axis=0)
    each = np.array([draw.correct.mean(axis=1) for draw in draws]).T
    return {
        "n": len(units),
        "points": [
            {"share": share, "items": float(fitted), "accuracy": float(found), "draws": by_draw}
            for share, fitted, found, by_draw in zip(
                SHARES, items, accuracies, each.tolist(), strict=True
            )
        ],
        "step": float(gained.mean()),
        "standard_error": error,
        "still_rising": bool(gained.mean() > 2 * error),
    }


def paired_standard_error(differences: FloatArray, units: IntArray) -> float:
    """Of a mean of differences between two answers on the same items, those of a unit together.

    Args:
        differences: (n,) one an item.
        units: (n,) number of each item's unit.

    Source: Liang and Zeger 1986, Biometrika 73(1), pages 13-22, for an intercept alone.
    """
    sums = np.bincount(units, differences - differences.mean())
    return float(np.sqrt((sums**2).sum()) / len(differences))
