# SPDX-License-Identifier: Apache-2.0
"""Makes a small source folder and a run directory on it in which nothing is wrong."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "recompute"))

from aside import WISHES, answers, falling, suspects, tempered_loss
from checks import Expected, expect
from head import Ints
from nested import Chooser, Data
from refit import gather_data
from results import BLOCKS, scored
from schema import RESULTS
from scoring import figures
from source import Source, read_source
from tables import COLUMNS, RunFiles, read_table

ITEMS = 24
CONFIG = {
    "data": {
        "bottlenecks": "source",
        "exclude": [],
        "split": {"validation": 0.1, "test": 0.1},
        "max_bad": 0.1,
        "views": [],
    },
    "head": {"solver": "lbfgs", "l2": "auto", "class_weight": None},
    "evaluate": {"folds": 4},
}


def make_source(root: Path) -> None:
    """Two classes of small bottlenecks, with a group, a copy, a conflict and a broken file."""
    generator = np.random.default_rng(5)
    for shift, label in enumerate(("pool", "roof")):
        (root / label).mkdir()
        for number in range(ITEMS):
            name = f"g{number}_nohash_.txt" if number < 20 else f"g_nohash_{number}.txt"
            values = generator.normal(size=4) + 0.7 * shift
            (root / label / name).write_text(",".join(f"{value:.6f}" for value in values))
    (root / "pool" / "zcopy.txt").write_bytes((root / "pool" / "g_nohash_20.txt").read_bytes())
    for label in ("pool", "roof"):
        (root / label / "both.txt").write_text("1,2,3,4")
    (root / "roof" / "bad.txt").write_text("1,2,")
    (root / "roof" / ".hidden").write_text("1,2,3,4")


def make_run(folder: Path, source_folder: Path) -> None:
    """A run directory on it in which nothing is wrong."""
    (folder / "stages").mkdir()
    source = read_source(source_folder, [], pictures=False)
    run = RunFiles(folder, [], [], [], [], {}, CONFIG, {})
    expected = expect(run, source)
    table(folder, "manifest.csv", manifest_rows(source, expected))
    table(folder, "quarantine.csv", [["roof/bad.txt", 4, "ends with a comma"]])
    table(
        folder,
        "groups.csv",
        [[i.sha256, i.path, i.label, expected.units[i.sha256]] for i in expected.items.items],
    )
    write_scores(folder, gather_data(run, expected, source), expected)
    write_aside(folder, expected)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    seal(folder)


def manifest_rows(source: Source, expected: Expected) -> Iterable[list[str]]:
    """Rows of manifest.csv."""
    items = {path: item for item in expected.items.items for path in (item.path, *item.copies)}
    for path, file in source.readable.items():
        if path in items:
            dealt = expected.dealt[file.sha256]
            words = [items[path].group, dealt.set, dealt.moved, dealt.given]
        else:
            words = ["", "conflict", "", ""]
        yield [path, file.label, file.sha256, *words]


def write_scores(folder: Path, data: Data, expected: Expected) -> None:
    """predictions.csv and results.json."""
    chooser = Chooser(data)
    final = chooser.final()
    strength = final.strengths[final.best]
    development, training = data.within("training", "validation"), data.within("training")
    head = data.fitting(development).path([strength])[-1]
    rows = predict(data, expected, "test", development, data.within("test"), strength)
    rows += predict(data, expected, "validation", training, data.within("validation"), strength)
    folds = []
    for fold in range(data.fold_count):
        choice = chooser.fold(fold)
        left, chosen = frozenset({fold}), choice.strengths[choice.best]
        new = predict(data, expected, "oof", data.without(left), data.inside(left), chosen, fold)
        right = sum(row[3] == row[7] for row in new) / len(new)
        folds.append({"n": len(new), "accuracy": right, "l2": chosen})
        rows += new
    table(folder, "predictions.csv", rows, [f"p:{name}" for name in expected.classes])
    document = counted(data, expected) | blocks(folder, expected)
    document["head"] |= {"l2": strength, "loss": head.loss, "gradient_norm": 1e-9}
    document["test"]["without_near_duplicates"] = None
    pooled = document["cross_validation"]
    pooled["folds"] = folds
    document["headline"] = {"source": "cross_validation", "metric": "accuracy"}
    document["headline"]["value"] = pooled["accuracy"]
    document["headline"] |= {key: pooled[key] for key in ("interval95", "n", "majority")}
    (folder / "results.json").write_text(json.dumps(document))


def write_aside(folder: Path, expected: Expected) -> None:
    """suspects.csv and analysis.json."""
    rows = [row for row in read_table(folder, "predictions.csv") if row["source"] == "oof"]
    by_path = {row["path"]: row for row in rows}
    told: list[list[Any]] = []
    for path, own, counted in suspects(rows, expected):
        row = by_path[path]
        doubted = int(counted not in ("", row["label"]))
        told.append([path, row["sha256"], row["label"], own, "", "", counted, doubted, "training"])
    table(folder, "suspects.csv", told)
    given, labels = answers(rows, expected)
    steps = falling(given.max(axis=1).tolist(), (given.argmax(axis=1) == labels).tolist())
    best = min(np.geomspace(0.01, 100, 40_001), key=lambda one: tempered_loss(given, labels, one))
    wishes = []
    for wish in WISHES:
        good = [step for step in steps if step[2] >= wish]
        threshold, coverage, accuracy = good[-1] if good else (None, None, None)
        wishes.append({"threshold": threshold, "coverage": coverage, "accuracy": accuracy})
    document = {
        "suspects": {"n": len(rows), "flagged": sum(int(row[7]) for row in told)},
        "calibration": {
            "source": "oof",
            "bins": [],
            "temperature": {"value": best, "log_loss": tempered_loss(given, labels, best)},
        },
        "abstaining": {"n": len(rows), "wishes": wishes},
    }
    (folder / "analysis.json").write_text(json.dumps(document))


def counted(data: Data, expected: Expected) -> dict[str, Any]:
    """What of results.json needs no fit, all other keys null."""
    results = {key: dict.fromkeys(names.split()) for key, names in RESULTS.items()}
    document: dict[str, Any] = results.pop("")
    document |= {key: part for key, part in results.items() if "." not in key}
    document |= {"schema": 1, "status": "complete", "warnings": ["small"]}
    document["data"] = {
        "images": 2 * ITEMS + 3,
        "classes": expected.classes,
        "quarantined": 1,
        "duplicates": 1,
        "conflicts": 2,
        "near_duplicates": None,
        "split": {name: data.sets.count(name) for name in ("training", "validation", "test")},
    }
    document["before"] = {"accuracy": 0.5, "n": data.sets.count("test")}
    rank = {"rank": 0, "host": "h", "device": "cpu", "images": None}
    rank |= {"busy_seconds": 0, "wait_seconds": 0}
    document["world"] = {"size": 1, "hosts": ["h"], "device_kinds": ["cpu"], "ranks": [rank]}
    return document


def predict(
    data: Data,
    expected: Expected,
    source: str,
    fitted: Ints,
    places: Ints,
    strength: float,
    fold: object = "",
) -> list[list[Any]]:
    """Rows of predictions.csv by one fit."""
    fitting = data.fitting(fitted)
    values = fitting.probabilities(fitting.path([strength])[-1], data.x[places])
    items = {item.sha256: item for item in expected.items.items}
    rows = []
    for place, row in zip(places, values, strict=True):
        item = items[data.shas[place]]
        predicted = expected.classes[int(row.argmax())]
        known: list[Any] = [item.path, item.sha256, item.group, item.label, source, fold]
        rows.append([*known, repr(strength), predicted, *map(float, row)])
    return rows


def blocks(folder: Path, expected: Expected) -> dict[str, Any]:
    """The scored sets of results.json; too few items for calibration."""
    rows = read_table(folder, "predictions.csv")
    result = {}
    for block, source in BLOCKS.items():
        own = scored([row for row in rows if row["source"] == source], expected.classes)
        training = [s for s, dealt in expected.dealt.items() if dealt.set == "training"]
        labels = [i.label for i in expected.items.items if i.sha256 in training]
        majority = int(labels.count("roof") > labels.count("pool"))
        result[block] = figures(own, expected.classes, majority) | {"ece_expected": None}
    return result


def table(folder: Path, name: str, rows: Iterable[Sequence[Any]], more: Iterable[str] = ()) -> None:
    """Write one CSV of plain names."""
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS[name], *more], *rows])


def seal(folder: Path) -> None:
    """Write the final mark."""
    names = ["manifest.csv", "groups.csv", "quarantine.csv", "predictions.csv"]
    names += ["suspects.csv", "analysis.json", "results.json", "config.yaml"]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "stages" / "complete.json").write_text(json.dumps({"files": hashes}))
