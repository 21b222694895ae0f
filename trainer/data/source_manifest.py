# SPDX-License-Identifier: Apache-2.0
"""A CSV manifest that names the images: path,label[,group][,split], paths relative to it.

Written as `trainer.data.manifest` writes a run's own tables, so that a run's manifest.csv and
groups.csv, put beside the classes, can be given back: their `unit` counts as the group, and
columns of other names are passed over. As spreadsheets write it, it may begin with a byte order
mark, and have semicolons or tabs between its fields.
"""

from __future__ import annotations

import csv
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.images import Listing, SourceFile
from trainer.data.manifest import CONFLICT, unescaped
from trainer.data.sets import TEST, TRAINING, VALIDATION
from trainer.errors import DataError, listed

COLUMNS = ("path", "label", "group", "unit", "split")
SETS = {name: name for name in (TRAINING, VALIDATION, TEST)} | {
    "train": TRAINING,
    "val": VALIDATION,
    "valid": VALIDATION,
    "dev": VALIDATION,
    CONFLICT: "",  # in a run's own manifest.csv; whether it still is one, the contents decide
    "": "",
}
SHOWN = 10
FORM = "Its columns are path,label[,group][,split], its paths relative to it."


@dataclass
class _Table:
    """The rows of a manifest as they are read."""

    files: list[SourceFile] = field(default_factory=list)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Path to the line that named it first, and the label there."""
    several: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Path to its labels, where there are several."""
    wrong: list[str] = field(default_factory=list)

    def add(self, line: int, row: dict[str, str]) -> None:
        """Take in a row, or note what is wrong with it."""
        label, wish = row["label"].strip(), row.get("split", "").strip().lower()
        path = posixpath.normpath(row["path"]) if row["path"].strip() else ""
        group = row.get("group", row.get("unit", "")).strip()
        if not path or path == ".":
            self.wrong.append(f"line {line}: no path")
        elif not label:
            self.wrong.append(f"line {line}: no label for {path}")
        elif wish not in SETS:
            self.wrong.append(f"line {line}: split {wish!r} is none of training, validation, test")
        elif path in self.first:
            self._again(line, path, label)
        else:
            self.first[path] = line, label
            self.files.append(SourceFile(path, label, group=group, set=SETS[wish]))

    def _again(self, line: int, path: str, label: str) -> None:
        first, before = self.first[path]
        if before != label:
            self.several[path] |= {before, label}
        self.wrong.append(f"line {line}: {path} stands in line {first} already")


def list_manifest(path: Path, key: str) -> Listing:
    """Read the rows; no file that they name is looked at.

    Args:
        path: The CSV.
        key: The configuration's key for it, for messages.
    Returns:
        Files with their groups and sets, not looked at yet.
    Raises:
        DataError: It cannot be read, lacks a column, has wrong rows (at most ten are told, by
            line), or gives images several labels.
    """
    table = _Table()
    for line, row in _rows(path, key):
        if isinstance(row, str):
            table.wrong.append(f"line {line}: {row}")
        else:
            table.add(line, row)
    if table.several:
        raise _several_labels(path, key, {name: sorted(x) for name, x in table.several.items()})
    if table.wrong:
        raise wrong_rows(path, key, table.wrong)
    _require_single_labels(path, key, table.files)
    return Listing(sorted({file.label for file in table.files}), table.files, [])


def missing_rows(path: Path, key: str, missing: Sequence[str]) -> DataError:
    """That files which a manifest names are not there, by line."""
    wanted = set(missing)
    lines = [
        f"line {line}: {name} is not there"
        for line, row in _rows(path, key)
        if not isinstance(row, str) and (name := posixpath.normpath(row["path"])) in wanted
    ]
    return wrong_rows(path, key, lines)


def wrong_rows(path: Path, key: str, wrong: Sequence[str]) -> DataError:
    """That rows cannot be used, each told with its line."""
    shown = "; ".join(wrong[:SHOWN])
    more = f"; and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
    plural = "row" if len(wrong) == 1 else "rows"
    return DataError(f"{key} {path}: {len(wrong):,} wrong {plural}: {shown}{more}.", FORM)


def _rows(path: Path, key: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Line and fields of each row, or what is wrong with it; blank lines passed over."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            header = [
                name.strip().lower() for name in next(csv.reader([first], delimiter=separator))
            ]
            _require_columns(path, key, header)
            reader = csv.reader(file, delimiter=separator, strict=True)
            for fields in reader:
                if not any(fields):
                    continue
                if len(fields) != len(header):
                    yield reader.line_num + 1, f"{len(fields)} fields, not {len(header)}"
                    continue
                row = dict(zip(header, map(unescaped, fields), strict=True))
                yield reader.line_num + 1, row
    except (OSError, UnicodeError, csv.Error, StopIteration) as error:
        told = error.strerror if isinstance(error, OSError) else f"is no CSV in UTF-8: {error}"
        raise DataError(f"{key} {path}: {told}.", FORM) from None


def _require_columns(path: Path, key: str, header: Sequence[str]) -> None:
    lacking = [name for name in ("path", "label") if name not in header]
    double = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if lacking:
        found = listed([name for name in header if name]) or "nothing"
        raise DataError(
            f"{key} {path}: its first line has no column {' and no column '.join(lacking)}; "
            f"found: {found}.",
            f"{FORM} For pictures give a folder with one folder a class.",
        )
    if double:
        raise DataError(f"{key} {path}: two columns are named {listed(double)}.", ONE_LABEL)


ONE_LABEL = "An image has one label here: retrain tells classes apart that exclude each other."


def _several_labels(path: Path, key: str, several: dict[str, list[str]]) -> DataError:
    first = next(iter(several))
    return DataError(
        f"{key} {path}: {len(several):,} images have several labels, such as {first} "
        f"({listed(several[first])}).",
        ONE_LABEL,
    )


def _require_single_labels(path: Path, key: str, files: Sequence[SourceFile]) -> None:
    """Refuse labels that are lists: `cat|dog` beside a label `cat`."""
    labels = {file.label for file in files}
    for separator in "|;,":
        for label in sorted(labels):
            parts = [part.strip() for part in label.split(separator)]
            if len(parts) > 1 and any(part in labels for part in parts):
                raise DataError(
                    f"{key} {path}: the label {label!r} seems to be several, since "
                    f"{next(part for part in parts if part in labels)!r} is one as well.",
                    ONE_LABEL,
                )
