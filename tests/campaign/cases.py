# SPDX-License-Identifier: Apache-2.0
"""What the trials run: small data of four kinds, and the undisturbed result of each."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from child import Start, retrain

SMALL = ("backbone.name=mobilenet_v2", "backbone.layer=block_2_add", "backbone.weights=random")
SLOW = ("backbone.weights=random", "backbone.precision=float32")
"""Inception-v3: a second or so for eight pictures, so that shards come one by one."""
COLOURS = {"lake": (30, 90, 220), "roof 'old'": (150, 90, 30)}
LIMIT_SECONDS = 300


@dataclass
class Case:
    """One data set with its settings.

    Attributes:
        name: For messages.
        source: What `retrain run` is given.
        words: The rest of its words, but for ranks and folders.
        reference: An undisturbed run's directory.
        cache: That run's cache.
        seconds: How long it took on one rank.
        images: Whether it has pictures, and so needs TensorFlow.
    """

    name: str
    source: Path
    words: tuple[str, ...]
    reference: Path
    cache: Path
    images: bool
    seconds: float = field(default=0.0)

    @cached_property
    def results(self) -> dict[str, Any]:
        """The undisturbed results."""
        return dict(json.loads((self.reference / "results.json").read_text()))

    @cached_property
    def digests(self) -> frozenset[bytes]:
        """SHA-256 of every picture, 32 bytes each; none where there are no pictures."""
        if not self.images:
            return frozenset()
        files = (path for path in self.source.rglob("*") if path.is_file())
        return frozenset(hashlib.sha256(path.read_bytes()).digest() for path in files)

    @property
    def fingerprint(self) -> str:
        """The folder of the cache in which its bottlenecks lie; empty without pictures."""
        return str(self.results["backbone"]["fingerprint"]) if self.images else ""


class Cases:
    """The cases of a campaign, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that holds data and undisturbed runs."""
        self.folder = folder
        self._made: dict[str, Case] = {}

    def get(self, name: str) -> Case:
        """A case, its undisturbed run done."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Case:
        source = self.folder / "data" / name
        if not source.exists():
            DATA[name](source)
            time.sleep(3.5)  # files that changed just now are hashed again and again
        base = self.folder / "undisturbed" / name
        shutil.rmtree(base, ignore_errors=True)
        images = name in ("images", "slow")
        settings = (*(SLOW if name == "slow" else SMALL), "evaluate.folds=4") if images else ()
        given = source if images else _configuration(source)
        case = Case(name, given, ("name=trial", *settings), base / "run", base / "cache", images)
        begun = time.monotonic()
        words = (case.source, *case.words, f"run.cache={case.cache}", "--out", case.reference)
        start = Start(retrain("run", *words, "--ranks", 1), base, {})
        code = start.wait(LIMIT_SECONDS)
        if code:
            raise RuntimeError(f"The undisturbed run of {name} ended with {code}: {start.told()}")
        case.seconds = time.monotonic() - begun
        return case


def _configuration(texts: Path) -> Path:
    path = texts.with_suffix(".yaml")
    data = json.dumps({"bottlenecks": str(texts)})
    path.write_text(f"data: {data}\nevaluate: {{folds: 5}}\n")
    return path


def _draw(folder: Path, each: int) -> None:
    """Two classes of so many pictures: a blue patch in noise, or a brown one."""
    random = np.random.default_rng(7)
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(60, 190, (90, 120, 3)).astype(np.uint8)
            top, left = random.integers(0, 50, 2)
            pixels[top : top + 30, left : left + 40] = colour
            kind = "png" if number % 5 == 0 else "jpg"
            Image.fromarray(pixels).save(folder / label / f"{number:02}.{kind}")


def _write_texts(folder: Path, each: int, features: int, classes: int, skill: float) -> None:
    """Bottlenecks as retrain.py left them, classes some way apart in every number."""
    random = np.random.default_rng(3)
    centres = random.normal(0, skill, (classes, features))
    for place, centre in enumerate(centres):
        (folder / f"class {place}").mkdir(parents=True)
        for number in range(each):
            values = centre + random.normal(0, 1, features)
            text = ",".join(f"{value:.6g}" for value in values)
            (folder / f"class {place}" / f"{number:03}.jpg.txt").write_text(text)
    (folder / "class 0" / "broken.jpg.txt").write_text("1,2,3")


DATA: dict[str, Callable[[Path], None]] = {
    "texts": lambda folder: _write_texts(folder, 50, 40, 2, 0.4),
    "head": lambda folder: _write_texts(folder, 250, 300, 6, 0.25),
    "images": lambda folder: _draw(folder, 12),
    "slow": lambda folder: _draw(folder, 80),
}
"""A run of a second or two without TensorFlow; one whose head takes some seconds; one of the
whole path with pictures; and one whose extraction takes longer than the first commit, 5 s."""
