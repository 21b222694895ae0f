# SPDX-License-Identifier: Apache-2.0
"""L-BFGS for many heads in step: each asks for one evaluation a pass, all share the pass.

A solver is a generator: it yields a point and gets loss and gradient there sent back, or a
gradient to precondition. So its text reads like that of a single problem, and the products of all
heads are stacked.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.arrays import FloatArray, IntArray
from trainer.head.objective import Objective

PAIRS = 10
"""Steps that the inverse Hessian is built from."""
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


Evaluation = tuple[float, FloatArray]


@dataclass
class Minimum:
    """Where a solver ended."""

    parameters: FloatArray
    loss: float
    gradient_norm: float
    iterations: int
    converged: bool


@dataclass
class Standing:
    """Where a solver is at the beginning of an iteration: all that it needs to go on from there.

    Attributes:
        point: Where it has come to.
        loss, gradient: There; no gradient before the first evaluation.
        pairs: Steps, and what they changed of the gradient, that the inverse Hessian is built from.
        iterations: Done so far.
        newton: Whether it is past L-BFGS, and Newton steps finish.
    """

    point: FloatArray
    loss: float = 0.0
    gradient: FloatArray | None = None
    pairs: deque[tuple[FloatArray, FloatArray]] = field(default_factory=lambda: deque(maxlen=PAIRS))
    iterations: int = 0
    newton: bool = False

    @property
    def norm(self) -> float:
        """Of the gradient; infinite before the first evaluation."""
        return math.inf if self.gradient is None else float(np.linalg.norm(self.gradient))

    def move(self, point: FloatArray, loss: float, gradient: FloatArray) -> None:
        """Take a step."""
        self.point, self.loss, self.gradient = point, loss, gradient
        self.iterations += 1

    def ended(self, converged: bool) -> Minimum:
        """The end of the way."""
        return Minimum(self.point, self.loss, self.norm, self.iterations, converged)


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
        standing.loss, standing.gradient = yield At(standing.point)
    while not standing.newton:
        if standing.norm <= tolerance:
            return standing.ended(True)
        if standing.iterations >= MOST_ITERATIONS:
            return standing.ended(False)
        gradient, pairs = standing.gradient, standing.pairs
        direction = yield from _two_loops(gradient, pairs)
        found = yield from _search(standing.point, standing.loss, gradient, direction)
        if found is None:
            standing.newton = True
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
    for _ in range(MOST_NEWTON_STEPS):
        if standing.norm <= tolerance:
            break
        assert standing.gradient is not None
        direction = yield from _conjugate_gradients(standing.point, standing.gradient)
        trial = standing.point + direction
        loss, gradient = yield At(trial)
        if np.linalg.norm(gradient) >= standing.norm:
            break
        standing.move(trial, loss, gradient)
    return standing.ended(standing.norm <= tolerance)


def _conjugate_gradients(
    point: FloatArray, gradient: FloatArray
) -> Generator[At, Evaluation, FloatArray]:
    """Solve H d = -gradient to 1%, H's products from differences of gradients."""
    solution = np.zeros_like(point)
    residual = -gradient
    direction, energy = residual, float(residual @ residual)
    goal = 1e-4 * energy
    for _ in range(MOST_CONJUGATE_STEPS):
        width = 1e-4 * (1 + np.linalg.norm(point)) / np.linalg.norm(direction)
        _, ahead = yield At(point + width * direction)
        _, behind = yield At(point - width * direction)
        product = (ahead - behind) / (2 * width)
        curvature = float(direction @ product)
        if curvature <= 0:
            break
        solution = solution + energy / curvature * direction
        residual = residual - energy / curvature * product
        old, energy = energy, float(residual @ residual)
        if energy <= goal:
            break
        direction = residual + energy / old * direction
    return solution


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

    def go_on(number: int, reply: Any) -> None:
        """Let a solver have what it asked for; nothing at its start."""
        try:
            wishes[number] = solvers[number].send(reply)
        except StopIteration as end:
            minima[number] = end.value

    def answer(kind: type[At | Precondition], ask: Callable[..., Any]) -> None:
        """Answer all open wishes of a kind by one stacked computation."""
        askers = [number for number, wish in wishes.items() if isinstance(wish, kind)]
        if not askers:
            return
        vectors = [wishes.pop(number) for number in askers]
        for number, reply in zip(askers, ask(np.array(askers), vectors), strict=True):
            go_on(number, reply)

    def evaluate(askers: IntArray, wanted: list[At]) -> Iterable[Evaluation]:
        points = np.array([wish.point for wish in wanted])
        losses, gradients = objective.evaluate(heads[askers], points, l2[askers])
        return zip(losses.tolist(), gradients, strict=True)

    def precondition(askers: IntArray, wanted: list[Precondition]) -> FloatArray:
        vectors = np.array([wish.vector for wish in wanted])
        return objective.preconditioner.apply(vectors, l2[askers])

    for number in range(len(solvers)):
        go_on(number, None)
    while wishes:
        answer(At, evaluate)
        after_pass()
        answer(Precondition, precondition)
    return [minima[number] for number in range(len(heads))]
