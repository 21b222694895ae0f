# SPDX-License-Identifier: Apache-2.0
"""From a file's bytes to the network's input: the same for extraction, predict and saved model.

This is all that Pillow does; the normalisation of the pixels is in the graph. Any change, of
`trainer.data.decode` too, must change `recipe`, which is part of every bottleneck's fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from trainer.arrays import ByteArray
from trainer.data.decode import Picture
from trainer.data.near_duplicates import difference_hash

if TYPE_CHECKING:  # a decoding process starts sooner without it
    from trainer.features.backbones import Network

DRAFT = 2
"""A JPEG is decoded at a half, quarter or eighth where that leaves this many times the side."""


class Decoded(NamedTuple):
    """What a run keeps of an image file's content."""

    pixels: ByteArray
    """(side, side, 3) uint8, RGB, the whole picture with its sides made equal as retrain.py did."""
    dhash: int | None
    """The difference hash, of a JPEG at the size that it was decoded at; None where none is."""


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


def decode(picture: Picture, side: int) -> Decoded:
    """Decode one image file for a network.

    Args:
        picture: Opened with `DRAFT * side` as its least size.
        side: Pixels a side of the network's input.
    Raises:
        Unreadable: With the reason in plain words.
    """
    image = picture.upright_rgb()
    squared = image.resize((side, side), Image.Resampling.BILINEAR)
    return Decoded(np.asarray(squared, np.uint8), difference_hash(image))
