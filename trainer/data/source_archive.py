# SPDX-License-Identifier: Apache-2.0
"""A .tar of one folder a class: listed by its headers, read in place by offset, never unpacked.

One large file is what shared file systems like best. A later member of the same name replaces the
earlier one, as unpacking would; hard links are the file that they were made from, symbolic links
are followed once, inside the archive alone.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trainer.data.images import (
    MOST_BYTES,
    NOT_REGULAR,
    TOO_LARGE,
    BadFile,
    Listing,
    SourceFile,
    hidden,
)
from trainer.data.index import State, state
from trainer.errors import DataError

MOST_LINKS = 40  # as Linux follows
NOWHERE = "is a link to a folder, or to something that is not in the archive"
LOOP = "is a link that leads back to itself"
SPARSE = "is stored with holes left out (tar --sparse); pack it without"


class _Member(NamedTuple):
    """What matters of a member."""

    kind: str
    """`file`, `link`, or why it is neither."""
    offset: int = 0
    bytes: int = 0
    target: str = ""


def list_archive(path: Path, key: str) -> Listing:
    """List every member below the class folders; none is read.

    If all lies in a single folder that holds folders only, as `tar cf pools.tar pools` makes it,
    the classes are the folders in that one.

    Args:
        path: An uncompressed tar archive.
        key: The configuration's key for it, for messages.
    Returns:
        Files whose offsets, sizes and states are known.
    Raises:
        DataError: It cannot be read, is compressed, or is cut short.
    """
    members, folders = _read(path, key)
    top = _only_folder(members, folders)
    inside = {name.removeprefix(top): member for name, member in members.items()}
    status = os.stat(path)
    listing = Listing([], [], [])
    filled = set()
    for name, member in inside.items():
        label, below, _ = name.partition("/")
        if any(hidden(part) for part in name.split("/")):
            continue
        if not below:
            listing.outside += 1
            continue
        filled.add(label)
        found = _file(SourceFile(name, label), _followed(member, inside, top), status)
        if isinstance(found, SourceFile):
            listing.files.append(found)
        else:
            listing.bad.append(found)
    listing.classes = sorted(filled)
    labels = {name.removeprefix(top).partition("/")[0] for name in folders} - {""}
    listing.empty = sorted(label for label in labels - filled if not hidden(label))
    return listing


def _read(path: Path, key: str) -> tuple[dict[str, _Member], set[str]]:
    """Members by their names, and the folders' names, which end with `/`."""
    members: dict[str, _Member] = {}
    folders: set[str] = set()
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as archive:
            for name, entry in _entries(archive):
                if entry.isdir():
                    folders.add(f"{name}/")
                else:
                    members.pop(name, None)
                    members[name] = _member(entry)
            _require_end(archive, path)
    except (tarfile.TarError, OSError, EOFError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"{key} {path}: no whole tar archive: {told}.",
            "Make it anew: tar cf NAME.tar -C FOLDER . (uncompressed: images do not get smaller).",
        ) from None
    return members, folders


def _entries(archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """All members with plain names; those that lead out of the archive left out."""
    while (entry := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it would keep a million
        name = _plain(entry.name)
        if name and not name.startswith("../"):
            yield name, entry


def _plain(name: str) -> str:
    """A member's name without `./`, `/` before and after, and what leads back."""
    plain = posixpath.normpath(name.lstrip("/"))
    return "" if plain in (".", "..") else plain


def _require_end(archive: tarfile.TarFile, path: Path) -> None:
    """A tar that was cut between two members lists without an error, but has no end mark.

    Source: POSIX.1-2017, pax, "ustar Interchange Format": two blocks of zeros end an archive.
    """
    with open(path, "rb") as file:
        file.seek(archive.offset)
        rest = file.read(2 * tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        raise tarfile.ReadError(f"it is cut short or damaged at byte {archive.offset:,}")


def _member(entry: tarfile.TarInfo) -> _Member:
    if entry.isfile() and not entry.issparse():
        return _Member("file", entry.offset_data, entry.size)
    if entry.islnk():
        return _Member("link", target=_plain(entry.linkname))
    if entry.issym():
        folder = posixpath.dirname(_plain(entry.name))
        return _Member("link", target=posixpath.normpath(posixpath.join(folder, entry.linkname)))
    return _Member(SPARSE if entry.issparse() else NOT_REGULAR, bytes=entry.size)


def _only_folder(members: dict[str, _Member], folders: set[str]) -> str:
    """The one folder, with `/`, that holds all there is, if it holds folders only; or nothing."""
    shown = [name for name in [*members, *folders] if not hidden(name.partition("/")[0])]
    tops = {name.partition("/")[0] for name in shown}
    if len(tops) != 1:
        return ""
    top = f"{tops.pop()}/"
    inner = {name.removeprefix(top) for name in shown} - {""}
    classes = {name.partition("/")[0] for name in inner if "/" in name}
    return top if len(classes) > 1 and top.rstrip("/") not in members else ""


def _followed(member: _Member, inside: dict[str, _Member], top: str) -> _Member:
    """What a link leads to."""
    for _ in range(MOST_LINKS):
        if member.kind != "link":
            return member
        member = inside.get(member.target.removeprefix(top), _Member(NOWHERE))
    return _Member(LOOP)


def _file(file: SourceFile, member: _Member, status: os.stat_result) -> SourceFile | BadFile:
    """A member as a file of the source, or why it cannot be used."""
    if member.kind != "file":
        return BadFile(file.path, member.bytes, member.kind, file.label)
    if member.bytes > MOST_BYTES:
        return BadFile(file.path, member.bytes, TOO_LARGE, file.label)
    found = file._replace(bytes=member.bytes, offset=member.offset)
    return found._replace(state=member_state(found, status))


def member_state(file: SourceFile, status: os.stat_result) -> State:
    """What a member is known again by: as `trainer.data.index.state`, and where it lies.

    Args:
        file: The member.
        status: Of the archive.
    """
    return state(f"{file.offset} {file.bytes} {file.path}", status)
