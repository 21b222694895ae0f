# SPDX-License-Identifier: Apache-2.0
"""A folder of odd, damaged and hostile files, each with the verdict that a person would give."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from odd_contents import damaged, good, jpeg

CLASSES = "birds", "cats <b>& dogs", "=odd"
NORMAL = 12  # a class
IMAGE = "image"
QUARANTINE = "quarantine: "
PASSED_OVER = "passed over"
OUTSIDE = "outside"

NAMES = [
    "with space.jpg",
    "with 'quotes' and \"more\".jpg",
    "new\nline.jpg",
    "return\r.jpg",
    "tab\t.jpg",
    "bell\x07 and \x1b[31mred.jpg",
    "caf\udce9.jpg",  # Latin-1, not UTF-8
    "Straße 東京 🏊.jpg",
    "composed-\u00e9.jpg",
    "decomposed-e\u0301.jpg",
    "right-to-left-\u202egpj.jpg",
    "-rf.jpg",
    "=1+1.jpg",
    "+1.jpg",
    "@import.jpg",
    "x" * 251 + ".jpg",
    "<script>alert(1)<!--.jpg",
    "&amp;.jpg",
    "$(touch x).jpg",
    "`touch x`;touch x.jpg",
    "back\\slash\\n.jpg",
    "percent%s%2F.jpg",
    "{brace}[0]*?.jpg",
    "comma,semi;colon.jpg",
    "trailing space ",
    "trailing-dot.",
    "~",
    "tree_nohash_1.jpg",
    "tree_nohash_2.jpg",
]
"""Good pictures all the same."""

HIDDEN = [
    ".hidden.jpg",
    "._resource-fork.jpg",
    ".DS_Store",
    ".hidden/in it.jpg",
    "Thumbs.db",
    "desktop.ini",
    "__MACOSX/in it.jpg",
]


class Expected(NamedTuple):
    """What shall become of one file."""

    path: str
    """Relative to the folder, with `/`, as os.fsdecode gives it."""
    verdict: str
    """`image`, `quarantine: ` and a part of the reason, `passed over` or `outside`."""


def write_odd_folder(root: Path) -> list[Expected]:
    """Write a folder of three classes; a run on it succeeds if `data.max_bad` is near 1.

    Beside it comes a folder of the same name with `-elsewhere`, where links lead.

    Args:
        root: Not there yet.
    Returns:
        Every file in it; two kinds are left out where the user may not make them.
    """
    for label in CLASSES:
        (root / label).mkdir(parents=True)
    parts = _normal, _contents, _names, _links, _links_that_fail, _specials, _hidden, _outside
    return [expected for part in parts for expected in part(root)]


def _normal(root: Path) -> Iterator[Expected]:
    for label in CLASSES:
        for number in range(NORMAL):
            yield _image(root, f"{label}/normal-{number}.jpg")


def _image(root: Path, path: str) -> Expected:
    return _put(root, path, jpeg(path), IMAGE)


def _put(root: Path, path: str, content: bytes, verdict: str) -> Expected:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return Expected(path, verdict)


def _contents(root: Path) -> Iterator[Expected]:
    verdicts = {name: (content, IMAGE) for name, content in good().items()}
    for name, (content, reason) in damaged().items():
        verdicts[name] = content, QUARANTINE + reason
    for place, (name, (content, verdict)) in enumerate(verdicts.items()):
        yield _put(root, f"{CLASSES[place % len(CLASSES)]}/{name}", content, verdict)


def _names(root: Path) -> Iterator[Expected]:
    for place, name in enumerate(NAMES):
        yield _image(root, f"{CLASSES[place % len(CLASSES)]}/{name}")
    yield _image(root, "birds/folder.jpg/in it.jpg")
    yield _image(root, "birds/" + "/".join("deep" for _ in range(60)) + "/down.jpg")


def _links(root: Path) -> Iterator[Expected]:
    """Those that lead to a picture."""
    elsewhere = root.with_name(root.name + "-elsewhere")
    for name in ("file.jpg", "folder/one.jpg"):
        _put(elsewhere, name, jpeg(name), IMAGE)
    links: dict[str, str | Path] = {
        "file.jpg": "normal-0.jpg",
        "to-hidden.jpg": ".hidden.jpg",
        "to-elsewhere.jpg": elsewhere / "file.jpg",
        "to-a-link.jpg": "link-file.jpg",
    }
    for name, target in links.items():
        yield _link(root, f"birds/link-{name}", target, IMAGE)
    (root / "birds" / "linked").symlink_to(elsewhere / "folder")
    yield Expected("birds/linked/one.jpg", IMAGE)
    os.link(root / "birds" / "normal-1.jpg", root / "birds" / "hard-link.jpg")
    yield Expected("birds/hard-link.jpg", IMAGE)


def _link(root: Path, path: str, target: str | Path, verdict: str) -> Expected:
    (root / path).symlink_to(target)
    return Expected(path, verdict)


def _links_that_fail(root: Path) -> Iterator[Expected]:
    links = {
        "dangling": ("nowhere", "not there"),
        "through-a-file": ("normal-0.jpg/more", "not there"),
        "itself.jpg": ("itself.jpg", "back to itself"),
        "one-of-two.jpg": ("other-of-two.jpg", "back to itself"),
        "other-of-two.jpg": ("one-of-two.jpg", "back to itself"),
        "to-its-folder": (".", "listed already"),
        "to-the-folder-above": ("..", "listed already"),
        "to-all": ("../..", "listed already"),
        "zero.jpg": ("/dev/zero", "device"),
        "terminal.jpg": ("/dev/tty", "device"),
        "to-a-pipe.jpg": ("pipe.jpg", "pipe"),
    }
    (root / "=odd" / "deep").mkdir()
    for name, (target, reason) in links.items():
        folder = "=odd/deep" if name == "to-all" else "=odd"
        yield _link(root, f"{folder}/{name}", target, QUARANTINE + reason)


def _specials(root: Path) -> Iterator[Expected]:
    """Files that must not be opened, or cannot be."""
    os.mkfifo(root / "=odd" / "pipe.jpg")
    yield Expected("=odd/pipe.jpg", QUARANTINE + "pipe")
    os.mknod(root / "=odd" / "socket.jpg", stat.S_IFSOCK | 0o600)
    yield Expected("=odd/socket.jpg", QUARANTINE + "socket")
    if _made_device(root / "=odd" / "device.jpg"):
        yield Expected("=odd/device.jpg", QUARANTINE + "device")
    yield _put(root, "=odd/ten-gigabytes.jpg", jpeg("large"), QUARANTINE + "over 1 GiB")
    os.truncate(root / "=odd" / "ten-gigabytes.jpg", 10 << 30)
    locked = _put(root, "=odd/locked.jpg", jpeg("locked"), QUARANTINE + "cannot be read")
    if os.geteuid() == 0:  # to whom nothing is locked
        (root / locked.path).unlink()
    else:
        (root / locked.path).chmod(0)
        yield locked


def _made_device(path: Path) -> bool:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        return False
    return True


def _hidden(root: Path) -> Iterator[Expected]:
    for folder in ("", "birds/", "birds/deep/"):
        for name in HIDDEN:
            yield _put(root, folder + name, jpeg(folder + name), PASSED_OVER)


def _outside(root: Path) -> Iterator[Expected]:
    for name in ("loose.jpg", "README.txt"):
        yield _put(root, name, jpeg(name), OUTSIDE)
    os.mkfifo(root / "loose-pipe")
    yield Expected("loose-pipe", OUTSIDE)
    for name, target in {"loose-loop": "loose-loop", "loose-link": "nowhere", "all": "."}.items():
        yield _link(root, name, target, OUTSIDE)
