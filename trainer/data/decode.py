# SPDX-License-Identifier: Apache-2.0
"""From a file's content to an image as upright RGB, or the reason why there is none.

The content decides what a file is, never its name. Of an animation, or of several pages, the first
is taken. Embedded colour profiles are ignored: the stored values stand for themselves, as they do
for the photographs that the backbones were trained on; CMYK becomes RGB by Pillow's plain formula.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from trainer.data.formats import START_BYTES, format_of, webp_size
from trainer.data.images import Unreadable

MOST_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which GIF and TIFF ask for, is lower

_KINDS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
}  # not Image.open, which guesses, and which knows more formats with every version

BYTES_A_PIXEL = {"WebP": 28, "TIFF": 24}
"""Memory that decoding takes. Pillow keeps RGB in 4 bytes; opaque copies, a turn and a change of
mode are made beside it. WebP's decoder has two canvases besides, TIFF's a strip, at worst all."""
OTHER_BYTES_A_PIXEL = 16
COEFFICIENT_BYTES = 6
"""A progressive JPEG is held whole, at its full size, as 16-bit coefficients of 3 channels."""

_NOT_READ = {"F": "floating-point pixels", "I": "32-bit or signed pixels", "LAB": "Lab colours"}
_TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}


def upright_rgb(content: bytes, least: int | None = None) -> Image.Image:
    """Decode an image file, whatever its name, to 8-bit RGB as it should be looked at.

    EXIF orientation is applied; 16 bits are scaled to 8; what is transparent shows white. One
    thread at a time: Pillow's warnings, which are the whole process's, are silenced meanwhile.

    Args:
        content: The whole file.
        least: Pixels a side that are enough: a JPEG may then be decoded at a half, a quarter or
            an eighth of its size, as long as neither side falls below.
    Raises:
        Unreadable: It is empty, broken, of another format, or over 200 megapixels.
        MemoryError: The machine is too small; the file may be good.
    """
    return Picture(io.BytesIO(content), least).upright_rgb()


class Reduction(NamedTuple):
    """How a picture that was decoded at reduced size lies on the whole one, both upright."""

    width: int
    height: int
    """Of the whole one, in pixels."""
    factor: int
    """Pixels of the whole one, a side, that are one of the reduced; at the last edge of the file's
    rows and columns there may be fewer."""
    left: float
    top: float
    """Where the whole one begins, in pixels of the reduced one: after 0 where the file's last edge,
    whose pixels may reach beyond it, was turned to be the first."""
    bits: float
    """That the file takes for a pixel of the whole one."""
    step: float
    """To whose multiples its frequencies were rounded (root mean square, of the coarsest table)."""


class Picture:
    """An image file of which no more than the header has been read.

    Attributes:
        bytes: About how much memory decoding will take; more rather than less.
        reduction: Of an image that was decoded at reduced size.
    """

    def __init__(self, file: BinaryIO, least: int | None = None) -> None:
        """Read the header.

        Args:
            file: Open at its start; it is read again later.
            least: As for `upright_rgb`.
        Raises:
            Unreadable: As `upright_rgb`.
        """
        self._file = file
        self._start = file.read(START_BYTES)
        self._name = format_of(self._start)
        self._image: ImageFile | None = None
        self._factor = 1
        self.reduction: Reduction | None = None
        with self._blaming():
            self._size = size = self._read_size()
            if size[0] * size[1] > MOST_PIXELS:
                raise Unreadable(f"has {size[0]} x {size[1]} pixels, over 200 megapixels")
            self.bytes = self._memory(size, least)

    def upright_rgb(self) -> Image.Image:
        """Decode it, once.

        Raises:
            Unreadable: As the function of this name.
            MemoryError: The same.
        """
        with self._blaming():
            image = self._image or self._open()
            frame = image.tile[0][1] if isinstance(image, GifImageFile) else None
            image.load()
            rgb = _to_rgb(image, frame)
            turn = _TURN.get(_orientation(image))  # a TIFF's is gone where Pillow turned it itself
            if self._factor > 1:
                left, top, whole = _turned(self._size, image.size, self._factor, turn)
                bits = 8 * self._file.seek(0, io.SEEK_END) / (whole[0] * whole[1])
                self.reduction = Reduction(
                    *whole, self._factor, left, top, bits, _coarsest_step(image)
                )
            return rgb if turn is None else rgb.transpose(turn)

    def _open(self) -> ImageFile:
        self._file.seek(0)
        return _KINDS[self._name](self._file)

    def _read_size(self) -> tuple[int, int]:
        if self._name == "WebP":  # Pillow takes memory for all its pixels as soon as it opens it
            return webp_size(self._start)
        self._image = self._open()
        _require_known_pixels(self._image)
        if not isinstance(self._image, TiffImageFile):
            return self._image.size
        width, height = self._image.size  # one tile can be larger than the picture
        tags = self._image.tag_v2
        return max(width, tags.get(_TILE_WIDTH, 0)), max(height, tags.get(_TILE_LENGTH, 0))

    def _memory(self, size: tuple[int, int], least: int | None) -> int:
        pixels = size[0] * size[1]
        each = BYTES_A_PIXEL.get(self._name, OTHER_BYTES_A_PIXEL)
        if not isinstance(self._image, JpegImageFile):
            return each * pixels
        held = COEFFICIENT_BYTES * pixels if self._image.info.get("progressive") else 0
        if least:
            self._image.draft(None, (least, least))
            self._factor = round(size[0] / self._image.width)
        return each * self._image.width * self._image.height + held

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Tell what is wrong with the file: a decoder raises nearly anything when it is broken."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (MemoryError, Unreadable):
            raise
        except Exception as error:
            if str(error) == "unknown pixel mode":
                raise Unreadable("has pixels of a kind that this version does not read") from error
            cut = "truncated" in str(error).lower() or self._file_ends_early()
            raise Unreadable(f"is a {'truncated' if cut else 'broken'} {self._name}") from error

    def _file_ends_early(self) -> bool:
        """Whether a WebP, or a TIFF before its table, is cut off; of others the decoders know."""
        wanted = 0
        if self._name == "WebP":
            wanted = 8 + int.from_bytes(self._start[4:8], "little")
        elif self._name == "TIFF" and self._image is None:
            order: Literal["little", "big"] = "little" if self._start[:1] == b"I" else "big"
            wanted = int.from_bytes(self._start[4:8], order)
        return wanted > self._file.seek(0, io.SEEK_END)


# TIFF 6.0 (Adobe 1992), part 1, section 8, and part 2, section 15
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_YCBCR = 6
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def _require_known_pixels(image: ImageFile) -> None:
    if image.mode in _NOT_READ and not isinstance(image, PngImageFile):
        raise Unreadable(f"has {_NOT_READ[image.mode]}, which this version does not read")
    if not isinstance(image, TiffImageFile):
        return
    tags = image.tag_v2
    if tags.get(_SUBFILE, 0) & 1:
        raise Unreadable("is a camera's raw file, or another TIFF that begins with a thumbnail")
    if tags.get(_PHOTOMETRIC) == _YCBCR and image.mode == "RGB" and tags.get(_COMPRESSION, 1) == 1:
        raise Unreadable("has YCbCr pixels without compression, which this version does not read")


def _to_rgb(image: ImageFile, frame: tuple[int, int, int, int] | None) -> Image.Image:
    """Change the mode.

    Args:
        image: Loaded.
        frame: Where a GIF's first picture lies on its canvas.
    """
    if image.mode.startswith("I"):
        return _from_16_bit_grey(image).convert("RGB")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _on_white(image if image.mode == "RGBA" else image.convert("RGBA"))
    if image.mode == "CMYK" and isinstance(image, JpegImageFile) and "adobe" not in image.info:
        return ImageChops.invert(image).convert("RGB")  # Pillow takes every one for Adobe's
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if frame is None or frame == (0, 0, *rgb.size):
        return rgb
    canvas = Image.new("RGB", rgb.size, "white")
    canvas.paste(rgb.crop(frame), frame[:2])
    return canvas


def _on_white(layered: Image.Image) -> Image.Image:
    white = Image.new("RGB", layered.size, "white")
    white.paste(layered, mask=layered)
    return white


def _from_16_bit_grey(image: Image.Image) -> Image.Image:
    """The high bytes, which is also what Pillow keeps of 16-bit colour."""
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    grey = (values >> (tags.get(_BITS, (16,))[0] - 8)).astype(np.uint8)  # 12 bits are kept low
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow turns over 8 bits only
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


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
_ON_ITS_SIDE = {_TURN[orientation] for orientation in (5, 6, 7, 8)}


def _turned(
    whole: tuple[int, int], reduced: tuple[int, int], factor: int, turn: Image.Transpose | None
) -> tuple[float, float, tuple[int, int]]:
    """Turn what is known of a file's rows and columns as its picture was turned.

    Args:
        whole: Width and height.
        reduced: The same of what was decoded.
        factor: Between them.
        turn: What made it upright.
    Returns:
        Where the upright whole picture begins in the reduced one (left, top), and its size.
    """
    if turn is None:
        return 0.0, 0.0, whole
    beyond = [part - length / factor for part, length in zip(reduced, whole, strict=True)]
    # Where the file's first pixel comes to lie tells which of its edges come first.
    corner = np.zeros((2, 2), np.uint8)
    corner[0, 0] = 1
    row, column = np.argwhere(np.asarray(Image.fromarray(corner).transpose(turn)))[0].tolist()
    if turn in _ON_ITS_SIDE:
        whole, beyond = whole[::-1], beyond[::-1]
    return beyond[0] * column, beyond[1] * row, whole


def _coarsest_step(image: ImageFile) -> float:
    assert isinstance(image, JpegImageFile)
    tables = image.quantization.values()
    return max(float(np.sqrt(np.mean(np.square(table)))) for table in tables)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1  # a broken EXIF block is no reason to lose a good image
