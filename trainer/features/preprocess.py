# SPDX-License-Identifier: Apache-2.0
"""From a file's bytes to the network's input: the same for extraction, predict and saved model.

This is all that Pillow does; the normalisation of the pixels is in the graph. Any change must
change `recipe`, which is part of every bottleneck's fingerprint.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainer.arrays import ByteArray
from trainer.data.decode import upright_rgb
from trainer.features.backbones import Network

DRAFT = 2
"""A JPEG is decoded at a half, quarter or eighth where that leaves this many times the side."""


def recipe(network: Network) -> str:
    """What happens to an image, in words."""
    mean, deviation = (
        "/".join(f"{number:g}" for number in numbers)
        for numbers in (network.mean, network.deviation)
    )
    return (
        f"upright RGB, JPEG reduced to no less than {DRAFT}x, whole image to "
        f"{network.side}x{network.side} by Pillow BILINEAR, (x - {mean}) / {deviation}, "
        f"{network.order}"
    )


def pixels(content: bytes, side: int) -> ByteArray:
    """Decode one image file for a network.

    Args:
        content: The file's bytes.
        side: Pixels a side of the network's input.
    Returns:
        (side, side, 3) uint8, RGB, the whole picture with its sides made equal as retrain.py did.
    Raises:
        Unreadable: With the reason in plain words.
    """
    image = upright_rgb(content, least=DRAFT * side)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.uint8)
