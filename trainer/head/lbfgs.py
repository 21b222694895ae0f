# SPDX-License-Identifier: Apache-2.0
"""L-BFGS for many heads in step: each asks for one evaluation a pass, all share the pass.

A solver is a generator: it yields a point and gets loss and gradient there sent back, or a
gradient to precondition. So its text reads like that of a single problem, and the products of all
heads are stacked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
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


Solver = Generator[At | Precondition, Any, Minimum]


def minimise(start: FloatArray, tolerance: float) -> Solver:
    """Minimise a smooth convex function.

    Where the loss can no longer tell a better point from a worse one, Newton-CG steps finish.

    Args:
        start: Where to begin.
        tolerance: Euclidean norm of the gradient to reach.
    Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 7.4 and 7.5.
    """
    point = start
    loss, gradient = yield At(point)
    pairs: deque[tuple[FloatArray, FloatArray]] = deque(maxlen=PAIRS)
    for iteration in range(MOST_ITERATIONS):
        norm = float(np.linalg.norm(gradient))
        if norm <= tolerance:
            return Minimum(point, loss, norm, iteration, True)
        direction = yield from _two_loops(gradient, pairs)
        found = yield from _search(point, loss, gradient, direction)
        if found is None:
            return (yield from _newton(point, loss, gradient, tolerance, iteration))
        new_point, new_loss, new_gradient = found
        change, slope_change = new_point - point, new_gradient - gradient
        if change @ slope_change > 1e-12 * np.linalg.norm(change) * np.linalg.norm(slope_change):
            pairs.append((change, slope_change))
        point, loss, gradient = new_point, new_loss, new_gradient
    return Minimum(point, loss, float(np.linalg.norm(gradient)), MOST_ITERATIONS, False)


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


def _newton(
    point: FloatArray, loss: float, gradient: FloatArray, tolerance: float, iterations: int
) -> Solver:
    """Finish by Newton steps that are judged by the gradient alone."""
    norm = float(np.linalg.norm(gradient))
    for _ in range(MOST_NEWTON_STEPS):
        if norm <= tolerance:
            break
        direction = yield from _conjugate_gradients(point, gradient)
        iterations += 1
        new_loss, new_gradient = yield At(point + direction)
        new_norm = float(np.linalg.norm(new_gradient))
        if new_norm >= norm:
            break
        point, loss, gradient, norm = point + direction, new_loss, new_gradient, new_norm
    return Minimum(point, loss, norm, iterations, norm <= tolerance)


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
    starts: FloatArray,
    l2: FloatArray,
    tolerance: float,
) -> list[Minimum]:
    """Minimise heads' losses together; Collective.

    Args:
        objective: Loss, gradient and preconditioner of every head.
        heads: (n,) numbers of heads.
        starts: (n, size) where each begins.
        l2: (n,) strength for each.
        tolerance: Euclidean norm of the gradient to reach.
    """
    minima: dict[int, Minimum] = {}
    solvers = [minimise(start, tolerance) for start in starts]
    wishes = {number: next(solver) for number, solver in enumerate(solvers)}

    def answer(kind: type[At | Precondition], ask: Callable[..., Any]) -> None:
        """Answer all open wishes of a kind by one stacked computation."""
        askers = [number for number, wish in wishes.items() if isinstance(wish, kind)]
        if not askers:
            return
        vectors = [wishes.pop(number) for number in askers]
        for number, reply in zip(askers, ask(np.array(askers), vectors), strict=True):
            try:
                wishes[number] = solvers[number].send(reply)
            except StopIteration as end:
                minima[number] = end.value

    def evaluate(askers: IntArray, wanted: list[At]) -> Iterable[Evaluation]:
        points = np.array([wish.point for wish in wanted])
        losses, gradients = objective.evaluate(heads[askers], points, l2[askers])
        return zip(losses.tolist(), gradients, strict=True)

    def precondition(askers: IntArray, wanted: list[Precondition]) -> FloatArray:
        vectors = np.array([wish.vector for wish in wanted])
        return objective.preconditioner.apply(vectors, l2[askers])

    while wishes:
        answer(At, evaluate)
        answer(Precondition, precondition)
    return [minima[number] for number in range(len(heads))]
