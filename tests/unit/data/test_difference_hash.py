# SPDX-License-Identifier: Apache-2.0
"""The difference hash of a picture, and what a smaller rendering of it may say of the hash."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from trainer.arrays import ByteArray, FloatArray
from trainer.data import difference_hash as difference_hash_module
from trainer.data.decode import Picture, upright_rgb
from trainer.data.difference_hash import (
    UNKNOWN,
    DifferenceHash,
    difference_hash,
    estimated_hash,
)
from trainer.data.drawings import picture
from trainer.data.drawn_canvas import Textures

# Of whole pictures


def grey(values: ByteArray) -> Image.Image:
    return Image.fromarray(values).convert("RGB")


def test_bits_tell_where_it_becomes_lighter_row_by_row_the_first_one_highest() -> None:
    values = np.zeros((8, 9), np.uint8)
    values[0, 1] = values[7, 8] = 255
    assert difference_hash(grey(values)) == (1 << 63 | 1, 0)


def test_each_bit_compares_a_block_of_the_picture_with_the_next() -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)
    bits = "".join("01"[int(row[i]) < int(row[i + 1])] for row in values for i in range(8))
    assert difference_hash(grey(np.kron(values, np.ones((5, 7), np.uint8)))).bits == int(bits, 2)


def test_colours_count_as_their_luminance() -> None:
    image = Image.new("RGB", (9, 8), (255, 0, 0))
    image.putpixel((1, 0), (0, 255, 0))  # greens look lighter than reds, and blues darker
    image.putpixel((5, 0), (0, 0, 255))
    assert difference_hash(image).bits == 1 << 63 | 1 << 58


@pytest.mark.parametrize(("levels", "has_hash"), [(0, False), (7, False), (8, True)])
def test_picture_has_a_hash_from_eight_levels_on(levels: int, has_hash: bool) -> None:
    values = np.full((8, 9), 100, np.uint8)
    values[3, 4] += levels
    assert (difference_hash(grey(values)).bits is not None) == has_hash


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (4, 3)])
def test_tiny_and_thin_pictures_are_hashed_or_told_to_be_flat(size: tuple[int, int]) -> None:
    assert difference_hash(Image.new("RGB", size, "white")) == (None, 0)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    textures = Textures(np.random.default_rng(0))
    return [picture(bool(i % 2), np.random.default_rng(i), textures) for i in range(8)]


def far(one: Image.Image, other: Image.Image) -> int:
    first, second = difference_hash(one).bits, difference_hash(other).bits
    assert first is not None
    assert second is not None
    return bin(first ^ second).count("1")


@pytest.mark.parametrize("quality", [90, 60, 30])
def test_re_encoded_pictures_are_near_to_what_they_come_from(
    pictures: list[Image.Image], quality: int
) -> None:
    for image in pictures:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        assert far(image, Image.open(buffer)) <= 5


@pytest.mark.parametrize("share", [2.0, 0.7, 0.5, 0.25])
def test_resized_pictures_are_near_to_what_they_come_from(
    pictures: list[Image.Image], share: float
) -> None:
    for image in pictures:
        size = round(image.width * share), round(image.height * share)
        assert far(image, image.resize(size, Image.Resampling.BICUBIC)) <= 5


# Of pictures that were decoded at reduced size

ORIENTATION = 0x0112


def jpeg(image: Image.Image, quality: int = 88, **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **more)
    return buffer.getvalue()


def estimate(content: bytes, least: int) -> DifferenceHash:
    small = Picture(io.BytesIO(content), least)
    image = small.upright_rgb()
    assert small.reduction
    return estimated_hash(image, small.reduction)


def exact(content: bytes) -> DifferenceHash:
    return difference_hash(upright_rgb(content))


def agree(content: bytes, least: int) -> int:
    """How many bits an estimate is unsure of; of all others it must have what the whole one has."""
    guess, truth = estimate(content, least), exact(content)
    if guess != UNKNOWN:
        assert (guess.bits is None) == (truth.bits is None)
        assert ((guess.bits or 0) ^ (truth.bits or 0)) & ~guess.unsure == 0
    return bin(guess.unsure).count("1")


@pytest.fixture(scope="module")
def large(pictures: list[Image.Image]) -> list[Image.Image]:
    """Of sizes that leave part of a block at their edges, and with a sensor's noise."""
    rng = np.random.default_rng(3)
    sizes = [(1333, 997), (1001, 1202), (1217, 1219)]
    enlarged = [one.resize(size) for one, size in zip(pictures, sizes, strict=False)]
    noise = [rng.normal(0, 5, (*size[::-1], 3)) for size in sizes]
    return [clipped(np.asarray(one) + more) for one, more in zip(enlarged, noise, strict=True)]


def clipped(values: FloatArray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("least", [110, 220, 480])  # an eighth, a quarter, a half
def test_estimate_is_wrong_in_no_bit_that_it_is_sure_of(
    large: list[Image.Image], least: int
) -> None:
    unsure = [agree(jpeg(image), least) for image in large]
    assert max(unsure) < 24  # of 64: else it would be of little use


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("quality", [30, 97])
def test_so_it_is_of_grey_and_cmyk_whatever_the_quality(
    large: list[Image.Image], mode: str, quality: int
) -> None:
    agree(jpeg(large[0].convert(mode), quality, progressive=True), 220)


def error_of_means(image: Image.Image, least: int, orientation: int = 1) -> float:
    """The largest, in grey levels, beside what may be wrong because of pixels that edges cut."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = jpeg(image, 98, exif=exif.tobytes())
    small = Picture(io.BytesIO(content), least)
    reduced = small.upright_rgb()
    assert small.reduction
    means, cut = difference_hash_module._box_means(reduced, small.reduction)
    whole = upright_rgb(content).convert("L").resize((9, 8), Image.Resampling.BOX)
    return float((np.abs(means - np.asarray(whole)) - cut).max())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_lie_right_however_the_picture_was_turned(orientation: int) -> None:
    """Part of a block is left at both far edges: to count it in full would be 1.2 levels off."""
    across, down = np.meshgrid(np.linspace(0, 120, 1201), np.linspace(0, 130, 1193))
    ramp = Image.fromarray((across + down).astype(np.uint8))
    assert error_of_means(ramp, 149, orientation) < 0.7  # 0.5 of them for the whole one's rounding


def test_boxes_have_the_edges_that_pillow_gives_them() -> None:
    """A pixel's column in the wrong box would be 2.3 levels; where it ends it may be cut."""
    bars = np.zeros((1000, 1003), np.uint8)
    for number in range(1, 9, 2):
        bars[:, round(number * 1003 / 9) : round((number + 1) * 1003 / 9)] = 255
    assert error_of_means(Image.fromarray(bars), 480) < 0.7


def test_object_on_plain_white_leaves_no_doubt_about_the_white() -> None:
    image = Image.new("RGB", (1200, 900), "white")
    image.paste((30, 90, 200), (500, 300, 800, 700))
    assert agree(jpeg(image), 220) < 10


def test_noise_on_a_plain_background_leaves_every_doubt() -> None:
    noise = np.random.default_rng(1).normal(128, 3, (900, 1200, 3))
    noise[300:700, 500:800] -= 60
    assert agree(jpeg(clipped(noise)), 220) > 24


@pytest.mark.parametrize(("levels", "expected"), [(3, DifferenceHash(None)), (8, UNKNOWN)])
def test_whether_a_flat_picture_has_a_hash_is_left_open_near_the_limit(
    levels: int, expected: DifferenceHash
) -> None:
    values = np.full((900, 1200), 100, np.uint8)
    values[:, 600:] += levels
    assert estimate(jpeg(Image.fromarray(values)), 220) == expected


def test_nothing_is_guessed_of_halftones() -> None:
    y, x = np.mgrid[:900, :1200]
    screen = 127 + 64 * (np.cos((x + y) * 0.9) + np.cos((x - y) * 0.9))
    dots = Image.fromarray(np.where(x / 5 > screen, 255, 0).astype(np.uint8))
    content = jpeg(dots, 30)
    assert estimate(content, 220) == UNKNOWN
    assert exact(content).bits is not None
