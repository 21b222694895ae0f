# SPDX-License-Identifier: Apache-2.0
"""What a run tells besides its figures and what predictions.csv alone decides: section 6."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

import numpy as np

from checks import Expected, number, probabilities
from findings import Findings
from scoring import LEAST_FOR_CALIBRATION, LEAST_PROBABILITY, Floats, Ints, bin_sizes
from tables import Row, RunFiles, parsed, read_table

FILE, TABLE = "analysis.json", "suspects.csv"
WISHES = (0.9, 0.95, 0.99)


def check_aside(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """suspects.csv, and `suspects`, `calibration` and `abstaining` of analysis.json."""
    found = parsed(run.folder, FILE)
    rows = [row for row in run.predictions if row["source"] == "oof"]
    check_suspects(findings, run, rows, expected)
    source = "oof" if rows else "test"
    scored = rows or [row for row in run.predictions if row["source"] == "test"]
    doubted = [row for row in read_table(run.folder, TABLE) if row["flagged"] == "1"]
    told = {"n": len(rows), "flagged": len(doubted)} if rows else None
    findings.equal(FILE, "suspects", found["suspects"], told)
    if not scored:
        findings.equal(FILE, "calibration", found["calibration"], None)
        return
    findings.equal(FILE, "calibration.source", found["calibration"]["source"], source)
    given, labels = answers(scored, expected)
    check_bins(findings, found["calibration"]["bins"], given, labels)
    if rows:
        check_temperature(findings, found["calibration"]["temperature"], given, labels)
    check_wishes(findings, found["abstaining"], given, labels)


def answers(rows: list[Row], expected: Expected) -> tuple[Floats, Ints]:
    """Probabilities and class numbers of rows."""
    labels = [expected.classes.index(row["label"]) for row in rows]
    return probabilities(rows, expected.classes), np.array(labels, np.int64)


def check_suspects(findings: Findings, run: RunFiles, rows: list[Row], expected: Expected) -> None:
    """The order of suspects.csv, and which are flagged."""
    found = read_table(run.folder, TABLE)
    wanted = suspects(rows, expected)
    findings.equal(TABLE, "rows", len(found), len(wanted))
    for row, (path, own, counted) in zip(found, wanted, strict=False):
        findings.equal(TABLE, "path in order", row["path"], path)
        findings.close(TABLE, f"p_label of {path!r}", number(row["p_label"]), own)
        findings.equal(TABLE, f"counted_to of {path!r}", row["counted_to"], counted)
        doubted = str(int(counted not in ("", row["label"])))
        findings.equal(TABLE, f"flagged of {path!r}", row["flagged"], doubted)


def suspects(rows: list[Row], expected: Expected) -> list[tuple[str, float, str]]:
    """Path, probability of the own label, class that it is confidently counted to; in order."""
    chances = [{name: number(row[f"p:{name}"]) for name in expected.classes} for row in rows]
    bars: dict[str, float] = {}
    for name in expected.classes:
        own = [one[name] for one, row in zip(chances, rows, strict=True) if row["label"] == name]
        bars[name] = sum(own) / len(own) if own else math.inf
    told = []
    for one, row in zip(chances, rows, strict=True):
        reached = [name for name in expected.classes if one[name] >= bars[name]]
        counted = max(reached, key=lambda name: one[name]) if reached else ""
        told.append((row["path"], one[row["label"]], counted))
    return sorted(told, key=lambda entry: entry[1])


def check_bins(
    findings: Findings, found: list[dict[str, Any]], given: Floats, labels: Ints
) -> None:
    """Size, confidence and accuracy of each bin."""
    if len(labels) < LEAST_FOR_CALIBRATION:
        findings.equal(FILE, "calibration.bins", found, [])
        return
    confidence = given.max(axis=1)
    order = np.argsort(confidence, kind="stable").tolist()
    right = given.argmax(axis=1) == labels
    sizes = bin_sizes(len(labels))
    findings.equal(FILE, "calibration.bins", [one["n"] for one in found], list(sizes))
    for at, one in enumerate(found):
        members = order[sum(sizes[:at]) : sum(sizes[: at + 1])]
        findings.close(FILE, f"bin {at}", one["confidence"], float(confidence[members].mean()))
        findings.close(FILE, f"bin {at}", one["accuracy"], float(right[members].mean()))


def check_temperature(
    findings: Findings, found: dict[str, float], given: Floats, labels: Ints
) -> None:
    """No other temperature near has a lower log loss, and its own is as told."""
    value = found["value"]
    loss = tempered_loss(given, labels, value)
    findings.close(FILE, "calibration.temperature.log_loss", found["log_loss"], loss)
    for factor in (0.97, 1.03):
        if 0.01 <= value * factor <= 100:
            other = tempered_loss(given, labels, value * factor)
            findings.claim(loss <= other + 1e-12, FILE, "calibration.temperature", loss, other)


def tempered_loss(given: Floats, labels: Ints, temperature: float) -> float:
    """Log loss when logits are divided by a temperature."""
    powers = np.maximum(given, LEAST_PROBABILITY) ** (1 / temperature)
    chances = powers / powers.sum(axis=1, keepdims=True)
    own = chances[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, LEAST_PROBABILITY)).mean())


def check_wishes(findings: Findings, found: dict[str, Any], given: Floats, labels: Ints) -> None:
    """For each wish the threshold that answers most."""
    right = (given.argmax(axis=1) == labels).tolist()
    steps = falling(given.max(axis=1).tolist(), right)
    findings.equal(FILE, "abstaining.n", found["n"], len(labels))
    for told, wish in zip(found["wishes"], WISHES, strict=True):
        good = [step for step in steps if step[2] >= wish]
        wanted = good[-1] if good else (None, None, None)
        for key, value in zip(("threshold", "coverage", "accuracy"), wanted, strict=True):
            findings.close(FILE, f"abstaining at {wish}: {key}", told[key], value)


def falling(confidence: list[float], right: list[bool]) -> list[tuple[float, float, float]]:
    """Confidence, coverage and accuracy at each distinct confidence, the highest first."""
    pairs = sorted(zip(confidence, right, strict=True), key=lambda pair: -pair[0])
    steps, answered, hits = [], 0, 0
    for value, group in groupby(pairs, key=lambda pair: pair[0]):
        outcomes = [good for _, good in group]
        answered += len(outcomes)
        hits += sum(outcomes)
        steps.append((value, answered / len(pairs), hits / answered))
    return steps
