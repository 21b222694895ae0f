# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from trainer.arrays import ByteArray
from trainer.data.decode import upright_rgb
from trainer.data.difference_hash import DifferenceHash, difference_hash
from trainer.features.preprocess import HASH_ALONE, Decoded, decode, open_picture

LARGEST_MEAN_DIFFERENCE = 1.5
"""Grey levels by which decoding at a reduced size may change the network's input, in the mean."""


def jpeg(values: ByteArray, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "JPEG", quality=90, **options)
    return content.getvalue()


def decoded(content: bytes, side: int) -> Decoded:
    return decode(open_picture(io.BytesIO(content), side), side)


def noise() -> ByteArray:
    return np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)


def edges() -> ByteArray:
    squares = np.random.default_rng(1).integers(0, 2, (30, 40), np.uint8) * 255
    return np.repeat(np.kron(squares, np.ones((50, 50), np.uint8))[:, :, None], 3, axis=2)


def stripes() -> ByteArray:
    row = np.tile(np.array([0, 0, 0, 255, 255, 255], np.uint8), 333)
    return np.repeat(np.tile(row, (1500, 1))[:, :, None], 3, axis=2)


@pytest.mark.parametrize("side", [224, 299])
@pytest.mark.parametrize("draw", [noise, edges, stripes])
def test_reduced_decoding_changes_the_input_by_little(draw: object, side: int) -> None:
    content = jpeg(draw())  # type: ignore[operator]
    whole = upright_rgb(content).resize((side, side), Image.Resampling.BILINEAR)
    difference = np.abs(decoded(content, side).pixels.astype(int) - np.asarray(whole).astype(int))
    assert 0 < difference.mean() <= LARGEST_MEAN_DIFFERENCE


def test_photograph_less_than_four_times_the_side_is_decoded_whole() -> None:
    content = jpeg(noise()[: 4 * 299 - 1])
    whole = upright_rgb(content).resize((299, 299), Image.Resampling.BILINEAR)
    assert np.array_equal(decoded(content, 299).pixels, np.asarray(whole))


def test_reduced_photograph_is_turned_upright_too() -> None:
    values = np.zeros((2400, 1600, 3), np.uint8)
    values[:1200] = 255  # the upper half, once it is turned by 180 degrees, is the lower one
    exif = Image.Exif()
    exif[0x0112] = 3
    result = decoded(jpeg(values, exif=exif.tobytes()), 299).pixels
    assert result[:140].max() < 10
    assert result[160:].min() > 245


def test_hash_of_a_reduced_photograph_tells_which_bits_the_whole_one_may_have_otherwise() -> None:
    content = jpeg(edges())
    estimate, exact = decoded(content, 299).dhash, decoded(content, HASH_ALONE).dhash
    assert not estimate.exact
    assert exact == difference_hash(upright_rgb(content))
    assert estimate.bits is not None
    assert exact.bits is not None
    assert not (estimate.bits ^ exact.bits) & ~estimate.unsure


def test_small_photograph_has_its_exact_hash_at_once_or_none() -> None:
    assert decoded(jpeg(edges()[:400, :400]), 299).dhash.exact
    assert decoded(jpeg(np.full((50, 50, 3), 7, np.uint8)), 299).dhash == DifferenceHash(None)
