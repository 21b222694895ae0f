# SPDX-License-Identifier: Apache-2.0
"""How the tests of this folder start the program."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
SECONDS = 150

Finished = subprocess.CompletedProcess[str]


def environment(**extra: str) -> dict[str, str]:
    """This process's, without a cache or launcher of the outside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RETRAIN_", "SLURM_"))}
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**kept, **root, "PYTHONPATH": str(ROOT), **extra}


def retrain_command(*words: object) -> list[str]:
    return [sys.executable, "-m", "trainer", *map(str, words)]


@dataclass
class Job:
    """A finished run."""

    folder: Path
    output: str
    told: str

    @property
    def results(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "results.json").read_text()))

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / name, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


SMALL = ("backbone.name=mobilenet_v2", "backbone.layer=block_2_add", "backbone.weights=random")
"""A backbone that is quick to start, and tells the colours of the drawn pictures apart."""
QUICK = (*SMALL, "evaluate.folds=4")


def draw(folder: Path, count: int) -> Path:
    """Two classes of `count` pictures each, JPEG and some PNG: a blue patch, or a brown one."""
    rng = np.random.default_rng(7)
    for label, colour in (("lake", (30, 90, 220)), ("roof 'old'", (150, 90, 30))):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            kind = "png" if number % 5 == 0 else "jpg"
            patched(rng, colour).save(folder / label / f"{number:02}.{kind}")
    return folder


def patched(rng: np.random.Generator, colour: tuple[int, int, int]) -> Image.Image:
    values = rng.integers(60, 190, (90, 120, 3)).astype(np.uint8)
    top, left = rng.integers(0, 50, 2)
    values[top : top + 30, left : left + 40] = colour
    return Image.fromarray(values)
