# SPDX-License-Identifier: Apache-2.0
"""That any name and any number survive the CSVs, and what the run's CSVs hold."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.duplicates import Item, Items
from trainer.data.images import BadFile, SourceFile
from trainer.data.manifest import (
    escaped,
    read_csv,
    unescaped,
    write_csv,
    write_groups,
    write_manifest,
    write_quarantine,
)
from trainer.data.split import Dealt
from trainer.errors import DataError

NAMES = st.one_of(
    st.binary(max_size=30).map(os.fsdecode),
    st.text("\\x'=+-@\t\r\n\",8f\udc80\udcff", max_size=12),
)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("plain.jpg", "plain.jpg"),
        ("back\\slash", "back\\\\slash"),
        ("caf\udce9", "caf\\xe9"),
        ("caf\\xe9", "caf\\\\xe9"),
        ("=1+1", "'=1+1"),
        ("+", "'+"),
        ("-1", "'-1"),
        ("@home", "'@home"),
        ("'quoted", "''quoted"),
        ("\ttab", "'\ttab"),
        ("\rreturn", "'\rreturn"),
        ("a=b", "a=b"),
        ("Straße", "Straße"),
    ],
)
def test_text_stands_in_a_csv_as_the_rule_says(text: str, field: str) -> None:
    assert escaped(text) == field
    assert unescaped(field) == text


@given(NAMES)
def test_any_name_survives_escaping(name: str) -> None:
    escaped(name).encode("utf-8")
    assert unescaped(escaped(name)) == name


@given(NAMES, NAMES)
def test_no_two_names_collide(one: str, other: str) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "table.csv"


@given(rows=st.lists(st.tuples(NAMES, NAMES), max_size=4), column=NAMES)
def test_any_table_survives_its_file(
    shared: Path, rows: list[tuple[str, str]], column: str
) -> None:
    header = ("path", f"p:{column}")
    write_csv(shared, header, rows)
    assert read_csv(shared) == [dict(zip(header, row, strict=True)) for row in rows]


@given(st.floats(allow_nan=False))
def test_every_float64_survives_its_file(shared: Path, value: float) -> None:
    write_csv(shared, ("plain", "numpy"), [(value, np.float64(value))])
    [row] = read_csv(shared)
    assert float(row["plain"]) == float(row["numpy"]) == value
    assert math.copysign(1, float(row["plain"])) == math.copysign(1, value)


def test_file_is_utf8_with_rfc_4180_lines_and_bare_numbers(tmp_path: Path) -> None:
    rows = [('a "b", c', -0.1), ("é", np.int64(-3)), ("line\nbreak", None)]
    write_csv(tmp_path / "t.csv", ("text", "-number"), rows)
    assert (tmp_path / "t.csv").read_bytes() == (
        'text,\'-number\r\n"a ""b"", c",-0.1\r\né,-3\r\n"line\nbreak",\r\n'.encode()
    )


@pytest.mark.parametrize("content", [b"", b"a,b\r\n1\r\n", b"a\r\n\xff\r\n", b"a,b\r\n1,2,3\r\n"])
def test_damaged_file_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv: is no whole CSV"):
        read_csv(tmp_path / "t.csv")


def test_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: No such file"):
        read_csv(tmp_path / "t.csv")


def sha256(byte: int) -> bytes:
    return bytes([byte]) * 32


ITEMS = Items(
    items=[
        Item(sha256(1), "b/1", "b", "", ("b/3", "b/9")),
        Item(sha256(2), "a/g_nohash_1", "a", "a/g", ()),
    ],
    conflicts=[(SourceFile("a/2", "a", 5), sha256(3)), (SourceFile("b/2", "b", 5), sha256(3))],
)


def test_manifest_has_each_readable_file_once_in_path_order(tmp_path: Path) -> None:
    dealt = [Dealt("test", "training"), Dealt("validation", "", given=True)]
    write_manifest(tmp_path / "m.csv", ITEMS, dealt)
    with open(tmp_path / "m.csv", newline="", encoding="utf-8") as file:
        one, two, three = (sha256(number).hex() for number in (1, 2, 3))
        assert list(csv.reader(file)) == [
            ["path", "label", "sha256", "group", "split", "moved", "given"],
            ["a/2", "a", three, "", "conflict", "", ""],
            ["a/g_nohash_1", "a", two, "a/g", "validation", "", "validation"],
            ["b/1", "b", one, "", "test", "training", ""],
            ["b/2", "b", three, "", "conflict", "", ""],
            ["b/3", "b", one, "", "test", "training", ""],
            ["b/9", "b", one, "", "test", "training", ""],
        ]


def test_quarantine_has_each_bad_file_with_its_reason_in_path_order(tmp_path: Path) -> None:
    bad = [BadFile("b/\udcff", 7, "is a truncated JPEG"), BadFile("a/1", 0, "is empty")]
    write_quarantine(tmp_path / "q.csv", bad)
    assert read_csv(tmp_path / "q.csv") == [
        {"path": "a/1", "bytes": "0", "reason": "is empty"},
        {"path": "b/\udcff", "bytes": "7", "reason": "is a truncated JPEG"},
    ]


def test_groups_have_each_item_once_with_its_unit(tmp_path: Path) -> None:
    one, two = sha256(1).hex(), sha256(2).hex()
    write_groups(tmp_path / "g.csv", ITEMS.items, [one, "a/g"])
    assert read_csv(tmp_path / "g.csv") == [
        {"sha256": one, "path": "b/1", "label": "b", "unit": one},
        {"sha256": two, "path": "a/g_nohash_1", "label": "a", "unit": "a/g"},
    ]
