# SPDX-License-Identifier: Apache-2.0
"""What all are compared with: Keras in float32 on pixels from Pillow, nothing clever.

python reference.py IMAGES WEIGHTS OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from peer import SIDE, Rows, arguments, report
from prepare import network

BATCH = 32


def whole(path: Path) -> Rows:
    """A picture decoded at its full size, then made small; (299, 299, 3) from 0 to 255."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32)


def main(given: argparse.Namespace) -> None:
    """Compute the bottlenecks of all files."""
    model = network()
    model.load_weights(given.weights)

    def part_of(files: list[Path]) -> Rows:
        pixels = np.stack([whole(path) for path in files])
        rows: Rows = model.predict_on_batch(pixels / 127.5 - 1)
        return rows

    def all_of(files: list[Path]) -> Rows:
        grains = [files[first : first + BATCH] for first in range(0, len(files), BATCH)]
        return np.concatenate([part_of(grain) for grain in grains])

    report(given, all_of)


if __name__ == "__main__":
    main(arguments())
