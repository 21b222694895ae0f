# SPDX-License-Identifier: Apache-2.0
"""PyTorch's older files, and wrong ones, written without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.arrays import Array
from trainer.features.torch_file import MAGIC

HEAD = MAGIC + pickle.dumps(1001, 2)
SIZES = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
KINDS = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}


class Named:
    """Something that pickles as a name alone."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Tensor:
    """Something that pickles as a call of PyTorch's rebuilding function."""

    def __init__(self, key: str, kind: str, count: Any, layout: tuple[Any, ...]) -> None:
        self.key, self.kind, self.count, self.layout = key, kind, count, layout


class Pickler(pickle._Pickler):
    """Writes names that are not there to be imported."""

    write: Callable[[bytes], object]

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Tensor):
            self.save(Named("torch._utils", "_rebuild_tensor_v2"))
            self.write(b"(")
            self.save(("storage", Named("torch", obj.kind), obj.key, "cpu", obj.count, None))
            self.write(b"Q")
            for part in (*obj.layout, False):
                self.save(part)
            self.save(OrderedDict())
            self.write(b"tR")
        else:
            super().save(obj, save_persistent_id)  # type: ignore[misc]


def dump(value: object) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, 2).dump(value)
    return stream.getvalue()


def tensor(key: str, values: Array) -> Tensor:
    strides = tuple(step // values.itemsize for step in values.strides)
    return Tensor(key, KINDS[values.dtype.str], values.size, (0, values.shape, strides))


def write(path: Path, pickled: bytes, storages: dict[str, Array]) -> Path:
    """A whole file around the pickle of the tensors."""
    numbers = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    content = [HEAD, SIZES, pickled, pickle.dumps(list(storages), 2), *numbers]
    path.write_bytes(b"".join(content))
    return path
