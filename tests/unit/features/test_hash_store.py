# SPDX-License-Identifier: Apache-2.0
"""Difference hashes in the cache: what was put in, or nothing, whatever lies there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.cache_use import HASHES, CacheUse
from trainer.data.difference_hash import UNKNOWN, DifferenceHash
from trainer.errors import RetrainError
from trainer.features import hash_store
from trainer.features.hash_store import ENTRY, MAGIC, HashWriter, read_hashes
from trainer.progress import Progress

FOUND = [
    DifferenceHash(0),
    DifferenceHash((1 << 64) - 1, 1 << 63),
    DifferenceHash(None),
    DifferenceHash(12345, 0xFFFF),
    UNKNOWN,
]


def use(cache: Path) -> CacheUse:
    return CacheUse(cache, cache / "run")


def folder_of(cache: Path) -> Path:
    return cache / HASHES


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def fill(cache: Path, hashes: dict[int, DifferenceHash]) -> Path:
    writer = HashWriter(use(cache))
    for number, dhash in hashes.items():
        writer.add(digest(number), dhash)
    before = set(folder_of(cache).glob("*"))
    writer.commit()
    (path,) = set(folder_of(cache).glob("*")) - before
    return path


def read(cache: Path, *numbers: int, progress: Progress | None = None) -> list[DifferenceHash]:
    wanted = [digest(number) for number in numbers]
    known = read_hashes(use(cache), set(wanted), progress or Progress())
    assert known.keys() <= set(wanted)
    return [known.get(one, UNKNOWN) for one in wanted]


def test_hashes_come_back_as_they_were_and_of_others_nothing_is_known(tmp_path: Path) -> None:
    fill(tmp_path, dict(enumerate(FOUND)))
    assert read(tmp_path, 3, 0, 1, 4, 2, 99) == [*(FOUND[n] for n in (3, 0, 1, 4, 2)), UNKNOWN]
    assert read(tmp_path / "nowhere", 0) == [UNKNOWN]


@pytest.mark.parametrize("exact", [DifferenceHash(5), DifferenceHash(None)])
@pytest.mark.parametrize("first", [True, False])
def test_exact_hash_counts_before_an_estimate_whichever_was_written_first(
    tmp_path: Path, exact: DifferenceHash, first: bool
) -> None:
    for dhash in (exact, UNKNOWN) if first else (UNKNOWN, exact):
        fill(tmp_path, {1: dhash})
    assert read(tmp_path, 1) == [exact]


def test_nothing_is_written_where_there_is_nothing(tmp_path: Path) -> None:
    HashWriter(use(tmp_path)).commit()
    assert not list(tmp_path.iterdir())


def test_each_commit_writes_what_came_since_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_store, "COMMIT_SECONDS", 0.0)
    writer = HashWriter(use(tmp_path))
    for number in range(2):
        writer.add(digest(number), DifferenceHash(number))
        writer.commit_if_due()
    writer.commit()
    assert sorted(path.stat().st_size for path in folder_of(tmp_path).iterdir()) == [40 + 49] * 2
    assert read(tmp_path, 0, 1) == [(0, 0), (1, 0)]


def sealed(table: bytes) -> bytes:
    return MAGIC + hashlib.sha256(table).digest() + table


def entry(bits: int, unsure: int, hashed: int) -> bytes:
    values = np.zeros(1, ENTRY)
    values["sha256"] = np.frombuffer(digest(7), "V32")
    values["bits"], values["unsure"], values["hashed"] = bits, unsure, hashed
    return values.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        MAGIC,
        b"not ours at all, and longer than what stands before the entries",
        sealed(b"")[:-1],
        sealed(entry(1, 0, 1)[:-1]),
        sealed(entry(1, 0, 2)),
        sealed(entry(1, 0, 0)),
        sealed(entry(0, 1, 0)),
    ],
)
def test_what_no_run_writes_is_passed_over_in_a_line(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, {1: DifferenceHash(77)})
    (folder_of(tmp_path) / "a.hashes1").write_bytes(content)
    progress = Progress()
    with progress.logging_to(tmp_path / "log"):
        assert read(tmp_path, 1, 7, progress=progress) == [(77, 0), UNKNOWN]
    assert "1 files of difference hashes cannot be used" in (tmp_path / "log").read_text()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = fill(tmp_path, {1: DifferenceHash(77, 3)})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read(tmp_path, 1) == [UNKNOWN]


def giant(path: str) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("/dev/zero", path),
        lambda path: os.symlink("nowhere", path),
        giant,
    ],
)
def test_pipes_devices_and_giants_are_neither_waited_for_nor_read(
    tmp_path: Path, make: Callable[[str], None]
) -> None:
    fill(tmp_path, {1: DifferenceHash(77)})
    make(str(folder_of(tmp_path) / "a.hashes1"))
    assert read(tmp_path, 1) == [(77, 0)]


def test_cache_that_cannot_be_written_is_told_of_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "hashes").write_text("a file")
    with pytest.raises(RetrainError, match=r"hashes.* cannot be written"):
        fill(tmp_path, {1: DifferenceHash(77)})
