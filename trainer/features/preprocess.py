# SPDX-License-Identifier: Apache-2.0
"""From a file's bytes to the network's input: the same for extraction, predict and saved model.

This is all that Pillow does; the normalisation of the pixels is in the graph. Any change, of
`trainer.data.decode` too, must change `recipe`, which is part of every bottleneck's fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from trainer.arrays import ByteArray
from trainer.data.decode import Picture
from trainer.data.difference_hash import DifferenceHash, difference_hash, estimated_hash

if TYPE_CHECKING:  # a decoding process starts sooner without it
    from trainer.features.backbones import Network

DRAFT = 2
"""A JPEG is decoded at a half, quarter or eighth where that leaves this many times the side."""


HASH_ALONE = 0
"""Instead of pixels a side: the picture is decoded whole, and only its difference hash given."""


class Decoded(NamedTuple):
    """What a run keeps of an image file's content."""

    pixels: ByteArray
    """(side, side, 3) uint8, RGB, the whole picture with its sides made equal as retrain.py did."""
    dhash: DifferenceHash
    """An estimate where the picture was decoded at reduced size."""
    size: tuple[int, int]
    """Width and height of the upright picture, as it was decoded: perhaps at reduced size."""


def recipe(network: Network) -> str:
    """What happens to an image, in words."""
    mean, deviation = (
        "/".join(f"{number:g}" for number in numbers)
        for numbers in (network.mean, network.deviation)
    )
    return (
        f"upright RGB, profiles ignored, JPEG reduced to no less than {DRAFT}x, whole image to "
        f"{network.side}x{network.side} by Pillow BILINEAR, (x - {mean}) / {deviation}, "
        f"{network.order}"
    )


def open_picture(file: BinaryIO, side: int) -> Picture:
    """Read an image file's header, before `decode`.

    Args:
        file: Open at its start.
        side: As for `decode`.
    Raises:
        Unreadable: With the reason in plain words.
    """
    return Picture(file, None if side == HASH_ALONE else DRAFT * side)


def decode(picture: Picture, side: int) -> Decoded:
    """Decode one image file for a network.

    Args:
        picture: From `open_picture`, for the same side.
        side: Pixels a side of the network's input; `HASH_ALONE` for no pixels.
    Raises:
        Unreadable: With the reason in plain words.
    """
    image = picture.upright_rgb()
    dhash = (
        estimated_hash(image, picture.reduction) if picture.reduction else difference_hash(image)
    )
    if side == HASH_ALONE:
        return Decoded(np.empty((0, 0, 3), np.uint8), dhash, image.size)
    squared = image.resize((side, side), Image.Resampling.BILINEAR)
    return Decoded(np.asarray(squared, np.uint8), dhash, image.size)
