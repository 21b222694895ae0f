# SPDX-License-Identifier: Apache-2.0
"""L-BFGS for many heads in step: each asks for one evaluation a pass, all share the pass.

A solver is a generator: it yields a point and gets loss and gradient there sent back, or a
gradient to precondition. So its text reads like that of a single problem, and the products of all
heads are stacked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.arrays import FloatArray, IntArray
from trainer.head.objective import Objective
from trainer.head.standings import Conjugate, Evaluation, Reply, Standing

MOST_ITERATIONS = 2000
ARMIJO = 1e-4
MOST_NEWTON_STEPS = 20
MOST_CONJUGATE_STEPS = 100


@dataclass(frozen=True)
class At:
    """Asks for the loss and the gradient at a point."""

    point: FloatArray


@dataclass(frozen=True)
class Precondition:
    """Asks for the approximate inverse Hessian times a vector."""

    vector: FloatArray


@dataclass
class Minimum:
    """Where a solver ended, and how it came there.

    Attributes:
        parameters: The point.
        trace: (iterations + 1, 2) loss and gradient norm, from the start on.
        converged: Whether the gradient is as small as was asked for.
    """

    parameters: FloatArray
    trace: FloatArray
    converged: bool

    @property
    def loss(self) -> float:
        """At the end."""
        return float(self.trace[-1, 0])

    @property
    def gradient_norm(self) -> float:
        """At the end."""
        return float(self.trace[-1, 1])

    @property
    def iterations(self) -> int:
        """Steps taken."""
        return len(self.trace) - 1


def _ended(standing: Standing, converged: bool) -> Minimum:
    return Minimum(standing.point, np.array(standing.trace), converged)


Solver = Generator[At | Precondition, Any, Minimum]


def minimise(standing: Standing, tolerance: float) -> Solver:
    """Minimise a smooth convex function.

    Where the loss can no longer tell a better point from a worse one, Newton-CG steps finish.

    Args:
        standing: Where to begin; kept up to date, so that another solver can go on from it.
        tolerance: Euclidean norm of the gradient to reach.
    Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 7.4 and 7.5.
    """
    if standing.gradient is None:
        standing.begin(*(yield At(standing.point)))
    while not standing.newton:
        if standing.norm <= tolerance:
            return _ended(standing, True)
        if standing.iterations >= MOST_ITERATIONS:
            return _ended(standing, False)
        gradient, pairs = standing.gradient, standing.pairs
        assert gradient is not None
        direction = yield from _two_loops(gradient, pairs)
        found = yield from _search(standing.point, standing.loss, gradient, direction)
        if found is None:
            break
        change, slope_change = found[0] - standing.point, found[2] - gradient
        if change @ slope_change > 1e-12 * np.linalg.norm(change) * np.linalg.norm(slope_change):
            pairs.append((change, slope_change))
        standing.move(*found)
    return (yield from _newton(standing, tolerance))


def _two_loops(
    gradient: FloatArray, pairs: deque[tuple[FloatArray, FloatArray]]
) -> Generator[Precondition, FloatArray, FloatArray]:
    direction = -gradient
    shares = []
    for change, slope_change in reversed(pairs):
        share = (change @ direction) / (change @ slope_change)
        direction = direction - share * slope_change
        shares.append(share)
    direction = yield Precondition(direction)
    for (change, slope_change), share in zip(pairs, reversed(shares), strict=True):
        correction = (slope_change @ direction) / (change @ slope_change)
        direction = direction + (share - correction) * change
    return direction


def _search(
    point: FloatArray, loss: float, gradient: FloatArray, direction: FloatArray
) -> Generator[At, Evaluation, tuple[FloatArray, float, FloatArray] | None]:
    """Shorten the step until the loss falls enough; None where rounding hides whether it does."""
    slope, step = float(gradient @ direction), 1.0
    while -slope * step > 8 * np.finfo(float).eps * abs(loss):
        trial = point + step * direction
        new_loss, new_gradient = yield At(trial)
        if new_loss <= loss + ARMIJO * step * slope:
            return trial, new_loss, new_gradient
        parabola = -slope * step / (2 * (new_loss - loss - slope * step))
        step *= min(0.5, max(0.1, parabola))
    return None


def _newton(standing: Standing, tolerance: float) -> Solver:
    """Finish by Newton steps that are judged by the gradient alone."""
    conjugate = standing.conjugate
    while standing.norm > tolerance and (conjugate or standing.newton < MOST_NEWTON_STEPS):
        assert standing.gradient is not None
        conjugate = conjugate or standing.begin_newton(standing.gradient)
        direction = yield from _conjugate_gradients(standing, conjugate)
        trial = standing.point + direction
        loss, gradient = yield At(trial)
        if np.linalg.norm(gradient) >= standing.norm:
            break
        conjugate = standing.conjugate = None
        standing.move(trial, loss, gradient)
    return _ended(standing, standing.norm <= tolerance)


def _conjugate_gradients(
    standing: Standing, now: Conjugate
) -> Generator[At, Evaluation, FloatArray]:
    """Solve H d = -gradient to 1%, H's products from differences of gradients."""
    assert standing.gradient is not None
    point, goal = standing.point, 1e-4 * float(standing.gradient @ standing.gradient)
    while now.steps < MOST_CONJUGATE_STEPS:
        width = 1e-4 * (1 + np.linalg.norm(point)) / np.linalg.norm(now.direction)
        _, ahead = yield At(point + width * now.direction)
        _, behind = yield At(point - width * now.direction)
        product = (ahead - behind) / (2 * width)
        curvature = float(now.direction @ product)
        if curvature <= 0:
            break
        solution = now.solution + now.energy / curvature * now.direction
        residual = now.residual - now.energy / curvature * product
        energy = float(residual @ residual)
        if energy <= goal:
            return solution
        direction = residual + energy / now.energy * now.direction
        now = standing.go_on(Conjugate(solution, residual, direction, energy, now.steps + 1))
    return now.solution


def solve(
    objective: Objective,
    heads: IntArray,
    standings: Sequence[Standing],
    l2: FloatArray,
    tolerance: float,
    after_pass: Callable[[], None] = lambda: None,
) -> list[Minimum]:
    """Minimise heads' losses together; Collective.

    Args:
        objective: Loss, gradient and preconditioner of every head.
        heads: (n,) numbers of heads.
        standings: (n,) where each begins; kept up to date.
        l2: (n,) strength for each.
        tolerance: Euclidean norm of the gradient to reach.
        after_pass: Called after every pass over the rows.
    """
    minima: dict[int, Minimum] = {}
    wishes: dict[int, At | Precondition] = {}
    solvers = [minimise(standing, tolerance) for standing in standings]

    def begin(number: int) -> None:
        """Start a solver, and tell it what another one was told before."""
        replies = standings[number].told[:]
        standings[number].told.clear()
        go_on(number, None)
        for reply in replies:
            tell(number, reply)

    def tell(number: int, reply: Reply) -> None:
        standings[number].told.append(reply)
        go_on(number, reply)

    def go_on(number: int, reply: Reply | None) -> None:
        """Let a solver have what it asked for; nothing at its start."""
        try:
            wishes[number] = solvers[number].send(reply)
        except StopIteration as end:
            minima[number] = end.value
            wishes.pop(number, None)

    def answer(kind: type[At | Precondition], ask: Callable[..., Any]) -> None:
        """Answer all open wishes of a kind by one stacked computation."""
        askers = [number for number in sorted(wishes) if isinstance(wishes[number], kind)]
        if not askers:
            return
        vectors = [wishes[number] for number in askers]
        for number, reply in zip(askers, ask(np.array(askers), vectors), strict=True):
            tell(number, reply)

    def evaluate(askers: IntArray, wanted: list[At]) -> Iterable[Evaluation]:
        points = np.array([wish.point for wish in wanted])
        losses, gradients = objective.evaluate(heads[askers], points, l2[askers])
        return zip(losses.tolist(), gradients, strict=True)

    def precondition(askers: IntArray, wanted: list[Precondition]) -> FloatArray:
        vectors = np.array([wish.vector for wish in wanted])
        return objective.preconditioner.apply(vectors, l2[askers])

    for number in range(len(solvers)):
        begin(number)
    while wishes:
        answer(Precondition, precondition)
        answer(At, evaluate)
        after_pass()
    return [minima[number] for number in range(len(heads))]
