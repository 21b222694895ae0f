# SPDX-License-Identifier: Apache-2.0
"""How retrain.py's text files are read, and which are refused."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.images import Unreadable
from trainer.data.retrain_py import common_length, parse_bottleneck


def test_numbers_are_read_as_float32() -> None:
    bottleneck = parse_bottleneck(b"0.275302,1,-2.5e-3\n")
    assert bottleneck.dtype == np.float32
    assert bottleneck.tolist() == np.array([0.275302, 1, -2.5e-3], np.float32).tolist()


def test_every_float32_survives_its_text() -> None:
    values = np.random.default_rng(0).normal(size=2048).astype(np.float32)
    content = ",".join(str(value) for value in values).encode()
    assert np.array_equal(parse_bottleneck(content), values)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"1,zwei,3", "has 'zwei' where number 2 should stand"),
        (b"1,2,", "has '' where number 3 should stand"),
        (b"1,2\n3,4", "has '2\\n3' where number 2 should stand"),
        (b"1;2;3", "has '1;2;3' where number 1 should stand"),
        (b"1,1_000", "has '1_000' where number 2 should stand"),
        (b"1,nan", "has nan as number 2: no finite float32"),
        (b"-inf,1", "has -inf as number 1: no finite float32"),
        (b"1,2,3.5e38", "has 3.5e+38 as number 3: no finite float32"),
    ],
)
def test_what_is_no_bottleneck_is_refused_with_its_reason(content: bytes, told: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse_bottleneck(content)
    assert caught.value.reason == told


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Unreadable, match="where number 1 should stand"):
        parse_bottleneck(b"\xff\xd8\xff\xe0" * 100)


@pytest.mark.parametrize(
    ("lengths", "common"), [([2048], 2048), ([3, 5, 3], 3), ([3, 5], 5), ([5, 3, 3, 5, 9], 5)]
)
def test_common_length_is_the_most_frequent_and_else_the_larger(
    lengths: list[int], common: int
) -> None:
    assert common_length(lengths) == common
