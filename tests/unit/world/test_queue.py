# SPDX-License-Identifier: Apache-2.0
"""The dealer alone, with ranks whose clocks are numbers; tests/parallel has it under MPI."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import chain

import pytest

from trainer.world.queue import MOST_AT_ONCE, Dealer

FAST, SLOW = 0.2, 0.8
"""Seconds a number."""


def play(total: int, seconds: Sequence[float]) -> tuple[float, list[list[int]]]:
    """Let ranks draw, one number ahead, until all are done.

    Returns:
        When the last one is done, as a multiple of the ideal, and what each rank did.
    """
    dealer = Dealer(total, len(seconds), ahead=1)
    held: list[list[int]] = [[] for _ in seconds]
    done: list[list[int]] = [[] for _ in seconds]
    ended = [False] * len(seconds)

    def take(rank: int, now: float) -> int | None:
        if not held[rank] and not ended[rank]:
            held[rank] = list(dealer.deal(rank, now))
            ended[rank] = not held[rank]
        return held[rank].pop(0) if held[rank] else None

    ahead = [take(rank, 0.0) for rank in range(len(seconds))]
    turns = [(0.05, rank) for rank in range(len(seconds))]
    last = 0.0
    while turns:
        now, rank = heapq.heappop(turns)
        number, ahead[rank] = ahead[rank], take(rank, now)
        if number is not None:
            done[rank].append(number)
            last = max(last, now + seconds[rank])
            heapq.heappush(turns, (now + seconds[rank], rank))
    return last / (total / sum(1 / one for one in seconds)), done


@pytest.mark.parametrize("seconds", [[FAST], [FAST] * 2, [SLOW, FAST], [FAST] * 7 + [SLOW]])
@pytest.mark.parametrize("total", [1, 10, 137])
def test_every_number_is_done_once(total: int, seconds: list[float]) -> None:
    done = play(total, seconds)[1]
    assert sorted(chain.from_iterable(done)) == list(range(total))


@pytest.mark.parametrize("seconds", [[FAST, SLOW], [SLOW, FAST], [FAST, FAST, FAST, SLOW]])
@pytest.mark.parametrize("total", [50, 650])
def test_slowed_rank_costs_less_than_a_tenth(total: int, seconds: list[float]) -> None:
    assert play(total, seconds)[0] <= 1.1


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("total", [32, 33, 80])
def test_ranks_nearly_alike_end_within_one_number(total: int, ranks: int) -> None:
    seconds = [FAST * (1 + 0.01 * rank) for rank in range(ranks)]
    done = play(total, seconds)[1]
    fewest, most = min(map(len, done)), max(map(len, done))
    assert most - fewest <= 1


def test_grain_shrinks_towards_the_end() -> None:
    dealer = Dealer(200, 2, ahead=0)
    grains = []
    while numbers := dealer.deal(0, 0.0):
        grains.append(len(numbers))
    assert grains[0] == MOST_AT_ONCE
    assert grains[-1] == 1
    assert grains == sorted(grains, reverse=True)


def test_rank_that_would_end_last_gets_no_more() -> None:
    dealer = Dealer(23, 2, ahead=0)
    for turn in range(10):
        assert dealer.deal(0, turn * FAST)
    assert dealer.deal(1, 0.0)
    assert not dealer.deal(1, 9.0)  # it took 9 s for what the other does in 0.2
    while dealer.deal(0, 20.0):
        pass
    assert dealer.given == 23


def test_closed_dealer_gives_nothing() -> None:
    dealer = Dealer(10, 1, ahead=0)
    dealer.close()
    assert not dealer.deal(0, 0.0)
