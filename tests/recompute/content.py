# SPDX-License-Identifier: Apache-2.0
"""One file's content: a bottleneck text, or a picture and its difference hash (section 1)."""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF"}
MOST_PIXELS = 200_000_000
BROKEN_IMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on contents that are no whole image."""


class Unusable(Exception):
    """The content is for the quarantine."""


def numbers(content: bytes) -> NDArray[np.float64]:
    """The numbers of a bottleneck text, rounded to float32.

    Raises:
        Unusable: it is anything but finite numbers with commas between.
    """
    try:
        values = np.array([float(text) for text in content.decode("ascii").split(",")])
    except ValueError as error:
        raise Unusable from error
    # Python reads 1_0 as a number; retrain.py never wrote one.
    if b"_" in content or not np.all(np.abs(values) <= np.finfo(np.float32).max):
        raise Unusable
    return values.astype(np.float32).astype(np.float64)


def picture(content: bytes) -> Image.Image:
    """A whole image as upright RGB.

    Raises:
        Unusable: Pillow does not read it to its end as one of `FORMATS`, or it is over 200
            megapixels.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(content)) as image:
            numeric = image.mode in {"F", "I", "LAB"} and image.format != "PNG"
            if image.format not in FORMATS or numeric or math.prod(image.size) > MOST_PIXELS:
                raise Unusable
            image.load()
            return to_rgb(upright(image), image.format == "JPEG")
    except BROKEN_IMAGE as error:
        raise Unusable from error


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; one whose EXIF is broken as it is."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except BROKEN_IMAGE:
        return image


def to_rgb(image: Image.Image, jpeg: bool) -> Image.Image:
    """What is transparent shows white, 16 bits give their high byte, profiles are ignored."""
    from PIL import Image, ImageChops

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        white, layer = Image.new("RGB", image.size, "white"), image.convert("RGBA")
        white.paste(layer, mask=layer)
        return white
    if image.mode == "CMYK" and jpeg and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every one for Adobe's, whose are inverted
    return image.convert("RGB")


def difference_hash(image: Image.Image) -> int | None:
    """64 bits that tell where the picture gets lighter to the right; None for a flat one."""
    from PIL import Image

    small = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    rows = np.asarray(small).tolist()
    levels = [level for row in rows for level in row]
    if max(levels) - min(levels) < 8:
        return None
    bits = ["01"[row[place] < row[place + 1]] for row in rows for place in range(8)]
    return int("".join(bits), 2)
