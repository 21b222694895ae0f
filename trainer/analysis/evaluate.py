# SPDX-License-Identifier: Apache-2.0
"""From predictions to the figures of results.json, and to predictions.csv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.analysis.scores import Scored, headline, majority_class, score
from trainer.arrays import FloatArray, IntArray
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.manifest import write_csv
from trainer.data.sets import TEST, TRAINING
from trainer.head.fitted import Fitted
from trainer.rundir import RunDir


@dataclass
class Predictions:
    """Items of one source with their probabilities.

    Attributes:
        source: `test`, `validation` or `oof`, as in predictions.csv.
        positions: (n,) which items.
        probabilities: (n, classes).
        folds: (n,) fold of each, for `oof` alone.
        l2: (n,) strength of the head that scored each.
    """

    source: str
    positions: IntArray
    probabilities: FloatArray
    folds: IntArray | None
    l2: FloatArray


@dataclass
class Evaluation:
    """Predictions, and the sections of results.json that score them."""

    predictions: list[Predictions]
    sections: dict[str, Any]


def evaluate(dataset: Dataset, fitted: Fitted, test: FloatArray, config: Config) -> Evaluation:
    """Score the test set, the validation set and the out-of-fold items.

    Args:
        dataset: The items.
        fitted: With its probabilities of development items.
        test: (test items, classes) probabilities by the saved head.
        config: Seed, and whether classes were balanced.
    """
    predictions = _predictions(dataset, fitted, test)
    return Evaluation(predictions, _sections(dataset, predictions, config))


def _predictions(dataset: Dataset, fitted: Fitted, test: FloatArray) -> list[Predictions]:
    """The test set, the validation set and the out-of-fold items, as far as they exist."""
    found = []
    development, validation = dataset.development, dataset.validation
    if len(test):
        strength = np.full(len(test), fitted.l2)
        found.append(Predictions("test", dataset.positions(TEST), test, None, strength))
    if fitted.validation is not None:
        chosen = development[validation]
        strength = np.full(len(chosen), fitted.l2)
        found.append(
            Predictions("validation", chosen, fitted.validation[validation], None, strength)
        )
    if fitted.out_of_fold is not None:
        strength = np.array(fitted.fold_l2)[dataset.folds]
        found.append(Predictions("oof", development, fitted.out_of_fold, dataset.folds, strength))
    return found


def _sections(dataset: Dataset, predictions: list[Predictions], config: Config) -> dict[str, Any]:
    """`headline`, `test`, `validation`, `cross_validation` and `before` of results.json."""
    training = dataset.labels[dataset.positions(TRAINING)]
    majority = majority_class(training, len(dataset.classes))
    prior = np.bincount(training, minlength=len(dataset.classes)) / len(training)
    figures: dict[str, Any] = {}
    for found in predictions:
        scored = Scored(
            dataset.labels[found.positions],
            found.probabilities,
            [item.group for item in dataset.items(found.positions)],
        )
        figures[found.source] = score(scored, majority, dataset.classes, config.run.seed, prior)
        if found.folds is not None:
            figures[found.source]["folds"] = _folds(scored, found)
        if found.source == "test":
            figures["test"]["without_near_duplicates"] = _apart(dataset, scored, found.positions)
    test, pooled = figures.get("test"), figures.get("oof")
    return {
        "headline": headline(
            pooled, test, config.head.class_weight == "balanced", dataset.test_is_given
        ),
        "test": test,
        "validation": figures.get("validation"),
        "cross_validation": pooled,
        "before": test and {"accuracy": 1 / len(dataset.classes), "n": test["n"]},
    }


def _apart(dataset: Dataset, scored: Scored, positions: IntArray) -> dict[str, Any] | None:
    """The test items that are no near-duplicate of development."""
    if dataset.near_development is None:
        return None
    apart = scored.correct[~dataset.near_development[positions]]
    return {"n": len(apart), "accuracy": float(apart.mean()) if len(apart) else None}


def _folds(scored: Scored, found: Predictions) -> list[dict[str, Any]]:
    """Size, accuracy and L2 of each fold."""
    assert found.folds is not None
    table = []
    for fold in range(int(found.folds.max()) + 1):
        members = found.folds == fold
        table.append(
            {
                "n": int(members.sum()),
                "accuracy": float(scored.correct[members].mean()),
                "l2": float(found.l2[members][0]),
            }
        )
    return table


def write_predictions(run: RunDir, dataset: Dataset, predictions: list[Predictions]) -> None:
    """Write predictions.csv: one row an item and source."""
    header = ["path", "sha256", "group", "label", "source", "fold", "l2", "predicted"]
    header += [f"p:{name}" for name in dataset.classes]
    write_csv(run.predictions, header, _rows(dataset, predictions))


def _rows(dataset: Dataset, predictions: list[Predictions]) -> Iterator[list[object]]:
    for found in predictions:
        items = dataset.items(found.positions)
        for number, (item, row) in enumerate(zip(items, found.probabilities, strict=True)):
            fold = None if found.folds is None else int(found.folds[number])
            yield [
                item.path,
                item.digest.hex(),
                item.group,
                item.label,
                found.source,
                fold,
                float(found.l2[number]),
                dataset.classes[int(row.argmax())],
                *row.tolist(),
            ]
