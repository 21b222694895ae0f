# SPDX-License-Identifier: Apache-2.0
"""Weights out of a file: another network's, or damaged ones, are told by the layer.

Every form of file names layers in its own way, by counters that depend on what else the process
had built: the order of the layers decides, and shapes are compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.arrays import Float32Array
from trainer.errors import DataError
from trainer.features.backbones import NETWORKS, Layer, Network
from trainer.features.weight_forms import Arrays, Stored, opened

Weights = dict[str, tuple[Float32Array, ...]]
"""Layer name to its arrays in Keras' order (kernel, bias; gamma, beta, mean, variance; what the
layer lacks is left out), the layers in the order of the topology."""


def read_file(path: Path, network: Network) -> Weights:
    """Read a network's weights; what else the file holds, such as a classifier, is left out.

    Raises:
        DataError: No such file, a form that is not read, or another network; names the layer.
    """
    with opened(path) as stored:
        problem = _misfit(stored, network)
        if problem:
            raise DataError(
                f"backbone.weights {path}: {problem}",
                f"Give {network.name}'s weights as Keras saves them, or name their network.",
            )
        wanted = _weighted(network)
        found = stored.in_order([layer.kind for layer in wanted])
        return {
            layer.name: _values(path, layer, arrays)
            for layer, arrays in zip(wanted, found, strict=True)
        }


def _weighted(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if layer.weight_shapes]


def _misfit(stored: Stored, network: Network) -> str:
    """Why these are not the network's weights, or empty."""
    problem = _first_difference(stored, network)
    if not problem:
        return ""
    others = [other for other in NETWORKS.values() if not _first_difference(stored, other)]
    if others:
        return f"these are {others[0].name}'s; backbone.name is {network.name}."
    return f"another network than {network.name}: {problem}"


def _first_difference(stored: Stored, network: Network) -> str:
    wanted = _weighted(network)
    found = stored.in_order([layer.kind for layer in wanted])
    for layer, arrays in zip(wanted, found, strict=True):
        shapes = [tuple(array.shape) for array in arrays]
        if shapes != layer.weight_shapes:
            has = f"has {_shapes(shapes)}" if shapes else "has no more such layer"
            return f"layer {layer.name} wants {_shapes(layer.weight_shapes)}, the file {has}."
    most = sum(bool(layer.kernel) for layer in wanted)
    if stored.convolutions() > most:
        return f"it has {stored.convolutions()} convolutions; wanted {most}."
    return ""


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "one number" for shape in shapes)


def _values(path: Path, layer: Layer, arrays: Arrays) -> tuple[Float32Array, ...]:
    values = []
    for array in arrays:
        if array.dtype.kind != "f":
            raise _bad_layer(path, layer, f"holds {array.dtype}, no decimal numbers")
        with np.errstate(over="ignore"):  # what is too large for float32 is told below
            values.append(np.asarray(array, np.float32))
        if not np.isfinite(values[-1]).all():
            raise _bad_layer(path, layer, "holds numbers that are not finite")
    if layer.kind == "normalization" and values[-1].min() < 0:
        raise _bad_layer(path, layer, "has a negative variance")
    return tuple(values)


def _bad_layer(path: Path, layer: Layer, what: str) -> DataError:
    return DataError(
        f"backbone.weights {path}: layer {layer.name} {what}.",
        "Save the weights again, or give others.",
    )
