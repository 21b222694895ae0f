# SPDX-License-Identifier: Apache-2.0
"""What the demo's pictures are drawn on: metres in, an aerial photograph out.

Points are complex numbers in metres, x + iy with y downwards, so that turning a shape is one
product. A `Pen` knows where it stands; the `Canvas` keeps three layers (colour, how rough each
surface is, how much shadow lies on it) at twice the final size and `photograph` joins them as a
camera would. Things are drawn from the ground up: what is drawn later lies above and its shadow
falls on all before it. What the things look like is `drawn_things`' business.
"""

from __future__ import annotations

import cmath
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from trainer.arrays import ByteArray, Float32Array

Points = npt.NDArray[np.complex128]
Colour = tuple[int, int, int]
SIZE = (400, 300)
OVERSAMPLING = 2
TILE = 1024


def rectangle(width: float, depth: float, centre: complex = 0j) -> Points:
    """Corners of a rectangle; (4,) metres."""
    half = complex(width, depth) / 2
    return centre + np.array([-half, half.conjugate(), half, -half.conjugate()])


def ellipse(width: float, depth: float, bend: float = 0.0) -> Points:
    """Outline of an ellipse; (40,) metres. `bend` pushes its ends down: a kidney."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across = np.cos(turn)
    return width / 2 * across + 1j * (depth / 2 * np.sin(turn) + bend * across**2)


def scaled(colour: Colour, factor: float) -> Colour:
    """A colour made darker or lighter."""
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


class Textures:
    """Noise that all pictures of a set cut their surfaces from; made once, being the slow part."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Make every kind; (TILE, TILE) float32 each, mean 0 and deviation 1 but for water."""
        self._rng = rng
        self._tiles = {
            "speck": self._waves(1),
            "grass": self._waves(2) + 0.6 * self._waves(5),
            "patch": self._waves(60) + 0.6 * self._waves(22),
            "leaf": self._waves(11) + 0.7 * self._waves(5),
            "water": self._ripples(),
        }

    def _waves(self, length: int) -> Float32Array:
        side = TILE // length + 2
        coarse = self._rng.standard_normal((side, side), dtype=np.float32)
        smooth = Image.fromarray(coarse).resize((TILE, TILE), Image.Resampling.BICUBIC)
        waves = np.array(smooth, dtype=np.float32)
        return (waves - waves.mean()) / waves.std()

    def _ripples(self) -> Float32Array:
        # Light that waves focus on the floor: a net of thin bright lines, where the field is near 0.
        net = np.exp(-4 * np.abs(self._waves(9) + 0.5 * self._waves(5)))
        return (net - net.mean()) / net.std()

    def cut(self, kind: str, height: int, width: int, rng: np.random.Generator) -> Float32Array:
        """A piece from a random place; (height, width)."""
        top, left = rng.integers(0, (TILE - height, TILE - width))
        return self._tiles[kind][top : top + height, left : left + width]


@dataclass(frozen=True)
class Light:
    """The sun and the camera of one picture."""

    sun: complex
    """Unit vector on the ground towards the sun."""
    shadow_slope: float
    """Metres of shadow for a metre of height."""
    strength: float
    """0 under an overcast sky, 1 in bright sun."""
    cast: tuple[float, float, float]
    """Gain of red, green and blue."""
    haze: float
    """Share of the picture that the air's own light takes."""
    noise: float
    """Standard deviation of the sensor's noise, of 255."""
    blur: float
    """Radius in pixels of the lens' blur."""


def random_light(rng: np.random.Generator) -> Light:
    """Any hour and weather."""
    warmth = rng.normal(0, 0.02)
    exposure = rng.uniform(0.92, 1.08)
    return Light(
        sun=cmath.rect(1, rng.uniform(0, 2 * np.pi)),
        shadow_slope=rng.uniform(0.3, 0.9),
        strength=float(rng.choice([0.25, 0.8, 0.9, 1.0])),
        cast=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        haze=rng.uniform(0, 0.06),
        noise=rng.uniform(2, 4),
        blur=float(rng.choice([0.0, 0.4, 0.7])),
    )


@dataclass
class Canvas:
    """The three layers of one picture, its light and its chance."""

    rng: np.random.Generator
    textures: Textures
    light: Light
    colour: Image.Image = field(init=False)
    rough: Image.Image = field(init=False)
    shadow: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing on it."""
        size = (SIZE[0] * OVERSAMPLING, SIZE[1] * OVERSAMPLING)
        self.colour = Image.new("RGB", size)
        self.rough, self.shadow = Image.new("L", size), Image.new("L", size)
        self.layers = [ImageDraw.Draw(part) for part in (self.colour, self.rough, self.shadow)]

    def photograph(self) -> Image.Image:
        """Join the layers: surfaces, shadows, air, lens, sensor. SIZE, RGB."""
        ground = self._surfaces() * self._daylight()
        red, green, blue = self.light.cast
        seen = ground * np.array([red, green, blue], dtype=np.float32)
        seen += self.light.haze * (np.array([196, 206, 216], dtype=np.float32) - seen)
        image = Image.fromarray(_bytes(seen)).filter(ImageFilter.BoxBlur(self.light.blur))
        return Image.fromarray(_bytes(np.asarray(image) + self.light.noise * self._grain()))

    def _cut(self, kind: str) -> Float32Array:
        return self.textures.cut(kind, SIZE[1], SIZE[0], self.rng)

    def _surfaces(self) -> Float32Array:
        colour = np.asarray(self.colour.reduce(OVERSAMPLING), dtype=np.float32)
        rough = np.asarray(self.rough.reduce(OVERSAMPLING), dtype=np.float32) / 255
        fine = (rough * self._cut("grass"))[..., None] * np.array([0.5, 0.5, 0.4], np.float32)
        # Worn patches of ground turn yellowish, not only lighter.
        worn = (rough * self._cut("patch"))[..., None] * np.array([0.32, 0.16, 0.1], np.float32)
        return np.asarray(colour * (1 + fine + worn), dtype=np.float32)

    def _daylight(self) -> Float32Array:
        soft = self.shadow.reduce(OVERSAMPLING).filter(ImageFilter.BoxBlur(0.8))
        dark = np.asarray(soft, dtype=np.float32)[..., None] / 255
        # The sky still lights what the sun does not reach, and it is blue.
        lost = self.light.strength * np.array([0.62, 0.58, 0.47], dtype=np.float32)
        return np.asarray(1 - dark * lost, dtype=np.float32)

    def _grain(self) -> Float32Array:
        grey = self._cut("speck")
        return np.stack([self._cut("speck") + grey for _ in range(3)], axis=-1) * 0.7


def _bytes(values: npt.NDArray[np.floating]) -> ByteArray:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Pen:
    """Draws on a canvas, in metres, from where it stands: pixel = zoom * point + origin."""

    canvas: Canvas
    zoom: complex
    origin: complex

    @property
    def scale(self) -> float:
        """Pixels of the oversampled layers in a metre."""
        return abs(self.zoom)

    def at(self, place: complex, turn: float = 0.0) -> Pen:
        """The pen moved to a place and turned there, radians."""
        return Pen(self.canvas, self.zoom * cmath.rect(1, turn), self.pixel(place))

    def pixel(self, place: complex) -> complex:
        """Where a point lies on the oversampled layers."""
        return self.zoom * place + self.origin

    def sees(self, place: complex, reach: float) -> bool:
        """Whether anything within `reach` metres of a place can be in the picture."""
        pixel, margin = self.pixel(place), reach * self.scale
        width, height = self.canvas.colour.size
        return -margin < pixel.real < width + margin and -margin < pixel.imag < height + margin

    def facing(self, direction: complex) -> float:
        """How a slope that falls towards `direction` faces the sun: -1 to 1."""
        turned = direction * self.zoom / (abs(direction) * self.scale)
        return (turned * self.canvas.light.sun.conjugate()).real

    def area(self, points: Points, colour: Colour, rough: int = 20) -> None:
        """A surface in full light; `rough` 0 to 255 says how strong its texture is."""
        outline = self._flat(points)
        for layer, fill in zip(self.canvas.layers, (colour, rough, 0), strict=True):
            layer.polygon(outline, fill=fill)

    def line(self, points: Points, colour: Colour, width: float = 0.1) -> None:
        """A line, `width` in metres."""
        pixels = max(1, round(width * self.scale))
        outline = self._flat(points)
        for layer, fill in zip(self.canvas.layers, (colour, 12), strict=False):
            layer.line(outline, fill=fill, width=pixels, joint="curve")

    def shade(self, points: Points, depth: int) -> None:
        """A shadow, or with little depth (0 to 255) the tint of a mown stripe."""
        self.canvas.layers[2].polygon(self._flat(points), fill=depth)

    def cast(self, points: Points, height: float, base: float = 0.0,
             top: Points | None = None) -> None:
        """The shadow of a body between two heights, metres, which may narrow towards its top."""
        light = self.canvas.light
        fall = -light.sun * light.shadow_slope * self.scale / self.zoom
        low = points + fall * base
        high = (points if top is None else top) + fall * height
        following = np.append(np.arange(1, len(low)), 0)
        sides = np.stack([low, low[following], high[following], high], axis=1)
        for outline in (self._flat(low), self._flat(high), *self._flat(sides)):
            self.canvas.layers[2].polygon(outline, fill=255)

    def mask(self, points: Points) -> tuple[Image.Image, tuple[int, int]]:
        """A shape cut out: its mask and where its upper left corner lies."""
        pixels = self.zoom * points + self.origin
        left, top = int(pixels.real.min()) - 1, int(pixels.imag.min()) - 1
        size = (int(pixels.real.max()) - left + 2, int(pixels.imag.max()) - top + 2)
        mask = Image.new("L", size)
        moved = (pixels - complex(left, top)).view(np.float64).tolist()
        ImageDraw.Draw(mask).polygon(moved, fill=255)
        return mask, (left, top)

    def paste(self, values: Float32Array, mask: Image.Image, corner: tuple[int, int],
              rough: int = 0) -> None:
        """Lay a ready surface on the canvas; values (height, width, 3), 0 to 255."""
        canvas = self.canvas
        canvas.colour.paste(Image.fromarray(_bytes(values)), corner, mask)
        canvas.rough.paste(rough, (*corner, *np.add(corner, mask.size).tolist()), mask)
        canvas.shadow.paste(0, (*corner, *np.add(corner, mask.size).tolist()), mask)

    def _flat(self, points: Points) -> list[Any]:
        """Pixels as x, y, x, y ... of one outline (points,), or of many (outlines, points)."""
        pixels = self.zoom * points + self.origin
        return list(pixels.view(np.float64).tolist())
