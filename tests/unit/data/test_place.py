# SPDX-License-Identifier: Apache-2.0
"""Contents are read whole or in part, only regular files are opened, and waits have an end."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from trainer.data.place import Patience, Place


def test_part_of_a_file_reads_like_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"before content after")
    place = Place(str(tmp_path / "archive"), 7, 7)
    assert place.read() == b"content"
    with place.open() as file:
        file.seek(-3, os.SEEK_END)
        assert (file.read(2), file.tell(), file.read(9)) == (b"en", 6, b"t")


def test_part_beyond_the_end_is_an_error_and_no_short_content(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"cut")
    with pytest.raises(OSError, match="shorter"):
        Place(str(tmp_path / "archive"), 1, 9).read()


@pytest.mark.timeout(10)
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        Place(str(tmp_path / "pipe")).read()


class Failing:
    """Fails some times, then reads."""

    def __init__(self, times: int, number: int) -> None:
        self.times, self.number, self.tried = times, number, 0

    def __call__(self) -> str:
        self.tried += 1
        if self.tried <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return "content"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is slept, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_what_may_pass_is_tried_again(number: int, pauses: list[float]) -> None:
    assert Patience()(Failing(3, number)) == "content"
    assert len(pauses) == 3


def test_missing_file_is_not_waited_for(pauses: list[float]) -> None:
    failing = Failing(1, errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        Patience()(failing)
    assert (failing.tried, pauses) == (1, [])


def test_pauses_are_bounded_in_all(pauses: list[float]) -> None:
    patience = Patience(most=10)
    for _ in range(100):
        with pytest.raises(PermissionError):
            patience(Failing(9, errno.EACCES))
    assert 8 < sum(pauses) <= 10


def test_last_error_says_how_often_it_was_tried(pauses: list[float]) -> None:
    with pytest.raises(PermissionError, match=r"denied \(tried 4 times\)"):
        Patience()(Failing(9, errno.EACCES))
