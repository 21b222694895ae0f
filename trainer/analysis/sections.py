# SPDX-License-Identifier: Apache-2.0
"""The sections of analysis.json that follow from all answers, and the rows of suspects.csv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.analysis.abstaining import abstaining as abstaining_of
from trainer.analysis.calibration import log_loss, reliability, temperature, tempered
from trainer.analysis.entries import Answers
from trainer.analysis.suspects import confident_classes, flagged, most_suspicious_first
from trainer.data.dataset import Dataset
from trainer.head.fitted import Fitted

SUSPECTS = (
    "path",
    "sha256",
    "label",
    "p_label",
    "predicted",
    "p_predicted",
    "counted_to",
    "flagged",
    "split",
)


def suspect_rows(answers: Answers, dataset: Dataset) -> Iterator[list[object]]:
    """Rows of suspects.csv: every item with an out-of-fold answer, the most suspicious first."""
    rows = answers.of("oof")
    labels, probabilities = answers.labels[rows], answers.probabilities[rows]
    counted = confident_classes(labels, probabilities)
    against = flagged(labels, probabilities)
    for place in most_suspicious_first(labels, probabilities).tolist():
        position = int(answers.positions[rows[place]])
        item, predicted = dataset.gathered.items[position], int(probabilities[place].argmax())
        yield [
            item.path,
            item.digest.hex(),
            item.label,
            float(probabilities[place, labels[place]]),
            dataset.classes[predicted],
            float(probabilities[place, predicted]),
            dataset.classes[counted[place]] if counted[place] >= 0 else None,
            int(against[place]),
            dataset.dealt[position].set,
        ]


def suspects(answers: Answers) -> dict[str, Any] | None:
    """How many labels are doubted; None without out-of-fold answers."""
    rows = answers.of("oof")
    if not len(rows):
        return None
    against = flagged(answers.labels[rows], answers.probabilities[rows])
    return {"n": len(rows), "flagged": int(against.sum())}


def calibration(answers: Answers) -> dict[str, Any] | None:
    """Bins, and the temperature that would fit: out of fold, else of the test set."""
    source = _source(answers)
    rows = answers.of(source)
    if not len(rows):
        return None
    labels, probabilities = answers.labels[rows], answers.probabilities[rows]
    found: dict[str, Any] = {
        "source": source,
        "n": len(rows),
        "bins": reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels),
        "temperature": None,
    }
    if source == "oof":
        best = temperature(labels, probabilities)
        loss = log_loss(labels, tempered(probabilities, best))
        found["temperature"] = {"value": best, "log_loss": loss}
    return found


def abstaining(answers: Answers) -> dict[str, Any] | None:
    """Accuracy against coverage, of the same answers."""
    source = _source(answers)
    rows = answers.of(source)
    if not len(rows):
        return None
    return {"source": source, **abstaining_of(answers.labels[rows], answers.probabilities[rows])}


def _source(answers: Answers) -> str:
    return "oof" if "oof" in answers.sources else "test"


def head(fitted: Fitted) -> dict[str, Any]:
    """How L2 was chosen, and how the final fit went."""
    names = ("l2", "log_loss", "accuracy")
    return {
        "path": [dict(zip(names, row, strict=True)) for row in fitted.path.tolist()],
        "fit": [
            {"iteration": number, "loss": loss, "gradient_norm": norm}
            for number, (loss, norm) in enumerate(fitted.minimum.trace.tolist())
        ],
    }
