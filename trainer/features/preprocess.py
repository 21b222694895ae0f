# SPDX-License-Identifier: Apache-2.0
"""From a file's bytes to the network's input: the same for extraction, predict and saved model.

The first half runs here, by Pillow; the second, in the graph, is `SCALE` and `SHIFT` on the
pixels. Any change must change `RECIPE`, which is part of every bottleneck's fingerprint.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainer.arrays import ByteArray
from trainer.data.images import upright_rgb

SIDE = 299
"""Pixels a side of Inception-v3's input."""
SCALE, SHIFT = 1 / 127.5, -1.0
"""Pixels 0 to 255 become -1 to 1, as Inception-v3 was trained."""
RECIPE = f"upright RGB, whole image to {SIDE}x{SIDE} by Pillow BILINEAR, x/127.5 - 1"


def pixels(content: bytes) -> ByteArray:
    """Decode one image file for the network.

    Args:
        content: The file's bytes.
    Returns:
        (299, 299, 3) uint8, RGB, the whole picture with its sides made equal as retrain.py did.
    Raises:
        Unreadable: With the reason in plain words.
    """
    image = upright_rgb(content)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.uint8)
