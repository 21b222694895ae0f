# SPDX-License-Identifier: Apache-2.0
"""Compares the tables of a run with its source and with each other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dealing import TEST, VALIDATION, Dealt, Items, Undealable, deal, deal_folds, fold_count, gather
from findings import Broken, Findings
from source import Source, file_size
from tables import Row, RunFiles

SOURCES = (TEST, VALIDATION, "oof")


@dataclass(frozen=True)
class Expected:
    """What the files alone decide: items, their sets and folds."""

    items: Items
    classes: list[str]
    dealt: dict[str, Dealt]
    folds: dict[str, int]
    """SHA-256 of each development item to its fold; empty where cross-validation is off."""
    fold_count: int

    def scored(self, source: str) -> list[str]:
        """SHA-256 of the items that a source of predictions.csv must hold."""
        if source == "oof":
            return list(self.folds)
        return [sha for sha, dealt in self.dealt.items() if dealt.set == source]


def expect(run: RunFiles, digests: dict[str, str]) -> Expected:
    """Deal the readable files anew.

    Args:
        run: Its config.yaml gives the shares and the folds asked for.
        digests: Path to SHA-256 of every readable file.

    Raises:
        Broken: a run on these files must have ended with 3.
    """
    items = gather(digests)
    share = run.config["data"]["split"]
    try:
        dealt = deal(items.items, share["validation"], share["test"])
    except Undealable as error:
        raise Broken("manifest.csv", "a split", f"an end with 3: {error}") from error
    development = [item for item in items.items if dealt[item.sha256].set != TEST]
    folds = fold_count(development, run.config["evaluate"]["folds"])
    return Expected(
        items,
        sorted({path.split("/", 1)[0] for path in digests}),
        dealt,
        deal_folds(development, folds) if folds else {},
        folds,
    )


def manifest_digests(run: RunFiles) -> dict[str, str]:
    """Path to SHA-256 as manifest.csv says.

    Raises:
        Broken: a path stands there twice or under another label, or a hash is none.
    """
    for path, times in Counter(row["path"] for row in run.manifest).items():
        if times > 1:
            raise Broken("manifest.csv", f"{path!r} {times} times", "each path once")
    for row in run.manifest:
        if not re.fullmatch("[0-9a-f]{64}", row["sha256"]):
            raise Broken("manifest.csv", f"sha256 {row['sha256']!r}", "64 hexadecimal digits")
        if row["label"] != row["path"].split("/", 1)[0]:
            raise Broken("manifest.csv", f"label {row['label']!r} of {row['path']!r}", "its folder")
    return {row["path"]: row["sha256"] for row in run.manifest}


def check_source(findings: Findings, run: RunFiles, source: Source, root: Path) -> None:
    """manifest.csv and quarantine.csv against the folder."""
    digests = manifest_digests(run)
    findings.same_members("manifest.csv", "rows of", digests, source.readable)
    for path in digests.keys() & source.readable.keys():
        findings.equal("manifest.csv", f"sha256 of {path!r}", digests[path], source.readable[path])
    bad = {row["path"]: row for row in run.quarantine}
    findings.same_members(
        "quarantine.csv", "rows of", (row["path"] for row in run.quarantine), source.unreadable
    )
    for path in bad.keys() & source.unreadable.keys():
        size = file_size(root / path)
        if size is not None:
            findings.equal("quarantine.csv", f"bytes of {path!r}", bad[path]["bytes"], str(size))
        findings.claim(
            bad[path]["reason"] != "", "quarantine.csv", f"reason of {path!r}", "", "a reason"
        )
    if source.outside:
        warnings = run.results["warnings"]
        findings.claim(
            bool(warnings), "results.json", "warnings", warnings, f"{source.outside} files outside"
        )


def check_manifest(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """group, split and moved of every row."""
    rows = {row["path"]: row for row in run.manifest}
    for item in expected.items.items:
        dealt = expected.dealt[item.sha256]
        for path in (item.path, *item.copies):
            row = rows.get(path)
            if row is None:
                continue
            findings.equal("manifest.csv", f"group of {path!r}", row["group"], item.group)
            findings.equal("manifest.csv", f"split of {path!r}", row["split"], dealt.set)
            findings.equal("manifest.csv", f"moved of {path!r}", row["moved"], dealt.moved)
    for path in expected.items.conflicts:
        if path in rows:
            split = rows[path]["split"]
            findings.equal("manifest.csv", f"split of {path!r}", split, "conflict")


def check_groups(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """groups.csv holds each item once, and its units are the groups, however they are named."""
    items = {item.sha256: item for item in expected.items.items}
    findings.same_members("groups.csv", "rows of", (row["sha256"] for row in run.groups), items)
    found: dict[str, set[str]] = defaultdict(set)
    wanted: dict[str, set[str]] = defaultdict(set)
    for row in run.groups:
        item = items.get(row["sha256"])
        if item is None:
            continue
        findings.equal("groups.csv", f"path of {item.sha256}", row["path"], item.path)
        findings.equal("groups.csv", f"label of {item.sha256}", row["label"], item.label)
        found[row["unit"]].add(item.path)
        wanted[item.unit].add(item.path)
    known = {frozenset(members) for members in found.values()}
    for members in wanted.values():
        findings.claim(members in known, "groups.csv", "a unit", "none", sorted(members))


def check_predictions(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """Which rows stand in predictions.csv, and everything in them that needs no new fit.

    Raises:
        Broken: its columns are not one for each class.
    """
    file = "predictions.csv"
    names = [f"p:{name}" for name in expected.classes]
    header = [key for key in run.predictions[0] if key.startswith("p:")] if run.predictions else []
    if header != names:
        raise Broken(file, f"columns {header}", f"columns {names}")
    for source in SOURCES:
        found = [row["sha256"] for row in run.predictions if row["source"] == source]
        findings.same_members(file, f"{source} rows of", found, expected.scored(source))
    items = {item.sha256: item for item in expected.items.items}
    for row in run.predictions:
        item = items.get(row["sha256"])
        key = f"{row['source']} {row['path']!r}"
        findings.claim(row["source"] in SOURCES, file, key, row["source"], SOURCES)
        if item is None:
            continue
        found_row = [row["path"], row["group"], row["label"], row["fold"]]
        fold = str(expected.folds.get(item.sha256)) if row["source"] == "oof" else ""
        wanted = [item.path, item.group, item.label, fold]
        findings.equal(file, f"path, group, label, fold of {key}", found_row, wanted)
        findings.equal(
            file, f"l2 of {key}", row["l2"] and number(row["l2"]), run_strength(run, row)
        )
        check_probabilities(findings, key, row, expected.classes)


def run_strength(run: RunFiles, row: Row) -> float | None:
    """The l2 that results.json gives for a row: its fold's, else the final head's."""
    if row["source"] != "oof":
        strength = run.results["head"]["l2"]
    else:
        scores = run.results["cross_validation"]
        folds = scores["folds"] if scores is not None else []
        known = {str(place): fold["l2"] for place, fold in enumerate(folds)}
        strength = known.get(row["fold"])
    return None if strength is None else float(strength)


def check_probabilities(findings: Findings, key: str, row: Row, classes: list[str]) -> None:
    """They add up to 1, and the first largest is `predicted`."""
    values = probabilities([row], classes)[0]
    file = "predictions.csv"
    in_range = bool(np.all((values >= 0) & (values <= 1)))
    findings.claim(in_range, file, f"probabilities of {key}", values.tolist(), "from 0 to 1")
    findings.close(file, f"sum of {key}", float(values.sum()), 1.0, 1e-6)
    findings.equal(file, f"predicted of {key}", row["predicted"], classes[int(values.argmax())])


def probabilities(rows: list[Row], classes: list[str]) -> NDArray[np.float64]:
    """(rows, classes) from predictions.csv."""
    return np.array([[number(row[f"p:{name}"]) for name in classes] for row in rows])


def number(text: str) -> float:
    """A number of predictions.csv.

    Raises:
        Broken: it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise Broken("predictions.csv", repr(text), "a number") from error
