# SPDX-License-Identifier: Apache-2.0
"""Small pictures for pages: the image as it was, and with its evidence laid over."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from trainer.arrays import ByteArray, Float32Array

LONGER_SIDE = 192
"""Pixels: twice what a page shows, for fine screens."""
QUALITIES = (75, 60, 45, 30, 15)
MOST_BYTES = 10_000
"""Of a small picture, or the next lower quality is taken: a page holds some hundred."""
FOR, AGAINST = (29, 111, 184), (224, 122, 31)
"""Blue for the predicted class, orange for the runner-up: told apart by any eye."""
STRONGEST = 0.75
"""How much of a colour covers the picture where the evidence is largest."""


def small_size(width: int, height: int, longer: int = LONGER_SIDE) -> tuple[int, int]:
    """Width and height of a picture made small, neither below 1."""
    factor = longer / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def thumbnail(pixels: ByteArray, size: tuple[int, int]) -> bytes:
    """A small JPEG.

    Args:
        pixels: (side, side, 3) RGB, the whole picture with its sides made equal.
        size: Width and height wanted, which give it its shape back.
    """
    return _jpeg(_shaped(pixels, size))


def heat_map(pixels: ByteArray, size: tuple[int, int], evidence: Float32Array) -> bytes:
    """A small JPEG in grey, blue where a cell speaks for the predicted class, orange against it.

    Args:
        pixels, size: As for `thumbnail`.
        evidence: (height, width) of the network's grid; its largest absolute value gets the
            strongest colour.
    """
    grey = np.asarray(_shaped(pixels, size).convert("L"), np.float32)[:, :, None]
    largest = float(np.abs(evidence).max())
    share = Image.fromarray((evidence / (largest or 1)).astype(np.float32))
    strength = np.asarray(share.resize(size, Image.Resampling.BILINEAR))[:, :, None]
    colour = np.where(strength > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    cover = STRONGEST * np.abs(strength)
    return _jpeg(Image.fromarray(np.rint(grey * (1 - cover) + colour * cover).astype(np.uint8)))


def _shaped(pixels: ByteArray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image) -> bytes:
    content = b""
    for quality in QUALITIES:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=quality, optimize=True)
        content = packed.getvalue()
        if len(content) <= MOST_BYTES:
            break
    return content
