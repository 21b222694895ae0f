# SPDX-License-Identifier: Apache-2.0
"""The folded graphs are Keras' own networks, fed the same pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from worlds import ROOT, environment

PROGRAM = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
sys.path.insert(0, "tools")
from pathlib import Path
import numpy as np
from trainer.features import weights
from trainer.features.backbone import FrozenBackbone
from trainer.features.backbones import NETWORKS
from trainer.world.devices import Device

name, folder, cuts = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
network = NETWORKS[name]
frozen = FrozenBackbone(network, network.cut, {}, 2, Device("cpu"))
frozen.set_up()  # TensorFlow wants to be told its threads first

import tensorflow as tf
import topology

rng = np.random.default_rng(0)
reference, drawn = topology.draw(name)
print("topology", drawn == topology.read(name))
values = []
for layer in reference.layers:
    for value in layer.get_weights():
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        if value.ndim == 4:
            fan = np.prod(value.shape[:2] if depthwise else value.shape[:3])
            values.append(rng.normal(0, np.sqrt(2 / fan), value.shape))
        elif (value == 1).all():
            values.append(rng.uniform(0.5, 2, value.shape))
        else:
            values.append(rng.normal(0, 0.3, value.shape))
reference.set_weights(values)
reference.save_weights(folder / "a.weights.h5")
frozen.weights = weights.load(network, str(folder / "a.weights.h5"), folder, 0)

def prepare(pixels):
    x = pixels.astype(np.float32)
    if network.order == "BGR":
        return tf.keras.applications.resnet50.preprocess_input(x)
    if name == "efficientnet_lite0":
        return (x - 127) / 128
    return tf.keras.applications.inception_v3.preprocess_input(x)

def wanted(pixels, cut=None):
    model = reference if cut is None else tf.keras.Model(
        reference.input, reference.get_layer(cut).output)
    rows = model(prepare(pixels), training=False).numpy()
    return rows if rows.ndim == 2 else rows.mean(axis=(1, 2))

def distance(found, expected):
    return ((found - expected) ** 2).sum() / ((expected - expected.mean(axis=0)) ** 2).sum()

smooth = rng.integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
pixels = np.kron(smooth, np.ones((1, 38, 38, 1), np.uint8))[:, :network.side, :network.side]
expected = wanted(pixels)
found = np.concatenate([frozen(pixels[:6]), frozen(pixels[6:])])
print("same", distance(found, expected))
print("swapped", distance(frozen(pixels[..., ::-1]), expected))
print("darker", distance(frozen(pixels // 2), expected))
print("alone", np.array_equal(frozen(pixels[:1]), found[:1]))
for cut in cuts:
    at = FrozenBackbone(network, network.cut_at(cut), frozen.weights, 2, Device("cpu"))
    rows = at(pixels)
    assert rows.shape[1] == at.features
    print(cut, distance(rows, wanted(pixels, cut)))
print("reduced", distance(at.at("bfloat16")(pixels), rows))
"""


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("inception_v3", ["mixed7", "conv2d_5"]),
        ("resnet50", ["conv4_block6_out", "conv2_block1_3_bn"]),
        ("mobilenet_v2", ["block_12_add", "Conv1"]),
        ("efficientnet_lite0", ["block5a_dwconv", "block2a_project_bn"]),
    ],
)
def test_bottlenecks_equal_keras_own_and_order_and_range_of_channels_matter(
    name: str, cuts: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, tmp_path, *cuts],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert told.pop("topology") == "True"
    assert told.pop("alone") == "True"
    distances = {key: float(value) for key, value in told.items()}
    assert distances.pop("swapped") > 0.01
    assert distances.pop("darker") > 0.01
    assert 0 < distances.pop("reduced") < 0.01
    assert set(distances) == {"same", *cuts}
    assert max(distances.values()) <= 1e-6, json.dumps(distances)
