# SPDX-License-Identifier: Apache-2.0
"""Many users in one cache: each reads what it may, writes its own, and shuts nobody out."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from other_users import ANN, BOB, GROUP, as_user, common, only_root
from trainer.cache_use import CacheUse
from trainer.data.index import STATE_BYTES, Index
from trainer.errors import FAILED, USAGE, RetrainError, UsageError
from trainer.features.cache import Cache, Known
from trainer.features.shard_writer import ShardWriter
from trainer.progress import Progress
from trainer.shared import Damaged, read_sealed, read_small, seal

__all__ = ["common"]
FEATURES = 4


def store(root: Path, run: Path | None = None) -> Cache:
    return Cache(CacheUse(root, run or root.parent / "run"), "f" * 64, FEATURES)


def content(number: int) -> bytes:
    return number.to_bytes(32, "big")


def commit(cache: Cache, *numbers: int) -> None:
    cache.use.require_writable(cache.folder)
    writer = ShardWriter(cache)
    for number in numbers:
        writer.add(content(number), np.full(FEATURES, number, np.float32), None)
    writer.commit()


def look(cache: Cache, *numbers: int) -> tuple[list[bool], list[str], int]:
    """Which of these contents are known, what was warned of, and how much is closed."""
    progress = Progress()
    known: Known = cache.read_index({content(number) for number in numbers}, progress)
    found = [content(number) in known for number in numbers]
    return found, progress.warnings, len(cache.use.closed)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Two users


@pytest.fixture(params=[0o2770, 0o2775, 0o777, 0o1777], ids=oct)
def root(request: pytest.FixtureRequest, common: Path) -> Path:
    """A cache that two users were given, in one of the ways in which that is done."""
    folder = common / "cache"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(request.param)
    return folder


@only_root
def test_user_with_a_closed_umask_shares_nothing_and_shuts_out_nobody(root: Path) -> None:
    as_user(ANN, 0o077, lambda: commit(store(root), 1, 2))
    as_user(BOB, 0o077, lambda: commit(store(root), 3))
    assert as_user(ANN, 0o077, lambda: look(store(root), 1, 2, 3)) == ([True, True, False], [], 1)
    assert as_user(BOB, 0o077, lambda: look(store(root), 1, 2, 3)) == ([False, False, True], [], 1)
    for folder in (root / "bottlenecks", root / "bottlenecks" / ("f" * 64)):
        assert mode(folder) == mode(root)
        assert folder.stat().st_gid == GROUP or not mode(root) & stat.S_ISGID
    assert {mode(path) for path in root.rglob("*.shard3")} == {0o600}


@only_root
def test_user_with_an_open_umask_shares_all(root: Path) -> None:
    as_user(ANN, 0o027 if mode(root) & stat.S_ISGID else 0o022, lambda: commit(store(root), 1))
    assert as_user(BOB, 0o077, lambda: look(store(root), 1)) == ([True], [], 0)


@only_root
def test_what_is_closed_is_told_in_one_line(root: Path, common: Path) -> None:
    for number in range(5):
        as_user(ANN, 0o077, lambda number=number: commit(store(root), number))  # type: ignore[misc]

    def told() -> str:
        cache, progress = store(root), Progress()
        with progress.logging_to(common / "bob" / "log"):
            for _ in range(2):
                cache.read_index({content(1)}, progress)
        return (common / "bob" / "log").read_text()

    (common / "bob").mkdir()
    os.chown(common / "bob", BOB, BOB)
    lines = as_user(BOB, 0o022, told).splitlines()
    assert len(lines) == 1
    assert f"5 files of other users in {root} cannot be read" in lines[0]


@only_root
def test_index_of_another_user_is_read_and_never_removed(root: Path) -> None:
    keys = [bytes([number]) * STATE_BYTES for number in range(2)]

    def remember(known: int) -> int:
        index = Index(CacheUse(root, root.parent / "run"), root.parent / "photos")
        index.read(keys, Progress())
        found = len(index.digests)
        index.renew(keys, dict.fromkeys(keys[:known], bytes(32)), Progress())
        return found

    assert as_user(ANN, 0o022, lambda: remember(1)) == 0
    (first,) = root.rglob("*.index1")
    if mode(root) & stat.S_IRWXO or mode(root) & stat.S_ISGID:
        assert as_user(BOB, 0o022, lambda: remember(2)) == 1
    assert first.exists()
    assert as_user(ANN, 0o022, lambda: remember(0)) == 2


@only_root
def test_folder_that_another_user_closed_is_named_with_its_owner(common: Path) -> None:
    root = common / "cache"
    root.mkdir()
    root.chmod(0o777)
    (root / "bottlenecks").mkdir()
    os.chown(root / "bottlenecks", ANN, ANN)
    (root / "bottlenecks").chmod(0o700)
    assert as_user(BOB, 0o022, lambda: look(store(root), 1)) == ([False], [], 1)

    def told() -> tuple[str, str, int]:
        cache = store(root)
        try:
            cache.use.require_writable(cache.folder)
        except UsageError as error:
            return error.message, error.todo, error.exit_code
        raise AssertionError

    message, todo, code = as_user(BOB, 0o022, told)
    assert message.startswith(f"run.cache {root / 'bottlenecks'}")
    assert message.endswith("cannot be written: Permission denied.")
    assert f"{root / 'bottlenecks'} belongs to {ANN}, with mode 700" in todo
    assert code == USAGE


@only_root
def test_cache_that_cannot_be_written_serves_all_the_same(common: Path) -> None:
    root = common / "cache"
    commit(store(root), 1)

    def use() -> tuple[list[bool], list[str], int]:
        cache, progress = store(root), Progress()
        cache.use.note(cache.folder, "a network", progress)
        cache.use.renew()
        cache.use.clean()
        assert not progress.warnings
        return look(cache, 1)

    assert as_user(BOB, 0o022, use) == ([True], [], 0)
    assert not (root / "runs").exists()


# One user


def test_in_a_cache_of_ones_own_the_umask_decides(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        cache = store(tmp_path / "cache")
        commit(cache, 1)
    finally:
        os.umask(before)
    assert {mode(tmp_path / "cache"), mode(cache.folder)} == {0o750}
    assert {mode(path) for path in cache.folder.iterdir()} == {0o640}


def test_own_half_written_files_are_removed_and_no_one_elses(tmp_path: Path) -> None:
    mine, other = (CacheUse(tmp_path / "cache", tmp_path / run) for run in ("a", "b"))
    cache = store(tmp_path / "cache")
    commit(cache, 1)
    names = [f".x.shard3.{mine.mark}.host.1.tmp", f".x.shard3.{other.mark}.host.1.tmp", ".my.tmp"]
    places = [cache.folder, tmp_path / "cache" / "runs", tmp_path / "cache"]
    for place in places:
        place.mkdir(exist_ok=True)
        for name in names:
            (place / name).write_bytes(b"half")
    (tmp_path / "cache" / f".sources.{mine.mark}.host.1.tmp").mkdir()
    mine.clean()
    for place in places:
        assert sorted(path.name for path in place.glob(".*")) == sorted(names[1:])


def test_temporary_files_bear_the_mark_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = store(tmp_path / "cache")
    seen = []

    def note(made: Path, path: Path) -> None:
        seen.append(made.name)
        os.rename(made, path)

    monkeypatch.setattr(os, "replace", note)
    commit(cache, 1)
    assert len(seen) == 1
    assert f".{cache.use.mark}." in seen[0]


def test_run_directory_is_known_again_by_another_path_to_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    marks = {CacheUse(tmp_path, tmp_path / name).mark for name in ("run", "link", "link/../run")}
    assert len(marks) == 1
    assert CacheUse(tmp_path, tmp_path / "other").mark not in marks


def test_marker_tells_who_uses_what_and_is_renewed(tmp_path: Path) -> None:
    cache = store(tmp_path / "cache")
    cache.use.note(cache.folder, "a network", Progress())
    (marker,) = (tmp_path / "cache" / "runs").iterdir()
    assert marker.name == f"{'f' * 16}-{cache.use.mark}.json"
    told = read_sealed(marker)
    assert (told["folder"], told["what"]) == (f"bottlenecks/{'f' * 64}", "a network")
    assert told["run"] == str(tmp_path / "run")
    os.utime(marker, (1, 1))
    cache.use.renew()
    assert marker.stat().st_mtime > 1


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount one")
    folder = tmp_path / "full"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_told_with_path_and_bytes_and_nothing_is_left_of_the_shard(
    full: Path,
) -> None:
    cache = store(full / "cache")
    commit(cache, 1)
    with pytest.raises(RetrainError) as caught:
        commit(cache, *range(2000))
    assert caught.value.exit_code == FAILED
    assert f"{cache.folder}/" in caught.value.message
    assert caught.value.message.endswith(f"bytes): {os.strerror(errno.ENOSPC)}.")
    assert len(list(cache.folder.iterdir())) == 1
    assert look(cache, 1) == ([True], [], 0)


def test_cache_that_is_turned_read_only_is_told_with_path_and_bytes(full: Path) -> None:
    cache = store(full / "cache")
    commit(cache, 1)
    subprocess.run(["mount", "-o", "remount,ro", str(full)], check=True)
    with pytest.raises(RetrainError, match=r"shard3: cannot be written \(.* bytes\): Read-only"):
        ShardWriterOf(cache).commit()
    with pytest.raises(UsageError, match="cannot be written"):
        cache.use.require_writable(cache.folder)


class ShardWriterOf(ShardWriter):
    """With a row in it."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.add(content(2), np.zeros(FEATURES, np.float32), None)


# Sealed files


def test_value_comes_back_from_under_its_seal(tmp_path: Path) -> None:
    value = {"b": [1, 0.1 + 0.2, "ü\udcff\x1b"], "a": None}
    (tmp_path / "a").write_bytes(seal(value))
    assert read_sealed(tmp_path / "a") == value


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"\xff", b"[]", b"5", b'{"value": 1}', b'{"sha256": 1, "value": 1}', b"[" * 60_000),
        b'{"value": ' + b"9" * 5000 + b', "sha256": ""}',
        b"{" + b'"a":{' * 9000,
    ],
)
def test_what_was_never_sealed_is_damaged(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text)
    with pytest.raises(Damaged):
        read_sealed(tmp_path / "a")


def test_giant_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 1 << 42)
    with pytest.raises(Damaged, match="bytes, over"):
        read_small(tmp_path / "a", 1 << 20)
