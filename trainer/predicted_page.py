# SPDX-License-Identifier: Apache-2.0
"""The page of `retrain predict --report`: its cards, from predictions as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainer.analysis.shown import SHOWN_CLASSES
from trainer.head.export import About
from trainer.near_pictures import NearPictures
from trainer.predict import Prediction
from trainer.report.new_images import NewImages
from trainer.rundir import RunDir


def with_page(
    predictions: Iterable[Prediction], run: RunDir, about: About, page: Path, min_confidence: float
) -> Iterator[Prediction]:
    """Pass predictions on, and write a page of them when all have come.

    Args:
        predictions: With looks.
        run: The finished run.
        about: Its saved model.
        page: Where to.
        min_confidence: Below it, an answer counts as unsure.
    Raises:
        UsageError: The page would lie in no folder.
        RetrainError: It cannot be written.
    """
    shown = NewImages(page, about, min_confidence)
    with NearPictures(run) as near:
        for prediction in predictions:
            shown.add(_card(prediction, about.classes, min_confidence, near))
            yield prediction
    shown.write()


def _card(
    prediction: Prediction, classes: list[str], min_confidence: float, near: NearPictures
) -> dict[str, Any]:
    """What the page shows of one file."""
    if prediction.probabilities is None:
        return {"path": prediction.path, "error": prediction.error}
    likeliest = prediction.likeliest(SHOWN_CLASSES)
    probabilities = prediction.probabilities.tolist()
    pictures = near.of(prediction.near)
    return {
        "path": prediction.path,
        "error": "",
        "label": None,
        "source": None,
        "predicted": classes[likeliest[0]],
        "unsure": not prediction.named(classes, min_confidence),
        "unfamiliar": prediction.unfamiliar,
        "probabilities": [
            {"label": classes[number], "probability": probabilities[number]} for number in likeliest
        ],
        "picture": prediction.look and prediction.look.picture,
        "heat_map": prediction.look and prediction.look.heat_map,
        "neighbours": [
            {
                "path": one.path,
                "label": classes[one.label],
                "distance": one.distance,
                "picture": picture,
            }
            for one, picture in zip(prediction.near, pictures, strict=True)
        ],
    }
