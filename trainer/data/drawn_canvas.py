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


def shape(*points: complex) -> Points:
    """Points as an outline or a line; (points,) metres."""
    return np.array(points, dtype=np.complex128)


def rectangle(width: float, depth: float, centre: complex = 0j) -> Points:
    """Corners of a rectangle; (4,) metres."""
    half = complex(width, depth) / 2
    return shape(-half, half.conjugate(), half, -half.conjugate()) + centre


def ellipse(width: float, depth: float, bend: float = 0.0) -> Points:
    """Outline of an ellipse; (40,) metres. `bend` pushes its ends down: a kidney."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across = np.cos(turn)
    outline = width / 2 * across + 1j * (depth / 2 * np.sin(turn) + bend * across**2)
    return np.asarray(outline, dtype=np.complex128)


def scaled(colour: Colour, factor: float) -> Colour:
    """A colour made darker or lighter."""
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


class Textures:
    """Noise that all pictures of a set cut their surfaces from; made once, being the slow part."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Make every kind, each around 0.

        `leaf` and `water` are (TILE, TILE); `ground` and `grain` have a third axis for red, green
        and blue, since worn ground turns yellowish and a sensor's colours do not err alike.
        """
        self._rng = rng
        fine = self._waves(2) + 0.6 * self._waves(5)
        worn = self._waves(60) + 0.6 * self._waves(22)
        self._tiles = {
            "leaf": self._waves(6) + 0.7 * self._waves(3),
            "water": self._ripples(),
            "ground": (_coloured(fine, (0.5, 0.5, 0.4)) + _coloured(worn, (0.32, 0.16, 0.1))) / 255,
            "grain": self._grain(),
        }

    def _waves(self, length: int) -> Float32Array:
        side = TILE // length + 2
        coarse = self._rng.standard_normal((side, side), dtype=np.float32)
        smooth = Image.fromarray(coarse).resize((TILE, TILE), Image.Resampling.BICUBIC)
        return _standardised(np.array(smooth, dtype=np.float32))

    def _ripples(self) -> Float32Array:
        # Light that waves focus on the floor: a net of bright lines, where the field is near 0.
        return _standardised(np.exp(-4 * np.abs(self._waves(20) + 0.5 * self._waves(9))))

    def _grain(self) -> Float32Array:
        colours = self._rng.standard_normal((TILE, TILE, 3), dtype=np.float32)
        return _standardised(colours + colours.mean(axis=-1, keepdims=True))

    def cut(self, kind: str, height: int, width: int, rng: np.random.Generator) -> Float32Array:
        """A piece from a random place; (height, width), or (height, width, 3)."""
        top, left = rng.integers(0, (TILE - height, TILE - width))
        return self._tiles[kind][top : top + height, left : left + width]


def _standardised(values: Float32Array) -> Float32Array:
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float32)


def _coloured(values: Float32Array, gains: tuple[float, float, float]) -> Float32Array:
    return values[..., None] * np.array(gains, dtype=np.float32)


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
        strength=float(rng.choice([0.5, 0.8, 0.9, 1.0])),
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
        """Join the layers: surfaces, shadows, lens, air, sensor. SIZE, RGB."""
        light = self.light
        rough = np.asarray(Image.merge("RGB", [self.rough.reduce(OVERSAMPLING)] * 3))
        seen = np.asarray(self._lit()) * (1 + rough * self._cut("ground"))
        image = Image.fromarray(as_bytes(seen)).filter(ImageFilter.BoxBlur(light.blur))
        gains = [(1 - light.haze) * gain for gain in light.cast]
        aired = _graded(image, gains, [light.haze * air for air in (196, 206, 216)])
        return Image.fromarray(as_bytes(np.asarray(aired) + light.noise * self._cut("grain")))

    def _cut(self, kind: str) -> Float32Array:
        return self.textures.cut(kind, SIZE[1], SIZE[0], self.rng)

    def _lit(self) -> Image.Image:
        sunny = self.colour.reduce(OVERSAMPLING)
        # The sky still lights what the sun does not reach, and it is blue.
        gains = [1 - self.light.strength * loss for loss in (0.62, 0.58, 0.47)]
        soft = self.shadow.reduce(OVERSAMPLING).filter(ImageFilter.BoxBlur(0.8))
        return Image.composite(_graded(sunny, gains, [0, 0, 0]), sunny, soft)


def _graded(image: Image.Image, gains: list[float], offsets: list[float]) -> Image.Image:
    """Red, green and blue each multiplied and raised."""
    levels = np.outer(gains, np.arange(256)) + np.array(offsets)[:, None]
    return image.point(as_bytes(levels).ravel().tolist())


def as_bytes(values: npt.NDArray[np.floating[Any]]) -> ByteArray:
    """Rounded, and cut to 0 to 255."""
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
        colours, roughs, shadows = self.canvas.layers
        colours.polygon(outline, fill=colour)
        roughs.polygon(outline, fill=rough)
        shadows.polygon(outline, fill=0)

    def line(self, points: Points, colour: Colour, width: float = 0.1) -> None:
        """A smooth line, `width` in metres, in the shadow that lies there."""
        pixels = max(1, round(width * self.scale))
        course = self._flat(points)
        colours, roughs, _ = self.canvas.layers
        colours.line(course, fill=colour, width=pixels, joint="curve")
        roughs.line(course, fill=12, width=pixels, joint="curve")

    def shade(self, points: Points, depth: int) -> None:
        """A shadow, or with little depth (0 to 255) the tint of a mown stripe."""
        self.canvas.layers[2].polygon(self._flat(points), fill=depth)

    def cast(
        self, points: Points, height: float, base: float = 0.0, top: Points | None = None
    ) -> None:
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

    def paste(
        self, surface: Image.Image, mask: Image.Image, corner: tuple[int, int], rough: int = 0
    ) -> None:
        """Lay a ready surface in full light on the canvas, its corner in the layers' pixels."""
        box = (*corner, corner[0] + mask.width, corner[1] + mask.height)
        self.canvas.colour.paste(surface, box, mask)
        self.canvas.rough.paste(rough, box, mask)
        self.canvas.shadow.paste(0, box, mask)

    def _flat(self, points: Points) -> list[Any]:
        """Pixels as x, y, x, y ... of one outline (points,), or of many (outlines, points)."""
        pixels = self.zoom * points + self.origin
        return list(pixels.view(np.float64).tolist())
