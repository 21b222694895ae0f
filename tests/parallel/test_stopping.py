# SPDX-License-Identifier: Apache-2.0
"""A request to stop at any place of a run: all ranks agree, and end with 75 in seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from test_texts import config, write_texts
from trainer.world.processes import children, variable
from worlds import QUICK, Finished, Job, draw, environment, retrain_command

World = Callable[..., Finished]
SECONDS = 20
"""Within which a run ends here; 10 where the cores are free."""


def test_step_that_may_be_cut_short_is_so_on_all_ranks(world: World) -> None:
    done = world(
        2,
        """
import os, signal, threading
from trainer.errors import Stopped
if world.rank == 1:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
began = time.monotonic()
try:
    world.cut_short(lambda: time.sleep(30))
except Stopped:
    print("stopped", world.rank, time.monotonic() - began < 15)
world.part()
""",
    )
    assert sorted(done.stdout.splitlines()) == ["stopped 0 True", "stopped 1 True"]


def test_rank_that_meets_nobody_learns_that_another_was_asked(world: World) -> None:
    world(
        3,
        """
import os, signal
if world.rank == 2:
    os.kill(os.getpid(), signal.SIGUSR2)
while not world.stop_requested:
    time.sleep(0.1)
world.part()
""",
    )


def test_long_step_of_rank_0_is_unwound_and_all_ranks_stop(world: World) -> None:
    done = world(
        2,
        """
import os, signal
from trainer.errors import Stopped
from trainer.world import stopping as module
module.UNWIND_SECONDS = 0.5
stopping.unwinding = world.rank == 0
def step():
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        while True:
            time.sleep(0.01)
    finally:
        print("tidied up")
try:
    world.on_root(step)
except Stopped as error:
    print("agreed", error.agreed)
world.part()
""",
    )
    assert sorted(done.stdout.splitlines()) == ["agreed True", "agreed True", "tidied up"]


def processes(parent: int) -> list[int]:
    """A process and all below it."""
    return [parent, *(one for child in children(parent) for one in processes(child))]


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        retrain_command("run", *words),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen[str], asked: list[int], number: int = signal.SIGTERM) -> str:
    """Ask some processes of a run to stop; gives what it told."""
    all_of_it = processes(process.pid)
    began = time.monotonic()
    for one in asked:
        os.kill(one, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert time.monotonic() - began < SECONDS
    while left := [one for one in all_of_it if Path(f"/proc/{one}").exists()]:
        assert time.monotonic() - began < SECONDS, left
        time.sleep(0.05)
    return told


@pytest.fixture
def texts(tmp_path: Path) -> tuple[object, ...]:
    path = config(write_texts(tmp_path / "texts", 0.6), tmp_path)
    return (path, f"run.cache={tmp_path / 'cache'}", "--ranks", 2, "--out", tmp_path / "run")


def test_signal_to_every_process_at_once_is_a_stop_and_the_rerun_goes_on(
    texts: tuple[object, ...], tmp_path: Path, retrain: Callable[..., Finished]
) -> None:
    """As scancel does it: mpirun gets it too, and must not end its ranks."""
    process = start(*texts)
    while not (tmp_path / "run" / "stages").exists():
        assert process.poll() is None
        time.sleep(0.01)
    told = ask(process, processes(process.pid))
    assert "stopped on request; what was computed is kept" in told
    assert Job(tmp_path / "run", "", "").results["status"] == "stopped"
    assert not (tmp_path / "run" / "lock").exists()
    assert retrain("run", *texts).returncode == 0


def test_signal_as_soon_as_it_can_be_noted_is_a_stop(texts: tuple[object, ...]) -> None:
    process = start(*texts)
    while not listens(process.pid):
        assert process.poll() is None
    assert "stopped on request" in ask(process, [process.pid])


def test_signal_to_a_rank_before_there_is_a_world_is_a_stop(texts: tuple[object, ...]) -> None:
    process = start(*texts)
    while not (ranks := [one for one in processes(process.pid) if rank_number(one) == "1"]):
        assert process.poll() is None
    while not listens(ranks[0]):
        assert process.poll() is None
    assert "stopped on request" in ask(process, ranks[:1])


def test_one_rank_asked_while_tensorflow_is_loaded_stops_all(tmp_path: Path) -> None:
    words = (f"run.cache={tmp_path / 'cache'}", "--ranks", 2, "--out", tmp_path / "run")
    process = start(draw(tmp_path / "pictures", 20), *QUICK, *words)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Bottlenecks:"):
            break
    time.sleep(0.5)
    asked = [one for one in processes(process.pid) if rank_number(one) == "1"]
    told = ask(process, asked[:1])
    assert "stopped on request" in told
    assert Job(tmp_path / "run", "", "").results["status"] == "stopped"


def rank_number(process: int) -> str:
    """What mpirun told a process of its rank; empty where it started none."""
    return variable(process, "OMPI_COMM_WORLD_RANK")


def listens(process: int) -> bool:
    """Whether it has a handler for SIGTERM."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("SigCgt"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False
