# SPDX-License-Identifier: Apache-2.0
"""The three kinds of sources list the same, and what is wrong with one is told."""

from __future__ import annotations

import io
import os
import tarfile
from itertools import chain
from pathlib import Path

import pytest

from trainer.config import Data
from trainer.data.images import Listing
from trainer.data.source import Source, list_enough, look_at, open_source, put_in, require_whole
from trainer.data.source import unseen as places_unseen
from trainer.errors import DataError, UsageError

NAMES = tuple(f"{label}/{name}" for label in "ab" for name in ("1", "2", "deep/3", "deep/4"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of four files, two of them in a folder below."""
    root = tmp_path / "photos"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    return root


def packed(folder: Path, top: str = ".") -> Path:
    """A tar of a folder, as `tar cf photos.tar -C photos .` makes it."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, top)
    return path


def manifest(folder: Path, *rows: str, header: str = "path,label") -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def whole(path: Path, *exclude: str) -> tuple[Source, Listing]:
    source, names = list_enough(Data(images=str(path), exclude=list(exclude)))
    seen = chain.from_iterable(look_at(source, names.files, places_unseen(names)))
    listing = put_in(names, seen)
    require_whole(source, listing)
    return source, listing


def contents(path: Path) -> dict[str, tuple[str, str]]:
    """Path to label and content."""
    source, listing = whole(path)
    return {file.path: (file.label, source.place(file).read().decode()) for file in listing.files}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        whole(path)
    return f"{caught.value.message} {caught.value.todo}"


ALL = {name: (name[0], f"content of {name}") for name in NAMES}


def test_folder_archive_and_manifest_list_the_same(folder: Path) -> None:
    rows = [f"{name},{name[0]}" for name in NAMES]
    assert contents(folder) == ALL
    assert contents(packed(folder)) == ALL
    assert contents(manifest(folder, *rows)) == ALL


def test_classes_are_found_below_the_only_folder_of_an_archive(folder: Path) -> None:
    assert contents(packed(folder, "photos")) == ALL


def test_archive_is_known_by_its_content_whatever_its_name(folder: Path) -> None:
    path = packed(folder).rename(folder.parent / "photos.data")
    assert open_source(Data(images=str(path))).form == "archive"


def test_class_is_left_out_of_any_source(folder: Path) -> None:
    (folder / "c").mkdir()
    for number in range(3):
        (folder / "c" / str(number)).touch()
    for path in (folder, packed(folder)):
        assert whole(path, "c")[1].classes == ["a", "b"]


# Archives


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, **more: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, more.get("target", "")
    content = more.get("content", "").encode()
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def append(folder: Path, name: str, kind: bytes = tarfile.REGTYPE, **more: str) -> Path:
    """The folder's archive with one more member."""
    path = packed(folder)
    with tarfile.open(path, "a") as archive:
        add(archive, name, kind, **more)
    return path


def bad(path: Path) -> dict[str, str]:
    return {file.path: file.reason for file in whole(path)[1].bad}


def test_hard_and_symbolic_links_in_an_archive_lead_to_their_content(folder: Path) -> None:
    hard = append(folder, "./a/hard", tarfile.LNKTYPE, target="./a/1")
    assert contents(hard)["a/hard"] == ("a", "content of a/1")
    symbolic = append(folder, "a/deep/soft", tarfile.SYMTYPE, target="../../b/2")
    assert contents(symbolic)["a/deep/soft"] == ("a", "content of b/2")


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        (tarfile.SYMTYPE, "gone", "not in the archive"),
        (tarfile.SYMTYPE, "../../../etc/passwd", "not in the archive"),
        (tarfile.SYMTYPE, "odd", "back to itself"),
        (tarfile.FIFOTYPE, "", "pipe, socket or device"),
        (tarfile.CHRTYPE, "", "pipe, socket or device"),
    ],
)
def test_member_that_is_no_file_is_bad(folder: Path, kind: bytes, target: str, reason: str) -> None:
    assert reason in bad(append(folder, "a/odd", kind, target=target))["a/odd"]


def test_later_member_replaces_one_of_its_name(folder: Path) -> None:
    assert contents(append(folder, "a/1", content="newer"))["a/1"] == ("a", "newer")


def test_member_that_leads_out_of_the_archive_is_no_member(folder: Path) -> None:
    assert contents(append(folder, "../a/6", content="outside")) == ALL


def test_names_in_an_archive_may_be_of_any_bytes(folder: Path) -> None:
    name = os.fsdecode(b"a/\xff \n'.jpg")
    assert name in contents(append(folder, name, content="x"))


def test_hidden_members_are_passed_over_and_lone_ones_counted(folder: Path) -> None:
    (folder / "a" / ".hidden").touch()
    (folder / "read me").touch()
    (folder / "Thumbs.db").touch()
    listing = whole(packed(folder))[1]
    assert ([file.path for file in listing.files], listing.outside) == (sorted(NAMES), 1)


@pytest.mark.parametrize("left", [0.3, 0.5, 0.62, 0.9])
def test_archive_that_is_cut_short_is_refused(folder: Path, left: float) -> None:
    path = packed(folder)
    end = 512 * (2 * len(NAMES) + 5)  # headers and contents of files, headers of folders
    os.truncate(path, int(left * end))
    assert "no whole tar archive" in refusal(path)


def test_packed_archive_is_refused_with_what_to_do(folder: Path) -> None:
    path = folder.parent / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
    assert "packed by gzip" in refusal(path)


# Manifests


def test_manifest_says_groups_and_sets(folder: Path) -> None:
    rows = [f"{name},x{name[0]},g{number % 3},train" for number, name in enumerate(NAMES)]
    rows[0] = f"{NAMES[0]},xa,,"
    files = whole(manifest(folder, *rows, header="path,label,group,split"))[1].files
    found = {file.path: (file.label, file.group, file.set) for file in files}
    assert found["a/1"] == ("xa", "", "")
    assert found["b/1"] == ("xb", "g1", "training")


def test_manifest_of_a_spreadsheet_is_read(folder: Path) -> None:
    path = folder / "list.csv"
    text = "\r\n".join(["Label;Path;Remark", *(f"{name[0]};{name};x" for name in NAMES)])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert contents(path) == ALL


def test_every_wrong_row_is_told_by_line_and_at_most_ten(folder: Path) -> None:
    rows = [f"{name},{name[0]},," for name in NAMES]
    rows += ["a/5,,,", ",a,,", "a/6,a,,trainingg", "a/7,a", "a/1,a,,", "a/deep/../1,a,,"]
    told = refusal(manifest(folder, *rows, header="path,label,group,split"))
    assert "6 wrong rows: line 10: no label for a/5; line 11: no path; line 12: split" in told
    assert "line 13: 2 fields, not 4; line 14: a/1 stands in line 2 already; line 15: a/1" in told
    many = refusal(manifest(folder, *rows, *["x"] * 20, header="path,label,group,split"))
    assert many.count("line ") == 10 + many.count("in line ")
    assert "and 16 more" in many


def test_files_that_are_not_there_are_told_by_line(folder: Path) -> None:
    rows = [f"{name},{name[0]}" for name in NAMES]
    assert "1 wrong row: line 10: a/gone is not there" in refusal(
        manifest(folder, *rows, "a/gone,a")
    )


@pytest.mark.parametrize(
    ("header", "row"), [("path,class", "a/1,a"), ("label", "a"), ("", ""), ("a/1.jpg,a", "a/2,a")]
)
def test_manifest_without_its_columns_is_refused(folder: Path, header: str, row: str) -> None:
    assert "no column" in refusal(manifest(folder, row, header=header))


@pytest.mark.parametrize("content", [b"path,label\n\xff,a\n", b'path,label\n"a,b\n', b"\0\1\2"])
def test_broken_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "list.csv").write_bytes(content)
    told = refusal(folder / "list.csv")
    assert "no CSV in UTF-8" in told or "no column" in told


def test_several_labels_of_an_image_are_refused_in_a_sentence(folder: Path) -> None:
    rows = [f"{name},{name[0]}" for name in NAMES]
    told = refusal(manifest(folder, *rows, "a/1,b"))
    assert "1 images have several labels, such as a/1 (a, b)" in told
    assert "one label" in told
    assert "seems to be several" in refusal(manifest(folder, *rows[1:], "a/1,a|b"))


def test_unknown_class_to_leave_out_is_wrong_usage(folder: Path) -> None:
    with pytest.raises(UsageError, match="no such class"):
        list_enough(Data(images=str(folder), exclude=["zebra"]))
