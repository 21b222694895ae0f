# SPDX-License-Identifier: Apache-2.0
"""Unchanged files are known without being opened; whatever may have changed is hashed again."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from trainer.arrays import ByteArray, IntArray
from trainer.cache_use import CacheUse
from trainer.config import Data
from trainer.data.index import ENTRY_BYTES, STATE_BYTES, Index, digest, state
from trainer.data.plan import Plan, make_plan
from trainer.errors import Stopped
from trainer.progress import Progress
from trainer.world.comm import World
from trainer.world.stopping import Stopping

LATER = 100.0  # seconds; long enough for a change to count as settled
MakePlan = Callable[..., Plan]

_opened: list[str] | None = None


def _note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")


sys.addaudithook(_note_opening)


@contextmanager
def openings(below: Path) -> Iterator[list[str]]:
    """What is opened below a folder, by whatever means Python has."""
    global _opened
    _opened = []
    found: list[str] = []
    try:
        yield found
    finally:
        found += [name for name in _opened if name.startswith(f"{below}{os.sep}")]
        _opened = None


class Alone(World):
    """A world of one, without MPI."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self._stopping = Stopping()
        self._transport = Echo()

    def tick(self) -> None:
        pass

    def ask_to_stop(self) -> None:
        self._stopping.requested = True


class Echo:
    """Collectives among one."""

    def sum(self, values: IntArray) -> IntArray:
        return values

    def broadcast(self, content: ByteArray) -> ByteArray:
        return content

    def gather(self, content: ByteArray, lengths: IntArray) -> ByteArray:
        return content


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of three files, the last of a name that is not UTF-8."""
    root = tmp_path / "photos"
    for name in (b"a/1", b"a/2", b"a/3", b"b/1", b"b/2", b"b/\xff.png"):
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name)
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def plan(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Make a plan as a run does some time after the files were last changed."""

    def make(
        exclude: tuple[str, ...] = (),
        verify: bool = False,
        progress: Progress | None = None,
        later: float = LATER,
        root: Path = photos,
        world: World | None = None,
    ) -> Plan:
        now = time.time
        data = Data(images=str(root), exclude=list(exclude))
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now() + later)
            use = CacheUse(cache, cache.parent / "run")
            return make_plan(data, use, verify, world or Alone(), progress or Progress())

    return make


def index_of(cache: Path, source: Path) -> Index:
    return Index(CacheUse(cache, cache.parent / "run"), source)


def index_files(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "sources").glob("*/*") if path.is_file())


def expected(root: Path, plan: Plan) -> list[bytes]:
    return [hashlib.sha256((root / file.path).read_bytes()).digest() for file in plan.files]


def test_second_plan_opens_no_file_and_finds_the_same(photos: Path, plan: MakePlan) -> None:
    with openings(photos) as first_time:
        first = plan()
    with openings(photos) as second_time:
        second = plan()
    assert (len(set(first_time)), second_time) == (6, [])
    assert second.digests == first.digests == expected(photos, first)
    assert second.files == first.files


def test_second_plan_tells_how_many_files_are_known(plan: MakePlan, tmp_path: Path) -> None:
    plan()
    progress = Progress()
    with progress.logging_to(tmp_path / "log"):
        plan(progress=progress)
    told = (tmp_path / "log").read_text()
    assert "6 files unchanged since they were last hashed (retrain run --verify hashes all)" in told


def test_verify_opens_every_file(photos: Path, plan: MakePlan) -> None:
    plan()
    with openings(photos) as opened:
        plan(verify=True)
    assert len(set(opened)) == 6


def test_nothing_is_written_when_nothing_changed(plan: MakePlan, cache: Path) -> None:
    plan()
    before = [(path, path.stat().st_mtime_ns) for path in index_files(cache)]
    plan()
    plan(verify=True)
    assert [(path, path.stat().st_mtime_ns) for path in index_files(cache)] == before
    assert len(before) == 1


def test_only_changed_and_new_files_are_opened_again(photos: Path, plan: MakePlan) -> None:
    plan()
    (photos / "a" / "2").write_bytes(b"other content")
    (photos / "b" / "new").write_bytes(b"new content")
    with openings(photos) as opened:
        again = plan()
    assert sorted(set(opened)) == [str(photos / "a" / "2"), str(photos / "b" / "new")]
    assert again.digests == expected(photos, again)


def _same_size_and_times(path: Path) -> None:
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _swapped_in(path: Path) -> None:
    status = path.stat()
    other = path.with_name(".other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def _linked_elsewhere(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    other.write_bytes(path.read_bytes()[::-1])
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("change", [_same_size_and_times, _swapped_in, _linked_elsewhere])
def test_change_that_keeps_the_size_is_seen(
    photos: Path, plan: MakePlan, change: Callable[[Path], None]
) -> None:
    plan()
    change(photos / "a" / "1")
    again = plan()
    assert again.digests == expected(photos, again)


def test_files_that_trade_names_are_not_mistaken(photos: Path, plan: MakePlan) -> None:
    plan()
    (photos / "a" / "1").rename(photos / "spare")
    (photos / "a" / "2").rename(photos / "a" / "1")
    (photos / "spare").rename(photos / "a" / "2")
    again = plan()
    assert again.digests == expected(photos, again)


def test_files_on_two_disks_with_all_numbers_alike_are_told_apart(photos: Path) -> None:
    status = (photos / "a" / "1").stat()
    assert state("a/1", status) != state("b/1", status)


def test_file_changed_just_before_it_was_hashed_is_hashed_again(
    photos: Path, plan: MakePlan
) -> None:
    plan(later=0.0)
    with openings(photos) as opened:
        plan()
    assert len(set(opened)) == 6


def test_file_changed_while_it_was_hashed_is_not_remembered(
    photos: Path, cache: Path, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:

    def meanwhile_changed(file: BinaryIO) -> bytes:
        content = digest(file)
        if content == hashlib.sha256(b"content of a/1").digest():
            (photos / "a" / "1").write_bytes(b"other content")
        return content

    with monkeypatch.context() as patch:
        patch.setattr("trainer.data.plan.digest", meanwhile_changed)
        first = plan()
    index = index_of(cache, photos)
    index.read([file.state for file in first.files], Progress())
    assert sorted(index.digests.values()) == sorted(first.digests[1:])


def test_content_that_changed_behind_its_state_is_told_by_verify(
    photos: Path, cache: Path, plan: MakePlan
) -> None:
    states = [file.state for file in plan().files]
    index = index_of(cache, photos)
    index.read(states, Progress())
    index.renew(states, {states[0]: bytes(32)}, Progress())
    progress = Progress()
    verified = plan(verify=True, progress=progress)
    assert "1 files changed while size, times and inode stayed as they were" in progress.warnings[0]
    assert verified.digests == expected(photos, verified)
    assert plan().digests == verified.digests


def test_unreadable_file_is_not_remembered(
    photos: Path, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: BinaryIO) -> bytes:
        raise OSError(errno.EBADMSG, "Bad message")

    with monkeypatch.context() as patch:
        patch.setattr("trainer.data.plan.digest", refuse)
        assert {file.reason for file in plan().bad} == {"cannot be read: Bad message"}
    assert not plan().bad


def test_file_that_can_be_read_again_soon_is_no_bad_file(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[BinaryIO] = []

    def fail_once(file: BinaryIO) -> bytes:
        if not failed:
            failed.append(file)
            raise OSError(errno.ESTALE, "Stale file handle")
        return digest(file)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.data.plan.digest", fail_once)
        assert not plan().bad


@pytest.mark.parametrize("damage", ["cut short", "empty", "one bit", "other layout"])
def test_damaged_index_is_named_passed_over_and_made_anew(
    damage: str, cache: Path, photos: Path, plan: MakePlan, tmp_path: Path
) -> None:
    first = plan()
    (path,) = index_files(cache)
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-1] ^= 1
    elif damage == "other layout":
        content[:8] = b"RETRIDX9"
    else:
        del content[{"cut short": -ENTRY_BYTES, "empty": 0}[damage] :]
    path.write_bytes(bytes(content))
    progress = Progress()
    with progress.logging_to(tmp_path / "log"):
        assert plan(progress=progress).digests == first.digests
    assert f"{path}: damaged" in (tmp_path / "log").read_text()
    with openings(photos) as opened:
        plan()
    assert not opened
    assert len(index_files(cache)) == 1


def test_index_that_vanishes_while_it_is_looked_for_is_passed_over(
    cache: Path, photos: Path, plan: MakePlan
) -> None:
    first = plan()
    (path,) = index_files(cache)
    path.with_name(f"1-gone{path.suffix}").symlink_to("nowhere")
    with openings(photos) as opened:
        assert plan().digests == first.digests
    assert not opened


def test_what_two_runs_wrote_at_once_is_known_and_then_joined(cache: Path, photos: Path) -> None:
    runs = [index_of(cache, photos) for _ in range(3)]
    keys = [bytes([number]) * STATE_BYTES for number in range(4)]
    runs[2].renew(keys[2:3], {keys[2]: bytes(32)}, Progress())
    for run in runs[:2]:
        run.read(keys, Progress())
    for run, key in zip(runs, keys[:2], strict=False):
        run.renew(keys, {key: bytes(32)}, Progress())
    assert len(index_files(cache)) == 2
    last = index_of(cache, photos)
    last.read(keys, Progress())
    assert sorted(last.digests) == keys[:3]
    last.renew(keys, {keys[3]: bytes(32)}, Progress())
    assert len(index_files(cache)) == 1
    last.read(keys, Progress())
    assert sorted(last.digests) == keys


def test_file_of_which_two_runs_say_different_things_is_hashed_again(
    cache: Path, photos: Path
) -> None:
    keys = [bytes([number]) * STATE_BYTES for number in range(2)]
    for content in (bytes(32), bytes(31) + b"\1"):
        index_of(cache, photos).renew(keys, {keys[0]: content, keys[1]: bytes(32)}, Progress())
    last = index_of(cache, photos)
    last.read(keys, Progress())
    assert last.digests == {keys[1]: bytes(32)}


def test_index_of_many_files_is_several_files(
    cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.index.MOST_ENTRIES", 3)
    known = {bytes([number]) * STATE_BYTES: bytes([number]) * 32 for number in range(8)}
    index_of(cache, photos).renew(list(known), known, Progress())
    assert len(index_files(cache)) == 3
    last = index_of(cache, photos)
    last.read(list(known), Progress())
    assert last.digests == known


def test_of_what_is_not_listed_no_more_is_taken_in_than_of_what_is(
    cache: Path, photos: Path
) -> None:
    known = {bytes([number]) * STATE_BYTES: bytes(32) for number in range(100)}
    index_of(cache, photos).renew(list(known), known, Progress())
    last = index_of(cache, photos)
    listed = list(known)[95:]
    last.read(listed, Progress())
    assert len(last.digests) == 10
    assert set(listed) < set(last.digests)


def test_change_of_any_byte_of_an_index_is_named_or_changes_nothing(
    cache: Path, photos: Path, tmp_path: Path
) -> None:
    known = {bytes([number]) * STATE_BYTES: bytes([number]) * 32 for number in range(3)}
    index_of(cache, photos).renew(list(known), known, Progress())
    (path,) = index_files(cache)
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        (tmp_path / "log").unlink(missing_ok=True)
        progress, again = Progress(), index_of(cache, photos)
        with progress.logging_to(tmp_path / "log"):
            again.read(list(known), progress)
        assert not again.digests
        assert str(path) in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kind", ["pipe", "endless", "giant"])
def test_index_that_no_run_wrote_is_passed_over(
    kind: str, cache: Path, photos: Path, plan: MakePlan
) -> None:
    first = plan()
    folder = index_files(cache)[0].parent
    path = folder / "a.index1"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 42)
    with openings(photos) as opened:
        assert plan().digests == first.digests
    assert not opened


def test_class_left_out_for_once_is_still_known(photos: Path, plan: MakePlan) -> None:
    for number in range(3):
        (photos / "c").mkdir(exist_ok=True)
        (photos / "c" / str(number)).write_bytes(b"more")
    plan()
    (photos / "a" / "1").write_bytes(b"other content")
    plan(exclude=("c",))
    with openings(photos) as opened:
        plan()
    assert not opened


def test_index_forgets_what_is_gone_before_it_is_twice_as_long(
    photos: Path, cache: Path, plan: MakePlan
) -> None:
    for number in range(5):
        shutil.rmtree(photos / "a")
        (photos / "a").mkdir()
        for name in "xyz":
            (photos / "a" / f"{number}{name}").write_bytes(b"content")
        plan()
    (path,) = index_files(cache)
    assert len(path.read_bytes()) <= 40 + 2 * 6 * ENTRY_BYTES


def test_another_source_has_an_index_of_its_own(
    photos: Path, tmp_path: Path, cache: Path, plan: MakePlan
) -> None:
    plan()
    shutil.copytree(photos, tmp_path / "copy")
    with openings(tmp_path / "copy") as opened:
        plan(root=tmp_path / "copy")
    assert len(set(opened)) == 6
    assert len(index_files(cache)) == 2


def test_source_is_known_through_a_link_to_it(photos: Path, tmp_path: Path, plan: MakePlan) -> None:
    plan()
    link = tmp_path / "link"
    link.symlink_to(photos)
    with openings(link) as opened:
        plan(root=link)
    assert not opened


def test_cache_that_cannot_be_written_ends_no_plan(
    photos: Path, cache: Path, plan: MakePlan, tmp_path: Path
) -> None:
    cache.write_bytes(b"a file where a folder is wanted")
    progress = Progress()
    with progress.logging_to(tmp_path / "log"):
        found = plan(progress=progress)
    assert found.digests == expected(photos, found)
    told = (tmp_path / "log").read_text()
    assert f"{cache}/sources/" in told
    assert "cannot be written (328 bytes)" in told
    assert "; the next run hashes the files again" in told


def test_stop_keeps_what_was_hashed(
    photos: Path, plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Alone()
    seen = []

    def then_stop(file: BinaryIO) -> bytes:
        seen.append(file)
        if len(seen) == 2:
            stopped.ask_to_stop()
        return digest(file)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.data.plan.digest", then_stop)
        with pytest.raises(Stopped):
            plan(world=stopped)
    with openings(photos) as opened:
        plan()
    assert len(set(opened)) == 4
