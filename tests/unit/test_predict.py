# SPDX-License-Identifier: Apache-2.0
"""New images on their way to a model; what a model says of them is tested with real runs."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from trainer.features.pipeline import Decoder
from trainer.features.preprocess import Decoded
from trainer.predict import decode_files, place

NOT_REGULAR = "is a pipe, socket or device, no regular file"


def picture(path: Path, shade: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade,) * 3).save(buffer, "WEBP", lossless=True)
    path.write_bytes(buffer.getvalue())
    return str(path)


@pytest.mark.timeout(20)  # what opens a pipe waits for ever
def test_each_file_becomes_an_image_or_a_reason_in_the_order_given(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "words").write_bytes(b"words")
    paths = [
        str(tmp_path / "pipe"),
        picture(tmp_path / "first", 1),
        str(tmp_path / "missing"),
        "/dev/zero",
        str(tmp_path / "words"),
        picture(tmp_path / "second", 2),
    ]
    with Decoder(place, 4, 2) as decoder:
        pipe, first, missing, device, words, second = decode_files(paths, decoder)
    assert (pipe, device) == (NOT_REGULAR, NOT_REGULAR)
    assert missing == "cannot be read: No such file or directory"
    assert str(words).startswith("is no image")
    assert [one.pixels[0, 0, 0] for one in (first, second) if isinstance(one, Decoded)] == [1, 2]
