# SPDX-License-Identifier: Apache-2.0
"""Test pictures that decode and compress as photographs do, drawn from a seed.

What matters to the clock is in them: size, format, and how many bytes a pixel costs. Each is a few
smooth fields (light, large shapes), texture at several scales, and a sensor's noise.
"""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]
CLASSES = ("bright", "dark")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FEWEST_OF_A_CLASS = 8
"""Enough for a training, a validation and a test set in each class."""


@dataclass(frozen=True)
class Kind:
    """One kind of picture."""

    name: str
    title: str
    width: int
    height: int
    suffix: str
    colours: int = 3
    share: float = 1.0
    """How many to take, as a share of what is taken of photographs, by time."""


PHOTOGRAPHS = Kind("photographs", "600 x 340 JPEG", 600, 340, ".jpg")
GREY = Kind("grey", "300 x 300 grey PNG", 300, 300, ".png", colours=1, share=0.5)
LARGE = Kind("large", "12-megapixel JPEG", 4000, 3000, ".jpg", share=0.5)
SMALL = Kind("small", "64 x 64 JPEG", 64, 64, ".jpg")
KINDS = (PHOTOGRAPHS, GREY, LARGE)


def draw(folder: Path, kind: Kind, count: int) -> Path:
    """Draw what is missing of `count` pictures, a folder a class.

    Equal counts give equal pictures, and a larger count begins with those of a smaller one.
    """
    paths = [folder / CLASSES[number % 2] / f"{number:06d}{kind.suffix}" for number in range(count)]
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
    if not missing:
        return folder
    with ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), initializer=signal.signal, initargs=_LEAVE_TO_PARENT
    ) as painters:
        for _ in painters.map(partial(_draw, kind), *zip(*missing, strict=True), chunksize=2):
            pass
    return folder


_LEAVE_TO_PARENT = (signal.SIGINT, signal.SIG_IGN)


def _draw(kind: Kind, number: int, path: Path) -> None:
    """Write one picture, whole or not at all."""
    generator = np.random.default_rng([number, kind.width, kind.height])
    picture = picture_of(kind, generator, bright=number % 2 == 0)
    partial_path = path.with_name(f".{os.getpid()}-{path.name}")
    picture.save(partial_path, quality=88)
    partial_path.rename(path)


def picture_of(kind: Kind, generator: np.random.Generator, bright: bool) -> Image.Image:
    """One picture of a kind, in RGB or grey.

    Light, colour, contrast and coarseness differ from picture to picture as widely as photographs
    do: among pictures that a network finds alike, rounding would count for more than it does.
    """
    size = (kind.width, kind.height)
    contrast = generator.uniform(0.4, 1.6, 4)
    cells = np.exp(generator.uniform(np.log(6), np.log(150), 3))
    texture = sum(
        weight * _field(generator, size, max(int(kind.width / across), 2), 1)
        for across, weight in zip(cells, contrast[:3] * (22.0, 14.0, 9.0), strict=True)
    )
    light = contrast[3] * _field(generator, size, max(kind.width // 3, 2), kind.colours)
    tint = generator.normal((140 if bright else 105) + generator.normal(0, 40), 30, kind.colours)
    values = tint + 40 * light + texture + 6 * _noise(generator, size, kind.colours)
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels if kind.colours == 3 else pixels[:, :, 0])


def _field(
    generator: np.random.Generator, size: tuple[int, int], length: int, colours: int
) -> Field:
    """Smooth random values around 0 that change over `length` pixels; (height, width, colours)."""
    width, height = size
    coarse = generator.standard_normal((colours, height // length + 3, width // length + 3))
    bands = [
        Image.fromarray(band.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        for band in coarse
    ]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


def _noise(generator: np.random.Generator, size: tuple[int, int], colours: int) -> Field:
    """A sensor's noise: a tile of it repeated, since drawing it is the slow part."""
    width, height = size
    tile = generator.standard_normal((512, 512, colours), dtype=np.float32)
    times = (-(-height // 512), -(-width // 512), 1)
    return np.tile(tile, times)[:height, :width]


def subset(images: Path, count: int, folder: Path) -> Path:
    """A folder of links to the first pictures of each class, `count` in all or all there are.

    Classes are left out from the last on while the others would get too few pictures.
    """
    by_class = [files_of(path) for path in sorted(images.iterdir()) if path.is_dir()]
    usable = [paths for paths in by_class if len(paths) >= FEWEST_OF_A_CLASS]
    kept = usable[: max(2, count // FEWEST_OF_A_CLASS)]
    if len(kept) < 2:
        raise ValueError(
            f"{images}: wanted two folders or more with {FEWEST_OF_A_CLASS} pictures each."
        )
    shutil.rmtree(folder, ignore_errors=True)
    shares = [len(range(at, count, len(kept))) for at in range(len(kept))]
    for at, (paths, share) in enumerate(zip(kept, shares, strict=True)):
        target = folder / f"class-{at}"
        target.mkdir(parents=True)
        for number, path in enumerate(paths[:share]):
            (target / f"{number:06d}{path.suffix}").symlink_to(path.resolve())
    return folder


def files_of(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their paths."""
    found = folder.rglob("[!.]*")  # without what an interrupted painter left
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)
