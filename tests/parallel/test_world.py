# SPDX-License-Identifier: Apache-2.0
"""What ranks tell each other, on any number of them, by MPI and by Horovod."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from worlds import environment

World = Callable[..., Any]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_collectives_give_every_rank_the_same(ranks: int, world: World) -> None:
    world(
        ranks,
        """
assert (world.sum(np.array([[1, world.rank]])) == [[world.size, sum(range(world.size))]]).all()
assert world.collect((world.rank, "x" * world.rank)) == [(r, "x" * r) for r in range(world.size)]
assert world.share({"from": world.rank}) == {"from": 0}
rows = np.full((world.rank, 2), world.rank, np.float32)
joined = world.gather(rows)
assert joined.dtype == np.float32 and joined.shape == (sum(range(world.size)), 2)
assert joined[:, 0].tolist() == [r for r in range(world.size) for _ in range(r)]
assert world.largest(np.array([world.rank, -world.rank])).tolist() == [world.size - 1, 0]
""",
    )


def test_horovod_carries_the_same_bits_as_mpi(world: World) -> None:
    world(
        2,
        """
import os
rng = np.random.default_rng(world.rank)
big = rng.integers(-2**61, 2**61, 5000)
rows = rng.normal(size=(3 + world.rank, 4))
by_mpi = world.sum(big), world.gather(rows), world.share(rows), world.collect(rows.tobytes())
world.use_horovod()
by_horovod = world.sum(big), world.gather(rows), world.share(rows), world.collect(rows.tobytes())
for one, other in zip(by_mpi, by_horovod):
    assert np.array_equal(one, other)
threads = lambda: len(os.listdir("/proc/self/task"))
awake = threads()
with world.horovod_at_rest():
    assert threads() == awake - 1
    assert np.array_equal(world.sum(big), by_mpi[0])
assert np.array_equal(world.sum(big), by_mpi[0])
assert threads() == awake
""",
    )


def test_error_on_rank_0_is_raised_on_every_rank(world: World) -> None:
    done = world(
        2,
        """
from trainer.errors import DataError
def fail():
    raise DataError("no pictures", "bring some")
try:
    world.on_root(fail)
except DataError as error:
    assert error.agreed and error.todo == "bring some"
    print("raised", world.rank)
""",
    )
    assert sorted(done.stdout.split("\n"))[1:] == ["raised 0", "raised 1"]


def test_wish_of_one_rank_to_stop_is_raised_on_all_at_the_next_sum(world: World) -> None:
    done = world(
        2,
        """
import os, signal
from trainer.errors import Stopped
world.sum(np.zeros(1, np.int64))
if world.rank == 1:
    os.kill(os.getpid(), signal.SIGTERM)
try:
    world.agree()
except Stopped:
    print("stopped", world.rank)
""",
    )
    assert "stopped 0" in done.stdout
    assert "stopped 1" in done.stdout


def test_single_rank_uses_all_cores_though_mpirun_binds_it_to_one(world: World) -> None:
    done = world(1, "import os; print(len(world.cores), len(os.sched_getaffinity(0)))")
    given = len(os.sched_getaffinity(0))
    assert done.stdout.split() == [str(given), str(given)]


def alone(program: str, **extra: str) -> str:
    """What a program prints that no launcher started."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


CONNECT = """
from trainer.errors import UsageError
from trainer.world.comm import connect
from trainer.world.stopping import Stopping
try:
    connect(Stopping())
except UsageError as error:
    print(error.message)
"""


def test_launcher_that_promised_more_ranks_is_an_error() -> None:
    assert "2 ranks were started, and each sees a world of 1" in alone(CONNECT, PMI_SIZE="2")


def test_mpi_without_threads_is_refused() -> None:
    serialized = "import mpi4py; mpi4py.rc.thread_level = 'serialized'\n"
    assert "MPI_THREAD_MULTIPLE" in alone(serialized + CONNECT)


def test_horovod_that_sees_another_world_is_refused(world: World) -> None:
    done = world(
        1,
        """
import sys, types
from trainer.errors import UsageError
fake = types.SimpleNamespace(init=lambda comm=None: None, rank=lambda: 0, size=lambda: 2)
sys.modules["horovod"] = types.SimpleNamespace(tensorflow=fake)
sys.modules["horovod.tensorflow"] = fake
try:
    world.use_horovod()
except UsageError as error:
    print(error.message)
""",
    )
    assert "Horovod sees rank 0 of 2, MPI rank 0 of 1" in done.stdout


def test_exception_on_one_rank_ends_all_in_seconds_with_its_message_and_host(world: World) -> None:
    started = time.monotonic()
    done = world(
        2,
        """
from trainer.start import ending_all
with ending_all(world):
    if world.rank == 1:
        raise ValueError("the shelf fell down")
    time.sleep(50)
""",
        check=False,
    )
    assert done.returncode != 0
    assert time.monotonic() - started < 15
    assert f"rank 1 on {socket.gethostname()}: ValueError: the shelf fell down" in done.stderr
