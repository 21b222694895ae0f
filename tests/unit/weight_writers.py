# SPDX-License-Identifier: Apache-2.0
"""Files of weights in every form that is read, written without Keras."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trainer.features.backbones import Network
from trainer.features.weight_files import Weights

CLASSES = {
    "convolution": "conv2d",
    "depthwise": "depthwise_conv2d",
    "normalization": "batch_normalization",
}
Target = Path | io.BytesIO


def write_counted(
    target: Target, network: Network, weights: Weights, top: bool = False, inside: str = ""
) -> None:
    """A `.weights.h5` as Keras 3 lays it out; h5py lists its groups in alphabetical order.

    Args:
        target: Where to.
        network: Tells the layers' classes.
        weights: What of it is written.
        top: With a classifier.
        inside: The group of the network's layers, where it is a layer of another model.
    """
    counts: Counter[str] = Counter()
    with h5py.File(target, "w") as file:
        for name, arrays in weights.items():
            kind = CLASSES[network.by_name[name].kind]
            suffix = f"_{counts[kind]}" if counts[kind] else ""
            counts[kind] += 1
            for place, array in enumerate(arrays):
                file[f"{inside}layers/{kind}{suffix}/vars/{place}"] = array
        if top:
            file["layers/dense/vars/0"] = np.zeros((8, 10), np.float32)
            file["layers/dense/vars/1"] = np.zeros(10, np.float32)


def write_listed(
    path: Path, weights: Weights, top: bool = False, nested: bool = False, within: bool = False
) -> None:
    """An older `.h5`: layers named by counters that began at 95, in an order that it states.

    Args:
        path: Where to.
        weights: What is written.
        top: With a classifier.
        nested: The model around its weights.
        within: The network is one layer of another model.
    """
    layers = {f"layer_{number}": list(arrays) for number, arrays in enumerate(weights.values(), 95)}
    if top:
        layers["predictions"] = [np.zeros((8, 10), np.float32), np.zeros(10, np.float32)]
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if nested else file
        if within:
            parts = [
                (f"{name}/w{i}:0", a)
                for name, arrays in layers.items()
                for i, a in enumerate(arrays)
            ]
            # Keras lists what is trained first
            parts.sort(key=lambda part: part[0].endswith(("w2:0", "w3:0")))
            _add_layer(group, "network", dict(parts))
            layers = {"network": []}
        for name, arrays in layers.items():
            if arrays:
                _add_layer(group, name, {f"{name}/w{i}:0": array for i, array in enumerate(arrays)})
        group.attrs["layer_names"] = [name.encode() for name in ["input", *layers]]
        group.create_group("input").attrs["weight_names"] = []


def _add_layer(group: Any, name: str, arrays: dict[str, Any]) -> None:
    layer = group.create_group(name)
    layer.attrs["weight_names"] = [key.encode() for key in arrays]
    for key, array in arrays.items():
        layer[key] = array


def write_keras(path: Path, network: Network, weights: Weights) -> None:
    """A `.keras` file."""
    content = io.BytesIO()
    write_counted(content, network, weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", content.getvalue())
