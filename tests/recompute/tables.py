# SPDX-License-Identifier: Apache-2.0
"""Reads the files of a finished run; the CSV rules are those of section 7 of the method page."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from findings import Broken

Row = dict[str, str]

COLUMNS = {
    "manifest.csv": ["path", "label", "sha256", "group", "split", "moved", "given"],
    "groups.csv": ["sha256", "path", "label", "unit"],
    "quarantine.csv": ["path", "bytes", "reason"],
    "suspects.csv": (
        "path sha256 label p_label predicted p_predicted counted_to flagged split".split()
    ),
    "predictions.csv": ["path", "sha256", "group", "label", "source", "fold", "l2", "predicted"],
}


@dataclass(frozen=True)
class RunFiles:
    """All tables and documents of one run directory."""

    folder: Path
    manifest: list[Row]
    groups: list[Row]
    quarantine: list[Row]
    predictions: list[Row]
    results: dict[str, Any]
    config: dict[str, Any]
    complete: dict[str, str]


def read_run(folder: Path) -> RunFiles:
    """Read what a finished run must have.

    Raises:
        Broken: a file is missing, or no CSV, JSON or YAML, or lacks its columns.
    """
    complete = parsed(folder, "stages/complete.json").get("files")
    if not isinstance(complete, dict):
        raise Broken("stages/complete.json", "no object under 'files'", "path: SHA-256")
    return RunFiles(
        folder,
        read_table(folder, "manifest.csv"),
        read_table(folder, "groups.csv"),
        read_table(folder, "quarantine.csv"),
        read_table(folder, "predictions.csv"),
        parsed(folder, "results.json"),
        parsed(folder, "config.yaml"),
        complete,
    )


def parsed(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON or YAML document that holds one object."""
    text = read_text(folder, name)
    try:
        value = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise Broken(name, f"not readable: {error}", "a document") from error
    if not isinstance(value, dict):
        raise Broken(name, type(value).__name__, "an object")
    return value


def read_text(folder: Path, name: str) -> str:
    """Read a UTF-8 file without translating line ends."""
    try:
        return (folder / name).read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise Broken(name, "no such file", "a file") from error
    except UnicodeDecodeError as error:
        raise Broken(name, f"not UTF-8: {error}", "UTF-8") from error


def read_table(folder: Path, name: str) -> list[Row]:
    """Read one CSV of the run, every header and field with its escapes undone.

    Raises:
        Broken: no such file, other columns, a row of another length, or a wrong escape.
    """
    lines = io.StringIO(read_text(folder, name), newline="")
    try:
        records = [[unescape(field) for field in row] for row in csv.reader(lines, strict=True)]
    except (csv.Error, ValueError) as error:
        raise Broken(name, f"not readable: {error}", "CSV as section 7 says") from error
    header = records[0] if records else []
    wanted = COLUMNS[name]
    extra = header[len(wanted) :]
    plain = all(column.startswith("p:") for column in extra) and name == "predictions.csv"
    if header[: len(wanted)] != wanted or (extra and not plain):
        raise Broken(name, f"columns {header}", f"columns {wanted}")
    for number, record in enumerate(records[1:], 2):
        if len(record) != len(header):
            raise Broken(name, f"{len(record)} fields in record {number}", f"{len(header)} fields")
    return [dict(zip(header, record, strict=True)) for record in records[1:]]


ESCAPE = re.compile(rb"\\(\\|x[0-9a-fA-F]{2})?")


def unescape(field: str) -> str:
    """Undo the escapes of one field; bytes that are not UTF-8 come back as surrogates.

    Raises:
        ValueError: a quote in front of nothing that needs one, or a lone backslash.
    """
    if field.startswith("'"):
        field = field[1:]
        if not field.startswith(("=", "+", "-", "@", "'", "\t", "\r")):
            raise ValueError(f"a leading ' that nothing asks for in {field!r}")
    elif field.startswith(("=", "+", "-", "@", "\t", "\r")):
        raise ValueError(f"no leading ' in {field!r}")
    return ESCAPE.sub(unescaped_byte, field.encode()).decode("utf-8", "surrogateescape")


def unescaped_byte(match: re.Match[bytes]) -> bytes:
    """The byte that one escape stands for."""
    escape: bytes | None = match[1]
    if escape is None:
        raise ValueError("a backslash that is neither doubled nor \\xNN")
    return b"\\" if escape == b"\\" else bytes([int(escape[1:], 16)])
