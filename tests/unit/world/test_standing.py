# SPDX-License-Identifier: Apache-2.0
"""Who is to blame for a world that does not go on."""

from __future__ import annotations

import pytest

from trainer.world.standing import Standing, blamed


def test_rank_that_got_on_is_not_idle() -> None:
    rank = Standing(idle=50)
    rank.age(2, moved=True, waits=False, busy=0)
    assert rank.idle == 0


def test_second_in_which_a_rank_does_something_counts_a_tenth() -> None:
    rank = Standing()
    rank.age(2, moved=False, waits=False, busy=2)
    assert rank.idle == pytest.approx(0.2)
    rank.age(2, moved=False, waits=False, busy=0)
    assert rank.idle == pytest.approx(2.2)
    rank.age(2, moved=False, waits=False, busy=1)
    assert rank.idle == pytest.approx(3.3)


def test_more_cores_than_one_make_a_second_no_shorter() -> None:
    rank = Standing()
    rank.age(1, moved=False, waits=False, busy=16)
    assert rank.idle == pytest.approx(0.1)


def test_rank_that_spins_while_it_waits_is_idle_all_the_same() -> None:
    rank = Standing()
    rank.age(2, moved=False, waits=True, busy=2)
    assert rank.idle == 2


ON = Standing(idle=1)
WAITING = Standing(idle=90, waits=True)
STILL = Standing(idle=90)
SILENT = Standing(idle=1, silent=90)
STILL_AND_SILENT = Standing(idle=8, silent=8)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([ON, ON], ((), "")),
        ([ON, WAITING], ((), "")),
        ([WAITING, STILL], ((1,), "stands still")),
        ([STILL, WAITING], ((0,), "stands still")),
        ([WAITING, STILL, STILL], ((1, 2), "stand still")),
        ([ON, SILENT], ((1,), "stands still")),
        ([WAITING, Standing(idle=1, silent=90, waits=True)], ((1,), "stands still")),
        ([WAITING, STILL_AND_SILENT], ((1,), "stands still")),
        ([WAITING, WAITING], ((0, 1), "wait for each other")),
        ([STILL], ((0,), "stands still")),
    ],
)
def test_blame_is_on_those_who_keep_the_others_waiting(
    ranks: list[Standing], expected: tuple[tuple[int, ...], str]
) -> None:
    assert blamed(ranks, 10) == expected
