# SPDX-License-Identifier: Apache-2.0
"""Things in the demo's gardens that have a pool's colours and are none, seen from above.

The large ones have a pool's size and much of what lies about one, stone and bright edges, so
that a picture's colours say little of its class. Their shapes do: straight bars, ribs, folds and
painted lines where a pool has its net of light, and the shadow of what stands above the lawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.data.drawn_canvas import Colour, Pen, ellipse, rectangle, scaled, shape
from trainer.data.drawn_things import STONES, pick

WHITE = (234, 228, 216)
PAVED = 1.7
"""Metres of stone around a thing."""


def tarpaulin(pen: Pen, size: complex, colour: Colour) -> None:
    """A sheet over a wood pile or boat: uneven corners, folds, a shadow."""
    rng = pen.canvas.rng
    sheet = rectangle(size.real, size.imag) + rng.normal(0, 0.28, 4) + 1j * rng.normal(0, 0.28, 4)
    pen.cast(sheet, rng.uniform(0.6, 1.4))
    middle = sheet.mean() + complex(*rng.normal(0, 0.5, 2))
    lights = rng.permutation([0.74, 0.9, 1.06, 1.22])
    for here, there, light in zip(sheet, np.roll(sheet, -1), lights, strict=True):
        pen.area(shape(here, there, middle), scaled(colour, light), rough=30)
        pen.line(shape(here, middle), scaled(colour, 1.3), 0.16)
        fold = (here + there) / 2 + rng.normal(0, 0.5)
        pen.line(shape(fold, middle + 0.3 * (fold - middle)), scaled(colour, 0.7), 0.2)


def trampoline(pen: Pen, colour: Colour) -> None:
    """A dark sheet in a blue ring, raised."""
    pen.cast(ellipse(4, 4)[::3], 0.9, base=0.7)
    pen.area(ellipse(4.2, 4.2), colour, rough=8)
    pen.area(ellipse(3.2, 3.2), (44, 46, 52), rough=6)


def stack(pen: Pen, size: complex, colour: Colour) -> None:
    """Something large under a tarpaulin, with a paved yard at one side."""
    _yard(pen, size)
    tarpaulin(pen, size, colour)


def court(pen: Pen, size: complex, colour: Colour) -> None:
    """A small playing court in stone: hard ground in two blues, white lines."""
    width, depth = size.real, size.imag
    _paving(pen, size)
    pen.area(rectangle(width, depth), scaled(colour, 0.78), rough=24)
    width, depth = width - 1.2, depth - 1.2
    pen.area(rectangle(width, depth), scaled(colour, 1.06), rough=24)
    for part in (width, width / 3):
        corners = rectangle(part, depth)
        pen.line(shape(*corners, corners[0]), WHITE, 0.16)
    for side in (-1, 1):
        pen.line(shape(side * width / 2, side * width / 6), WHITE, 0.16)


def playground(pen: Pen, size: complex, colour: Colour) -> None:
    """Soft round ground with painted rings, a climbing frame and its slide."""
    rng, side = pen.canvas.rng, (size.real + size.imag) / 2
    pen.area(ellipse(side + 2 * PAVED, side + 2 * PAVED), pick(rng, STONES), rough=14)
    pen.area(ellipse(side + 0.8, side + 0.8), _kerbstone(rng), rough=10)
    for share, light in ((1, 0.8), (0.8, 1.14), (0.6, 0.86), (0.4, 1.18)):
        pen.area(ellipse(share * side, share * side), scaled(colour, light), rough=24)
    pen.cast(rectangle(1.8, 1.8), 2)
    pen.area(rectangle(1.8, 1.8), (176, 150, 124), rough=8)
    pen.area(rectangle(2.6, 0.7, 2.2 + 0j), (186, 72, 60), rough=4)


def greenhouse(pen: Pen, size: complex, colour: Colour) -> None:
    """Panes that mirror the sky between white bars, on a stone base."""
    _paving(pen, size)
    _sheets(pen, size, colour, pitch=1.0)
    width, depth = size.real, size.imag
    for start in np.arange(-width / 2, width / 2, 1.0):
        pen.line(shape(start - 0.5j * depth, start + 0.5j * depth), WHITE, 0.14)
    corners = rectangle(width, depth)
    pen.line(shape(*corners, corners[0]), WHITE, 0.22)
    pen.line(shape(-width / 2, width / 2), WHITE, 0.22)


def barn(pen: Pen, size: complex, colour: Colour) -> None:
    """A long shed under ribbed sheets, with a paved yard at one side."""
    _yard(pen, size)
    _sheets(pen, size, colour, pitch=0.5)
    pen.line(shape(-size.real / 2, size.real / 2), scaled(colour, 1.3), 0.3)


LARGE: list[Callable[[Pen, complex, Colour], None]] = [
    stack,
    court,
    playground,
    greenhouse,
    barn,
]


def _paving(pen: Pen, size: complex) -> None:
    """Slabs around a thing, and its kerb."""
    rng = pen.canvas.rng
    around = size + complex(2 * PAVED, 2 * PAVED)
    pen.area(rectangle(around.real, around.imag), pick(rng, STONES), rough=14)
    pen.area(rectangle(size.real + 0.8, size.imag + 0.8), _kerbstone(rng), rough=10)


def _kerbstone(rng: np.random.Generator) -> Colour:
    return scaled(pick(rng, STONES[:2]), 1.1)


def _yard(pen: Pen, size: complex) -> None:
    """Slabs at one side of a thing, and their kerb."""
    rng = pen.canvas.rng
    slabs = rectangle(size.real, size.imag, -0.7j * size.imag)
    pen.area(slabs, pick(rng, STONES), rough=14)
    pen.line(np.append(slabs, slabs[:2]), _kerbstone(rng), 0.4)


def _sheets(pen: Pen, size: complex, colour: Colour, pitch: float) -> None:
    """A gabled roof of sheets side by side, `pitch` metres each, no two equally bright."""
    width, depth = size.real, size.imag
    pen.cast(rectangle(width, depth), 2.6)
    for side in (-1, 1):
        lit = 1 + 0.2 * pen.canvas.light.strength * pen.facing(side * 1j)
        for start in np.arange(-width / 2, width / 2, pitch):
            bright = lit * (0.8 + 0.2 * pen.canvas.rng.exponential())
            sheet = rectangle(pitch, depth / 2, complex(start + pitch / 2, side * depth / 4))
            pen.area(sheet, scaled(colour, bright), rough=12)
