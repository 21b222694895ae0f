# SPDX-License-Identifier: Apache-2.0
"""Tensors out of a PyTorch file of the form before 1.6, read without PyTorch.

Such a file is four pickles (a magic number, a protocol, the writer's word sizes, the tensors), a
fifth with the keys of the storages, and the storages' numbers: a count, then the values. A pickle
is a program: here it is interpreted by a machine that knows only the steps which tensors need.
It can name two functions and the kinds of storage, calls none of them, and every step costs a
bounded amount of memory: a hostile file can neither run code nor fill the machine.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import Array, Float32Array
from trainer.errors import DataError

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The first pickle of every such file, whole."""
LONGEST_FILE = 512 * 2**20
LONGEST_PICKLES = 2**20
MOST_DIMENSIONS = 8


class _Unfit(Exception):
    """Why the file does not serve."""


@dataclass(frozen=True)
class _Named:
    """A function or class that a pickle names; it stays a name."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """A run of numbers at the end of the file."""

    key: str
    kind: str
    count: int


@dataclass(frozen=True)
class _View:
    """A tensor: how it lies in its storage, in numbers, not bytes."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


STORAGES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "<i1",
    "torch ByteStorage": "<u1",
    "torch BoolStorage": "<u1",
}
DICTIONARY = "collections OrderedDict"
TENSOR = "torch._utils _rebuild_tensor_v2"
ADMITTED = {*STORAGES, DICTIONARY, TENSOR}


def read_tensors(path: Path) -> dict[str, Float32Array]:
    """Read a state dictionary.

    Args:
        path: A file that begins with `MAGIC`.
    Returns:
        Name to values, in the file's order, whatever number format they were kept in.
    Raises:
        DataError: It is damaged, or holds anything but tensors.
    """
    try:
        return _tensors(_content(path))
    except _Unfit as error:
        found = str(error)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error):
        found = "damaged or cut short"
    raise DataError(
        f"backbone.weights {path}: a PyTorch file that cannot be used: {found}.",
        "Get it again; of PyTorch's files only plain tensors with names are read.",
    )


def _content(path: Path) -> bytes:
    if path.stat().st_size > LONGEST_FILE:
        raise _Unfit(f"longer than {LONGEST_FILE >> 20} MiB")
    return path.read_bytes()


def _tensors(content: bytes) -> dict[str, Float32Array]:
    pickles = io.BytesIO(content[:LONGEST_PICKLES])
    _, protocol, sizes, tensors, keys = (_Machine().run(pickles) for _ in range(5))
    if protocol != 1001 or sizes["little_endian"] is not True:
        raise _Unfit("another protocol or byte order")
    if not isinstance(tensors, dict) or not all(type(v) is _View for v in tensors.values()):
        raise _Unfit("it holds more than tensors")
    views: dict[str, _View] = tensors
    if sum(_count(view) for view in views.values()) > len(content):
        raise _Unfit("its tensors are larger than the file")
    stored = _storages(content, pickles.tell(), keys, views)
    return {name: _array(stored[view.storage.key], view) for name, view in views.items()}


def _storages(
    content: bytes, position: int, keys: list[str], views: dict[str, _View]
) -> dict[str, Array]:
    """The numbers of each storage, (count,), in place; a storage has one kind and one length."""
    declared = {view.storage for view in views.values()}
    by_key = {storage.key: storage for storage in declared}
    if len(by_key) != len(declared) or sorted(by_key) != sorted(keys):
        raise _Unfit("its storages contradict each other")
    stored: dict[str, Array] = {}
    for key in keys:
        storage = by_key[key]
        (count,) = struct.unpack_from("<q", content, position)
        if count != storage.count or count < 0:
            raise _Unfit("its storages contradict each other")
        stored[key] = np.frombuffer(content, STORAGES[storage.kind], count, position + 8)
        position += 8 + stored[key].nbytes
    return stored


def _count(view: _View) -> int:
    """Numbers in a tensor, after a look at its bounds."""
    lengths = (*view.size, *view.strides, view.offset, view.storage.count)
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise _Unfit("a tensor with a negative or odd shape")
    if len(view.size) != len(view.strides) or len(view.size) > MOST_DIMENSIONS:
        raise _Unfit("a tensor with a negative or odd shape")
    count = 1
    for length in view.size:
        count *= length
    last = sum((n - 1) * stride for n, stride in zip(view.size, view.strides, strict=True))
    if count and view.offset + last >= view.storage.count:
        raise _Unfit("a tensor that reaches beyond its storage")
    return count


def _array(numbers: Array, view: _View) -> Float32Array:
    if 0 in view.size:
        return np.empty(view.size, np.float32)
    steps = [stride * numbers.itemsize for stride in view.strides]
    seen = np.lib.stride_tricks.as_strided(
        numbers[view.offset :], view.size, steps, writeable=False
    )
    return np.array(seen, np.float32, order="C")


@dataclass
class _Machine:
    """Runs one pickle: a stack, the marks on it, and what was put aside for later."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, pickles: io.BytesIO) -> Any:
        """Go on from where the last pickle ended.

        Raises:
            _Unfit: It wants more than tensors need.
        """
        for step, argument, _ in pickletools.genops(pickles):
            if step.name == "STOP":
                break
            if step.name not in _STEPS:
                raise _Unfit(f"it holds more than tensors ({step.name})")
            _STEPS[step.name](self, argument)
        return self.stack.pop()

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def remember(self, place: int) -> None:
        """Put the topmost value aside."""
        self.memo[place] = self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take what lies above the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def join(self, count: int) -> None:
        """Make the topmost values a tuple."""
        start = len(self.stack) - count
        if start < 0:
            raise _Unfit("damaged or cut short")
        self.stack[start:] = [tuple(self.stack[start:])]

    def put(self, pairs: list[Any]) -> None:
        """Put names and values, in turn, into the dictionary below them."""
        target, names = self.stack[-1], pairs[::2]
        if type(target) is not dict or not all(type(name) is str for name in names):
            raise _Unfit("it holds more than tensors")
        target.update(zip(names, pairs[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        """Put values into the list below them."""
        if type(self.stack[-1]) is not list or not all(type(value) is str for value in values):
            raise _Unfit("it holds more than tensors")
        self.stack[-1].extend(values)

    def name(self, name: str) -> None:
        """Push one of the names that are admitted."""
        if name not in ADMITTED:
            raise _Unfit(f"it names {name.replace(' ', '.')[:80]}, which is no tensor")
        self.push(_Named(name))

    def find_storage(self) -> None:
        """Turn (`storage`, kind, key, device, count, view) into the storage."""
        word, kind, key, _, count, view = self.stack.pop()
        known = type(kind) is _Named and kind.name in STORAGES and type(key) is str
        if word != "storage" or not known or type(count) is not int or view is not None:
            raise _Unfit("it holds more than tensors")
        self.push(_Storage(key, kind.name, count))

    def call(self) -> None:
        """Do what the two functions would do."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _Named or type(arguments) is not tuple:
            raise _Unfit("it holds more than tensors")
        if function.name == DICTIONARY and not arguments:
            self.push({})
        elif function.name == TENSOR:
            storage, offset, size, strides = arguments[:4]
            if not (type(storage) is _Storage and type(size) is type(strides) is tuple):
                raise _Unfit("it holds more than tensors")
            self.push(_View(storage, offset, size, strides))
        else:
            raise _Unfit("it holds more than tensors")


def _pair(machine: _Machine) -> None:
    value, name = machine.stack.pop(), machine.stack.pop()
    machine.put([name, value])


def _single(machine: _Machine) -> None:
    value = machine.stack.pop()
    machine.append([value])


_Step = Callable[[_Machine, Any], None]


def _pushing(make: Callable[[], object]) -> _Step:
    return lambda machine, _: machine.push(make())


_STEPS: dict[str, _Step] = {
    "PROTO": lambda *_: None,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_TUPLE": _pushing(tuple),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.join(1),
    "TUPLE2": lambda machine, _: machine.join(2),
    "TUPLE3": lambda machine, _: machine.join(3),
    "SETITEM": lambda machine, _: _pair(machine),
    "SETITEMS": lambda machine, _: machine.put(machine.since_mark()),
    "APPEND": lambda machine, _: _single(machine),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "GLOBAL": lambda machine, name: machine.name(name),
    "BINPERSID": lambda machine, _: machine.find_storage(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.stack.pop(),  # attributes, which no tensor needs
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), lambda m, value: m.push(value)
    ),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, place: m.push(m.memo[place])),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, place: m.remember(place)),
}
"""Each step that a pickle of tensors takes, and what it does here."""
