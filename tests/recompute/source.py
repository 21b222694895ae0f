# SPDX-License-Identifier: Apache-2.0
"""What lies in a folder, .tar or manifest: sections 1 and 7 of the method page."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import posixpath
import stat
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from content import Unusable, difference_hash, numbers, picture
from dealing import File, group_of
from tables import unescape

PASSED_OVER = {"Thumbs.db", "desktop.ini", "__MACOSX"}
MOST_BYTES = 1 << 30
SETS = {"train": "training", "val": "validation", "valid": "validation", "dev": "validation"}
"""Other words for the sets that a manifest may use."""


@dataclass
class Source:
    """All that the source names; paths are relative, with `/`."""

    readable: dict[str, File] = field(default_factory=dict)
    unreadable: dict[str, int | None] = field(default_factory=dict)
    """path: size in bytes, None for what is no regular file."""
    outside: int = 0
    """Files that lie in no class folder."""
    bottlenecks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """SHA-256: the numbers of a bottleneck text, rounded to float32."""
    hashes: dict[str, int | None] = field(default_factory=dict)
    """SHA-256: the difference hash of a picture, None for one that has none."""
    told_units: dict[str, str] | None = None
    """SHA-256: unit, where a run's own table has to be believed."""
    sizes: dict[str, int] = field(default_factory=dict)
    """path: size in bytes of every file that was read."""


class Member(NamedTuple):
    """A file that the source names."""

    path: str
    label: str
    group: str
    wish: str
    """The set that a manifest names, or empty."""
    read: Callable[[], bytes | None]
    """Its content; None for what is no regular file."""


def read_source(origin: Path, exclude: list[str], pictures: bool) -> Source:
    """List and read a source.

    Args:
        origin: A folder whose first-level folders are the classes, a .tar of one, or a manifest.
        exclude: Classes to leave out.
        pictures: Whether these are images; else they are bottleneck texts.
    """
    source = Source()
    if origin.is_dir():
        members = in_folder(origin, exclude, source)
    elif tarfile.is_tarfile(origin):
        members = in_archive(origin, source)
    else:
        members = in_manifest(origin)
    for member in members:
        if member.label not in exclude:
            take(member, pictures, source)
    if not pictures:
        keep_common_length(source)
    return source


def take(member: Member, pictures: bool, source: Source) -> None:
    """Read one file and put it where it belongs."""
    content = member.read()
    if content is None or len(content) > MOST_BYTES:
        source.unreadable[member.path] = None if content is None else len(content)
        return
    sha256, source.sizes[member.path] = hashlib.sha256(content).hexdigest(), len(content)
    try:
        if pictures:
            source.hashes[sha256] = difference_hash(picture(content))
        else:
            source.bottlenecks[sha256] = numbers(content)
    except Unusable:
        source.unreadable[member.path] = len(content)
        return
    source.readable[member.path] = File(sha256, member.label, member.group, member.wish)


def keep_common_length(source: Source) -> None:
    """Bottlenecks of another length than most files have are unreadable."""
    lengths = {path: len(source.bottlenecks[f.sha256]) for path, f in source.readable.items()}
    counts = Counter(lengths.values())
    common = max(counts, key=lambda length: (counts[length], length), default=0)
    for path, length in lengths.items():
        if length != common:
            del source.readable[path]
            source.unreadable[path] = source.sizes[path]


def in_folder(root: Path, exclude: list[str], source: Source) -> Iterator[Member]:
    """Every path below a class folder; what lies beside the class folders is counted."""
    for name in visible(root):
        if not (root / name).is_dir() or os.path.samefile(root / name, root):
            source.outside += 1
        elif name not in exclude:
            above = os.path.realpath(root), os.path.realpath(root / name)
            for path in walk(root, name, above):
                yield Member(path, name, group_of(path), "", partial(regular, root / path))


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
    return sorted(name for name in os.listdir(folder) if shown(name))


def shown(name: str) -> bool:
    """Whether a name is not passed over."""
    return name[0] != "." and name not in PASSED_OVER


def regular(path: Path) -> bytes | None:
    """Content of a regular file, links followed; None for anything else, which is not opened."""
    try:
        status = path.stat()
    except OSError:
        return None
    return path.read_bytes() if stat.S_ISREG(status.st_mode) else None


def in_archive(path: Path, source: Source) -> Iterator[Member]:
    """Every member below a class folder; of two with one name, the later one."""
    with tarfile.open(path) as archive:
        entries = {posixpath.normpath(entry.name): entry for entry in archive.getmembers()}
        entries.pop(".", None)
        top = only_folder(set(entries))
        for name, entry in entries.items():
            inside = name.removeprefix(top)
            label, _, below = inside.partition("/")
            if entry.isdir() or not all(map(shown, inside.split("/"))):
                continue
            if not below:
                source.outside += 1
                continue
            read = partial(unpacked, archive, entry)
            yield Member(inside, label, group_of(inside), "", read)


def only_folder(names: set[str]) -> str:
    """The folder, with `/`, that all else lies in, if several folders lie in it; or nothing."""
    tops = {name.split("/")[0] for name in names if shown(name)}
    below = {name.split("/")[1] for name in names if name.count("/") > 1}
    return f"{tops.pop()}/" if len(tops) == 1 and len(below) > 1 else ""


def unpacked(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | None:
    """Content of a member, links followed; None for anything else."""
    try:
        file = archive.extractfile(entry)
    except (KeyError, RecursionError):
        return None
    return None if file is None else file.read()


def in_manifest(path: Path) -> Iterator[Member]:
    """Every row; the path is relative to the manifest."""
    text = path.read_text("utf-8-sig")
    first = text.splitlines()[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    header = [name.strip().lower() for name in next(reader)]
    for fields in filter(None, reader):
        row = dict(zip(header, map(as_meant, fields), strict=True))
        name = posixpath.normpath(row["path"])
        group = row.get("group", row.get("unit", "")).strip() or group_of(name)
        wish = row.get("split", "").strip().lower().replace("conflict", "")
        read = partial(regular, path.parent / name)
        yield Member(name, row["label"].strip(), group, SETS.get(wish, wish), read)


def as_meant(field: str) -> str:
    """A field with its escapes undone, if it was written as a run's own tables are."""
    try:
        return unescape(field)
    except ValueError:
        return field
