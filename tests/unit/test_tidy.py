# SPDX-License-Identifier: Apache-2.0
"""`retrain cache` tells what lies there, and removes what is one's own and unused: nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from other_users import ANN, BOB, as_user, common, only_root
from trainer import tidy
from trainer.cache_use import CacheUse
from trainer.errors import RetrainError, UsageError
from trainer.features.cache import Cache
from trainer.features.shard_writer import ShardWriter
from trainer.lock import hold
from trainer.progress import Progress
from trainer.rundir import RunDir
from trainer.shared import seal

__all__ = ["common"]
FEATURES = 4
DAY = 86_400
OLD, NEW = "e" * 64, "d" * 64


@pytest.fixture(autouse=True)
def short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "WATCH_SECONDS", 2.5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache with a folder that nobody used for 40 days, and one that is new."""
    root = tmp_path / "cache"
    commit(root, OLD, range(3))
    commit(root, OLD, range(3, 5))
    age(root, 40)
    commit(root, NEW, range(7))
    return root


def commit(root: Path, fingerprint: str, numbers: range) -> Cache:
    cache = Cache(CacheUse(root, root.parent / "run"), fingerprint, FEATURES)
    writer = ShardWriter(cache)
    for number in numbers:
        writer.add(number.to_bytes(32, "big"), np.zeros(FEATURES, np.float32), None)
    writer.commit()
    return cache


def note(root: Path, fingerprint: str, run: Path, what: str = "a network, float32") -> CacheUse:
    use = CacheUse(root, run)
    use.note(root / "bottlenecks" / fingerprint, what, Progress())
    return use


def age(folder: Path, days: float) -> None:
    """Let all below seem unchanged for so many days."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2, follow_symlinks=False)


def shown(root: Path) -> str:
    lines: list[str] = []
    tidy.show(root, lines.append)
    return "\n".join(lines)


def pruned(root: Path, span: str = "30d", dry_run: bool = False) -> str:
    lines: list[str] = []
    tidy.prune(root, span, dry_run, lines.append)
    return "\n".join(lines)


def shards(root: Path, fingerprint: str) -> int:
    return len(list((root / "bottlenecks" / fingerprint).glob("*.shard3")))


def everything(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


# What lies there


def test_shards_and_bottlenecks_are_told_by_fingerprint_and_owner(root: Path) -> None:
    note(root, OLD, root.parent / "a", "inception_v3, mixed10, float32")
    told = shown(root)
    assert "3 shards" in told.splitlines()[1]
    old, new = told.index("inception_v3, mixed10, float32 [eeeeeeee]"), told.index("[dddddddd]")
    assert "2 shards  5 bottlenecks" in told[old : min(new, len(told)) if new > old else None]
    assert "1 shard  7 bottlenecks" in told


def test_last_use_is_that_of_the_latest_marker(root: Path) -> None:
    assert "last used 40 days ago" in shown(root)
    for run, days in (("a", 20), ("b", 3), ("c", 9)):
        marker = note(root, OLD, root.parent / run)
        path = root / "runs" / f"{OLD[:16]}-{marker.mark}.json"
        os.utime(path, (time.time() - days * DAY,) * 2)
    assert "last used 3 days ago" in shown(root)


def test_told_lines_fit_a_terminal_and_do_nothing_to_it(root: Path) -> None:
    note(root, OLD, root.parent / "a", "\x1b[2J" + "very long words " * 30)
    (root / "runs" / "junk").write_bytes(b"\xff")
    for line in [*shown(root).splitlines()[1:], *pruned(root, dry_run=True).splitlines()]:
        assert len(line) <= 80, line
        assert line.isprintable()


def test_what_no_run_wrote_is_shown_as_a_size_and_stops_nothing(root: Path) -> None:
    os.mkfifo(root / "bottlenecks" / OLD / "a.shard3")
    (root / "bottlenecks" / OLD / "b.shard3").write_bytes(b"RETRAIN3")
    (root / "bottlenecks" / OLD / "c.shard3").symlink_to("/dev/zero")
    (root / "runs").mkdir()
    (root / "runs" / "a-b.json").write_bytes(seal(["no", "marker"]))
    (root / "runs" / f"{OLD[:16]}-b.json").write_bytes(seal({"what": 5, "run": ["x"]}))
    assert "5 shards  5 bottlenecks (3 shards not to be read)" in shown(root)


def test_ten_thousand_shards_are_looked_through_in_seconds(root: Path) -> None:
    (one,) = (root / "bottlenecks" / NEW).iterdir()
    for number in range(10_000):
        os.link(one, one.with_name(f"{number}.shard3"))
    started = time.monotonic()
    assert "70,007 bottlenecks" in shown(root)
    assert time.monotonic() - started < 10


# What goes


def test_what_is_unused_for_so_long_goes_with_its_folder(root: Path) -> None:
    told = pruned(root)
    assert not (root / "bottlenecks" / OLD).exists()
    assert shards(root, NEW) == 1
    assert "Freed" in told.splitlines()[-1]


def test_dry_run_tells_the_same_and_changes_nothing(root: Path) -> None:
    before = everything(root)
    dry = pruned(root, dry_run=True)
    assert everything(root) == before
    wet = pruned(root)
    assert dry.replace("Would go", "Gone    ").replace("Would free", "Freed") == wet


def test_what_a_run_used_since_stays_however_old_it_is(root: Path) -> None:
    note(root, OLD, root.parent / "a")
    assert "Nothing of yours" in pruned(root)
    assert shards(root, OLD) == 2


def test_weights_and_unknown_files_stay(root: Path) -> None:
    for name in ("weights/inception.h5", f"bottlenecks/{OLD}/notes.txt", "mine"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    age(root, 40)
    pruned(root)
    left = [path.relative_to(root).as_posix() for path in everything(root) if path.is_file()]
    assert left == [f"bottlenecks/{OLD}/notes.txt", "mine", "weights/inception.h5"]


def test_what_a_link_leads_to_stays(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere" / "a.shard3"
    kept.parent.mkdir()
    kept.write_bytes(b"x")
    (root / "bottlenecks" / ("c" * 64)).symlink_to(kept.parent)
    (root / "bottlenecks" / OLD / "link.shard3").symlink_to(kept)
    age(tmp_path, 40)
    pruned(root)
    assert kept.exists()


def test_half_written_files_of_long_ago_go_and_those_of_today_stay(root: Path) -> None:
    names = (".a.shard3.mark.host.1.tmp", ".b.shard3.mark.host.1.tmp")
    for name in names:
        (root / "bottlenecks" / NEW / name).write_bytes(b"half")
    os.utime(root / "bottlenecks" / NEW / names[0], (1, 1))
    pruned(root, "0m")
    assert not (root / "bottlenecks" / NEW / names[0]).exists()
    assert (root / "bottlenecks" / NEW / names[1]).exists()


def test_age_is_counted_by_the_file_systems_clock(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 35 * DAY)
    told = pruned(root)
    assert "Clocks   this host's is 35 days off" in told
    assert shards(root, NEW) == 1
    assert not (root / "bottlenecks" / OLD).exists()


@pytest.mark.parametrize("span", ["", "30", "d", "-1d", "1y", "1 d", "1e3d", "nan", "99999999d"])
def test_age_that_is_none_is_refused(span: str, root: Path) -> None:
    with pytest.raises(UsageError, match="no such age"):
        pruned(root, span)


# What is in use


@contextmanager
def running(run: Path) -> Iterator[None]:
    directory = RunDir(run)
    directory.create()
    with hold(directory, Progress()):
        yield


def test_what_a_running_job_uses_stays_and_the_job_is_named(root: Path, tmp_path: Path) -> None:
    note(root, OLD, tmp_path / "run")
    age(root, 40)
    with running(tmp_path / "run"):
        told = pruned(root, "0m")
    assert f"run {tmp_path / 'run'}" in told
    assert shards(root, OLD) == 2
    assert list((root / "runs").iterdir())
    assert shards(root, NEW) == 0
    pruned(root, "0m")
    assert shards(root, OLD) == 0


def test_lock_that_a_killed_run_left_keeps_nothing(root: Path, tmp_path: Path) -> None:
    note(root, OLD, tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").write_text("{}")
    age(root, 40)
    pruned(root)
    assert shards(root, OLD) == 0


def test_lock_that_is_no_file_is_not_waited_for(root: Path, tmp_path: Path) -> None:
    note(root, OLD, tmp_path / "run")
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "lock")
    age(root, 40)
    assert within_seconds(lambda: pruned(root))
    assert shards(root, OLD) == 0


def within_seconds(work: Callable[[], object]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    return not thread.is_alive()


@only_root
def test_only_ones_own_goes(root: Path, common: Path) -> None:
    shared = common / "cache"
    shared.mkdir()
    shared.chmod(0o777)
    for user in (ANN, BOB):
        as_user(user, 0o077, lambda: commit(shared, OLD, range(2)) and None)
    age(shared, 40)
    as_user(ANN, 0o077, lambda: pruned(shared))
    (left,) = shared.rglob("*.shard3")
    assert left.stat().st_uid == BOB


@only_root
def test_marker_that_one_may_not_read_keeps_what_it_is_about(common: Path) -> None:
    shared = common / "cache"
    shared.mkdir()
    shared.chmod(0o777)
    as_user(ANN, 0o022, lambda: commit(shared, OLD, range(2)) and None)
    age(shared, 40)
    as_user(BOB, 0o077, lambda: note(shared, OLD, common / "bobs run") and None)
    as_user(ANN, 0o022, lambda: pruned(shared))
    assert shards(shared, OLD) == 1
    told = as_user(ANN, 0o022, lambda: pruned(shared, "0m"))
    assert "used by a run that keeps its marker closed" in told
    assert shards(shared, OLD) == 1


@only_root
def test_what_cannot_be_removed_is_told(common: Path) -> None:
    shared = common / "cache"
    shared.mkdir()
    shared.chmod(0o777)
    as_user(ANN, 0o022, lambda: commit(shared, OLD, range(2)) and None)
    age(shared, 40)
    folder = shared / "bottlenecks" / OLD
    os.chown(folder, 0, 0)
    folder.chmod(0o755)
    with pytest.raises(RetrainError, match="1 files could not be removed") as caught:
        as_user(ANN, 0o022, lambda: pruned(shared))
    assert str(folder) in caught.value.message
