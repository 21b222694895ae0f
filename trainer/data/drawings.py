# SPDX-License-Identifier: Apache-2.0
"""The demo's data set: aerial pictures of houses with and without pools, drawn from a seed.

Both classes have the same streets, gardens, terraces and weather, and both have blue things that
are no pool; the class without a pool has more of them, so that the amount of blue says little.
"""

from __future__ import annotations

import cmath
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.drawn_canvas import OVERSAMPLING, SIZE, Canvas, Pen, Textures, random_light
from trainer.data.drawn_plots import SEASONS, STREET_METRES, Plot, street
from trainer.rundir import write_error, write_folder

WITH_POOL, WITHOUT_POOL = "house_with_pool", "house_without_pool"
SHARE_WITH_POOL = 0.45


def draw(folder: Path, count: int = 240, seed: int = 0) -> None:
    """Draw the data set, a folder a class, unless it is there already.

    It is drawn beside `folder` and renamed when it is whole, so that a folder of that name is
    never half a data set. Equal seeds and counts give equal bytes on one version of Pillow.

    Args:
        folder: Where `house_with_pool` and `house_without_pool` shall be.
        count: How many pictures, 45% of them with a pool.
        seed: Decides all that is in them.
    Raises:
        RetrainError: It cannot be written; says why.
    """
    if folder.exists():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(folder, lambda empty: _fill(empty, count, seed))
    except OSError as error:
        raise write_error(folder, None, error) from None


def _fill(folder: Path, count: int, seed: int) -> None:
    textures = Textures(np.random.default_rng([seed]))
    order = np.random.default_rng([seed, count]).permutation(count)
    for label in (WITH_POOL, WITHOUT_POOL):
        (folder / label).mkdir()
    for number, place in enumerate(order, start=1):
        rng = np.random.default_rng([seed, 0, number])
        has_pool = bool(place < round(SHARE_WITH_POOL * count))
        label = WITH_POOL if has_pool else WITHOUT_POOL
        image = picture(has_pool, rng, textures)
        quality = int(rng.integers(72, 94))
        image.save(folder / label / f"plot-{number:04d}.jpg", quality=quality)


def picture(has_pool: bool, rng: np.random.Generator, textures: Textures) -> Image.Image:
    """One house from straight above, its neighbours around it; SIZE, RGB."""
    canvas = Canvas(rng, textures, random_light(rng))
    season = SEASONS[rng.integers(len(SEASONS))]
    width, depth = rng.uniform(20, 25), rng.uniform(27, 31)
    pen = _camera(canvas, rng, depth)
    plots = [Plot(pen, complex(width, depth), season, "pool" if has_pool else "none")]
    for column, row in _around(width, depth):
        turned = np.pi if row != 0 else 0.0
        start = {-1: -STREET_METRES, 0: 0.0, 1: 2 * depth}[row]
        neighbour = pen.at(complex(column * width, start), turned)
        if neighbour.sees(0.5j * depth, depth / 1.6):
            plots.append(Plot(neighbour, complex(width, depth), season, "neighbour"))
    street(pen)
    for stage in (Plot.ground, Plot.garden, Plot.house, Plot.trees):
        for plot in plots:
            stage(plot)
    return canvas.photograph()


def _camera(canvas: Canvas, rng: np.random.Generator, depth: float) -> Pen:
    """Somewhere above the middle of the plot, any way up."""
    metres_wide = rng.uniform(28, 36)
    zoom = cmath.rect(OVERSAMPLING * SIZE[0] / metres_wide, rng.uniform(0, 2 * np.pi))
    middle = complex(rng.normal(0, 1.2), 0.6 * depth + rng.normal(0, 1))
    return Pen(canvas, zoom, OVERSAMPLING * complex(*SIZE) / 2 - zoom * middle)


def _around(width: float, depth: float) -> list[tuple[int, int]]:
    return [(column, row) for row in (-1, 0, 1) for column in (-2, -1, 0, 1, 2) if column or row]
