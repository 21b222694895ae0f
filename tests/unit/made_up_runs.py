# SPDX-License-Identifier: Apache-2.0
"""Run directories as a run would leave them, made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


_HEADERS = {
    "manifest": ("path", "label", "sha256", "group", "split", "moved"),
    "quarantine": ("path", "bytes", "reason"),
    "groups": ("sha256", "path", "label", "unit"),
}
