# SPDX-License-Identifier: Apache-2.0
"""Small pictures: their shape, their size in bytes, and the colours of evidence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from trainer.analysis.pictures import LONGER_SIDE, MOST_BYTES, heat_map, small_size, thumbnail
from trainer.arrays import ByteArray

GREY = np.full((32, 32, 3), 128, np.uint8)


def opened(content: bytes) -> ByteArray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_picture_gets_its_shape_back() -> None:
    size = small_size(400, 100)
    assert size == (LONGER_SIDE, LONGER_SIDE // 4)
    assert opened(thumbnail(GREY, size)).shape == (LONGER_SIDE // 4, LONGER_SIDE, 3)


def test_thinnest_picture_keeps_a_pixel() -> None:
    assert small_size(30000, 1) == (LONGER_SIDE, 1)


@pytest.mark.parametrize("size", [(LONGER_SIDE, LONGER_SIDE), (LONGER_SIDE, 1)])
def test_picture_of_noise_is_small_too(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (299, 299, 3), dtype=np.uint8)
    assert len(thumbnail(noise, size)) <= MOST_BYTES


def test_evidence_for_is_blue_against_it_orange_and_none_grey() -> None:
    evidence = np.array([[3.0, 0.0, -3.0]] * 3, np.float32)
    left, middle, right = opened(heat_map(GREY, (90, 90), evidence))[45, [5, 45, 85]].tolist()
    assert left[2] > left[0] + 60
    assert right[0] > right[2] + 60
    assert max(middle) - min(middle) < 12


def test_evidence_of_nothing_leaves_the_picture_grey() -> None:
    found = opened(heat_map(GREY, (20, 20), np.zeros((8, 8), np.float32))).astype(int)
    assert abs(found - 128).max() < 6
