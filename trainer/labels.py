# SPDX-License-Identifier: Apache-2.0
"""How `retrain predict` writes its answers: for people, as CSV, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trainer.data.manifest import csv_line
from trainer.errors import DATA, DONE
from trainer.predict import Model, Prediction, find_files
from trainer.predicted_page import with_page
from trainer.report.wording import percent, visible
from trainer.rundir import RunDir

UNSURE = "(unsure)"
UNFAMILIAR = "  (unfamiliar: unlike all training images)"


def label_files(
    run: Path,
    words: Sequence[str],
    form: str,
    top: int,
    min_confidence: float,
    page: Path | None = None,
) -> int:
    """Label files and write the answers to standard output.

    Args:
        run: A finished run.
        words: Files and folders.
        form: `text`, `csv` or `json`.
        top: Classes to show of each file, in `text` and `json`.
        min_confidence: Below it, no class is named.
        page: Where a page with the pictures is written too.
    Returns:
        The exit code: 3 where some file could not be read.
    """
    model = Model(RunDir(run))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    failed = 0
    answers = []
    predictions = _begin(form, model, find_files(words), page is not None)
    if page:
        predictions = with_page(predictions, RunDir(run), model.about, page, min_confidence)
    for prediction in predictions:
        failed += prediction.probabilities is None
        if form == "json":
            answers.append(_entry(prediction, model.about.classes, top, min_confidence))
        elif form == "csv":
            print(_row(prediction, model.about.classes, min_confidence), end="", flush=True)
        else:
            print(_line(prediction, model.about.classes, top, min_confidence), flush=True)
    if form == "json":
        print(json.dumps(answers, indent=2))
    if page:
        print(f"Report: {visible(str(page))}", file=sys.stderr)
    return DATA if failed else DONE


def _begin(form: str, model: Model, files: list[str], looks: bool) -> Iterable[Prediction]:
    if form == "csv":
        classes = [f"p:{name}" for name in model.about.classes]
        print(csv_line(["path", "predicted", *classes, "unfamiliar", "error"]), end="")
    elif form == "text" and model.about.weights_note:
        print(f"Note: {model.about.weights_note}", file=sys.stderr)
    return model.label(files, looks)


def _line(prediction: Prediction, classes: list[str], top: int, min_confidence: float) -> str:
    if prediction.probabilities is None:
        return f"{visible(prediction.path)}  error: {prediction.error}"
    unsure = not prediction.named(classes, min_confidence)
    shown = [
        f"{visible(classes[number])} {percent(float(prediction.probabilities[number]))}"
        for number in prediction.likeliest(top)
    ]
    said = (f"{UNSURE} " if unsure else "") + ", ".join(shown)
    return f"{visible(prediction.path)}  {said}" + (UNFAMILIAR if prediction.unfamiliar else "")


def _row(prediction: Prediction, classes: list[str], min_confidence: float) -> str:
    """A CSV row; `unfamiliar` is 1 or 0, or empty where nobody knows."""
    probabilities = prediction.probabilities
    numbers = [None] * len(classes) if probabilities is None else probabilities.tolist()
    named = prediction.named(classes, min_confidence)
    known = prediction.unfamiliar
    unfamiliar = None if known is None else int(known)
    return csv_line([prediction.path, named, *numbers, unfamiliar, prediction.error])


def _entry(
    prediction: Prediction, classes: list[str], top: int, min_confidence: float
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": prediction.path,
        "predicted": None,
        "unfamiliar": prediction.unfamiliar,
        "error": None,
    }
    if prediction.probabilities is None:
        return {**entry, "probabilities": None, "error": prediction.error}
    entry["predicted"] = prediction.named(classes, min_confidence) or None
    kept = len(classes) if top == 1 else top
    entry["probabilities"] = {
        classes[number]: float(prediction.probabilities[number])
        for number in prediction.likeliest(kept)
    }
    entry["neighbours"] = [
        {"path": one.path, "label": classes[one.label], "distance": one.distance}
        for one in prediction.near
    ]
    return entry
