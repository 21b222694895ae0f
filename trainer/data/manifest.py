# SPDX-License-Identifier: Apache-2.0
"""The run's CSVs: the one module that writes and reads them, so that any file name survives.

UTF-8 by RFC 4180. In text a backslash is doubled, a byte that is not UTF-8 becomes a backslash,
x and two hex digits, and a field that a spreadsheet could take for a formula, or that begins with
`'`, gets a leading `'`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from trainer.data.duplicates import Item, Items
from trainer.data.images import BadFile, group_of
from trainer.data.split import Dealt
from trainer.errors import DataError
from trainer.rundir import write_text

CONFLICT = "conflict"
"""What stands as the split of a content that lies under two labels."""

MANIFEST = ("path", "label", "sha256", "group", "split", "moved", "given")
"""`given` is the set that the source's own manifest named for an item or its group."""

_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")
_SPECIAL = re.compile("[\\\\\udc80-\udcff]")
_ESCAPED = re.compile(r"\\(?:\\|x([89a-fA-F][0-9a-fA-F]))")


def escaped(text: str) -> str:
    """Text as it stands in a CSV; no two texts become the same."""
    text = _SPECIAL.sub(_escape_one, text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _escape_one(match: re.Match[str]) -> str:
    # os.fsdecode puts the byte NN that is not UTF-8 into the surrogate U+DCNN.
    return r"\\" if match[0] == "\\" else f"\\x{ord(match[0]) - 0xDC00:02x}"


def unescaped(field: str) -> str:
    """The text that `escaped` was given; numbers stay as they are."""
    return _ESCAPED.sub(_unescape_one, field.removeprefix("'"))


def _unescape_one(match: re.Match[str]) -> str:
    return chr(0xDC00 + int(match[1], 16)) if match[1] else "\\"


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV whole or not at all.

    Args:
        path: Where to.
        header: The columns' names, which may hold class names: escaped.
        rows: A str is text and escaped; None becomes an empty field; a number is written with as
            many digits as bring the same number back.
    Raises:
        RetrainError: It cannot be written.
    """
    write_text(path, "".join(map(csv_line, chain((header,), rows))))


def csv_line(cells: Sequence[object]) -> str:
    """One line of a CSV, its end included; cells as in `write_csv`."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow([escaped(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read what `write_csv` wrote.

    Returns:
        One dictionary for each row, by column; texts as they were, numbers as text.
    Raises:
        DataError: It is not there or broken.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = ([unescaped(cell) for cell in row] for row in csv.reader(file))
        return [dict(zip(header, row, strict=True)) for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        told = (isinstance(error, OSError) and error.strerror) or "is no whole CSV"
        raise DataError(
            f"{path}: {told}.", "Start the same `retrain run` again; it makes anew what is missing."
        ) from None


def write_manifest(path: Path, items: Items, dealt: Sequence[Dealt]) -> None:
    """Write one row for each readable file, in path order.

    Args:
        path: Where to.
        items: All items, and the conflicts.
        dealt: Where each item went; its copies go with it.
    Raises:
        RetrainError: It cannot be written.
    """
    rows = [
        (name, item.label, item.digest.hex(), item.group, to.set, to.moved, _given(to))
        for item, to in zip(items.items, dealt, strict=True)
        for name in (item.path, *item.copies)
    ]
    rows += (
        (file.path, file.label, digest.hex(), group_of(file), CONFLICT, "", "")
        for file, digest in items.conflicts
    )
    write_csv(path, MANIFEST, sorted(rows))


def _given(dealt: Dealt) -> str:
    return dealt.set if dealt.given else ""


def write_quarantine(path: Path, bad: Iterable[BadFile]) -> None:
    """Write one row for each file that cannot be used, in path order.

    Raises:
        RetrainError: It cannot be written.
    """
    rows = sorted((file.path, file.bytes, file.reason) for file in bad)
    write_csv(path, ("path", "bytes", "reason"), rows)


def write_groups(path: Path, items: Sequence[Item], units: Sequence[str]) -> None:
    """Write one row for each item.

    Args:
        path: Where to.
        items: All.
        units: (items,) the name of what cross-validation must not split.
    Raises:
        RetrainError: It cannot be written.
    """
    rows = (
        (item.digest.hex(), item.path, item.label, unit)
        for item, unit in zip(items, units, strict=True)
    )
    write_csv(path, ("sha256", "path", "label", "unit"), rows)
