# SPDX-License-Identifier: Apache-2.0
"""The 64-bit difference hash of a picture, and what one decoded at reduced size tells of it.

The hash is that of the whole picture. Decoding a large JPEG whole takes several times as long as
decoding it at the size that a network wants, and of most bits the smaller picture leaves no doubt:
it gives the mean of each box that the hash compares within `LARGEST_ERROR` grey levels. So an
estimate says which bits it is not sure of, and only where these decide about near-duplicates
(`trainer.data.undecided`) is the picture decoded whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from trainer.arrays import BoolArray, Float32Array, FloatArray
from trainer.data.decode import Reduction

BITS = 64
WIDTH, HEIGHT = 9, 8
FEWEST_LEVELS = 8  # in a flatter picture the bits tell noise

LARGEST_ERROR = 1.0
"""Grey levels between a box's mean as a reduced picture gives it, and the value that rounds to what
the hash compares, beside what cut pixels move it. Photographs: at most 0.4, or 0.7 where much of
them is burnt out; patterns made to have it large: 0.88, but for those that the next two exclude."""
FINE_STEP, MOST_ROUNDED = 8.0, 40.0
"""What is cut off at black and white after whole decoding is missed at reduced size. That is much
where frequencies were rounded coarsely (a step above the first) and there were many of them (step
times bits a pixel above the second), as in halftones: up to 16 grey levels. No estimate is made of
such files. Photographs of 12 megapixels: 20 to 35."""
EXTREME = 0.01
"""A box so near to black or white holds nothing else, in the whole picture either: no error."""


class DifferenceHash(NamedTuple):
    """What is known of a picture's hash."""

    bits: int | None
    """64 bits, row by row, the first one highest; None where the picture is too flat for them."""
    unsure: int = 0
    """The bits that may be otherwise in the whole picture; all of them: there may be no hash."""

    @property
    def exact(self) -> bool:
        """Whether the whole picture has this hash, or none."""
        return not self.unsure


UNKNOWN = DifferenceHash(0, (1 << BITS) - 1)


def difference_hash(image: Image.Image) -> DifferenceHash:
    """Tell a picture by where it becomes lighter from left to right.

    Args:
        image: The whole picture, upright, RGB, 8 bits a channel.
    Source: Krawetz 2013, "Kind of Like That", The Hacker Factor Blog (dHash).
    """
    grey = np.asarray(image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    if int(grey.max()) - int(grey.min()) < FEWEST_LEVELS:
        return DifferenceHash(None)
    return DifferenceHash(_packed(grey[:, :-1] < grey[:, 1:]))


def estimated_hash(image: Image.Image, reduction: Reduction) -> DifferenceHash:
    """The same of a picture that was decoded at a half, a quarter or an eighth.

    Args:
        image: Upright, RGB, 8 bits a channel.
        reduction: How it came from the whole one.
    """
    if reduction.step > FINE_STEP and reduction.step * reduction.bits > MOST_ROUNDED:
        return UNKNOWN
    levels, cut = _box_means(image, reduction)
    extreme = (levels < EXTREME) | (levels > 255 - EXTREME)
    error = np.where(extreme, 0, LARGEST_ERROR + cut)
    lowest, highest = np.rint(levels - error), np.rint(levels + error)
    if highest.max() - lowest.min() < FEWEST_LEVELS:
        return DifferenceHash(None)
    if lowest.max() - highest.min() < FEWEST_LEVELS:
        return UNKNOWN
    lighter = highest[:, :-1] < lowest[:, 1:]
    not_lighter = lowest[:, :-1] >= highest[:, 1:]
    likely = np.rint(levels)
    return DifferenceHash(
        _packed(likely[:, :-1] < likely[:, 1:]), _packed(~(lighter | not_lighter))
    )


def _packed(bits: BoolArray) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _box_means(image: Image.Image, reduction: Reduction) -> tuple[Float32Array, Float32Array]:
    """The mean grey level of each box by the parts of pixels in it, and how far cut pixels move it.

    Pillow's own reduction would move the boxes' edges to whole pixels: up to 4 of the whole
    picture's, and an error of two levels where a light area ends there.

    Returns:
        (8, 9) levels twice.
    """
    grey = np.asarray(image.convert("L"), np.float32)
    down = _edges(HEIGHT, reduction.height, reduction.factor, reduction.top)
    across = _edges(WIDTH, reduction.width, reduction.factor, reduction.left)
    down_shares, across_shares = (
        _shares(edges, count) for edges, count in zip((down, across), grey.shape, strict=True)
    )
    means = down_shares @ grey @ across_shares.T
    cut = down_shares @ _cut(grey, across) + (across_shares @ _cut(grey.T, down)).T
    return means, cut


def _edges(boxes: int, length: int, factor: int, start: float) -> FloatArray:
    """(boxes + 1,) where boxes begin and end along one axis, in pixels of the reduced picture.

    Args:
        boxes: How many the whole picture is cut into.
        length: Of the whole picture, in its own pixels.
        factor: So many of them are one here.
        start: Where the whole picture begins, in pixels of the reduced one.
    """
    # Pillow's edges: a pixel belongs to the box that its centre lies in.
    edges: FloatArray = start + np.floor(np.arange(boxes + 1) * (length / boxes) + 0.5) / factor
    return edges


def _shares(edges: FloatArray, count: int) -> Float32Array:
    """(boxes, count) the weight of each of an axis' pixels in each box."""
    pixels = np.arange(count)
    ends = np.minimum(edges[1:, None], pixels + 1)
    covered = np.clip(ends - np.maximum(edges[:-1, None], pixels), 0, None)
    shares: Float32Array = (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _cut(lines: Float32Array, edges: FloatArray) -> Float32Array:
    """(lines, boxes) how far each box's mean may be off since edges cut through pixels.

    What such a pixel holds may lie all on one side: half of what it differs by from those beside
    it.

    Args:
        lines: (lines, count) grey levels.
        edges: (boxes + 1,) of the boxes along them.
    """
    inner = edges[1:-1]
    at = np.floor(inner).astype(np.int64)
    before, middle, after = (lines[:, at + step] for step in (-1, 0, 1))
    change = (abs(middle - before) + abs(after - middle)) / 2 * (inner > at)
    moved = np.zeros((len(lines), len(edges) - 1), np.float32)
    moved[:, :-1] += change
    moved[:, 1:] += change
    far: Float32Array = (moved / np.diff(edges)).astype(np.float32)
    return far
