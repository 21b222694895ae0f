# SPDX-License-Identifier: Apache-2.0
"""What lies in the source folder: sections 1 and 7 of the method page."""

from __future__ import annotations

import hashlib
import math
import os
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PASSED_OVER = {"Thumbs.db", "desktop.ini", "__MACOSX"}
MOST_PIXELS = 200_000_000
BROKEN_IMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on contents that are no whole image."""


@dataclass
class Source:
    """Everything below the class folders; paths are relative, with `/`."""

    readable: dict[str, str] = field(default_factory=dict)
    """path: SHA-256 in hexadecimal."""
    unreadable: dict[str, int | None] = field(default_factory=dict)
    """path: size in bytes, None for what is no regular file."""
    outside: int = 0
    """Files that lie in no class folder."""
    bottlenecks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """SHA-256: the numbers of a bottleneck text, rounded to float32."""


def read_source(root: Path, exclude: list[str], texts: bool) -> Source:
    """List and read a folder of classes.

    Args:
        root: The folder whose first-level folders are the classes.
        exclude: Classes to leave out.
        texts: The files are bottleneck texts, not images.
    """
    source = Source()
    for path in walk_classes(root, exclude, source):
        regular = (root / path).is_file()
        if not regular:
            source.unreadable[path] = None
        elif texts:
            read_bottleneck(root, path, source)
        else:
            read_image(root, path, source)
    if texts:
        keep_common_length(source, root)
    return source


def walk_classes(root: Path, exclude: list[str], source: Source) -> Iterator[str]:
    """Every path below a class folder; what lies beside the class folders is counted."""
    for name in visible(root):
        if not (root / name).is_dir():
            source.outside += 1
        elif name not in exclude:
            yield from walk(root, name, (os.path.realpath(root / name),))


def walk(root: Path, folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """Every path below a folder; a link back to a folder above is a path, not a folder."""
    for name in visible(root / folder):
        path = f"{folder}/{name}"
        real = os.path.realpath(root / path)
        if (root / path).is_dir() and real not in above:
            yield from walk(root, path, (*above, real))
        else:
            yield path


def visible(folder: Path) -> list[str]:
    """Names in a folder that are not passed over."""
    names = os.listdir(folder)
    return sorted(name for name in names if name[0] != "." and name not in PASSED_OVER)


def read_bottleneck(root: Path, path: str, source: Source) -> None:
    """Take a text of finite numbers with commas between; anything else is unreadable."""
    content = (root / path).read_bytes()
    try:
        numbers = np.array([float(text) for text in content.decode("ascii").split(",")])
        if b"_" in content:
            raise ValueError("Python reads 1_0 as a number; retrain.py never wrote one")
    except ValueError:
        source.unreadable[path] = len(content)
        return
    if not np.all(np.abs(numbers) <= np.finfo(np.float32).max):
        source.unreadable[path] = len(content)
        return
    source.readable[path] = hashlib.sha256(content).hexdigest()
    source.bottlenecks[source.readable[path]] = numbers.astype(np.float32).astype(np.float64)


def keep_common_length(source: Source, root: Path) -> None:
    """Bottlenecks of another length than most files have are unreadable."""
    lengths = Counter(len(source.bottlenecks[sha]) for sha in source.readable.values())
    common = max(lengths, key=lambda length: (lengths[length], length), default=0)
    for path, sha in list(source.readable.items()):
        if len(source.bottlenecks[sha]) != common:
            source.unreadable[path] = (root / path).stat().st_size
            del source.readable[path]


def read_image(root: Path, path: str, source: Source) -> None:
    """Take a JPEG or PNG that decodes to its end."""
    content = (root / path).read_bytes()
    if decodes(root / path):
        source.readable[path] = hashlib.sha256(content).hexdigest()
    else:
        source.unreadable[path] = len(content)


def decodes(path: Path) -> bool:
    """Whether Pillow reads the whole file as a JPEG or PNG of at most 200 megapixels."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            known = image.format in {"JPEG", "MPO", "PNG"}
            if not known or math.prod(image.size) > MOST_PIXELS:
                return False
            image.convert("RGB")
    except BROKEN_IMAGE:
        return False
    return True


def file_size(path: Path) -> int | None:
    """Bytes of a regular file, links followed; None for anything else."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
