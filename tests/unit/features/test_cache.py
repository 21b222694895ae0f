# SPDX-License-Identifier: Apache-2.0
"""The cache gives back what was put in, or nothing: never something else."""

from __future__ import annotations

import hashlib
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from trainer.arrays import Float32Array
from trainer.features.cache import Cache, Known, ShardWriter
from trainer.progress import Progress

FEATURES = 7


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def row(number: int) -> Float32Array:
    return np.arange(number, number + FEATURES, dtype=np.float32)


def dhash(number: int) -> int | None:
    """Large ones, 0, and none."""
    return None if number % 3 == 2 else number * ((1 << 64) // 10)


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path, "f" * 64, FEATURES)
    cache.create()
    return cache


def fill(store: Cache, numbers: range) -> None:
    writer = ShardWriter(store)
    for number in numbers:
        writer.add(digest(number), row(number), dhash(number))
    writer.commit()


def read(store: Cache, progress: Progress | None = None) -> Known:
    return store.read_index(progress or Progress())


def test_rows_come_back_bit_for_bit_in_the_order_asked(store: Cache) -> None:
    fill(store, range(5))
    fill(store, range(5, 9))
    wanted = [8, 0, 3, 5]
    rows = store.read_rows(read(store), [digest(number) for number in wanted])
    assert rows.tobytes() == np.array([row(number) for number in wanted]).tobytes()


def test_hashes_come_back_in_the_order_asked_and_none_where_there_is_none(store: Cache) -> None:
    fill(store, range(5))
    writer = ShardWriter(store)
    writer.add_unreadable(digest(50), "is empty")
    writer.commit()
    fill(store, range(5, 9))
    wanted = [8, 0, 60, 2, 6, 50, 3]  # 60 is unknown, 50 unreadable
    hashes, hashed = read(store).hashes(digest(number) for number in wanted)
    assert hashes.dtype == np.uint64
    assert hashed.tolist() == [False, True, False, False, True, False, True]
    assert hashes.tolist() == [0, 0, 0, 0, dhash(6), 0, dhash(3)]


def test_hashes_of_nothing_are_none(store: Cache) -> None:
    hashes, hashed = read(store).hashes([])
    assert (len(hashes), len(hashed)) == (0, 0)


def test_shards_of_an_earlier_version_are_left_alone_without_a_warning(store: Cache) -> None:
    (store.folder / "host-1-1-0.shard").write_bytes(b"RETRAIN1")
    progress = Progress()
    read(store, progress)
    assert progress.warnings == []


def test_digests_that_end_in_zero_bytes_are_kept_whole(store: Cache) -> None:
    writer = ShardWriter(store)
    writer.add(b"\1" * 30 + b"\0\0", row(1), None)
    writer.add(bytes(32), row(2), None)
    writer.commit()
    rows = store.read_rows(read(store), [bytes(32), b"\1" * 30 + b"\0\0"])
    assert rows.tolist() == [row(2).tolist(), row(1).tolist()]


def test_unreadable_content_is_kept_with_its_reason(store: Cache) -> None:
    writer = ShardWriter(store)
    writer.add_unreadable(digest(1), "is empty")
    writer.commit()
    known = read(store)
    assert known.unreadable == {digest(1): "is empty"}
    assert digest(1) in known


def test_open_shard_is_invisible_until_it_is_committed(store: Cache) -> None:
    writer = ShardWriter(store)
    writer.add(digest(1), row(1), None)
    assert digest(1) not in read(store)
    writer.commit()
    assert digest(1) in read(store)


def test_rows_are_committed_after_5_seconds_then_at_growing_intervals(
    store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    writer = ShardWriter(store)
    committed = []
    for second in range(100):
        now = 100.0 + second
        writer.add(digest(second), row(second), None)
        before = len(list(store.folder.glob("*.shard2")))
        writer.commit_if_due()
        if len(list(store.folder.glob("*.shard2"))) > before:
            committed.append(second)
    assert committed == [5, 15, 35, 65, 95]


@pytest.mark.parametrize("place", ["magic", "header", "index", "end"])
def test_damaged_shard_is_passed_over_with_a_warning(store: Cache, place: str) -> None:
    fill(store, range(3))
    fill(store, range(3, 6))
    path = sorted(store.folder.glob("*.shard2"))[0]
    content = bytearray(path.read_bytes())
    if place == "end":
        del content[-1]
    else:
        position = {"magic": 0, "header": 20, "index": len(content) - 3 * FEATURES * 4 - 5}[place]
        content[position] ^= 0xFF
    path.write_bytes(bytes(content))
    progress = Progress()
    known = read(store, progress)
    assert [digest(number) in known for number in range(6)] == 3 * [False] + 3 * [True]
    assert str(path) in progress.warnings[0]


def test_changed_bottleneck_is_noticed(store: Cache) -> None:
    fill(store, range(3))
    (path,) = store.folder.glob("*.shard2")
    assert [shard.sound() for shard in read(store).shards_of([digest(0)])] == [True]
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    assert [shard.sound() for shard in read(store).shards_of([digest(0)])] == [False]


def test_shard_of_another_fingerprint_is_not_mistaken(store: Cache, tmp_path: Path) -> None:
    fill(store, range(3))
    other = Cache(tmp_path, "e" * 64, FEATURES)
    other.create()
    for path in store.folder.glob("*.shard2"):
        path.rename(other.folder / path.name)
    assert digest(0) not in other.read_index(Progress())


def test_temporary_file_of_a_killed_writer_is_never_read(store: Cache) -> None:
    fill(store, range(3))
    (path,) = store.folder.glob("*.shard2")
    path.rename(path.with_name(f".{path.name}.host.1.tmp"))
    assert digest(0) not in read(store)


def test_shards_of_are_those_that_hold_the_bottlenecks(store: Cache) -> None:
    for start in (0, 3, 6):
        fill(store, range(start, start + 3))
    known = read(store)
    for wanted, starts in (([7], [6]), ([5, 1, 4], [0, 3]), ([99], [])):
        found = known.shards_of([digest(number) for number in wanted])
        firsts = [shard.entries["sha256"][0].tobytes() for shard in found]
        assert sorted(firsts) == sorted(digest(start) for start in starts)
        assert [shard.path for shard in found] == sorted(shard.path for shard in found)


def test_shard_of_unreadable_contents_alone_stands_between_others(store: Cache) -> None:
    for number in range(3):
        writer = ShardWriter(store)
        if number == 1:
            writer.add_unreadable(digest(99), "is empty")
        else:
            writer.add(digest(number), row(number), dhash(number))
        writer.commit()
    rows = store.read_rows(read(store), [digest(2), digest(0)])
    assert rows.tolist() == [row(2).tolist(), row(0).tolist()]


def test_forgotten_shard_is_looked_at_no_more_but_its_copies_are(store: Cache) -> None:
    fill(store, range(3))
    fill(store, range(2, 5))
    known = read(store)
    (lost,) = known.shards_of([digest(3)])
    known.forget({lost.path})
    assert [digest(number) in known for number in range(5)] == 3 * [True] + 2 * [False]
    assert store.read_rows(known, [digest(2)])[0].tolist() == row(2).tolist()


def test_other_ranks_are_given_the_same_knowledge(store: Cache) -> None:
    fill(store, range(4))
    fill(store, range(3, 6))
    writer = ShardWriter(store)
    writer.add_unreadable(digest(99), "is empty")
    writer.commit()
    known = read(store)
    given: Known = pickle.loads(pickle.dumps(known))
    assert given.unreadable == known.unreadable
    wanted = [digest(number) for number in range(6)]
    assert store.read_rows(given, wanted).tolist() == store.read_rows(known, wanted).tolist()
    assert digest(6) not in given
