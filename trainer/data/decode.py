# SPDX-License-Identifier: Apache-2.0
"""From a file's content to an image as upright RGB, or the reason why there is none."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from trainer.data.images import Unreadable

MOST_PIXELS = 200_000_000

# Pillow is not asked, since what formats it knows differs between versions.
_READ = ((b"\xff\xd8\xff", JpegImageFile), (b"\x89PNG\r\n\x1a\n", PngImageFile))
_OTHERS = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (8, b"WEBP", "a WebP"),
    (4, b"ftyp", "a HEIC, AVIF or film"),
    (0, b"<", "a web page or other text"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
)


def upright_rgb(content: bytes, least: int | None = None) -> Image.Image:
    """Decode a JPEG or PNG, whatever its name, to 8-bit RGB as it should be looked at.

    EXIF orientation is applied; 16 bits are scaled to 8; what is transparent shows white. Safe to
    call from several threads.

    Args:
        content: The whole file.
        least: Pixels a side that are enough: a JPEG may then be decoded at a half, a quarter or
            an eighth of its size, as long as neither side falls below.
    Raises:
        Unreadable: It is empty, broken, of another format, or over 200 megapixels.
        MemoryError: The machine is too small; the file may be good.
    """
    kind = _kind(content)  # not by Image.open, which warns at sizes that are allowed here
    try:
        image = kind(io.BytesIO(content))
        if image.width * image.height > MOST_PIXELS:
            raise Unreadable(f"has {image.width} x {image.height} pixels, over 200 megapixels")
        if least:
            image.draft(None, (least, least))  # does nothing to a PNG
        image.load()
        turn = _TURN.get(_orientation(image))
        upright = _to_rgb(image)
        return upright if turn is None else upright.transpose(turn)
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # a decoder raises nearly anything when its input is broken
        how = "truncated" if "truncated" in str(error).lower() else "broken"
        raise Unreadable(f"is a {how} {kind.format}") from error


BYTES_A_PIXEL = 16
"""Pillow keeps RGB in 4 bytes; opaque copies, a turn and a change of mode are made beside it."""
COEFFICIENT_BYTES = 6
"""A progressive JPEG is held whole, at its full size, as 16-bit coefficients of 3 channels."""


def decoding_bytes(file: BinaryIO, least: int) -> int:
    """About how much memory `upright_rgb` will take, from the header alone.

    Args:
        file: Open at its start; it is moved.
        least: As for `upright_rgb`.
    Returns:
        Bytes, more rather than less; 0 for a file that will not be decoded.
    """
    try:
        kind = _kind(file.read(64))
        file.seek(0)
        image = kind(file)
    except Exception:  # as in `upright_rgb`, which will tell the reason
        return 0
    if image.width * image.height > MOST_PIXELS:
        return 0
    progressive = image.width * image.height if image.info.get("progressive") else 0
    image.draft(None, (least, least))
    return BYTES_A_PIXEL * image.width * image.height + COEFFICIENT_BYTES * progressive


def _kind(content: bytes) -> type[JpegImageFile | PngImageFile]:
    if not content:
        raise Unreadable("is empty")
    for magic, kind in _READ:
        if content.startswith(magic):
            return kind
    for offset, magic, name in _OTHERS:
        if content.startswith(magic, offset):
            raise Unreadable(f"is {name}; this version reads JPEG and PNG")
    raise Unreadable("is no image: neither JPEG nor PNG")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit_grey(image).convert("RGB")
    if image.mode not in ("LA", "RGBA") and "transparency" not in image.info:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(layered, mask=layered.getchannel("A"))
    return white


def _from_16_bit_grey(image: Image.Image) -> Image.Image:
    """The high bytes, which is also what Pillow keeps of 16-bit colour."""
    values = np.asarray(image)
    clear = values == image.info.get("transparency", -1)
    return Image.fromarray(np.where(clear, 255, values >> 8).astype(np.uint8))


_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; 1 is upright."""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1  # a broken EXIF block is no reason to lose a good image
