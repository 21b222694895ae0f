# SPDX-License-Identifier: Apache-2.0
"""The stage that fits heads: rows are read by their ranks, fits chosen, warnings told."""

from __future__ import annotations

import numpy as np

from trainer.arrays import Array, FloatArray
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.errors import UsageError
from trainer.features.bottlenecks import Reader
from trainer.head.choice import FEW_CHOOSING_ITEMS
from trainer.head.cross_validate import CHECKPOINT, CrossValidation
from trainer.head.development import Development
from trainer.head.fitted import Fitted
from trainer.head.kept import Keeper
from trainer.head.rows import own_rows, spread
from trainer.progress import Progress
from trainer.world.comm import World

FITTED = "fitted"


def train(
    dataset: Dataset,
    reader: Reader,
    config: Config,
    keeper: Keeper,
    world: World,
    progress: Progress,
) -> Fitted:
    """Choose L2, cross-validate, and fit the head on all of development; Collective.

    Args:
        dataset: The items.
        reader: Their bottlenecks.
        config: The head section, and the folds.
        keeper: Has what earlier starts came to: all of it, or where to go on.
        world: Shares the rows.
        progress: Told how far it is.
    Raises:
        UsageError: Nothing is left to choose L2 by.
        Stopped: Some rank was asked to stop; where the fits stand is kept.
    """
    development = as_development(dataset)
    _require_choosers(development, config)
    kept = keeper.load(FITTED)
    if kept:
        progress.say("Head: done before, passed over")
        fitted = Fitted.from_arrays(kept)
    else:
        items = dataset.items(dataset.development)
        own = own_rows(len(items), world)
        with spread(reader.read(items[own]), own, len(items), world) as rows:
            fitted = CrossValidation(rows, development, config.head, keeper, progress).fit()
        world.on_root(lambda: _keep(fitted, keeper))
    _warn(fitted, dataset, config, progress)
    return fitted


def as_development(dataset: Dataset) -> Development:
    """What the fits need to know of the items, apart from their bottlenecks."""
    return Development(
        labels=dataset.labels[dataset.development],
        validation=dataset.validation,
        folds=dataset.folds,
        fold_count=dataset.fold_count,
        classes=len(dataset.classes),
    )


def _keep(fitted: Fitted, keeper: Keeper) -> None:
    keeper.save(FITTED, fitted.to_arrays())
    keeper.drop(CHECKPOINT)


def _require_choosers(development: Development, config: Config) -> None:
    chooses = development.fold_count or development.validation.any()
    if config.head.l2 == "auto" and not chooses:
        raise UsageError(
            "head.l2 auto: no cross-validation and no validation set to choose it by.",
            "Set evaluate.folds=10, data.split.validation=0.1, or head.l2 to a number.",
        )


def _warn(fitted: Fitted, dataset: Dataset, config: Config, progress: Progress) -> None:
    """Tell what limits the result, besides what its figures show."""
    if config.evaluate.folds and not dataset.fold_count:
        progress.warn("cross-validation is off: fewer than 4 units of development items")
    choice = fitted.choice
    if choice and choice.at_end():
        progress.warn(f"L2 was chosen at the end of its path ({choice.l2:g})")
    if choice and choice.items < FEW_CHOOSING_ITEMS:
        progress.warn(f"L2 was chosen by {choice.items} items only")
    for fold in fitted.lacking:
        progress.warn(
            f"fold {fold} holds all items of a class: its head could not learn that class"
        )
    if fitted.unconverged:
        progress.warn(f"{fitted.unconverged} fits stopped short of their gradient norm")


def score_items(head: tuple[FloatArray, FloatArray], rows: Array) -> FloatArray:
    """Probabilities by a head: softmax(rows W + b) in float64.

    Args:
        head: W (features, classes) and b (classes,).
        rows: (items, features) bottlenecks.
    Returns:
        (items, classes).
    """
    weights, bias = head
    logits = rows.astype(np.float64) @ weights + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def score_test(
    dataset: Dataset, reader: Reader, head: tuple[FloatArray, FloatArray], world: World
) -> FloatArray:
    """Score the test set, once, by the head that is saved; Collective.

    Returns:
        (test items, classes) probabilities.
    """
    items = dataset.items(dataset.positions("test"))
    own = own_rows(len(items), world)
    scored: FloatArray = world.gather(score_items(head, reader.read(items[own])))
    return scored
