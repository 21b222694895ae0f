# SPDX-License-Identifier: Apache-2.0
"""Work is given out once, without waiting for a rank that computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

World = Callable[..., Any]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_number_is_given_once(ranks: int, world: World) -> None:
    world(
        ranks,
        """
with world.queue(50) as queue:
    mine = list(iter(queue.take, None))
assert sorted(sum(world.collect(mine), [])) == list(range(50))
with world.queue(0) as queue:
    assert queue.take() is None
""",
    )


def test_nobody_waits_for_rank_0_while_it_computes(world: World) -> None:
    """Over TCP, as between hosts: one-sided calls took as long as rank 0 computed."""
    done = world(
        2,
        """
square = np.random.default_rng(0).normal(size=(900, 900))
with world.queue(40) as queue:
    if world.rank == 0:
        queue.take()
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            square @ square
    else:
        time.sleep(1)
        slowest = 0.0
        for _ in range(30):
            asked = time.monotonic()
            queue.take()
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.02)
        print("slowest", slowest)
""",
        *("--mca", "pml", "ob1", "--mca", "btl", "tcp,self"),
    )
    assert float(done.stdout.split()[1]) < 0.5


def test_slowed_rank_takes_less_of_the_work(world: World) -> None:
    world(
        2,
        """
with world.queue(60) as queue:
    mine = []
    for number in iter(queue.take, None):
        time.sleep(0.08 if world.rank == 0 else 0.02)
        mine.append(number)
slow, fast = (len(numbers) for numbers in world.collect(mine))
assert slow + fast == 60 and 2.5 * slow < fast, (slow, fast)
""",
    )


def test_wish_to_stop_ends_the_queue_for_all(world: World) -> None:
    world(
        2,
        """
import os, signal
from trainer.errors import Stopped
taken = 0
with world.queue(10_000) as queue:
    for number in iter(queue.take, None):
        taken += 1
        if world.rank == 1 and taken == 5:
            os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(0.01)
assert taken < 1000
try:
    world.agree()
    raise AssertionError("nobody stopped")
except Stopped:
    pass
""",
    )
