# SPDX-License-Identifier: Apache-2.0
"""The table of backbones, and their topologies: known without TensorFlow, drawn from Keras once.

A new network is a row here and a line in tools/topology.py, which draws its topology.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Literal

from trainer.errors import UsageError

Triple = tuple[float, float, float]
Padding = Literal["same", "valid"]


@dataclass(frozen=True)
class Layer:
    """One layer of a network, by Keras' name.

    Attributes:
        kind: input, convolution, depthwise, normalization, relu, relu6, add, concatenate,
            max_pool, average_pool, pad or mean.
        inputs: The layers that it reads.
        kernel: Shape of a convolution's kernel: height, width, inputs, outputs (depthwise:
            height, width, channels, 1).
        bias, gamma: Whether a convolution has the one, a normalization the other.
        width, epsilon: Of a normalization.
        size, strides, padding: Of a pooling; the last two of a convolution too.
        pad: Zeros put before and after rows, then columns.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    kernel: tuple[int, ...] = ()
    bias: bool = False
    gamma: bool = False
    width: int = 0
    epsilon: float = 0.0
    size: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    padding: Padding = "valid"
    pad: tuple[tuple[int, int], ...] = ()

    @property
    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of its weights in Keras' order.

        That is kernel and bias, or gamma, beta, mean and variance; what it lacks is left out.
        """
        if self.kind == "normalization":
            return [(self.width,)] * (3 + self.gamma)
        if not self.kernel:
            return []
        channels = self.kernel[3] if self.kind == "convolution" else self.kernel[2]
        return [self.kernel, (channels,)] if self.bias else [self.kernel]


@dataclass(frozen=True)
class Network:
    """One row of the table: a pretrained network and how it wants its input.

    Attributes:
        name: As in `backbone.name` and in the topology's file name.
        title: For people.
        side: Pixels a side of its input.
        mean, deviation: Of red, green and blue: the input is (pixel - mean) / deviation.
        order: Of the channels in the network's input.
        cut: The layer that gives the bottleneck, unless `backbone.layer` names another.
    """

    name: str
    title: str
    side: int
    mean: Triple
    deviation: Triple
    order: Literal["RGB", "BGR"]
    cut: str

    @cached_property
    def layers(self) -> list[Layer]:
        """All layers in Keras' order, each after those that it reads."""
        return topology(self.name)

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """The layers by name."""
        return {layer.name: layer for layer in self.layers}

    def cut_at(self, layer: str | None) -> str:
        """The layer that gives the bottleneck.

        Args:
            layer: `backbone.layer`; None for the row's own.
        Raises:
            UsageError: There is no such layer.
        """
        if layer is None:
            return self.cut
        if layer not in self.by_name or self.by_name[layer].kind == "input":
            near = difflib.get_close_matches(layer, self.by_name, n=3, cutoff=0.5)
            todo = f"Did you mean {' or '.join(near)}?" if near else f"Its last is {self.cut}."
            raise UsageError(f"backbone.layer {layer}: no such layer in {self.name}.", todo)
        return layer

    def features(self, layer: str) -> int:
        """Numbers in a bottleneck cut at this layer: its channels."""
        found = self.by_name[layer]
        if found.kind == "input":
            return 3
        if found.kind == "concatenate":
            return sum(self.features(name) for name in found.inputs)
        if found.kind == "convolution":
            return found.kernel[3]
        return found.width or self.features(found.inputs[0])


def topology(name: str) -> list[Layer]:
    """Read the layers of a network from the package's file."""
    folder = resources.files(__package__).joinpath("topologies")
    text = folder.joinpath(f"{name}.json").read_text("ascii")
    return [Layer(**_tuples(settings)) for settings in json.loads(text)]


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


HALF: Triple = (127.5, 127.5, 127.5)
"""Pixels 0 to 255 become -1 to 1."""

NETWORKS = {
    network.name: network
    for network in (
        # Szegedy et al. 2016, Rethinking the Inception Architecture, CVPR, pages 2818-2826
        Network("inception_v3", "Inception-v3", 299, HALF, HALF, "RGB", "avg_pool"),
        # He et al. 2016, Deep Residual Learning, CVPR, pages 770-778; as Caffe trained it
        Network(
            "resnet50", "ResNet-50", 224, (123.68, 116.779, 103.939), (1, 1, 1), "BGR", "avg_pool"
        ),
        # Sandler et al. 2018, Inverted Residuals and Linear Bottlenecks, CVPR, pages 4510-4520
        Network("mobilenet_v2", "MobileNet-v2", 224, HALF, HALF, "RGB", "avg_pool"),
        # Tan and Le 2019, EfficientNet, ICML; Lite as in tensorflow/tpu
        Network(
            "efficientnet_lite0", "EfficientNet-Lite0", 224, (127,) * 3, (128,) * 3, "RGB",
            "avg_pool",
        ),
    )
}  # fmt: skip
