# SPDX-License-Identifier: Apache-2.0
"""Where things go in the demo's pictures: a street, and plots with house, garden and trees.

A plot's own metres: x across, 0 in its middle; y from the street (0) to the back (its depth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainer.data import drawn_decoys as decoys
from trainer.data import drawn_things as things
from trainer.data.drawn_canvas import Colour, Pen, rectangle, scaled
from trainer.data.drawn_things import BLUE_PAINTS, BLUES, EVERGREENS, PAINTS, ROOFS, STONES, pick

STREET_METRES = 11.0

Centre = Literal["pool", "decoy"] | None
"""What a garden is laid out around."""


@dataclass(frozen=True)
class Season:
    """What a time of year does to lawns and trees."""

    lawns: list[Colour]
    leaves: list[Colour]
    bare: float
    """Share of broad trees that have lost their leaves."""


SEASONS = [
    Season([(104, 130, 72), (98, 126, 68)], [(72, 104, 52), (86, 118, 58), (62, 92, 54)], 0.0),
    Season([(116, 138, 80), (110, 134, 72)], [(96, 128, 62), (112, 140, 72), (150, 128, 130)], 0.1),
    Season([(134, 134, 84), (126, 132, 80)], [(84, 98, 58), (98, 106, 64), (70, 86, 54)], 0.0),
    Season([(116, 124, 76), (122, 126, 80)], [(142, 104, 54), (128, 84, 52), (110, 106, 56)], 0.2),
]


def paint(rng: np.random.Generator, blue: float) -> Colour:
    """A car's colour; `blue` is the share of blue ones."""
    return pick(rng, BLUE_PAINTS if rng.random() < blue else PAINTS)


def street(pen: Pen) -> None:
    """A street with pavements, a dashed line and cars, along the plots' front."""
    rng = pen.canvas.rng
    grey = scaled((126, 126, 128), rng.uniform(0.75, 1.15))
    middle = -0.5j * STREET_METRES
    pen.area(rectangle(200, STREET_METRES, middle), (182, 178, 172), rough=14)
    pen.area(rectangle(200, STREET_METRES - 3.4, middle), grey, rough=20)
    for metres in range(-60, 60, 6):
        pen.area(rectangle(2.6, 0.16, middle + metres), (214, 212, 204), rough=10)
    for side in (-1, 1):
        if rng.random() < 0.6:
            place = middle + complex(rng.uniform(-14, 14), 2.6 * side)
            things.car(pen.at(place, 0 if side < 0 else np.pi), paint(rng, 0.3))


class Plot:
    """One plot: planned when it is made, then drawn from the ground up, stage by stage."""

    def __init__(self, pen: Pen, size: complex, season: Season, centre: Centre) -> None:
        """Plan the house and the garden.

        Args:
            pen: Stands in the middle of the plot's front, with +y to its back.
            size: Width and depth, metres.
            season: Of the whole picture.
            centre: Of the garden: a pool, something like one, or nothing large.
        """
        self.pen, self.season, self.centre = pen, season, centre
        self.rng = rng = pen.canvas.rng
        self.width, self.depth = size.real, size.imag
        self.house_size = complex(rng.uniform(9, 12.5), rng.uniform(7, 8.5))
        front = rng.uniform(5, 6.5)
        self.house_at = complex(rng.uniform(-1.5, 1.5), front + self.house_size.imag / 2)
        self.side = int(rng.choice([-1, 1]))
        self.taken: list[tuple[complex, float]] = []
        self.centre_at: complex | None = None

    @property
    def back(self) -> float:
        """Where the garden begins behind the house; y, metres."""
        return self.house_at.imag + self.house_size.imag / 2

    @property
    def drive_x(self) -> float:
        """The drive's middle."""
        return self.house_at.real + self.side * (self.house_size.real / 2 - 1.2)

    def spot(self, reach: float, tries: int = 40) -> complex | None:
        """A free place in the garden for something that reaches so far, metres, or None."""
        across = self.width / 2 - reach - 0.6
        nearest, farthest = self.back + reach + 1, self.depth - reach - 0.8
        for _ in range(tries):
            place = complex(self.rng.uniform(-across, across), self.rng.uniform(nearest, farthest))
            if all(abs(place - other) > reach + room for other, room in self.taken):
                self.taken.append((place, reach))
                return place
        return None

    def ground(self) -> None:
        """Lawn, drive, path, terrace and what divides the plot from its neighbours."""
        pen, rng = self.pen, self.rng
        lawn = pick(rng, self.season.lawns)
        pen.area(rectangle(self.width, self.depth, 0.5j * self.depth), lawn, rough=30)
        if rng.random() < 0.3:
            self._mow()
        stone = pick(rng, STONES)
        front = self.house_at.imag
        pen.area(rectangle(rng.uniform(3, 5), front, complex(self.drive_x, front / 2)), stone, 18)
        path = complex(self.house_at.real - 2 * self.side, front / 2)
        pen.area(rectangle(1.1, front, path), scaled(stone, 0.94), 18)
        self._terrace(pick(rng, STONES))
        self._border()

    def _mow(self) -> None:
        for number in range(int(self.width / 1.6)):
            if number % 2:
                x = -self.width / 2 + 0.8 + 1.6 * number
                self.pen.shade(rectangle(1.6, self.depth, complex(x, self.depth / 2)), 26)

    def _terrace(self, colour: Colour) -> None:
        width, depth = self.rng.uniform(5, self.house_size.real), self.rng.uniform(2.5, 4.5)
        middle = complex(self.house_at.real, self.back + depth / 2 - 0.5)
        self.pen.area(rectangle(width, depth, middle), colour, rough=14)
        for share in np.linspace(-0.5, 0.5, 9):
            start = middle + complex(share * width, -depth / 2)
            self.pen.line(np.array([start, start + 1j * depth]), scaled(colour, 0.9), 0.06)
        self.taken.append((middle, depth / 2 + 0.6))
        self._sit(self.pen.at(middle + complex(width / 4, 0.4)))

    def _sit(self, pen: Pen) -> None:
        """Chairs in the sun, with or without a parasol."""
        if self.rng.random() < 0.5:
            bright = pick(self.rng, [(186, 72, 60), (206, 170, 84), BLUES[1], (222, 214, 196)])
            things.parasol(pen.at(0, self.rng.uniform(0, 6)), (bright, (224, 222, 216)))
        for number in range(int(self.rng.integers(0, 3))):
            things.lounger(pen.at(complex(-2 - 1.1 * number, 0.2), np.pi / 2))

    def _border(self) -> None:
        hedge = self.rng.random() < 0.5
        colour = pick(self.rng, EVERGREENS) if hedge else (142, 122, 98)
        thick, height = (1.1, 1.7) if hedge else (0.16, 1.4)
        for shape in (
            rectangle(thick, self.depth - 6, complex(self.width / 2, self.depth / 2 + 3)),
            rectangle(self.width, thick, 1j * self.depth),
        ):
            self.pen.cast(shape, height)
            self.pen.area(shape, colour, rough=60 if hedge else 20)

    def garden(self) -> None:
        """The pool, or what is there instead; smaller blue things; a car."""
        if self.centre == "pool":
            self._pool()
        elif self.centre == "decoy" and self.rng.random() < 0.92:
            self._decoy()
        small = [self._tarpaulin, self._trampoline, self._shed]
        for number in self.rng.permutation(3):
            if self.rng.random() < 0.12:
                small[number]()
        if self.rng.random() < 0.6:
            place = complex(self.drive_x, self.rng.uniform(2.4, 4))
            things.car(self.pen.at(place, np.pi / 2), paint(self.rng, 0.3))

    def _pool(self) -> None:
        outline = things.pool_outline(self.rng)
        length = float(np.ptp(outline.real))
        pen = self._centre(0.45 * length + 0.8)
        if self.rng.random() < 0.8:
            pen.area(outline * (1 + 3.4 / length), pick(self.rng, STONES), rough=14)
        things.pool(pen, outline, pick(self.rng, BLUES), pick(self.rng, STONES[:2]))
        if self.rng.random() < 0.75:
            things.steps(pen.at(complex(-length / 2 + 0.5, 0)), 1.6)
        if self.rng.random() < 0.8:
            self._sit(pen.at(1j * (float(outline.imag.max()) + 1.9)))

    def _decoy(self) -> None:
        size = complex(self.rng.uniform(7, 10), self.rng.uniform(4.2, 5.4))
        pen = self._centre(0.45 * size.real + 0.8)
        draw = decoys.LARGE[self.rng.integers(len(decoys.LARGE))]
        draw(pen, size, pick(self.rng, BLUES))
        if self.rng.random() < 0.8:
            self._sit(pen.at(1j * (size.imag / 2 + 1.9)))

    def _centre(self, reach: float) -> Pen:
        """Where the garden's largest thing shall be; trees keep off it."""
        place = self.spot(reach)
        self.centre_at = place = complex(0, self.depth - 7) if place is None else place
        return self._turned(place)

    def _tarpaulin(self) -> None:
        if (place := self.spot(2.6)) is not None:
            size = complex(self.rng.uniform(3.5, 5), self.rng.uniform(2.5, 3.5))
            decoys.tarpaulin(self._turned(place), size, pick(self.rng, BLUES))

    def _trampoline(self) -> None:
        if (place := self.spot(2.2)) is not None:
            decoys.trampoline(self.pen.at(place), pick(self.rng, BLUES))

    def _shed(self) -> None:
        if (place := self.spot(2.4)) is not None:
            width = self.rng.uniform(3.4, 5)
            things.gable_roof(self._turned(place), width, 3, pick(self.rng, BLUES))

    def _turned(self, place: complex) -> Pen:
        return self.pen.at(place, self.rng.choice([0, np.pi / 2]) + self.rng.normal(0, 0.1))

    def house(self) -> None:
        """The house, its garage and what is on the roof."""
        rng = self.rng
        colour = pick(rng, BLUES if rng.random() < 0.04 else ROOFS)
        pen, size = self.pen.at(self.house_at), self.house_size
        if not pen.sees(0j, size.real):
            return
        garage = complex(self.side * (size.real / 2 + 1.6), rng.uniform(-1, 1))
        if rng.random() < 0.5:
            gravel = pick(rng, [(150, 148, 144), (112, 110, 108)])
            things.flat_roof(pen.at(garage), 3.6, 6, gravel, height=3.2)
        style = rng.choice(["gable", "hip", "winged", "flat"], p=[0.3, 0.27, 0.28, 0.15])
        if style == "flat":
            things.flat_roof(pen, size.real, size.imag, scaled(colour, 1.1), height=4)
            return
        if style == "winged":
            things.winged_roof(pen, size.real, size.imag, colour, -self.side)
        else:
            hip = rng.uniform(0.7, 1) if style == "hip" else 0.0
            things.gable_roof(pen, size.real, size.imag, colour, hip)
        self._on_roof(pen)

    def _on_roof(self, pen: Pen) -> None:
        if self.rng.random() < 0.6:
            things.chimney(pen.at(complex(self.side * 2.2, self.rng.choice([-0.8, 0.8]))))
        if self.rng.random() < 0.25:
            place = complex(0, self.rng.choice([-1, 1]) * self.house_size.imag / 4)
            things.solar_panels(pen.at(place), int(self.rng.integers(3, 7)))

    def trees(self) -> None:
        """Bushes and trees; one may hang over a part of the pool."""
        rng = self.rng
        for _ in range(rng.integers(3, 9)):
            if (place := self.spot(0.8, tries=6)) is not None:
                self._bush(place)
        for _ in range(rng.integers(2, 6)):
            place = complex(rng.uniform(-0.5, 0.5) * self.width, self.depth * rng.uniform(0.05, 1))
            if self._free(place):
                self._tree(place)
        if self.centre_at is not None and rng.random() < 0.12:
            self._tree(self.centre_at + 4.6 * np.exp(1j * rng.uniform(0, 2 * np.pi)))

    def _free(self, place: complex) -> bool:
        off_house = abs(place - self.house_at) > self.house_size.real / 2 + 2
        return off_house and all(abs(place - other) > room + 1.2 for other, room in self.taken)

    def _bush(self, place: complex) -> None:
        radius = self.rng.uniform(0.5, 1.1)
        things.crown(self.pen.at(place), radius, 1.2, pick(self.rng, EVERGREENS))

    def _tree(self, place: complex) -> None:
        radius = self.rng.uniform(1.6, 3.6)
        kind = "broad"
        if self.rng.random() < 0.22:
            kind, radius = "conifer", 0.75 * radius
        elif self.rng.random() < self.season.bare:
            kind = "bare"
        leaves = [(58, 82, 56), (50, 74, 52)] if kind == "conifer" else self.season.leaves
        things.crown(self.pen.at(place), radius, 2.2 * radius, pick(self.rng, leaves), kind)
