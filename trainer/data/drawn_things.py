# SPDX-License-Identifier: Apache-2.0
"""The things in the demo's pictures, each seen from above and drawn where the pen stands.

Pools, and blue things that are none, take their colours from one list, so that colour alone does
not tell them apart. Sizes are metres, angles radians. Where things go is `drawn_plots`' business.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainer.arrays import BoolArray, Float32Array
from trainer.data.drawn_canvas import (
    OVERSAMPLING,
    Colour,
    Pen,
    Points,
    as_bytes,
    ellipse,
    rectangle,
    scaled,
    shape,
)

BLUES: list[Colour] = [
    (84, 162, 178),
    (72, 138, 180),
    (106, 180, 190),
    (58, 112, 156),
    (76, 130, 146),
    (96, 152, 196),
    (46, 92, 140),
    (88, 122, 118),
    (52, 74, 92),
]
ROOFS: list[Colour] = [
    (168, 92, 66),
    (150, 78, 58),
    (186, 118, 88),
    (122, 90, 74),
    (104, 104, 110),
    (84, 86, 94),
    (136, 132, 128),
    (70, 66, 66),
    (158, 146, 128),
    (120, 70, 60),
]
STONES: list[Colour] = [(206, 196, 178), (190, 184, 176), (176, 150, 124), (162, 118, 90)]
PAINTS: list[Colour] = [(224, 224, 224), (60, 62, 66), (150, 152, 156), (150, 44, 40), (34, 34, 38)]
BLUE_PAINTS: list[Colour] = [(48, 86, 146), (70, 118, 172), (40, 62, 108)]
EVERGREENS: list[Colour] = [(66, 90, 54), (74, 98, 66), (58, 82, 56), (92, 110, 70)]


def pick(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    """One of the colours, a little lighter or darker."""
    return scaled(colours[rng.integers(len(colours))], rng.uniform(0.88, 1.1))


def slope(pen: Pen, points: Points, falls: complex, colour: Colour) -> None:
    """One plane of a roof: lit by its slope, with rows of tiles along its eaves (first edge)."""
    light = 0.9 + 0.26 * pen.canvas.light.strength * pen.facing(falls)
    lit = scaled(colour, light)
    pen.area(points, lit, rough=26)
    start, end = points[0], points[1]
    top = points[2:][::-1] if len(points) == 4 else points[[2, 2]]
    for share in np.linspace(0, 1, 14)[1:-1]:
        row = shape(start + share * (top[0] - start), end + share * (top[1] - end))
        pen.line(row, scaled(lit, 0.88), 0.09)


def gable_roof(pen: Pen, width: float, depth: float, colour: Colour, hip: float = 0.0) -> None:
    """A roof with its ridge along its width; `hip` 0 for upright gables to 1 for even hips."""
    corners = rectangle(width, depth)
    half = max(0.0, (width - hip * depth) / 2)
    ridge = shape(-half, half)
    pen.cast(corners, 3.0)
    pen.cast(corners, 5.5, base=3.0, top=ridge[[0, 1, 1, 0]])
    slope(pen, shape(corners[0], corners[1], ridge[1], ridge[0]), -1j, colour)
    slope(pen, shape(corners[2], corners[3], ridge[0], ridge[1]), 1j, colour)
    if hip:
        slope(pen, shape(corners[1], corners[2], ridge[1]), 1, colour)
        slope(pen, shape(corners[3], corners[0], ridge[0]), -1, colour)
        for corner, end in zip(corners, ridge[[0, 1, 1, 0]], strict=True):
            pen.line(shape(corner, end), scaled(colour, 1.12), 0.16)
    pen.line(ridge, scaled(colour, 1.15), 0.2)


def winged_roof(pen: Pen, width: float, depth: float, colour: Colour, side: float) -> None:
    """A gabled roof with a wing towards +y, whose ridge runs into the main roof."""
    half, reach = 2.5, pen.canvas.rng.uniform(1.5, 3.5)
    middle = side * (width / 2 - half - 0.3)
    eaves = shape(middle - half, middle + half) + 0.5j * depth
    valley, end = complex(middle, depth / 2 - half), complex(middle, depth / 2 + reach)
    outer = np.append(eaves, eaves[::-1] + 1j * reach)
    pen.cast(outer, 3.0)
    pen.cast(outer, 5.0, base=3.0, top=shape(valley, valley, end, end))
    gable_roof(pen, width, depth, colour)
    slope(pen, shape(eaves[0], outer[3], end, valley), -1, colour)
    slope(pen, shape(eaves[1], outer[2], end, valley), 1, colour)
    pen.line(shape(valley, end), scaled(colour, 1.15), 0.2)


def flat_roof(pen: Pen, width: float, depth: float, colour: Colour, height: float) -> None:
    """A flat roof: a lighter parapet round gravel, and what ventilates the house."""
    pen.cast(rectangle(width, depth), height)
    pen.area(rectangle(width, depth), scaled(colour, 1.18), rough=8)
    pen.area(rectangle(width - 0.6, depth - 0.6), colour, rough=34)
    if width > 5:
        for place in (complex(width, depth) / 5, complex(-width, depth) / 6):
            pen.at(place).cast(rectangle(0.9, 0.7), 0.7)
            pen.at(place).area(rectangle(0.9, 0.7), (206, 206, 202))


def chimney(pen: Pen) -> None:
    """A small stack with a dark mouth."""
    pen.cast(rectangle(0.8, 0.6), 1.6)
    pen.area(rectangle(0.8, 0.6), (146, 100, 84))
    pen.area(rectangle(0.4, 0.25), (46, 40, 40))


def solar_panels(pen: Pen, columns: int) -> None:
    """Two rows of dark blue panels with light frames."""
    colour = pick(pen.canvas.rng, [(38, 58, 108), (30, 44, 84), (46, 76, 134)])
    for column in range(columns):
        for row in (-0.8, 0.8):
            place = complex(column - (columns - 1) / 2, row)
            pen.area(rectangle(1, 1.6, place), (150, 156, 166), rough=0)
            pen.area(rectangle(0.86, 1.46, place), colour, rough=6)


def car(pen: Pen, colour: Colour) -> None:
    """A car pointing to +x."""
    body = shape(-2.1 - 0.7j, -1.8 - 0.9j, 1.6 - 0.9j, 2.15 - 0.6j)
    body = np.concatenate([body, body[::-1].conjugate()])
    pen.cast(0.95 * body, 1.3)
    pen.area(body, colour, rough=4)
    pen.area(shape(0.5 - 0.7j, 1.1 - 0.8j, 1.1 + 0.8j, 0.5 + 0.7j), (40, 46, 54), rough=0)
    pen.area(shape(-1.3 - 0.7j, -1.75 - 0.7j, -1.75 + 0.7j, -1.3 + 0.7j), (44, 50, 58), 0)
    pen.area(rectangle(1.5, 1.35, -0.4 + 0j), scaled(colour, 1.14), rough=4)


def crown(pen: Pen, radius: float, height: float, colour: Colour, kind: str = "broad") -> None:
    """A tree or bush: a lumpy dome (broad), a cone of boughs (conifer) or few leaves (bare)."""
    if not pen.sees(0j, radius + height):
        return
    pen.cast(ellipse(1.8 * radius, 1.8 * radius)[::3], height, base=height / 3)
    # Leaves need no oversampling: made at the final size, then enlarged.
    side = max(4, int(2.6 * radius * pen.scale / OVERSAMPLING))
    dome, inside = _dome(pen, side, kind)
    values = _sunlit(pen, dome)[..., None] * np.array(colour, dtype=np.float32)
    surface, mask = Image.fromarray(as_bytes(values)), Image.fromarray(inside).convert("L")
    size = (side * OVERSAMPLING, side * OVERSAMPLING)
    corner = pen.pixel(0j) - complex(*size) / 2
    surface = surface.resize(size, Image.Resampling.NEAREST)
    mask = mask.resize(size, Image.Resampling.BILINEAR)
    pen.paste(surface, mask, (int(corner.real), int(corner.imag)), rough=14)


def _sunlit(pen: Pen, dome: Float32Array) -> Float32Array:
    """How much light each part of a crown gives back, by its height and its slope to the sun."""
    down, across = np.gradient(dome)
    sun = pen.canvas.light.sun
    away = (across * sun.real + down * sun.imag) * np.float32(len(dome) / 6)
    light = 0.78 + 0.34 * np.clip(dome, 0, 1.2) - 0.42 * np.clip(away, -0.8, 1.1)
    return np.asarray(light, dtype=np.float32)


def _dome(pen: Pen, side: int, kind: str) -> tuple[Float32Array, BoolArray]:
    """Heights of a crown and where it is; (side, side) each."""
    canvas = pen.canvas
    steps = np.linspace(-1.3, 1.3, side, dtype=np.float32)
    across, down = steps[None, :], steps[:, None]
    leaves = canvas.textures.cut("leaf", side, side, canvas.rng)
    distance = np.sqrt(across**2 + down**2)
    if kind == "conifer":
        boughs = np.abs(np.cos(4.5 * np.arctan2(down, across) + 2 * distance))
        edge = 0.78 + 0.2 * boughs + 0.04 * leaves
        return (1 - distance) * 1.2 + 0.25 * boughs * distance + 0.05 * leaves, distance < edge
    edge = 1 + 0.11 * leaves
    inside = distance < edge
    if kind == "bare":
        inside &= np.abs(leaves) < 0.42
    dome = np.sqrt(np.maximum(0, 1 - (distance / 1.25) ** 2)) + 0.13 * leaves
    return dome.astype(np.float32), inside


def pool_outline(rng: np.random.Generator) -> Points:
    """A rectangle, with a round bay or without, a kidney, an oval or a circle; usual sizes."""
    length, width = rng.uniform(8, 11.5), rng.uniform(4.2, 5.4)
    kinds = ["rectangle", "roman", "kidney", "oval", "round"]
    kind = rng.choice(kinds, p=[0.15, 0.25, 0.26, 0.2, 0.14])
    if kind == "rectangle":
        return rectangle(length, width)
    if kind == "roman":
        return _roman(length, width)
    if kind == "round":
        return ellipse(width + 1, width + 1)
    return ellipse(length, width + 0.4, bend=2.4 if kind == "kidney" else 0)


def _roman(length: float, width: float) -> Points:
    """A rectangle with a round bay at its -x end, where the steps are."""
    radius = 0.4 * width
    bay = radius * np.exp(1j * np.linspace(0.5 * np.pi, 1.5 * np.pi, 14)) + radius - length / 2
    return np.concatenate([bay, rectangle(length - radius, width, complex(radius / 2))])


def pool(pen: Pen, outline: Points, colour: Colour, rim: Colour) -> None:
    """A swimming pool: rim, water with a net of light on its floor, the shadow of its wall."""
    closed = np.append(outline, outline[:2])
    pen.line(closed, rim, 1.1)
    pen.area(outline, scaled(rim, 1.1), rough=10)
    mask, corner = pen.mask(0.985 * outline)
    width, height = mask.size
    depth = np.linspace(1.14, 0.8, width, dtype=np.float32)[None, :, None]
    net = pen.canvas.textures.cut("water", height, width, pen.canvas.rng)[..., None]
    bright = 0.12 + 0.12 * pen.canvas.light.strength
    values = np.array(colour, np.float32) * depth * (1 + bright * net) + 7 * net
    pen.paste(Image.fromarray(as_bytes(values)), mask, corner)
    pen.line(closed, scaled(rim, 1.12), 0.28)
    _wall_shadow(pen, outline)


def _wall_shadow(pen: Pen, outline: Points) -> None:
    # The wall on the sun's side keeps a strip of water dark.
    for here, there in zip(outline, np.roll(outline, -1), strict=True):
        outwards = -1j * (there - here)
        if pen.facing(outwards) > 0.2:
            inner = 0.91 * shape(there, here)
            pen.shade(shape(0.985 * here, 0.985 * there, *inner), 150)


def steps(pen: Pen, width: float) -> None:
    """Steps down into the water."""
    for number, light in enumerate((0.98, 0.9, 0.82)):
        edge = shape(-0.5j * width, 0.5j * width) + 0.4 * number
        pen.line(edge, scaled((226, 236, 236), light), 0.16)


def parasol(pen: Pen, colours: tuple[Colour, Colour]) -> None:
    """An open parasol of eight fields."""
    rim = ellipse(2.8, 2.8)[::5]
    pen.cast(rim, 2.4, base=2.0)
    for number, (here, there) in enumerate(zip(rim, np.roll(rim, -1), strict=True)):
        lit = 1 + 0.16 * pen.facing(here + there) * pen.canvas.light.strength
        pen.area(shape(0, here, there), scaled(colours[number % 2], lit), rough=4)


def lounger(pen: Pen) -> None:
    """A deck chair with its pillow."""
    pen.cast(rectangle(1.9, 0.65), 0.4)
    pen.area(rectangle(1.9, 0.65), (230, 226, 216), rough=6)
    pen.area(rectangle(0.45, 0.65, -0.7 + 0j), (190, 188, 182), rough=6)
