# SPDX-License-Identifier: Apache-2.0
"""A rank that stands still is named, all stacks are kept, and everything ends; nobody waits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from test_texts import config, write_texts
from worlds import environment, retrain_command

World = Callable[..., "subprocess.CompletedProcess[str]"]
HOST = socket.gethostname()
STALL = 2.0
"""Seconds; a quiet machine needs a tenth of them for any step here."""


def log(folder: Path) -> Path:
    """The log of the world that a test starts in this folder; it counts only where it is there."""
    path = folder / "log.txt"
    path.touch()
    return path


@pytest.mark.parametrize(("ranks", "still"), [(2, 1), (3, 0)])
def test_stopped_rank_is_named_and_the_stacks_of_all_are_kept(
    ranks: int, still: int, world: World, tmp_path: Path
) -> None:
    kept = log(tmp_path)
    done = world(
        ranks,
        f"""
import os, signal
def stand_still():
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(50)
if world.rank == {still}:
    stand_still()
world.agree()
""",
        check=False,
        stall=STALL,
    )
    assert done.returncode == 1, done.stderr
    assert f"retrain: rank {still} on {HOST} (stopped by SIGSTOP) stands still" in done.stderr
    assert f"The stacks are in {kept}" in done.stderr
    text = kept.read_text()
    assert text.count("thread MainThread") == ranks
    assert "in stand_still" in text
    assert text.count("in agree") == ranks - 1


def test_rank_that_is_blocked_is_named_and_those_who_wait_for_it_are_not(
    world: World, tmp_path: Path
) -> None:
    done = world(
        2,
        """
import threading
if world.rank == 1:
    held = threading.Lock()
    held.acquire()
    held.acquire()
world.agree()
""",
        check=False,
        stall=STALL,
    )
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("retrain:")]
    assert f"rank 1 on {HOST} " in told
    assert "rank 0" not in told
    assert "held.acquire()" in done.stderr  # there is no log


def test_watch_costs_next_to_nothing(world: World) -> None:
    done = world(
        3,
        """
world.agree()
time.sleep(0.5)
before = time.process_time()
time.sleep(2)
print("used", time.process_time() - before)
world.part()
""",
    )
    used = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(used) == 3
    assert max(used) < 2 * 0.01  # 0.001 are usual, and a thousandth of a core is the aim


def test_single_rank_that_is_stopped_is_named_by_the_one_that_started_it(tmp_path: Path) -> None:
    texts = config(write_texts(tmp_path / "texts", 0.6), tmp_path)
    out = tmp_path / "run"
    words = ("run.stall_timeout=2", f"run.cache={tmp_path / 'cache'}", "--ranks", 1, "--out", out)
    process = subprocess.Popen(
        retrain_command("run", texts, *words), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not (out / "stages").exists():
        assert process.poll() is None
        time.sleep(0.01)
    (rank,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    os.kill(rank, signal.SIGSTOP)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"rank 0 on {HOST} (stopped by SIGSTOP): no sign of life for" in told
    assert "most recent call first" in (out / "log.txt").read_text()
    assert not Path(f"/proc/{rank}").exists()
