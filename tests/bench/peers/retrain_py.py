# SPDX-License-Identifier: Apache-2.0
"""The way of TensorFlow's retrain.py: one session on a frozen graph, one image at a time.

    python retrain_py.py IMAGES WEIGHTS OUT

The file's bytes go into the graph, which decodes, resizes and computes with all cores; every
bottleneck becomes a text file of numbers with commas.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from peer import SIDE, Rows, arguments, frozen_of, report


def build(frozen: Path) -> tuple[Any, Any]:
    """The placeholder for a file's bytes, and the bottleneck, in the default graph."""
    import tensorflow.compat.v1 as tf

    definition = tf.GraphDef()
    definition.ParseFromString(frozen.read_bytes())
    content = tf.placeholder(tf.string, [])
    picture = tf.cast(tf.image.decode_jpeg(content, channels=3), tf.float32)  # PNG likewise
    sized = tf.image.resize_bilinear(tf.expand_dims(picture, 0), [SIDE, SIDE])
    (bottleneck,) = tf.import_graph_def(
        definition, {"pixels": sized / 127.5 - 1}, ["bottlenecks:0"]
    )
    return content, bottleneck


def main(given: argparse.Namespace) -> None:
    """Compute the bottlenecks of all files."""
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    content, bottleneck = build(frozen_of(given.weights))
    with tf.Session() as session:

        def of(encoded: bytes) -> Rows:
            values: Rows = session.run(bottleneck, {content: encoded})[0]
            return values

        def all_of(files: list[Path]) -> Rows:
            rows = []
            for number, path in enumerate(files):
                values = of(path.read_bytes())
                text = ",".join(str(value) for value in values)
                (given.out / f"{number}.txt").write_text(text, encoding="ascii")
                rows.append(values)
            return np.stack(rows)

        of(session.run(tf.io.encode_jpeg(np.zeros((SIDE, SIDE, 3), np.uint8))))
        report(given, all_of)


if __name__ == "__main__":
    main(arguments())
