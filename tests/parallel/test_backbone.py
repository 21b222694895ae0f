# SPDX-License-Identifier: Apache-2.0
"""The frozen graph is Keras' own Inception-v3, fed the same pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from worlds import environment

PROGRAM = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
from pathlib import Path
import numpy as np
import tensorflow as tf
from trainer.features import weights
from trainer.features.backbone import FrozenBackbone

frozen = FrozenBackbone([], 2, 0, "cpu")
assert frozen.device == "cpu"  # TensorFlow wants to be told its threads first

rng = np.random.default_rng(0)
reference = tf.keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
values = []
for value in reference.get_weights():
    if value.ndim == 4:
        spread = np.sqrt(2 / np.prod(value.shape[:3]))
        values.append(rng.normal(0, spread, value.shape))
    elif (value == 1).all():
        values.append(rng.uniform(0.5, 2, value.shape))
    else:
        values.append(rng.normal(0, 0.3, value.shape))
reference.set_weights(values)
path = Path(sys.argv[1])
reference.save_weights(path / "a.weights.h5")

frozen.weights = weights.read_file(path / "a.weights.h5")
smooth = rng.integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
pixels = np.kron(smooth, np.ones((1, 38, 38, 1), np.uint8))[:, :299, :299]
prepare = tf.keras.applications.inception_v3.preprocess_input

def wanted(pixels):
    return reference(prepare(pixels.astype(np.float32)), training=False).numpy()

def distance(found, expected):
    return ((found - expected) ** 2).sum() / ((expected - expected.mean(axis=0)) ** 2).sum()

expected = wanted(pixels)
found = np.concatenate([frozen(pixels[:6]), frozen(pixels[6:])])
print(distance(found, expected))
print(distance(frozen(pixels[..., ::-1]), expected))
print(distance(frozen(pixels // 2), expected))
print(np.array_equal(frozen(pixels[:1]), found[:1]))
"""


def test_bottlenecks_equal_keras_own_and_order_and_range_of_channels_matter(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    same, swapped, darker, alone = done.stdout.split()
    assert float(same) <= 1e-6
    assert float(swapped) > 0.01
    assert float(darker) > 0.01
    assert alone == "True"
