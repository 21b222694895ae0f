# SPDX-License-Identifier: Apache-2.0
"""What is listed as a file of the source, and what the listing alone shows to be too little."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from trainer.data.images import Listing, require_enough
from trainer.data.source import Source, list_names, look_at, put_in, unseen
from trainer.errors import DATA, DataError, UsageError


def fill(root: Path, *names: str) -> Path:
    """Files of five bytes at these paths."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"bytes")
    return root


def listing(root: Path, *exclude: str) -> Listing:
    source = Source(root, "data.images", "folder")
    names = list_names(source, exclude)
    return put_in(names, chain.from_iterable(look_at(source, names.files, unseen(names))))


def paths(root: Path) -> list[str]:
    return [file.path for file in listing(root).files]


def bad(root: Path) -> dict[str, str]:
    return {file.path: file.reason for file in listing(root).bad}


# Listing


def test_files_are_listed_in_path_order_with_label_and_bytes(tmp_path: Path) -> None:
    fill(tmp_path, "b/1.jpg", "a/x/deep.jpg", "a/x-1.jpg", "a/y.jpg", "a-b/1.jpg")
    found = listing(tmp_path)
    assert found.classes == ["a", "a-b", "b"]
    assert [(f.path, f.label, f.bytes) for f in found.files] == [
        ("a-b/1.jpg", "a-b", 5),
        ("a/x-1.jpg", "a", 5),
        ("a/x/deep.jpg", "a", 5),
        ("a/y.jpg", "a", 5),
        ("b/1.jpg", "b", 5),
    ]


def test_bad_files_are_listed_in_path_order(tmp_path: Path) -> None:
    for name in ("b/1", "a/y", "a/x/deep", "a-b/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to("nowhere")
    assert list(bad(tmp_path)) == ["a-b/1", "a/x/deep", "a/y", "b/1"]


@pytest.mark.parametrize(
    "name", [".hidden", ".hidden/1.jpg", "Thumbs.db", "desktop.ini", "__MACOSX/1.jpg"]
)
def test_what_systems_leave_behind_is_passed_over_at_every_level(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a/1.jpg", name, f"a/{name}", f"a/deep/{name}")
    found = listing(tmp_path)
    assert (found.classes, found.outside, found.bad) == (["a"], 0, [])
    assert [file.path for file in found.files] == ["a/1.jpg"]


def test_files_beside_the_class_folders_are_counted_and_not_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "readme.txt", "2.jpg")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "source").symlink_to(tmp_path)
    assert (listing(tmp_path).outside, paths(tmp_path)) == (5, ["a/1.jpg"])


def test_empty_class_folder_is_no_class_but_is_remembered(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/.hidden")
    found = listing(tmp_path)
    assert (found.classes, found.empty) == (["a"], ["b"])


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "1.jpg", "deep/2.jpg")
    root = fill(tmp_path / "root", "a/0.jpg")
    (root / "a" / "file.jpg").symlink_to(store / "1.jpg")
    (root / "a" / "folder").symlink_to(store)
    (root / "b").symlink_to(store)
    assert paths(root) == [
        "a/0.jpg",
        "a/file.jpg",
        "a/folder/1.jpg",
        "a/folder/deep/2.jpg",
        "b/1.jpg",
        "b/deep/2.jpg",
    ]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere", "not there"),
        ("link", "back to itself"),
        ("..", "listed already"),
        (".", "listed already"),
        ("../..", "listed already"),
    ],
)
def test_dangling_and_looping_links_are_bad(tmp_path: Path, target: str, told: str) -> None:
    fill(tmp_path, "a/deep/1.jpg")
    (tmp_path / "a" / "deep" / "link").symlink_to(target)
    assert told in bad(tmp_path)["a/deep/link"]
    assert paths(tmp_path) == ["a/deep/1.jpg"]


def test_second_link_to_one_folder_is_bad(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "1.jpg")
    root = fill(tmp_path / "root", "a/0.jpg")
    for name in ("later", "first"):
        (root / "a" / name).symlink_to(store)
    assert paths(root) == ["a/0.jpg", "a/first/1.jpg"]
    assert list(bad(root)) == ["a/later"]


def test_folders_that_all_link_to_each_other_are_listed_in_no_time(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        fill(tmp_path, f"a/{name}/1.jpg")
        for other in names:
            (tmp_path / "a" / name / f"to-{other}").symlink_to(f"../{other}")
    assert len(paths(tmp_path)) <= 2 * len(names)


def test_named_pipe_is_bad(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert "pipe" in bad(tmp_path)["a/pipe"]


def test_class_of_bad_files_alone_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").symlink_to("nowhere")
    assert listing(tmp_path).classes == ["a"]


def test_name_that_is_not_utf8_leads_back_to_its_file(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    with open(os.fsencode(tmp_path) + b"/a/\xe9t\xe9.jpg", "wb"):
        pass
    [name] = [path for path in paths(tmp_path) if path != "a/1.jpg"]
    assert os.fsencode(name) == b"a/\xe9t\xe9.jpg"
    assert (tmp_path / name).exists()


def test_excluded_class_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/1.jpg")
    assert listing(tmp_path, "b").classes == ["a"]


def test_excluded_class_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    fill(tmp_path, "gravel/1.jpg", "thatch/1.jpg")
    with pytest.raises(UsageError, match=r"data\.exclude: gravle") as caught:
        listing(tmp_path, "gravle")
    assert caught.value.todo == "Did you mean gravel?"


@pytest.mark.parametrize(
    ("name", "told"),
    [("missing", "no such folder"), ("file", "no folder"), ("n" * 300, "cannot be read")],
)
def test_source_that_cannot_be_listed_is_a_data_error(tmp_path: Path, name: str, told: str) -> None:
    fill(tmp_path, "file")
    with pytest.raises(DataError, match=f"^data.images {tmp_path}.*{told}") as caught:
        listing(tmp_path / name)
    assert caught.value.exit_code == DATA


def test_folder_that_cannot_be_opened_ends_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/locked/1.jpg")
    scandir: Callable[[Path], Iterator[os.DirEntry[str]]] = os.scandir

    def guarded(folder: Path) -> Iterator[os.DirEntry[str]]:
        if folder.name == "locked":  # root, who may run this, opens any real folder
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match="a/locked: cannot be read: Permission denied"):
        listing(tmp_path)


# What the listing alone shows


def refusal(root: Path, *exclude: str) -> DataError:
    with pytest.raises(DataError) as caught:
        require_enough(listing(root, *exclude), root, "data.images")
    return caught.value


def test_two_classes_of_three_files_are_enough(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{label}/{number}" for label in "ab" for number in range(3)))
    require_enough(listing(tmp_path), tmp_path, "data.images")


def test_all_classes_with_too_few_files_are_told_with_their_counts(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{label}/{number}" for label in "ab" for number in range(3)))
    fill(tmp_path, "few/1", "few/2", "none/.hidden")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "1").symlink_to("nowhere")
    error = refusal(tmp_path)
    assert "too few files in 3 of 5 classes" in error.message
    assert "few (2), links (0 usable, 1 not), none (0); each needs 3" in error.message
    assert "links/1 is a link to something that is not there" in error.todo


def test_one_class_alone_is_refused_with_its_count(tmp_path: Path) -> None:
    fill(tmp_path, "a/1", "a/2", "a/3", "b/1")
    assert "one class only, a (3)" in refusal(tmp_path, "b").message


def test_empty_source_is_refused(tmp_path: Path) -> None:
    assert "no class folders; two" in refusal(tmp_path).message


def test_images_without_class_folders_are_told_how_to_be_sorted(tmp_path: Path) -> None:
    error = refusal(fill(tmp_path, "1.jpg", "2.jpg"))
    assert "no class folders, only files (2)" in error.message
    assert "one folder a class" in error.todo
    assert str(tmp_path.parent) in error.todo
