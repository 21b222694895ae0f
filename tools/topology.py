# SPDX-License-Identifier: Apache-2.0
"""Draw the topologies in trainer/features/topologies/ from Keras' own networks.

    python tools/topology.py                draw all again
    python tools/topology.py inception_v3   draw one

They are kept as files so that a run needs no Keras: neither to build the network nor to know which
weights belong to it. A new network of `keras.applications` is a line in NETWORKS here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import tensorflow as tf

FOLDER = Path(__file__).parent.parent / "trainer" / "features" / "topologies"
Settings = dict[str, Any]

LITE0_STAGES = (
    # expansion, kernel, stride of the first block, outputs, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def efficientnet_lite0() -> Any:
    """EfficientNet-Lite0, which Keras lacks: B0 without squeeze and excitation, with ReLU6.

    Source: Tan and Le 2019, EfficientNet, ICML, table 1; what Lite leaves out: the README of
    tensorflow/tpu, models/official/efficientnet/lite.
    """
    keras = tf.keras
    pixels = keras.Input((224, 224, 3))
    x = _unit(pixels, keras.layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv"))
    for stage, (expansion, kernel, stride, outputs, blocks) in enumerate(LITE0_STAGES, 1):
        for block in range(blocks):
            name = f"block{stage}{chr(ord('a') + block)}_"
            x = _block(x, name, expansion, kernel, 1 if block else stride, outputs)
    x = _unit(x, keras.layers.Conv2D(1280, 1, 1, "same", use_bias=False, name="top_conv"))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="avg_pool")(x))


def _block(x: Any, name: str, expansion: int, kernel: int, stride: int, outputs: int) -> Any:
    layers, inputs = tf.keras.layers, x.shape[-1]
    y = x
    if expansion > 1:
        widened = layers.Conv2D(
            inputs * expansion, 1, 1, "same", use_bias=False, name=f"{name}expand_conv"
        )
        y = _unit(y, widened)
    y = _unit(
        y, layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}dwconv")
    )
    y = layers.Conv2D(outputs, 1, 1, "same", use_bias=False, name=f"{name}project_conv")(y)
    y = layers.BatchNormalization(epsilon=1e-3, name=f"{name}project_bn")(y)
    if stride == 1 and inputs == outputs:
        y = layers.Add(name=f"{name}add")([x, y])
    return y


def _unit(x: Any, convolution: Any) -> Any:
    layers = tf.keras.layers
    name = convolution.name.replace("dwconv", "dw").removesuffix("_conv")
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(convolution(x))
    return layers.ReLU(6, name=f"{name}_activation")(x)


def _of_keras(constructor: str, side: int) -> Any:
    model = getattr(tf.keras.applications, constructor)(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    pool = tf.keras.layers.GlobalAveragePooling2D(name="avg_pool")  # some leave it without a name
    return tf.keras.Model(model.input, pool(model.output))


NETWORKS: dict[str, Callable[[], Any]] = {
    "inception_v3": partial(_of_keras, "InceptionV3", 299),
    "resnet50": partial(_of_keras, "ResNet50", 224),
    "mobilenet_v2": partial(_of_keras, "MobileNetV2", 224),
    "efficientnet_lite0": efficientnet_lite0,
}


def draw(name: str) -> tuple[Any, list[Settings]]:
    """A network, and its topology: a dictionary a layer, in the order of Keras' layers."""
    tf.keras.backend.clear_session()  # names with counters begin anew
    model = NETWORKS[name]()
    return model, [_layer(layer) for layer in model.layers]


def read(name: str) -> list[Settings]:
    """The topology that is in the package."""
    topology: list[Settings] = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    return topology


def _layer(layer: Any) -> Settings:
    kind, settings = _KINDS[type(layer).__name__](layer)
    if kind == "input":
        return {"name": "input", "kind": kind}
    return {"name": layer.name, "kind": kind, "inputs": _inputs(layer), **settings}


def _inputs(layer: Any) -> list[str]:
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    sources = [tensor._keras_history[0] for tensor in tensors]
    return ["input" if type(s).__name__ == "InputLayer" else s.name for s in sources]


def _convolution(kind: str, layer: Any) -> tuple[str, Settings]:
    config = _known(layer, activation="linear", dilation_rate=(1, 1), data_format="channels_last")
    return kind, {
        "kernel": [int(length) for length in layer.get_weights()[0].shape],
        "bias": config["use_bias"],
        "strides": list(config["strides"]),
        "padding": config["padding"],
    }


def _normalization(layer: Any) -> tuple[str, Settings]:
    config = _known(layer, center=True)
    return "normalization", {
        "width": int(layer.get_weights()[-1].shape[0]),
        "gamma": config["scale"],
        "epsilon": config["epsilon"],
    }


def _pool(kind: str, layer: Any) -> tuple[str, Settings]:
    config = _known(layer, data_format="channels_last")
    return kind, {
        "size": list(config["pool_size"]),
        "strides": list(config["strides"]),
        "padding": config["padding"],
    }


def _activation(layer: Any) -> tuple[str, Settings]:
    return str(_known(layer, activation="relu")["activation"]), {}


def _relu(layer: Any) -> tuple[str, Settings]:
    config = _known(layer, negative_slope=0.0, threshold=0.0)
    return {None: "relu", 6.0: "relu6"}[config["max_value"]], {}


def _pad(layer: Any) -> tuple[str, Settings]:
    return "pad", {"pad": [list(sides) for sides in _known(layer)["padding"]]}


def _plain(kind: str, _: Any) -> tuple[str, Settings]:
    return kind, {}


_KINDS: dict[str, Callable[[Any], tuple[str, Settings]]] = {
    "InputLayer": partial(_plain, "input"),
    "Conv2D": partial(_convolution, "convolution"),
    "DepthwiseConv2D": partial(_convolution, "depthwise"),
    "BatchNormalization": _normalization,
    "Activation": _activation,
    "ReLU": _relu,
    "Add": partial(_plain, "add"),
    "Concatenate": partial(_plain, "concatenate"),
    "MaxPooling2D": partial(_pool, "max_pool"),
    "AveragePooling2D": partial(_pool, "average_pool"),
    "GlobalAveragePooling2D": partial(_plain, "mean"),
    "ZeroPadding2D": _pad,
}


def _known(layer: Any, **wanted: object) -> Settings:
    """A layer's settings; stops at one that a topology has no word for."""
    config: Settings = layer.get_config()
    for key, value in wanted.items():
        if config.get(key, value) != value:  # a key that this Keras lacks has its default
            raise SystemExit(f"{layer.name}: {key} {config[key]!r} is not known here.")
    return config


def main() -> None:
    """Draw the networks that are named, or all."""
    for name in sys.argv[1:] or NETWORKS:
        lines = ",\n".join(json.dumps(layer) for layer in draw(name)[1])
        (FOLDER / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="ascii")
        print(FOLDER / f"{name}.json")


if __name__ == "__main__":
    main()
