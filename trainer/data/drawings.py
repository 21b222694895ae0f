# SPDX-License-Identifier: Apache-2.0
"""The demo's data set: aerial pictures of houses with and without pools, drawn from a seed.

Both classes have the same streets, gardens, terraces and weather, and small blue things that are
no pool. Most plots without a pool have something as large and as blue in its place, so that shapes
tell the classes apart, and amounts of colour hardly do.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.drawn_canvas import OVERSAMPLING, SIZE, Canvas, Pen, Textures, random_light
from trainer.data.drawn_plots import SEASONS, STREET_METRES, Plot, street
from trainer.rundir import write_error, write_folder

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
    with_pool, without_pool = folder / "house_with_pool", folder / "house_without_pool"
    with_pool.mkdir()
    without_pool.mkdir()
    for number, place in enumerate(order, start=1):
        rng = np.random.default_rng([seed, 0, number])
        has_pool = bool(place < round(SHARE_WITH_POOL * count))
        image = picture(has_pool, rng, textures)
        path = (with_pool if has_pool else without_pool) / f"plot-{number:04d}.jpg"
        image.save(path, quality=int(rng.integers(72, 94)))


def picture(has_pool: bool, rng: np.random.Generator, textures: Textures) -> Image.Image:
    """One house from straight above, its neighbours around it; 400 x 300 pixels, RGB."""
    canvas = Canvas(rng, textures, random_light(rng))
    season = SEASONS[rng.integers(len(SEASONS))]
    size = complex(rng.uniform(20, 25), rng.uniform(29, 32))
    pen = _camera(canvas, size.imag)
    plots = [Plot(pen, size, season, "pool" if has_pool else "decoy")]
    plots += [Plot(other, size, season, None) for other in _neighbours(pen, size)]
    street(pen)
    for stage in (Plot.ground, Plot.garden, Plot.house, Plot.trees):
        for plot in plots:
            stage(plot)
    return canvas.photograph()


def _camera(canvas: Canvas, depth: float) -> Pen:
    """Somewhere above the middle of the plot, any way up."""
    rng = canvas.rng
    metres_wide = rng.uniform(25, 31)
    zoom = cmath.rect(OVERSAMPLING * SIZE[0] / metres_wide, rng.uniform(0, 2 * np.pi))
    middle = complex(rng.normal(0, 1.2), 0.64 * depth + rng.normal(0, 1))
    return Pen(canvas, zoom, OVERSAMPLING * complex(*SIZE) / 2 - zoom * middle)


def _neighbours(pen: Pen, size: complex) -> Iterator[Pen]:
    """Pens on the plots in sight: on both sides, across the street, back to back."""
    for start, turned in ((0.0, 0.0), (-STREET_METRES, np.pi), (2 * size.imag, np.pi)):
        for column in (-2, -1, 0, 1, 2):
            other = pen.at(complex(column * size.real, start), turned)
            is_own = column == 0 and start == 0
            if not is_own and other.sees(size.imag / 2 * 1j, abs(size) / 2):
                yield other
