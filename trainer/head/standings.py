# SPDX-License-Identifier: Apache-2.0
"""Where solvers stand, as arrays too, so that a run goes on in the middle of a solution."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array, FloatArray

PAIRS = 10
"""Steps that the inverse Hessian is built from."""
MOST_BYTES = 128 << 20
"""What solvers may take in a file. Where they have more, they begin their strength again."""

Evaluation = tuple[float, FloatArray]
Reply = Evaluation | FloatArray
"""To a solver: loss and gradient at a point, or a preconditioned vector."""


@dataclass
class Conjugate:
    """Where the conjugate gradients are that solve H d = -gradient for one Newton step.

    Attributes:
        solution, residual, direction: Vectors of the parameters' size.
        energy: Of the residual: its square.
        steps: Done so far.
    """

    solution: FloatArray
    residual: FloatArray
    direction: FloatArray
    energy: float
    steps: int = 0


@dataclass
class Standing:
    """Where a solver is: all that another one needs to go on as it would have.

    The fields but for the last tell of the beginning of a step. `told` is played to the solver
    again, so that it then wishes for the same as this one, and the stacked computations of a run
    that goes on are those of a run that was never stopped: the same bits.

    Attributes:
        point: Where it has come to.
        gradient: There; None before the first evaluation.
        pairs: Steps, and what they changed of the gradient, that the inverse Hessian is built from.
        trace: Loss and gradient norm where it began, and after each iteration.
        newton: Newton steps begun; 0 before L-BFGS is done.
        conjugate: Of the Newton step.
        told: The replies that it got since.
    """

    point: FloatArray
    gradient: FloatArray | None = None
    pairs: deque[tuple[FloatArray, FloatArray]] = field(default_factory=lambda: deque(maxlen=PAIRS))
    trace: list[tuple[float, float]] = field(default_factory=list)
    newton: int = 0
    conjugate: Conjugate | None = None
    told: list[Reply] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Where it has come to; after the first evaluation."""
        return self.trace[-1][0]

    @property
    def norm(self) -> float:
        """Of the gradient; after the first evaluation."""
        return self.trace[-1][1]

    @property
    def iterations(self) -> int:
        """Done so far."""
        return max(0, len(self.trace) - 1)

    def begin(self, loss: float, gradient: FloatArray) -> None:
        """Know loss and gradient where it is."""
        self.gradient = gradient
        self.trace.append((loss, float(np.linalg.norm(gradient))))
        self.told.clear()

    def move(self, point: FloatArray, loss: float, gradient: FloatArray) -> None:
        """Take a step."""
        self.point = point
        self.begin(loss, gradient)

    def begin_newton(self, gradient: FloatArray) -> Conjugate:
        """Begin a Newton step."""
        self.newton += 1
        self.pairs.clear()
        residual = -gradient
        zeros = np.zeros_like(residual)
        return self.go_on(Conjugate(zeros, residual, residual, float(residual @ residual)))

    def go_on(self, conjugate: Conjugate) -> Conjugate:
        """Take a step towards the Newton step."""
        self.conjugate = conjugate
        self.told.clear()
        return conjugate


def fit_in_a_file(standings: Sequence[Standing]) -> bool:
    """Whether there are solvers, and not too much to tell of them."""
    vectors = sum(
        2 + 2 * len(one.pairs) + 3 * (one.conjugate is not None) + len(one.told)
        for one in standings
    )
    return bool(standings) and vectors * standings[0].point.nbytes <= MOST_BYTES


def standings_to_arrays(standings: Sequence[Standing]) -> dict[str, Array]:
    """Solvers as arrays.

    Returns:
        Of n solvers: `points`, `gradients` (n, size; zero before they are known), `newton` (n,);
        `traces` (all, 2), `pairs` (all, 2, size), and how many are whose in `trace_counts`,
        `pair_counts` (n,); of those in a Newton step `conjugates` (some, 3, size), `energies`,
        `steps` and in `conjugate_of` whose they are; replies as `told_vectors` (all, size),
        `told_losses` (not a number where there was none) and `told_counts` (n,).
    """
    size = standings[0].point.size
    newton = [(place, one.conjugate) for place, one in enumerate(standings) if one.conjugate]
    told = [_parts(reply) for one in standings for reply in one.told]
    zeros = np.zeros(size)
    return {
        "points": np.array([one.point for one in standings]),
        "gradients": np.array(
            [zeros if one.gradient is None else one.gradient for one in standings]
        ),
        "traces": np.array([pair for one in standings for pair in one.trace]).reshape(-1, 2),
        "trace_counts": np.array([len(one.trace) for one in standings]),
        "newton": np.array([one.newton for one in standings]),
        "pairs": _stacked((pair for one in standings for pair in one.pairs), 2, size),
        "pair_counts": np.array([len(one.pairs) for one in standings]),
        "conjugates": _stacked(
            ((one.solution, one.residual, one.direction) for _, one in newton), 3, size
        ),
        "energies": np.array([one.energy for _, one in newton]),
        "steps": np.array([one.steps for _, one in newton], np.int64),
        "conjugate_of": np.array([place for place, _ in newton], np.int64),
        "told_losses": np.array([loss for loss, _ in told]),
        "told_vectors": np.array([vector for _, vector in told]).reshape(-1, size),
        "told_counts": np.array([len(one.told) for one in standings]),
    }


def _parts(reply: Reply) -> tuple[float, FloatArray]:
    return reply if isinstance(reply, tuple) else (np.nan, reply)


def _stacked(groups: Iterable[tuple[FloatArray, ...]], each: int, size: int) -> Array:
    return np.array(list(groups)).reshape(-1, each, size)


def standings_from_arrays(arrays: Mapping[str, Array]) -> list[Standing]:
    """The solvers that `standings_to_arrays` was given."""
    traces = _shared_out(arrays["traces"], arrays["trace_counts"])
    pairs = _shared_out(arrays["pairs"], arrays["pair_counts"])
    losses = _shared_out(arrays["told_losses"], arrays["told_counts"])
    vectors = _shared_out(arrays["told_vectors"], arrays["told_counts"])
    standings = [
        Standing(
            point,
            arrays["gradients"][place] if len(traces[place]) else None,
            deque(((step, change) for step, change in pairs[place]), maxlen=PAIRS),
            [(loss, norm) for loss, norm in traces[place].tolist()],
            int(arrays["newton"][place]),
            told=[
                vector if np.isnan(loss) else (float(loss), vector)
                for loss, vector in zip(losses[place], vectors[place], strict=True)
            ],
        )
        for place, point in enumerate(arrays["points"])
    ]
    for number, place in enumerate(arrays["conjugate_of"].tolist()):
        solution, residual, direction = arrays["conjugates"][number]
        energy, steps = float(arrays["energies"][number]), int(arrays["steps"][number])
        standings[place].conjugate = Conjugate(solution, residual, direction, energy, steps)
    return standings


def _shared_out(array: Array, counts: Array) -> list[Array]:
    """Cut an array of all into each one's part."""
    return np.split(array, np.cumsum(counts)[:-1])
