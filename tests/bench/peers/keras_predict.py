# SPDX-License-Identifier: Apache-2.0
"""Keras' own way: `Model.predict` on a tf.data pipeline, in batches of 32, with all cores.

    python keras_predict.py IMAGES WEIGHTS OUT

Parallel calls and prefetching are fixed: tf.data's tuning of them can go on for seconds after the
last batch, and would flatter whoever is compared with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from peer import SIDE, Rows, arguments, cores, report
from prepare import network

BATCH = 32


def pixels_of(path: Any) -> Any:
    """One file as the network's input, (299, 299, 3) from -1 to 1."""
    import tensorflow as tf

    picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    return tf.image.resize(picture, [SIDE, SIDE]) / 127.5 - 1


def batches_of(files: list[Path]) -> Any:
    """The files as a dataset of batches."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    paths = tf.data.Dataset.from_tensor_slices([str(path) for path in files])
    decoded = paths.map(pixels_of, num_parallel_calls=cores(), deterministic=True)
    return decoded.batch(BATCH).prefetch(2).with_options(options)


def blank() -> Any:
    """A whole batch and a part of one, of the kind that follows: nothing is traced after it."""
    import tensorflow as tf

    pixels = np.zeros((BATCH + 1, SIDE, SIDE, 3), np.float32)
    return tf.data.Dataset.from_tensor_slices(pixels).batch(BATCH)


def main(given: argparse.Namespace) -> None:
    """Compute the bottlenecks of all files."""
    model = network()
    model.load_weights(given.weights)

    def all_of(files: list[Path]) -> Rows:
        rows: Rows = model.predict(batches_of(files), verbose=0)
        return rows

    model.predict(blank(), verbose=0)
    report(given, all_of)


if __name__ == "__main__":
    main(arguments())
