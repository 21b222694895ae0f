# SPDX-License-Identifier: Apache-2.0
"""Pages that are not one run's report: many runs, two runs, new images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

import made_up_runs
from made_up_runs import HOSTILE, POOLS, leave
from trainer.analysis.pictures import thumbnail
from trainer.data.manifest import write_csv
from trainer.head.export import About
from trainer.report.compare import compare
from trainer.report.compare_words import write_page
from trainer.report.gather import gather
from trainer.report.new_images import NewImages
from trainer.rundir import RunDir

MakePage = Callable[[Path], Path]

ITEMS = [("d1", "training"), ("d2", "validation"), ("t1", "test")]


def many_runs(folder: Path) -> Path:
    """Twelve runs of one data set, some stopped or failed, one with a stranger's names."""
    for number in range(12):
        results = deepcopy(made_up_runs.two_classes())
        results["cross_validation"]["log_loss"] = 0.3 + number / 100
        if number % 5 == 4:
            results = made_up_runs.blank(POOLS) | {"status": "stopped"}
        if number == 3:
            results |= {"name": HOSTILE, "weights_note": HOSTILE}
        rows = [(f"a/{sha}.jpg", "a", sha, "", split, "") for sha, split in ITEMS]
        run = leave(folder / "runs" / f"run {number}", results, manifest=rows)
        run.config.write_text(f"head: {{l2: {0.1 * number}}}\nevaluate: {{folds: {number % 2}}}\n")
        run.report.write_text("<!doctype html><title>a run</title>")
    return gather([folder / "runs"], None).page


def two_runs(folder: Path) -> Path:
    """Two runs that differ on some images, of which one has a stranger's name."""
    first = _scored(folder / "a", "roof")
    second = _scored(folder / "b", "pool")
    page = folder / "compared.html"
    write_page(page, compare(first.path, second.path))
    return page


def _scored(path: Path, hard: str) -> RunDir:
    """A finished run that takes every third of thirty images for a class."""
    results = deepcopy(made_up_runs.two_classes())
    results["data"]["classes"] = ["pool", "roof"]
    run = leave(path, results)
    header = "path sha256 group label source fold l2 predicted p:pool p:roof".split()
    names = [HOSTILE, *(f"pool/{number}.jpg" for number in range(29))]
    rows = [
        (name, f"{at:064x}", "", "pool", "test", "", 0.1, "pool" if at % 3 else hard, 0.4, 0.6)
        for at, name in enumerate(names)
    ]
    write_csv(run.predictions, header, rows)
    run.stages.mkdir()
    run.write_complete(results)
    return run


def new_images(folder: Path) -> Path:
    """New images with pictures and without, some unfamiliar or unsure, one unreadable."""
    page = folder / "new.html"
    about = About("pools", [HOSTILE, "roof"], 4, "inception_v3", "not pretrained", 4)
    shown = NewImages(page, about, 0.8)
    for number, name in enumerate([HOSTILE, *(f"new/{number}.jpg" for number in range(9))]):
        shown.add(_card(name, number))
    shown.add({"path": "broken.jpg", "error": "is a truncated JPEG"})
    shown.write()
    return page


def _card(name: str, number: int) -> dict[str, Any]:
    picture = thumbnail(np.full((8, 8, 3), 25 * number, np.uint8), (96, 64))
    return {
        "path": name,
        "error": "",
        "label": None,
        "source": None,
        "predicted": HOSTILE,
        "unsure": number % 3 == 1,
        "unfamiliar": number % 4 == 1,
        "probabilities": [
            {"label": HOSTILE, "probability": 0.75},
            {"label": "roof", "probability": 0.25},
        ],
        "picture": picture if number < 7 else None,
        "heat_map": picture if number < 7 else None,
        "neighbours": [
            {"path": name, "label": "roof", "distance": 0.4, "picture": picture},
            {"path": name, "label": "roof", "distance": 0.5, "picture": None},
        ],
    }


PAGES: Sequence[MakePage] = (many_runs, two_runs, new_images)
