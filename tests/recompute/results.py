# SPDX-License-Identifier: Apache-2.0
"""Compares results.json and stages/complete.json with everything else of the run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from checks import Expected, probabilities
from dealing import TEST, TRAINING, VALIDATION
from findings import Broken, Findings
from scoring import Scored, bootstrap, expected_calibration, figures
from tables import Row, RunFiles

FILE = "results.json"
BLOCKS = {"test": TEST, "validation": VALIDATION, "cross_validation": "oof"}
"""Key in results.json: source in predictions.csv."""
SMALL_TEST_SET = 200
DRAWN_TOLERANCE = 0.02
"""Between percentiles of two sets of 2,000 draws, besides what `bootstrap` leaves them."""


def check_results(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """Every figure of results.json but those that only a new fit can tell."""
    check_data(findings, run, expected)
    check_world(findings, run, expected)
    check_blocks(findings, run, expected)
    check_headline(findings, run, expected)


def check_data(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """The counts of section 7."""
    items, data = expected.items, run.results["data"]
    split = Counter(dealt.set for dealt in expected.dealt.values())
    wanted = {
        "images": len(run.manifest),
        "classes": expected.classes,
        "quarantined": len(run.quarantine),
        "duplicates": sum(len(item.copies) for item in items.items),
        "conflicts": len(items.conflicts),
        "split": {name: split[name] for name in (TRAINING, VALIDATION, TEST)},
    }
    for key, value in wanted.items():
        findings.equal(FILE, f"data.{key}", data[key], value)
    compat = run.config["data"]["split"].get("compat")
    findings.equal(FILE, "data.compat", data.get("compat"), compat)
    share = len(run.quarantine) / max(1, len(run.manifest) + len(run.quarantine))
    most = run.config["data"]["max_bad"]
    findings.claim(share <= most, FILE, "quarantined share", share, f"at most {most}")


def check_world(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """Ranks, hosts and who computed how many bottlenecks."""
    world, made = run.results["world"], run.results["bottlenecks"] or {}
    ranks = world["ranks"]
    findings.equal(FILE, "world.ranks' numbers", [r["rank"] for r in ranks], [*range(len(ranks))])
    findings.equal(FILE, "world.size", world["size"], len(ranks))
    findings.same_members(FILE, "world.hosts", world["hosts"], {r["host"] for r in ranks})
    computed, reused = made.get("computed"), made.get("reused")
    shares = [rank["images"] for rank in ranks if rank["images"] is not None]
    findings.equal(FILE, "sum of world.ranks' images", sum(shares), computed or 0)
    if computed is None and run.config["data"]["bottlenecks"]:
        findings.equal(FILE, "bottlenecks.reused", reused, None)
        return
    views = 1 + len(run.config["data"]["views"])
    total = (computed or 0) + (reused or 0)
    findings.equal(FILE, "bottlenecks.computed + reused", total, len(expected.items.items) * views)


def check_blocks(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """test, validation, cross_validation and before."""
    majority = majority_class(expected)
    for block, source in BLOCKS.items():
        rows = [row for row in run.predictions if row["source"] == source]
        found = run.results[block]
        if rows and found is not None:
            compare_block(findings, block, found, scored(rows, expected.classes), expected.classes)
            findings.equal(FILE, f"{block}.majority.label", found["majority"]["label"], majority)
        else:
            findings.claim((found is None) == (not rows), FILE, block, found, f"{len(rows)} rows")
    check_folds(findings, run, expected)
    test = len(expected.scored(TEST))
    before = {"accuracy": 1 / len(expected.classes), "n": test} if test else None
    compare(findings, "before", run.results["before"], before)


def check_near(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """Near-duplicates, and the test accuracy without them; null where there are no pictures."""
    near, test = expected.near, expected.scored(TEST)
    count = None if near is None else len(near.partners)
    findings.equal(FILE, "data.near_duplicates", run.results["data"]["near_duplicates"], count)
    if run.results["test"] is None:
        return
    wanted: dict[str, Any] | None = None
    if near is not None:
        apart = set(near.apart(test, expected.dealt.keys() - set(test)))
        rows = [row for row in run.predictions if row["source"] == TEST and row["sha256"] in apart]
        right = sum(row["label"] == row["predicted"] for row in rows)
        wanted = {"n": len(apart), "accuracy": right / len(rows) if rows else None}
    found = run.results["test"]["without_near_duplicates"]
    compare(findings, "test.without_near_duplicates", found, wanted)


def majority_class(expected: Expected) -> str:
    """The class most frequent in training; of equal ones the first in name order."""
    counts = Counter(
        item.label for item in expected.items.items if expected.dealt[item.sha256].set == TRAINING
    )
    return max(expected.classes, key=lambda name: counts[name])


def scored(rows: list[Row], classes: list[str]) -> Scored:
    """Rows of one source as arrays.

    Raises:
        Broken: a class that does not exist.
    """
    number = {name: index for index, name in enumerate(classes)}
    for row in rows:
        for key in ("label", "predicted"):
            if row[key] not in number:
                raise Broken("predictions.csv", f"{key} {row[key]!r}", f"one of {classes}")
    return Scored(
        np.array([number[row["label"]] for row in rows]),
        np.array([number[row["predicted"]] for row in rows]),
        probabilities(rows, classes),
        [row["group"] or row["sha256"] for row in rows],
    )


def compare_block(
    findings: Findings, block: str, found: dict[str, Any], rows: Scored, classes: list[str]
) -> None:
    """One scored set; what rests on drawn numbers only roughly."""
    label = found["majority"]["label"]
    majority = classes.index(label) if label in classes else 0
    exact = figures(rows, classes, majority)
    compare(findings, block, found, exact)
    if exact["ece"] is None:
        findings.equal(FILE, f"{block}.ece_expected", found["ece_expected"], None)
    else:
        mean, deviation = expected_calibration(rows)
        findings.close(
            FILE, f"{block}.ece_expected", found["ece_expected"], mean, max(deviation / 2, 1e-6)
        )
    for key, interval in bootstrap(rows, len(classes)).items():
        if key in found:
            for bound, value, band in zip(("low", "high"), found[key], interval, strict=True):
                holds = band[0] - DRAWN_TOLERANCE <= value <= band[1] + DRAWN_TOLERANCE
                findings.claim(holds, FILE, f"{block}.{key} {bound}", value, band)


def compare(findings: Findings, key: str, found: Any, wanted: Any) -> None:
    """Compare nested values key by key; keys that are only found are let be."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            compare(findings, f"{key}.{name}", found.get(name, "no such key"), value)
    elif isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted):
        for number, value in enumerate(wanted):
            compare(findings, f"{key}[{number}]", found[number], value)
    elif isinstance(wanted, float):
        findings.close(FILE, key, found, wanted)
    else:
        findings.equal(FILE, key, found, wanted)


def check_folds(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """The fold table against the out-of-fold rows."""
    block = run.results["cross_validation"]
    findings.equal(FILE, "cross_validation ran", block is not None, expected.fold_count > 0)
    if block is None:
        warnings = run.results["warnings"]
        told = bool(warnings) or run.config["evaluate"]["folds"] == 0
        findings.claim(told, FILE, "warnings", warnings, "that cross-validation is off")
        return
    findings.equal(FILE, "cross_validation.folds, length", len(block["folds"]), expected.fold_count)
    for number, fold in enumerate(block["folds"]):
        rows = [
            row for row in run.predictions if row["source"] == "oof" and row["fold"] == str(number)
        ]
        right = sum(row["label"] == row["predicted"] for row in rows)
        key = f"cross_validation.folds[{number}]"
        compare(findings, key, fold, {"n": len(rows), "accuracy": right / max(1, len(rows))})


def check_headline(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """Which figure stands in front, and that it is the one of its block."""
    results = run.results
    test, pooled = results["test"], results["cross_validation"]
    by_hand = all(expected.dealt[sha].given for sha in expected.scored(TEST))
    small = test is None or (test["n"] < SMALL_TEST_SET and not by_hand)
    source = "cross_validation" if pooled is not None and small else "test"
    block = results[source]
    if block is None:
        findings.equal(FILE, "headline", results["headline"], None)
        return
    balanced = run.config["head"]["class_weight"] == "balanced"
    metric = "macro_recall" if balanced else "accuracy"
    interval = block.get("macro_recall_interval95") if balanced else block["interval95"]
    wanted = {"source": source, "metric": metric, "value": block[metric], "n": block["n"]}
    wanted |= {"interval95": interval, "majority": block["majority"]}
    compare(findings, "headline", results["headline"], wanted)


def check_complete(findings: Findings, run: RunFiles) -> None:
    """The final mark names every file of the run with its hash, and no other."""
    file = "stages/complete.json"
    present = {name for name in run_files(run) if covered(name)}
    findings.same_members(file, "entry for", run.complete, present)
    for name in sorted(present & run.complete.keys()):
        digest = hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
        findings.equal(file, f"SHA-256 of {name}", run.complete[name], digest)


def run_files(run: RunFiles) -> Iterable[str]:
    """Paths of all files in the run directory, relative to it."""
    paths = sorted(run.folder.rglob("*"))
    return [path.relative_to(run.folder).as_posix() for path in paths if path.is_file()]


def covered(name: str) -> bool:
    """Whether the final mark must hold this file."""
    if name in {"log.txt", "stages/complete.json"} or name.startswith("events/"):
        return False
    return name.rsplit("/", 1)[-1].strip(".").split(".")[0] != "lock"
