# SPDX-License-Identifier: Apache-2.0
"""Solvers that go on from what a file tells of them, and come to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stacked_heads import draw, everything, objective
from trainer.head.lbfgs import Minimum, solve
from trainer.head.objective import make_subset
from trainer.head.standings import (
    MOST_BYTES,
    Standing,
    fit_in_a_file,
    standings_from_arrays,
    standings_to_arrays,
)

TOLERANCE = 1e-13
"""So small that the loss cannot tell the way there: Newton steps must finish."""


class Cut(Exception):
    """The run was stopped."""


def solve_in_pieces(stacked: Any, passes: int) -> tuple[list[Minimum], int, bool]:
    """Solve, interrupted after every so many passes.

    Returns:
        The minima, all passes, and whether it was interrupted in the middle of a Newton step.
    """
    heads, l2 = np.arange(3), np.array([0.1, 1e-2, 1e-4])
    standings = [Standing(np.zeros(stacked.size)) for _ in heads]
    done, in_newton = 0, False

    def count() -> None:
        nonlocal done
        done += 1
        if done % passes == 0:
            raise Cut

    while True:
        try:
            minima = solve(stacked, heads, standings, l2, TOLERANCE, count)
        except Cut:
            in_newton |= any(one.conjugate is not None for one in standings)
            standings = standings_from_arrays(standings_to_arrays(standings))
        else:
            return minima, done, in_newton


@pytest.fixture
def stacked() -> Any:
    values, labels = draw(150, 6, 3)
    subsets = [everything(labels, 3), *(make_subset(labels != n, labels, 3, True) for n in (0, 1))]
    with objective(values, labels, subsets, 3) as made:
        yield made


@pytest.mark.parametrize("passes", [1, 2, 7])
def test_solvers_that_were_interrupted_come_to_the_same_bits_in_as_many_passes(
    passes: int, stacked: Any
) -> None:
    whole, all_passes, _ = solve_in_pieces(stacked, 10**9)
    pieces, same_passes, in_newton = solve_in_pieces(stacked, passes)
    assert in_newton
    assert same_passes == all_passes
    for one, other in zip(whole, pieces, strict=True):
        assert one.parameters.tobytes() == other.parameters.tobytes()
        assert (one.loss, one.iterations, one.converged) == (
            other.loss,
            other.iterations,
            other.converged,
        )


def test_solvers_that_would_take_too_much_do_not_fit_in_a_file() -> None:
    half = np.zeros(MOST_BYTES // 8 // 4)
    assert fit_in_a_file([Standing(half), Standing(half)])
    assert not fit_in_a_file([Standing(half), Standing(half), Standing(half)])
    assert not fit_in_a_file([])
