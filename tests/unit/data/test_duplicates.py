# SPDX-License-Identifier: Apache-2.0
"""What counts as one image, what is in conflict, and what forms a group."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from trainer.data.duplicates import Items, gather_items, unit_names
from trainer.data.images import SourceFile, group_of
from trainer.data.near_duplicates import Near


def gather(**contents: str) -> Items:
    """Items of files named LABEL_NAME with these contents."""
    paths = [path.replace("_", "/", 1) for path in contents]
    files = [SourceFile(path, path.partition("/")[0], 1) for path in paths]
    return gather_items(files, [sha256(content) for content in contents.values()])


def sha256(content: str) -> bytes:
    return hashlib.sha256(content.encode()).digest()


def test_first_in_path_order_stands_for_its_copies_in_whatever_order_they_come() -> None:
    [item] = gather(a_z="same", a_b="same", a_c="same").items
    assert (item.path, item.copies) == ("a/b", ("a/c", "a/z"))


def test_items_lie_in_the_order_of_their_digests() -> None:
    digests = [item.digest for item in gather(a_1="x", a_2="y", b_1="z").items]
    assert digests == sorted(digests)


def test_one_content_under_two_labels_is_a_conflict_with_all_its_files() -> None:
    gathered = gather(b_1="same", a_2="same", a_1="same", a_3="other")
    assert [item.path for item in gathered.items] == ["a/3"]
    assert [file.path for file, _ in gathered.conflicts] == ["a/1", "a/2", "b/1"]
    assert {digest for _, digest in gathered.conflicts} == {sha256("same")}


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("roof/a_nohash_1.jpg", "roof/a"),
        ("roof/a_nohash_1_nohash_2.jpg", "roof/a"),
        ("roof/deep/a_nohash_/1.jpg", "roof/deep/a"),
        ("roof_nohash_2/1.jpg", "roof"),
        ("roof/a.jpg", ""),
        ("roof/a_nohash.jpg", ""),
    ],
)
def test_group_is_the_path_up_to_nohash(path: str, group: str) -> None:
    assert group_of(SourceFile(path, "roof")) == group


def test_copies_take_the_group_of_the_first_in_path_order() -> None:
    [item] = gather(a_z_nohash_1="same", a_b_nohash_1="same").items
    assert item.group == "a/b"


def test_group_of_a_manifest_goes_before_the_path() -> None:
    assert group_of(SourceFile("roof/a_nohash_1.jpg", "roof", group="given")) == "given"


def units(near: Near | None = None) -> dict[str, str]:
    """Units of four items, of which `near` may know which look alike."""
    items = gather(a_1="x", a_2="y", a_b_nohash_1="z", a_b_nohash_2="w").items
    return dict(zip((item.path for item in items), unit_names(items, near), strict=True))


def test_unit_is_the_group_or_else_the_content() -> None:
    assert units() == {
        "a/1": sha256("x").hex(),
        "a/2": sha256("y").hex(),
        "a/b_nohash_1": "a/b",
        "a/b_nohash_2": "a/b",
    }


def test_near_duplicates_join_their_groups_to_one_unit() -> None:
    alike = {"a/1": 0b1, "a/b_nohash_2": 0b11}
    others = {"a/2": 2**64 - 1, "a/b_nohash_1": 2**32 - 1}
    hashes = np.array([(alike | others)[path] for path in units()], np.uint64)
    found = units(Near(hashes, np.ones(4, np.bool_)))
    first = min(sha256("x").hex(), "a/b")
    assert found["a/1"] == found["a/b_nohash_1"] == found["a/b_nohash_2"] == first
    assert found["a/2"] == sha256("y").hex()


def given_back(**groups: str) -> list[str]:
    """Groups of the items named LABEL_NAME, each of its own content, as a manifest gives them."""
    files = [
        SourceFile(name.replace("_", "/", 1), "a", group=group) for name, group in groups.items()
    ]
    items = gather_items(files, [sha256(file.path) for file in files]).items
    return [item.group for item in sorted(items, key=lambda item: item.path)]


def test_unit_that_is_given_back_for_an_item_alone_makes_no_group() -> None:
    assert given_back(a_1=sha256("a/1").hex(), a_2="mine") == ["", "mine"]


def test_unit_that_is_given_back_for_several_is_their_group() -> None:
    unit = sha256("a/1").hex()
    assert given_back(a_1=unit, a_2=unit) == [unit, unit]
