# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights: found, read without TensorFlow, checked against the network's shapes.

In memory they are one `LayerWeights` a convolution, in the order in which Keras lists the layers
of its model: files name layers by counters that depend on what else the process had built.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import Float32Array
from trainer.errors import DataError
from trainer.rundir import write_bytes

NOT_PRETRAINED = "not pretrained: the backbone's weights are random"
NOTOP = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{NOTOP}"
IMAGENET_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"  # as Keras checks it
DOWNLOAD_SECONDS = 10

INCEPTION_V3_KERNELS = (
    "3x3x3x32 3x3x32x32 3x3x32x64 1x1x64x80 3x3x80x192 1x1x192x64 1x1x192x48 3x3x64x96 "
    "1x1x192x64 5x5x48x64 3x3x96x96 1x1x192x32 1x1x256x64 1x1x256x48 3x3x64x96 "
    "1x1x256x64 5x5x48x64 3x3x96x96 1x1x256x64 1x1x288x64 1x1x288x48 3x3x64x96 "
    "1x1x288x64 5x5x48x64 3x3x96x96 1x1x288x64 1x1x288x64 3x3x64x96 3x3x288x384 "
    "3x3x96x96 1x1x768x128 7x1x128x128 1x1x768x128 1x7x128x128 1x7x128x128 7x1x128x128 "
    "1x1x768x192 7x1x128x192 1x7x128x192 1x1x768x192 1x1x768x160 7x1x160x160 1x1x768x160 "
    "1x7x160x160 1x7x160x160 7x1x160x160 1x1x768x192 7x1x160x192 1x7x160x192 1x1x768x192 "
    "1x1x768x160 7x1x160x160 1x1x768x160 1x7x160x160 1x7x160x160 7x1x160x160 1x1x768x192 "
    "7x1x160x192 1x7x160x192 1x1x768x192 1x1x768x192 7x1x192x192 1x1x768x192 1x7x192x192 "
    "1x7x192x192 7x1x192x192 1x1x768x192 7x1x192x192 1x7x192x192 1x1x768x192 1x1x768x192 "
    "1x7x192x192 1x1x768x192 7x1x192x192 3x3x192x320 3x3x192x192 1x1x1280x448 "
    "1x1x1280x384 3x3x448x384 1x3x384x384 3x1x384x384 1x3x384x384 3x1x384x384 "
    "1x1x1280x320 1x1x1280x192 1x1x2048x448 1x1x2048x384 3x3x448x384 1x3x384x384 "
    "3x1x384x384 1x3x384x384 3x1x384x384 1x1x2048x320 1x1x2048x192"
)
"""Height x width x inputs x outputs of each convolution, in the order of Keras' layers.

Source: Szegedy et al. 2016, Rethinking the Inception Architecture, pages 2818-2826; the order is
that of `keras.applications.InceptionV3(include_top=False).layers`, which a test compares.
"""


@dataclass(frozen=True)
class LayerWeights:
    """One convolution with its batch normalisation (without scale): all float32.

    Attributes:
        kernel: (height, width, inputs, outputs).
        beta, mean, variance: (outputs,).
    """

    kernel: Float32Array
    beta: Float32Array
    mean: Float32Array
    variance: Float32Array

    @property
    def arrays(self) -> tuple[Float32Array, ...]:
        """The four, in the order of the hash."""
        return (self.kernel, self.beta, self.mean, self.variance)


Weights = list[LayerWeights]


def kernel_shapes() -> list[tuple[int, ...]]:
    """Shapes of Inception-v3's 94 convolution kernels, in the order of Keras' layers."""
    return [tuple(map(int, word.split("x"))) for word in INCEPTION_V3_KERNELS.split()]


def sha256(weights: Weights) -> str:
    """The weights' own hash: of their values in order, whatever file they came from."""
    digest = hashlib.sha256()
    for layer in weights:
        for array in layer.arrays:
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def load(name: str, cache: Path, seed: int) -> Weights:
    """Read the weights that the configuration names.

    Args:
        name: `imagenet`, `random`, or a file.
        cache: The bottleneck cache; downloaded weights are kept in it.
        seed: For `random` alone.
    Raises:
        DataError: The file is not there, or holds another network.
    """
    if name == "random":
        return random(seed)
    return read_file(locate_imagenet(cache) if name == "imagenet" else Path(name))


def random(seed: int) -> Weights:
    """Draw weights that keep the signal's scale through ReLU layers.

    Source: He et al. 2015, Delving Deep into Rectifiers, section 2.2.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    layers = []
    for shape in kernel_shapes():
        spread = np.float32(np.sqrt(2 / np.prod(shape[:3])))
        kernel = generator.standard_normal(shape, np.float32) * spread
        zeros = np.zeros(shape[3], np.float32)
        layers.append(LayerWeights(kernel, zeros, zeros, zeros + 1))
    return layers


def imagenet_places(cache: Path) -> list[Path]:
    """Where ImageNet's weights may lie already: Keras' own cache, then ours."""
    keras = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return [keras / "models" / NOTOP, cache / "weights" / NOTOP]


def locate_imagenet(cache: Path) -> Path:
    """The file of ImageNet's weights, downloaded into the cache if it is nowhere yet.

    Raises:
        DataError: It is nowhere, and cannot be downloaded or is not the file it should be.
    """
    places = imagenet_places(cache)
    for path in places:
        if path.is_file():
            return path
    target = places[-1]
    try:
        with urllib.request.urlopen(IMAGENET_URL, timeout=DOWNLOAD_SECONDS) as answer:
            content = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise DataError(
            f"backbone.weights imagenet: not in {places[0].parent} nor {target.parent}, and not "
            f"to be downloaded ({getattr(error, 'reason', error)}).",
            f"Put {NOTOP} there where there is internet, give a file, or say "
            "backbone.weights=random (not pretrained).",
        ) from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != IMAGENET_MD5:
        raise DataError(
            f"backbone.weights imagenet: {IMAGENET_URL} gave another file than Keras' "
            f"({len(content):,} bytes).",
            "Something between here and there answers in its place; put the file there by hand.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content)
    return target


def read_file(path: Path) -> Weights:
    """Read Inception-v3's weights from `.weights.h5` or `.h5`, with or without its classifier.

    Raises:
        DataError: No such file, not HDF5, or another network.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"backbone.weights {path}: no such file.", _WAY_OUT)
    try:
        with h5py.File(path, "r") as file:
            layers = _keras3_layers(file) or _legacy_layers(file)
            kernels = [arrays for arrays in layers if arrays[0].ndim == 4]
            norms = [arrays for arrays in layers if len(arrays) >= 3 and arrays[0].ndim == 1]
    except OSError as error:
        raise DataError(f"backbone.weights {path}: not an HDF5 file ({error}).", _WAY_OUT) from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise DataError(
            f"backbone.weights {path}: an HDF5 file, but not laid out as Keras' weights.", _WAY_OUT
        ) from None
    return _checked(path, kernels, norms)


_WAY_OUT = "Give Inception-v3 weights as Keras saves them (.weights.h5 or .h5), or imagenet."

ArraysOfLayer = list[Float32Array]


def _keras3_layers(file: Any) -> list[ArraysOfLayer]:
    """Layers of a `.weights.h5`: its groups are counted a class, in the order of Keras' layers."""
    group = file.get("layers") or file.get("_layer_checkpoint_dependencies")
    if group is None:
        return []
    found = []
    for name in group:
        match = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", name)
        if match:
            values = group[name]["vars"]
            arrays = [np.asarray(values[key], np.float32) for key in sorted(values, key=int)]
            found.append((match[1], int(match[2] or 0), arrays))
    return [arrays for _, _, arrays in sorted(found, key=lambda layer: layer[:2])]


def _legacy_layers(file: Any) -> list[ArraysOfLayer]:
    """Layers of an older `.h5`, in the order that the file states."""
    group = file.get("model_weights", file)
    names = group.attrs.get("layer_names", [])
    found = []
    for name in names:
        layer = group[_text(name)]
        keys = [_text(key) for key in layer.attrs.get("weight_names", [])]
        arrays = [np.asarray(layer[key], np.float32) for key in keys]
        if arrays:
            found.append(arrays)
    return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _checked(path: Path, kernels: list[ArraysOfLayer], norms: list[ArraysOfLayer]) -> Weights:
    wanted = kernel_shapes()
    if len(kernels) != len(wanted) or len(norms) != len(wanted):
        raise DataError(
            f"backbone.weights {path}: another network than inception_v3: {len(kernels)} "
            f"convolutions and {len(norms)} batch normalisations; wanted {len(wanted)} of each.",
            _WAY_OUT,
        )
    layers = []
    for number, (shape, convolution, norm) in enumerate(zip(wanted, kernels, norms, strict=True)):
        shapes = [array.shape for array in (*convolution, *norm)]
        if shapes != [shape, *[shape[3:]] * 3]:
            raise DataError(
                f"backbone.weights {path}: another network than inception_v3: layer {number} has "
                f"shapes {shapes}; wanted a kernel {shape} and 3 vectors.",
                _WAY_OUT,
            )
        layers.append(LayerWeights(convolution[0], *norm))
    if not all(np.isfinite(array).all() for layer in layers for array in layer.arrays):
        raise DataError(f"backbone.weights {path}: holds numbers that are not finite.", _WAY_OUT)
    return layers
