# SPDX-License-Identifier: Apache-2.0
"""The cache gives back what was put in, or nothing: never something else."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from trainer.arrays import Float32Array
from trainer.cache_use import CacheUse
from trainer.errors import RetrainError
from trainer.features import cache as cache_module
from trainer.features import shards
from trainer.features.cache import Cache, Known
from trainer.features.shard_writer import ShardWriter
from trainer.progress import Progress

FEATURES = 7


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def digests(*numbers: int) -> list[bytes]:
    return [digest(number) for number in numbers]


def row(number: int) -> Float32Array:
    return np.arange(number, number + FEATURES, dtype=np.float32)


def dhash(number: int) -> int | None:
    """Large ones, 0, and none."""
    return None if number % 3 == 2 else number * ((1 << 64) // 10) % (1 << 64)


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return new_store(tmp_path)


def new_store(base: Path, fingerprint: str = "f" * 64) -> Cache:
    return Cache(CacheUse(base / "cache", base / "run"), fingerprint, FEATURES)


def fill(store: Cache, numbers: Iterable[int], unreadable: Iterable[int] = ()) -> Path:
    """Write a shard, and say where."""
    writer = ShardWriter(store)
    before = set(files(store))
    for number in numbers:
        writer.add(digest(number), row(number), dhash(number))
    for number in unreadable:
        writer.add_unreadable(digest(number), "is empty")
    writer.commit()
    (path,) = set(files(store)) - before
    return path


def files(store: Cache) -> list[Path]:
    return sorted(store.folder.glob("*.shard3"))


def look(store: Cache, numbers: Iterable[int] = range(100)) -> Known:
    return store.read_index({digest(number) for number in numbers}, Progress())


def rows_of(known: Known, numbers: Iterable[int]) -> Float32Array:
    return known.read(digests(*numbers), FEATURES)


def expected(numbers: Iterable[int]) -> Float32Array:
    return np.array([row(number) for number in numbers])


def rewrite(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(bytes(content))


def sealed_anew(content: bytearray) -> None:
    """Give a shard the checksum that its changed index should have."""
    counts = shards.Counts(*struct.unpack("<32sIII", content[40:84]))
    content[8:40] = hashlib.sha256(content[40 : counts.table]).digest()


# What was put in


def test_rows_come_back_bit_for_bit_in_the_order_asked(store: Cache) -> None:
    fill(store, range(5))
    fill(store, range(5, 9))
    wanted = [8, 0, 3, 5]
    assert rows_of(look(store), wanted).tobytes() == expected(wanted).tobytes()


def test_rows_come_back_from_a_file_that_is_read_in_pieces(
    store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_PIECE_BYTES", 5 * 4 * FEATURES)
    monkeypatch.setattr(shards, "_GAP_BYTES", 4 * FEATURES)
    fill(store, range(40))
    wanted = [39, 4, 5, 6, 17, 0, 21, 20, 11]
    assert rows_of(look(store), wanted).tolist() == expected(wanted).tolist()


def test_hashes_come_back_in_the_order_asked_and_none_where_there_is_none(store: Cache) -> None:
    fill(store, range(5))
    fill(store, [], unreadable=[50])
    fill(store, range(5, 9))
    wanted = digests(8, 0, 60, 2, 6, 50, 3)  # 60 is unknown, 50 unreadable
    hashes, hashed = look(store).hashes(wanted)
    assert hashes.dtype == np.uint64
    assert hashed.tolist() == [False, True, False, False, True, False, True]
    assert hashes.tolist() == [0, 0, 0, 0, dhash(6), 0, dhash(3)]


def test_hashes_of_nothing_are_none(store: Cache) -> None:
    hashes, hashed = look(store).hashes([])
    assert (len(hashes), len(hashed)) == (0, 0)


def test_digests_that_end_in_zero_bytes_are_kept_whole(store: Cache) -> None:
    writer = ShardWriter(store)
    odd = [b"\1" * 30 + b"\0\0", bytes(32)]
    for number, content in enumerate(odd):
        writer.add(content, row(number), None)
    writer.commit()
    known = store.read_index(set(odd), Progress())
    assert known.read(odd, FEATURES).tolist() == expected([0, 1]).tolist()


def test_unreadable_content_is_kept_with_its_reason(store: Cache) -> None:
    fill(store, range(2), unreadable=[9])
    known = look(store)
    assert known.unreadable == {digest(9): "is empty"}
    assert digest(9) in known


def test_long_reason_is_cut_between_two_characters(store: Cache) -> None:
    writer = ShardWriter(store)
    writer.add_unreadable(digest(1), "is " + "ü" * 300)
    writer.commit()
    assert look(store).unreadable == {digest(1): "is " + "ü" * 110}


def test_content_that_one_run_could_read_is_readable(store: Cache) -> None:
    fill(store, [1])
    fill(store, [], unreadable=[1, 2])
    known = look(store)
    assert known.unreadable == {digest(2): "is empty"}
    assert rows_of(known, [1]).tolist() == expected([1]).tolist()


def test_nothing_is_remembered_of_what_is_not_asked_for(store: Cache) -> None:
    fill(store, range(50), unreadable=range(60, 90))
    known = look(store, [7, 61])
    assert digest(8) not in known
    assert len(pickle.dumps(known)) < len(pickle.dumps(look(store))) / 5


def test_other_ranks_are_given_the_same_knowledge(store: Cache) -> None:
    fill(store, range(4))
    fill(store, range(3, 6), unreadable=[99])
    known = look(store)
    given: Known = pickle.loads(pickle.dumps(known))
    assert given.unreadable == known.unreadable
    assert rows_of(given, range(6)).tolist() == expected(range(6)).tolist()


def test_what_two_looks_found_is_joined(store: Cache) -> None:
    fill(store, range(4), unreadable=[50])
    known = look(store, [1, 3]).joined(look(store, [0, 50]))
    assert [digest(number) in known for number in (0, 1, 2, 3, 50)] == [1, 1, 0, 1, 1]
    assert rows_of(known, [3, 0, 1]).tolist() == expected([3, 0, 1]).tolist()


# Commits


def test_open_shard_is_invisible_until_it_is_committed(store: Cache) -> None:
    writer = ShardWriter(store)
    writer.add(digest(1), row(1), None)
    assert digest(1) not in look(store)
    writer.commit()
    assert digest(1) in look(store)


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
        before = len(files(store))
        writer.commit_if_due()
        if len(files(store)) > before:
            committed.append(second)
    assert committed == [5, 15, 35, 65, 95]


def test_shard_that_is_full_is_committed_at_once(
    store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.features.shard_writer.MOST_BYTES", 3 * 4 * FEATURES)
    writer = ShardWriter(store)
    for number in range(7):
        writer.add(digest(number), row(number), None)
    assert len(files(store)) == 2
    assert [digest(number) in look(store) for number in range(7)] == 6 * [True] + [False]


def test_temporary_file_of_a_killed_writer_is_never_read(store: Cache) -> None:
    path = fill(store, range(3))
    path.rename(path.with_name(f".{path.name}.mark.host.1.tmp"))
    assert digest(0) not in look(store)


# Damage


def test_change_of_any_byte_is_found_or_changes_nothing(store: Cache) -> None:
    path = fill(store, range(3), unreadable=[50])
    content = path.read_bytes()
    silent = []
    for place in range(len(content)):
        for bits in (0x01, 0x80, 0xFF):
            flipped = bytearray(content)
            flipped[place] ^= bits
            path.write_bytes(flipped)
            progress = Progress()
            known = store.read_index(set(digests(0, 1, 2, 50)), progress)
            if not progress.warnings and not known.lost(0, 1):
                silent.append(place)
    assert not silent


def test_every_shortened_shard_is_passed_over_with_a_warning(store: Cache) -> None:
    path = fill(store, range(2), unreadable=[50])
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        progress = Progress()
        assert digest(0) not in store.read_index({digest(0)}, progress)
        assert str(path) in progress.warnings[0]


def test_row_that_was_changed_is_lost_and_the_others_are_not(store: Cache) -> None:
    path = fill(store, range(3))
    rewrite(path, lambda content: content.__setitem__(-2, content[-2] ^ 1))
    known = look(store)
    (loss,) = known.lost(0, 1)
    assert (loss.path, loss.digests) == (path, digests(2))
    kept = known.without(set(loss.digests))
    assert rows_of(kept, [0, 1]).tolist() == expected([0, 1]).tolist()
    assert digest(2) not in kept


def test_lost_row_is_found_in_another_shard_that_holds_it(store: Cache) -> None:
    sound = fill(store, [2])
    path = fill(store, range(3))
    os.utime(sound, (1, 1))  # so that the damaged one is met first
    rewrite(path, lambda content: content.__setitem__(-2, content[-2] ^ 1))
    progress = Progress()
    store.pass_over(look(store).lost(0, 1), progress)
    assert f"{path}: damaged shard, computed anew" in progress.warnings[0]
    assert rows_of(look(store), range(3)).tolist() == expected(range(3)).tolist()
    assert not look(store).lost(0, 1)


def test_shard_that_makes_up_for_a_damaged_one_is_met_before_it(store: Cache) -> None:
    path = fill(store, range(3))
    rewrite(path, lambda content: content.__setitem__(-2, content[-2] ^ 1))
    os.utime(path, (1, 1))
    fill(store, [2])
    assert not look(store).lost(0, 1)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_is_damage(number: float, store: Cache) -> None:
    writer = ShardWriter(store)
    writer.add(digest(0), row(0), None)
    writer.add(digest(1), np.full(FEATURES, number, np.float32), None)
    writer.commit()
    assert [loss.digests for loss in look(store).lost(0, 1)] == [digests(1)]


def test_shard_that_is_cut_short_after_it_was_looked_at_ends_the_run_with_its_name(
    store: Cache,
) -> None:
    path = fill(store, range(3))
    known = look(store)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(RetrainError, match="cut short") as caught:
        rows_of(known, range(3))
    assert str(path) in caught.value.message
    assert rows_of(known, [0]).tolist() == expected([0]).tolist()


def test_bit_that_flips_after_it_was_looked_at_is_never_a_result(store: Cache) -> None:
    path = fill(store, range(3))
    known = look(store)
    rewrite(path, lambda content: content.__setitem__(-2, content[-2] ^ 1))
    with pytest.raises(RetrainError, match="damaged shard"):
        rows_of(known, range(3))


def test_shard_that_is_removed_meanwhile_is_lost_or_ends_the_run_with_its_name(
    store: Cache,
) -> None:
    path = fill(store, range(3))
    known = look(store)
    path.unlink()
    assert [loss.digests for loss in known.lost(0, 1)] == [digests(0, 1, 2)]
    with pytest.raises(RetrainError, match="No such file") as caught:
        rows_of(known, [0])
    assert str(path) in caught.value.message


def test_disk_that_cannot_be_read_is_told_and_kills_nobody(
    store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, range(3))
    known = look(store)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    assert [loss.reason for loss in known.lost(0, 1)] == ["cannot be read: Input/output error"]
    with pytest.raises(RetrainError, match="Input/output error"):
        rows_of(known, [0])


def test_many_damaged_shards_are_a_few_lines(store: Cache) -> None:
    for number in range(12):
        os.truncate(fill(store, [number]), 100)
    progress = Progress()
    store.read_index({digest(0)}, progress)
    assert len(progress.warnings) == cache_module.MOST_TOLD + 1
    assert progress.warnings[-1] == "7 more damaged shards, computed anew"


def test_damaged_shard_limits_no_result_where_others_hold_all(store: Cache, tmp_path: Path) -> None:
    os.truncate(fill(store, range(3)), 100)
    fill(store, range(5), unreadable=[9])
    progress = Progress()
    with progress.logging_to(tmp_path / "log"):
        store.read_index(set(digests(1, 4, 9)), progress)
        assert not progress.warnings
        store.read_index(set(digests(1, 6)), progress)
    assert len(progress.warnings) == 1
    assert "1 damaged shards passed over" in (tmp_path / "log").read_text()


# What a stranger may have put there


def test_shards_of_an_earlier_version_are_left_alone_without_a_warning(store: Cache) -> None:
    store.use.require_writable(store.folder)
    (store.folder / "host-1-1-0.shard2").write_bytes(b"RETRAIN2")
    progress = Progress()
    store.read_index({digest(0)}, progress)
    assert progress.warnings == []


def test_shard_of_another_fingerprint_is_not_mistaken(store: Cache, tmp_path: Path) -> None:
    path = fill(store, range(3))
    other = new_store(tmp_path, "e" * 64)
    other.folder.mkdir()
    path.rename(other.folder / path.name)
    assert digest(0) not in look(other)


def test_shard_of_another_width_is_not_mistaken(store: Cache) -> None:
    fill(store, range(3))
    store.features += 1
    assert digest(0) not in look(store)


SIZES = struct.Struct("<IIII")


@pytest.mark.parametrize(
    "sizes",
    [
        (FEATURES, 2**32 - 1, 0, 0),
        (FEATURES, 0, 2**32 - 1, 0),
        (2**32 - 1, 2**32 - 1, 2**32 - 1, 0),
        (0, 65_536, 65_536, 0),
        (FEATURES, 65_537, 0, 0),
        (FEATURES, 3, 0, 1),
    ],
)
def test_sizes_that_no_writer_wrote_take_no_memory(
    sizes: tuple[int, int, int, int], store: Cache
) -> None:
    path = fill(store, range(3))
    rewrite(path, lambda content: content.__setitem__(slice(72, 88), SIZES.pack(*sizes)))
    table = shards.Counts(b"", *sizes[:3]).table
    os.truncate(path, min(table + 4 * sizes[0] * sizes[1], 2**43))  # as long as it says; sparse
    before = max_memory()
    progress = Progress()
    assert digest(0) not in store.read_index({digest(0)}, progress)
    assert str(path) in progress.warnings[0]
    assert max_memory() - before < 64 << 20


def max_memory() -> int:
    """The most bytes of memory that this process ever had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("reason", [b"", b"\xff", b"is \x1b[2J", b"a\nb", b"\xe2\x80\xae"])
def test_reason_that_a_terminal_would_obey_is_damage(reason: bytes, store: Cache) -> None:
    path = fill(store, [], unreadable=[1])

    def change(content: bytearray) -> None:
        content[88 + 32 :] = reason.ljust(224, b"\0")
        sealed_anew(content)

    rewrite(path, change)
    assert digest(1) not in look(store)


def test_content_that_stands_twice_in_a_shard_is_one(store: Cache) -> None:
    path = fill(store, [1, 2])

    def change(content: bytearray) -> None:
        content[88 + 45 : 88 + 45 + 32] = digest(1)
        sealed_anew(content)

    rewrite(path, change)
    known = look(store)
    assert digest(2) not in known
    assert rows_of(known, [1, 1]).tolist() == expected([1, 1]).tolist()


def test_pipe_is_not_waited_for(store: Cache) -> None:
    fill(store, [1])
    os.mkfifo(store.folder / "a.shard3")
    assert digest(1) in within_seconds(lambda: look(store))


@pytest.mark.parametrize("kind", ["zero", "folder", "socket", "loop", "dangling"])
def test_what_is_no_file_is_passed_over(kind: str, store: Cache) -> None:
    fill(store, [1])
    path = store.folder / "a.shard3"
    if kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            os.chdir(store.folder)  # a path may be too long for a socket
            opened.bind(path.name)
            os.chdir("/")
    else:
        path.symlink_to({"zero": "/dev/zero", "loop": str(path), "dangling": "nowhere"}[kind])
    assert digest(1) in within_seconds(lambda: look(store))


def within_seconds(work: Callable[[], Known]) -> Known:
    signal.alarm(20)  # ends this process, should it wait for ever
    try:
        return work()
    finally:
        signal.alarm(0)


def test_name_of_a_damaged_shard_does_nothing_to_a_terminal(store: Cache) -> None:
    store.use.require_writable(store.folder)
    (store.folder / "\x1b[2J.shard3").write_bytes(b"x")
    progress = Progress()
    store.read_index({digest(0)}, progress)
    assert progress.warnings[0].isprintable()


def test_layout_is_the_one_described(store: Cache) -> None:
    content = fill(store, [4], unreadable=[9]).read_bytes()
    index = digest(4) + shards.checks(row(4)[None])[0].to_bytes(4, "little")
    index += (dhash(4) or 0).to_bytes(8, "little") + b"\1"
    rest = b"\xff" * 32 + struct.pack("<IIII", FEATURES, 1, 1, 0)
    rest += index + digest(9) + b"is empty".ljust(224, b"\0")
    assert content == b"RETRAIN3" + hashlib.sha256(rest).digest() + rest + row(4).tobytes()
