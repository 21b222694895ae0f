# SPDX-License-Identifier: Apache-2.0
"""The bench's pictures: equal for equal counts, and sets that retrain can deal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pictures import GREY, SMALL, draw, files_of, subset


def test_larger_set_begins_with_the_pictures_of_the_smaller(tmp_path: Path) -> None:
    few, more = draw(tmp_path / "few", SMALL, 2), draw(tmp_path / "more", SMALL, 4)
    for path in files_of(few):
        assert path.read_bytes() == (more / path.relative_to(few)).read_bytes()


def test_grey_pictures_are_grey_pngs_of_their_size(tmp_path: Path) -> None:
    first = files_of(draw(tmp_path / "grey", GREY, 1))[0]
    with Image.open(first) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (300, 300))


def test_subset_takes_as_many_from_each_class(tmp_path: Path) -> None:
    links = subset(draw(tmp_path / "all", SMALL, 40), 18, tmp_path / "some")
    assert Counter(path.parent.name for path in files_of(links)) == {"class-0": 9, "class-1": 9}


def test_classes_too_many_for_the_count_are_left_out_rather_than_starved(tmp_path: Path) -> None:
    for label in "abcd":
        (tmp_path / "all" / label).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "all" / label / f"{number}.jpg").touch()
    links = subset(tmp_path / "all", 16, tmp_path / "some")
    assert Counter(path.parent.name for path in files_of(links)) == {"class-0": 8, "class-1": 8}


def test_single_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all" / "only").mkdir(parents=True)
    with pytest.raises(ValueError, match="two folders or more"):
        subset(tmp_path / "all", 16, tmp_path / "some")
