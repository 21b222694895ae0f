# SPDX-License-Identifier: Apache-2.0
"""Run directories as a run would leave them, made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from trainer.analysis.abstaining import abstaining
from trainer.analysis.calibration import reliability
from trainer.analysis.pictures import thumbnail
from trainer.analysis.sections import SUSPECTS
from trainer.data.manifest import write_csv
from trainer.rundir import RunDir

Results = dict[str, Any]

POOLS = ["house_with_pool", "house_without_pool"]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>\n\u202e{{ 7*7 }}'</style>"


def scores(confusion: list[list[int]], classes: list[str], **other: Any) -> Results:
    """Figures of one source; those that the page only prints are made up."""
    n = sum(map(sum, confusion))
    correct = sum(row[at] for at, row in enumerate(confusion))
    sizes = [sum(row) for row in confusion]
    recall = [row[at] / size if size else None for at, (row, size) in _rows(confusion, sizes)]
    mean = sum(share for share in recall if share is not None) / len(classes)
    majority = sizes.index(max(sizes))
    figures = {
        "n": n,
        "n_effective": float(n),
        "correct": correct,
        "accuracy": correct / n,
        "interval95": _around(correct / n),
        "log_loss": 0.3714,
        "prior_log_loss": 0.6021,
        "recall": recall,
        "macro_recall": mean,
        "macro_recall_interval95": _around(mean),
        "macro_f1": max(0.0, mean - 0.01),
        "macro_f1_interval95": _around(max(0.0, mean - 0.01)),
        "ece": 0.0312,
        "ece_expected": 0.0291,
        "majority": {"label": classes[majority], "share": sizes[majority] / n},
        "confusion": confusion,
    }
    return figures | other


def _around(share: float) -> list[float]:
    return [max(0.0, share - 0.036), min(1.0, share + 0.031)]


def _rows(confusion: list[list[int]], sizes: list[int]) -> Any:
    return enumerate(zip(confusion, sizes, strict=True))


def headline(source: str, figures: Results, metric: str = "accuracy") -> Results:
    balanced = metric == "macro_recall"
    return {
        "source": source,
        "metric": metric,
        "value": figures[metric],
        "interval95": figures["macro_recall_interval95" if balanced else "interval95"],
        "n": figures["n"],
        "majority": figures["majority"],
    }


def blank(classes: list[str] | None) -> Results:
    """The results of a run that has only begun."""
    sections = "headline backbone bottlenecks head test validation cross_validation before world"
    return {
        "schema": 1,
        "name": "pools",
        "status": "running",
        "weights_note": None,
        "warnings": [],
        **dict.fromkeys(sections.split()),
        "data": {"classes": classes, "images": None, "split": None},
        "seconds": {"total": None},
        "gpu_hours": None,
        "energy_joules": None,
    }


def _made() -> Results:
    """What a finished run tells about how it was made."""
    ranks = [
        {
            "rank": rank,
            "host": f"node{rank % 2 + 1}",
            "device": "cpu (4 cores)",
            "images": 130,
            "busy_seconds": 31.24,
            "wait_seconds": 0.41,
        }
        for rank in range(4)
    ]
    return {
        "backbone": {
            "name": "inception_v3",
            "weights": "imagenet",
            "weights_sha256": "9c" * 32,
            "layer": "avg_pool",
            "precision": "float32",
            "features": 2048,
            "fingerprint": "4f" * 32,
            "precision_error": None,
        },
        "bottlenecks": {
            "computed": 518,
            "reused": 0,
            "seconds": 33.5,
            "images_per_second": 15.46,
        },
        "head": {
            "solver": "lbfgs",
            "l2": 0.0316227766,
            "loss": 0.20871,
            "gradient_norm": 7.3e-9,
            "iterations": 143,
            "seconds": 2.81,
        },
        "before": {"accuracy": 0.5, "n": 52},
        "world": {
            "size": 4,
            "hosts": ["node1", "node2"],
            "device_kinds": ["cpu"],
            "ranks": ranks,
        },
        "seconds": {"total": 171.2, "plan": 1.2, "extract": 33.5, "train": 2.8, "evaluate": 133.7},
    }


def two_classes() -> Results:
    folds = [{"n": 47 - k % 2, "accuracy": 0.80 + 0.01 * k, "l2": 0.0316228} for k in range(10)]
    cross_validation = scores([[310, 21], [54, 81]], POOLS, folds=folds)
    return blank(POOLS) | {
        "status": "complete",
        "headline": headline("cross_validation", cross_validation),
        "data": {
            "images": 520,
            "classes": POOLS,
            "quarantined": 3,
            "duplicates": 1,
            "conflicts": 2,
            "near_duplicates": None,
            "split": {"training": 414, "validation": 52, "test": 52},
        },
        **_made(),
        "test": scores(
            [[31, 2], [6, 13]], POOLS, interval95=[0.7248, 0.9199], ece=None, ece_expected=None
        ),
        "validation": scores([[34, 2], [5, 11]], POOLS, ece=None, ece_expected=None),
        "cross_validation": cross_validation,
    }


def many_classes() -> Results:
    """Thirty classes, the third of which is often taken for the first."""
    classes = [f"species {number:02d}" for number in range(30)]
    confusion = [[18 if row == column else 0 for column in range(30)] for row in range(30)]
    confusion[2][2], confusion[2][0] = 9, 9
    confusion[7][8] = 4
    confusion[8][7] = 3
    figures = scores(confusion, classes, n_effective=431.5)
    split = {"training": 485, "validation": 62, "test": 320}
    results = two_classes() | {"name": "birds", "test": figures, "validation": None}
    results["data"] |= {"classes": classes, "images": 867, "split": split}
    return results | {"headline": headline("test", figures), "cross_validation": None}


def with_names(results: Results, name: str, classes: list[str]) -> Results:
    """A finished run in which all that strangers named, and all that was said, is `name`."""
    for key in ("headline", "cross_validation", "test", "validation"):
        results[key]["majority"]["label"] = name
    results["data"]["classes"] = classes
    results["backbone"]["weights"] = name
    results["world"]["ranks"][0] |= {"host": name, "device": name}
    return results | {"name": name, "warnings": [name], "weights_note": name}


def leave(path: Path, results: Results, **files: list[tuple[Any, ...]]) -> RunDir:
    """Leave a run directory with these results and rows of its CSVs."""
    run = RunDir(path)
    run.create()
    run.results.write_text(json.dumps(results))
    run.config.write_text("name: pools\ndata:\n  images: /data/pools\n")
    run.environment.write_text(json.dumps({"versions": {"tensorflow": "2.18.1"}}, indent=2))
    for file, rows in files.items():
        write_csv(run.path / f"{file}.csv", _HEADERS[file], rows)
    return run


def find_out(run: RunDir, classes: list[str], names: list[str], pictures: bool = True) -> RunDir:
    """Leave what a finished run of two classes or more found out, in files of these names."""
    run.gallery.mkdir(exist_ok=True)
    content = thumbnail(np.full((8, 8, 3), 90, np.uint8), (96, 64))
    entries = [_entry(run, number, name, classes, content) for number, name in enumerate(names)]
    if not pictures:
        for entry in entries:
            entry.update(picture=None, heat_map=None)
            entry["neighbours"][0]["picture"] = None
    labels = np.arange(len(names) * 60) % len(classes)
    random = np.random.default_rng(4)
    probabilities = random.dirichlet(np.ones(len(classes)), len(labels))
    right = probabilities.argmax(axis=1) == labels
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    found = {
        "schema": 1,
        "shown": {
            "before_after": entries[:6],
            "mistakes": entries[:12],
            "unsure": entries[:6],
            "suspects": entries[:12],
            "sheet": entries[:60],
        },
        "suspects": {"n": len(labels), "flagged": len(names)},
        "neighbours": {"kept": 400, "of": 466, "limit": 0.7, "k": 10},
        "learning_curve": {
            "n": len(labels),
            "points": [
                {"share": one, "items": 400 * one, "accuracy": 0.7 + 0.1 * one, "draws": [0.7, 0.8]}
                for one in shares
            ],
            "step": 0.05,
            "standard_error": 0.01,
            "still_rising": True,
        },
        "calibration": {
            "source": "oof",
            "n": len(labels),
            "bins": reliability(probabilities.max(axis=1), right),
            "temperature": {"value": 1.3, "log_loss": 0.4},
        },
        "abstaining": {"source": "oof", **abstaining(labels, probabilities)},
        "head": {
            "path": [{"l2": 0.1 * 10**n, "log_loss": 0.4, "accuracy": 0.8} for n in range(3)],
            "fit": [
                {"iteration": n, "loss": 0.7 - n / 10, "gradient_norm": 0.1**n} for n in range(4)
            ],
        },
    }
    run.analysis.write_text(json.dumps(found))
    rows = [
        (name, f"{n:064}", classes[0], 0.01, classes[1], 0.9, classes[1], 1, "training")
        for n, name in enumerate(names)
    ]
    write_csv(run.suspects, SUSPECTS, rows)
    return run


def _entry(
    run: RunDir, number: int, name: str, classes: list[str], content: bytes
) -> dict[str, Any]:
    """An item that was taken for the second class."""
    for file in (f"{number:016x}.jpg", f"{number:016x}-evidence.jpg"):
        (run.gallery / file).write_bytes(content)
    label = classes[number % len(classes)]
    return {
        "path": name,
        "sha256": f"{number:064x}",
        "label": label,
        "source": "oof",
        "fold": 0,
        "predicted": classes[1],
        "runner_up": classes[0],
        "probabilities": [
            {"label": classes[1], "probability": 0.7},
            {"label": classes[0], "probability": 0.25},
        ],
        "picture": f"{number:016x}.jpg",
        "heat_map": f"{number:016x}-evidence.jpg",
        "unfamiliar": number == 0,
        "neighbours": [
            {"path": name, "label": label, "distance": 0.3, "picture": f"{number:016x}.jpg"}
        ],
    }


_HEADERS = {
    "manifest": ("path", "label", "sha256", "group", "split", "moved"),
    "quarantine": ("path", "bytes", "reason"),
    "groups": ("sha256", "path", "label", "unit"),
}
