# SPDX-License-Identifier: Apache-2.0
"""A network made smaller before TensorFlow sees it, by arithmetic on its weights alone.

Batch normalisation goes into the convolution before it, the normalisation of the pixels into the
first convolution where that pads nothing, and layers behind the cut go away. All of it is exact
but for rounding: it is done in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainer.arrays import Float32Array, FloatArray
from trainer.features.backbones import Layer, Network
from trainer.features.weights import Weights

CONVOLUTIONS = ("convolution", "depthwise")


@dataclass(frozen=True)
class Step:
    """One layer of the folded network.

    Attributes:
        layer: What it was; its inputs are names of steps.
        arrays: A convolution's kernel, and its bias (channels,) if it has one; what a `scale`
            step multiplies each channel with, and what it adds then.
    """

    layer: Layer
    arrays: tuple[Float32Array, ...] = ()


@dataclass
class _Linear:
    """A step before it is rounded, in float64."""

    layer: Layer
    factor: FloatArray
    offset: FloatArray | None

    def then(self, factor: FloatArray, offset: FloatArray, layer: Layer) -> None:
        """Scale and shift each output channel, and take over the later layer's name."""
        by_channel = factor[:, None] if self.layer.kind == "depthwise" else factor
        self.factor = self.factor * by_channel
        self.offset = offset + (0 if self.offset is None else self.offset * factor)
        self.layer = replace(self.layer, name=layer.name)

    def after(self, mean: FloatArray, deviation: FloatArray) -> None:
        """Take (x - mean) / deviation of each input channel in too."""
        self.factor = self.factor / deviation[:, None]
        shift = -np.einsum("hwio,i->o", self.factor, mean)
        self.offset = shift if self.offset is None else self.offset + shift

    def rounded(self) -> Step:
        arrays = (self.factor, *(() if self.offset is None else (self.offset,)))
        return Step(self.layer, tuple(array.astype(np.float32) for array in arrays))


def fold(network: Network, weights: Weights, cut: str) -> list[Step]:
    """The steps from pixels to the bottleneck, in order.

    Args:
        network: The row of the table.
        weights: Its weights.
        cut: The layer whose mean over the picture is the bottleneck.
    Returns:
        The first step is named `input`. Where its kind is `scale`, it is the normalisation of
        the pixels; else that lies in the first convolution. The last is of kind `mean`.
    """
    needed = _needed(network.by_name, cut)
    readers = {layer.name: [r for r in needed if layer.name in r.inputs] for layer in needed}
    steps: dict[str, Step | _Linear] = {}
    for layer in needed:
        source = steps.get(layer.inputs[0]) if layer.inputs else None
        if layer.kind == "normalization":
            factor, offset = _affine(layer, weights[layer.name])
            if isinstance(source, _Linear) and len(readers[layer.inputs[0]]) == 1:
                source.then(factor, offset, layer)
                steps[layer.name] = steps.pop(layer.inputs[0])
            else:
                steps[layer.name] = _Linear(replace(layer, kind="scale"), factor, offset)
        elif layer.kind in CONVOLUTIONS:
            steps[layer.name] = _linear(layer, weights[layer.name])
        else:
            steps[layer.name] = Step(layer)
    _normalise_pixels(network, steps, readers)
    if network.by_name[cut].kind != "mean":
        steps["mean"] = Step(Layer("mean", "mean", (cut,)))
    return [step.rounded() if isinstance(step, _Linear) else step for step in steps.values()]


def _needed(by_name: dict[str, Layer], cut: str) -> list[Layer]:
    """The layers that the cut depends on, itself included, in order."""
    wanted = {cut}
    for layer in reversed(by_name.values()):
        if layer.name in wanted:
            wanted.update(layer.inputs)
    return [layer for layer in by_name.values() if layer.name in wanted]


def _affine(layer: Layer, arrays: tuple[Float32Array, ...]) -> tuple[FloatArray, FloatArray]:
    """What a batch normalisation multiplies each channel with and adds to it.

    Source: Ioffe and Szegedy 2015, Batch Normalization, ICML, algorithm 2.
    """
    *gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays)
    factor = (gamma[0] if gamma else 1.0) / np.sqrt(variance + layer.epsilon)
    return factor, beta - mean * factor


def _linear(layer: Layer, arrays: tuple[Float32Array, ...]) -> _Linear:
    kernel, *bias = (array.astype(np.float64) for array in arrays)
    return _Linear(layer, kernel, bias[0] if bias else None)


def _normalise_pixels(
    network: Network, steps: dict[str, Step | _Linear], readers: dict[str, list[Layer]]
) -> None:
    """Into the first convolution; but zeros at its border stand for mean pixels, not black ones."""
    mean, deviation = np.array(network.mean), np.array(network.deviation)
    if network.order == "BGR":  # the graph turns the pixels' channels around
        mean, deviation = mean[::-1], deviation[::-1]
    first = [steps.get(r.name) or steps.get(_reader(readers, r)) for r in readers["input"]]
    alone = first[0] if len(first) == 1 else None
    takes_pixels = isinstance(alone, _Linear) and alone.layer.kind == "convolution"
    if isinstance(alone, _Linear) and takes_pixels and alone.layer.padding == "valid":
        alone.after(mean, deviation)
        return
    layer = replace(network.by_name["input"], kind="scale")
    steps["input"] = _Linear(layer, 1 / deviation, -mean / deviation)


def _reader(readers: dict[str, list[Layer]], layer: Layer) -> str:
    """The normalisation that a convolution was folded with."""
    return readers[layer.name][0].name if readers[layer.name] else layer.name
