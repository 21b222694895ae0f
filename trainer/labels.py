# SPDX-License-Identifier: Apache-2.0
"""How `retrain predict` writes its answers: for people, as CSV, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.manifest import csv_line
from trainer.errors import DATA, DONE
from trainer.predict import Model, Prediction, find_files
from trainer.report.wording import percent, visible
from trainer.rundir import RunDir

UNSURE = "(unsure)"


def label_files(run: Path, words: Sequence[str], form: str, top: int, min_confidence: float) -> int:
    """Label files and write the answers to standard output.

    Args:
        run: A finished run.
        words: Files and folders.
        form: `text`, `csv` or `json`.
        top: Classes to show of each file, in `text` and `json`.
        min_confidence: Below it, no class is named.
    Returns:
        The exit code: 3 where some file could not be read.
    """
    model = Model(RunDir(run))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    failed = 0
    answers = []
    for prediction in _begin(form, model, find_files(words)):
        failed += prediction.probabilities is None
        if form == "json":
            answers.append(_entry(prediction, model.about.classes, top, min_confidence))
        elif form == "csv":
            print(_row(prediction, model.about.classes, min_confidence), end="", flush=True)
        else:
            print(_line(prediction, model.about.classes, top, min_confidence), flush=True)
    if form == "json":
        print(json.dumps(answers, indent=2))
    return DATA if failed else DONE


def _begin(form: str, model: Model, files: list[str]) -> Iterable[Prediction]:
    if form == "csv":
        classes = [f"p:{name}" for name in model.about.classes]
        print(csv_line(["path", "predicted", *classes, "unfamiliar", "error"]), end="")
    elif form == "text" and model.about.weights_note:
        print(f"Note: {model.about.weights_note}", file=sys.stderr)
    return model.label(files)


def _named(prediction: Prediction, classes: list[str], min_confidence: float) -> str:
    """The predicted class; empty where nothing was read or nothing is sure enough."""
    probabilities = prediction.probabilities
    if probabilities is None or probabilities.max() < min_confidence:
        return ""
    return classes[int(probabilities.argmax())]


def _likeliest(prediction: Prediction, top: int) -> list[int]:
    assert prediction.probabilities is not None
    order: list[int] = np.argsort(-prediction.probabilities, kind="stable")[:top].tolist()
    return order


def _line(prediction: Prediction, classes: list[str], top: int, min_confidence: float) -> str:
    if prediction.probabilities is None:
        return f"{visible(prediction.path)}  error: {prediction.error}"
    unsure = not _named(prediction, classes, min_confidence)
    shown = [
        f"{visible(classes[number])} {percent(float(prediction.probabilities[number]))}"
        for number in _likeliest(prediction, top)
    ]
    return f"{visible(prediction.path)}  " + (f"{UNSURE} " if unsure else "") + ", ".join(shown)


def _row(prediction: Prediction, classes: list[str], min_confidence: float) -> str:
    """A CSV row; `unfamiliar` stays empty in this version."""
    probabilities = prediction.probabilities
    numbers = [None] * len(classes) if probabilities is None else probabilities.tolist()
    named = _named(prediction, classes, min_confidence)
    return csv_line([prediction.path, named, *numbers, None, prediction.error])


def _entry(
    prediction: Prediction, classes: list[str], top: int, min_confidence: float
) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": prediction.path, "predicted": None, "error": None}
    if prediction.probabilities is None:
        return {**entry, "probabilities": None, "error": prediction.error}
    entry["predicted"] = _named(prediction, classes, min_confidence) or None
    kept = len(classes) if top == 1 else top
    entry["probabilities"] = {
        classes[number]: float(prediction.probabilities[number])
        for number in _likeliest(prediction, kept)
    }
    return entry
