# SPDX-License-Identifier: Apache-2.0
"""Compares the tables of a run with its source and with each other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dealing import (
    TEST,
    VALIDATION,
    Dealt,
    File,
    Items,
    Undealable,
    deal,
    deal_folds,
    deal_like_retrain_py,
    fold_count,
    gather,
    group_of,
)
from findings import Broken, Findings
from near import Near, find_near, join_units
from source import Source
from tables import Row, RunFiles

SOURCES = (TEST, VALIDATION, "oof")


@dataclass(frozen=True)
class Expected:
    """What the files alone decide: items, their sets and folds."""

    items: Items
    classes: list[str]
    dealt: dict[str, Dealt]
    near: Near | None
    """None where there are no pictures to compare."""
    units: dict[str, str]
    """SHA-256 of each item to the name of what cross-validation does not split."""
    folds: dict[str, int]
    """SHA-256 of each development item to its fold; empty where cross-validation is off."""
    fold_count: int

    def scored(self, source: str) -> list[str]:
        """SHA-256 of the items that a source of predictions.csv must hold."""
        if source == "oof":
            return list(self.folds)
        return [sha for sha, dealt in self.dealt.items() if dealt.set == source]


def expect(run: RunFiles, source: Source) -> Expected:
    """Deal the readable files anew.

    Args:
        run: Its config.yaml gives the shares and the folds asked for.
        source: What lies there.

    Raises:
        Broken: a run on these files must have ended with 3.
    """
    items = gather(source.readable)
    dealt = deal_all(run, items)
    near = find_near(items.items, source.hashes) if source.hashes else None
    units = join_units(items.items, near)
    if source.told_units is not None:
        units = {sha: source.told_units.get(sha, units[sha]) for sha in units}
    development = [item for item in items.items if dealt[item.sha256].set != TEST]
    its_units = [units[item.sha256] for item in development]
    folds = fold_count(its_units, run.config["evaluate"]["folds"])
    return Expected(
        items,
        sorted({file.label for file in source.readable.values()}),
        dealt,
        near,
        units,
        deal_folds(development, units, folds) if folds else {},
        folds,
    )


def deal_all(run: RunFiles, items: Items) -> dict[str, Dealt]:
    """The set of each item, by the rule that config.yaml names.

    Raises:
        Broken: by this rule the run must have ended with 3.
    """
    split = run.config["data"]["split"]
    try:
        if split.get("compat") == "retrain":
            folder, shares = split["image_dir"], (split["validation"], split["test"])
            return deal_like_retrain_py(items.items, folder, *shares)
        return deal(items.items, split["validation"], split["test"])
    except Undealable as error:
        raise Broken("manifest.csv", "a split", f"an end with 3: {error}") from error


def told_source(run: RunFiles) -> Source:
    """What a run's own tables tell of a source that cannot be read any more.

    Units that near-duplicates join are groups.csv's word, and labels, groups and sets that a CSV
    gave are manifest.csv's; all else is dealt anew.

    Raises:
        Broken: a path stands in manifest.csv twice or under another label, or a hash is none.
    """
    for path, times in Counter(row["path"] for row in run.manifest).items():
        if times > 1:
            raise Broken("manifest.csv", f"{path!r} {times} times", "each path once")
    data = run.config["data"]
    by_folder = not str(data.get("images") or data["bottlenecks"]).endswith((".csv", ".tsv"))
    units = {row["sha256"]: row["unit"] for row in run.groups}
    files = {row["path"]: told_file(row, by_folder) for row in run.manifest}
    return Source(readable=files, told_units=units)


def told_file(row: Row, by_folder: bool) -> File:
    """A row of manifest.csv as a file."""
    path, label, group = row["path"], row["label"], row["group"]
    if not re.fullmatch("[0-9a-f]{64}", row["sha256"]):
        raise Broken("manifest.csv", f"sha256 {row['sha256']!r}", "64 hexadecimal digits")
    if by_folder and label != path.split("/", 1)[0]:
        raise Broken("manifest.csv", f"label {label!r} of {path!r}", "its folder")
    return File(row["sha256"], label, group_of(path) if by_folder else group, row["given"])


def check_source(findings: Findings, run: RunFiles, source: Source) -> None:
    """manifest.csv and quarantine.csv against what lies in the source."""
    rows = {row["path"]: row for row in run.manifest}
    names = [row["path"] for row in run.manifest]
    findings.same_members("manifest.csv", "rows of", names, source.readable)
    for path in rows.keys() & source.readable.keys():
        found, file = rows[path], source.readable[path]
        findings.equal("manifest.csv", f"sha256 of {path!r}", found["sha256"], file.sha256)
        findings.equal("manifest.csv", f"label of {path!r}", found["label"], file.label)
    bad = {row["path"]: row for row in run.quarantine}
    names = [row["path"] for row in run.quarantine]
    findings.same_members("quarantine.csv", "rows of", names, source.unreadable)
    for path in bad.keys() & source.unreadable.keys():
        size = source.unreadable[path]
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
            findings.equal("manifest.csv", f"given of {path!r}", row["given"], dealt.given)
    for path in expected.items.conflicts:
        if path in rows:
            split = rows[path]["split"]
            findings.equal("manifest.csv", f"split of {path!r}", split, "conflict")


def check_groups(findings: Findings, run: RunFiles, expected: Expected) -> None:
    """groups.csv holds each item once, with its unit, as section 1 joins them."""
    items = {item.sha256: item for item in expected.items.items}
    findings.same_members("groups.csv", "rows of", (row["sha256"] for row in run.groups), items)
    found: dict[str, set[str]] = defaultdict(set)
    wanted: dict[str, set[str]] = defaultdict(set)
    group: dict[str, set[str]] = defaultdict(set)
    for row in run.groups:
        item = items.get(row["sha256"])
        if item is None:
            continue
        findings.equal("groups.csv", f"path of {item.sha256}", row["path"], item.path)
        findings.equal("groups.csv", f"label of {item.sha256}", row["label"], item.label)
        found[row["unit"]].add(item.path)
        wanted[expected.units[item.sha256]].add(item.path)
        group[item.dealt_as].add(row["unit"])
    known = {frozenset(members) for members in found.values()}
    for members in wanted.values():
        findings.claim(members in known, "groups.csv", "a unit", "none", sorted(members))
    for name, units in group.items():
        findings.equal("groups.csv", f"units of group {name!r}", len(units), 1)


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
