# SPDX-License-Identifier: Apache-2.0
"""Fits the head of section 3 of the method page to convergence, in the space of its own rows.

The optimum of J is a combination of the fitting rows, so with the singular value decomposition
X = U S V' of the standardised rows it is enough to fit on U S: a few hundred columns for a few
hundred images, all of them uncorrelated, where Newton's method needs a handful of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRADIENT_NORM = 1e-10
MOST_STEPS = 200


@dataclass(frozen=True)
class Head:
    """A converged fit: J, its gradient norm, and weights (columns + 1, classes), bias last."""

    theta: Floats
    loss: float
    gradient_norm: float


class Fitting:
    """The standardised rows of one fit, and the heads fitted on them."""

    def __init__(self, x: Floats, labels: Ints, weights: Floats, classes: int) -> None:
        """Standardise and rotate.

        Args:
            x: (n, features) bottlenecks.
            labels: (n,) class numbers.
            weights: (n,) positive weights.
            classes: Number of classes of the data set; those without a row get probability 0.
        """
        self.classes = classes
        self.present, own = np.unique(labels, return_inverse=True)
        self.weights = weights / weights.sum()
        self.mean, self.scale, self.kept = moments(x, self.weights)
        self.truth = np.eye(len(self.present))[own]
        _, spectrum, self.basis = np.linalg.svd(self.standardised(x), full_matrices=False)
        wide = spectrum > spectrum.max(initial=0.0) * 1e-12
        self.basis = self.basis[wide]
        self.rotated = self.rotate(x)

    def standardised(self, x: Floats) -> Floats:
        """(n, kept features) with mean 0 and deviation 1 over the fitting rows."""
        return np.asarray((x[:, self.kept] - self.mean) / self.scale)

    def rotate(self, x: Floats) -> Floats:
        """(n, columns + 1) coordinates in the row space, and a column of ones for the bias."""
        return np.column_stack([self.standardised(x) @ self.basis.T, np.ones(len(x))])

    def path(self, strengths: Sequence[float]) -> list[Head]:
        """Heads for falling l2, each started from the one before."""
        theta = np.zeros((self.rotated.shape[1], len(self.present)))
        heads = []
        for strength in strengths:
            heads.append(self.fit(strength, theta))
            theta = heads[-1].theta
        return heads

    def fit(self, strength: float, theta: Floats) -> Head:
        """Newton's method from theta until the gradient vanishes.

        Raises:
            ArithmeticError: it did not converge.
        """
        loss, gradient, probabilities = self.objective(theta, strength)
        for _ in range(MOST_STEPS):
            norm = float(np.linalg.norm(gradient))
            if norm <= GRADIENT_NORM:
                return Head(theta, loss, norm)
            step = self.newton_step(gradient, probabilities, strength)
            length = 1.0
            while True:
                trial = theta + length * step
                new_loss, new_gradient, probabilities = self.objective(trial, strength)
                if new_loss < loss or np.linalg.norm(new_gradient) < norm or length < 1e-6:
                    break
                length /= 2
            theta, loss, gradient = trial, new_loss, new_gradient
        raise ArithmeticError(f"no convergence at l2 {strength}: gradient norm {norm}")

    def ridge(self, strength: float) -> Floats:
        """(columns + 1, 1): l2 on every weight, nothing on the bias."""
        ridge = np.full((self.rotated.shape[1], 1), strength)
        ridge[-1] = 0.0
        return ridge

    def objective(self, theta: Floats, strength: float) -> tuple[float, Floats, Floats]:
        """J, its gradient (like theta), and the rows' probabilities."""
        logs = log_softmax(self.rotated @ theta)
        probabilities = np.exp(logs)
        ridge = self.ridge(strength)
        entropy = -float(self.weights @ np.sum(self.truth * logs, axis=1))
        loss = entropy + 0.5 * float(np.sum(ridge * theta**2))
        residual = self.weights[:, None] * (probabilities - self.truth)
        return loss, self.rotated.T @ residual + ridge * theta, probabilities

    def newton_step(self, gradient: Floats, probabilities: Floats, strength: float) -> Floats:
        """Solve the Newton system by preconditioned conjugate gradients."""
        z, w, ridge = self.rotated, self.weights[:, None], self.ridge(strength)

        def curvature(direction: Floats) -> Floats:
            change = probabilities * (z @ direction)
            change -= probabilities * change.sum(axis=1, keepdims=True)
            return np.asarray(z.T @ (w * change) + ridge * direction)

        spread = max(float(np.mean(w * probabilities * (1 - probabilities)) * len(w)), 1e-12)
        diagonal = spread * np.sum(w * z**2, axis=0)[:, None] + ridge
        accuracy = min(0.1, float(np.linalg.norm(gradient)))
        return conjugate_gradients(curvature, -gradient, diagonal, accuracy)

    def probabilities(self, head: Head, x: Floats) -> Floats:
        """(n, classes) for (n, features) bottlenecks; 0 for classes that the fit lacked."""
        result = np.zeros((len(x), self.classes))
        result[:, self.present] = np.exp(log_softmax(self.rotate(x) @ head.theta))
        return result


def moments(x: Floats, weights: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Weighted mean and population deviation of the features that vary, and which these are."""
    mean = weights @ x
    scale = np.sqrt(weights @ (x - mean) ** 2)
    kept = scale > 1e-6 * np.maximum(1.0, np.abs(mean))
    return mean[kept], scale[kept], kept


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities, row by row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def conjugate_gradients(
    product: Callable[[Floats], Floats], right: Floats, diagonal: Floats, accuracy: float
) -> Floats:
    """Solve product(s) = right until the residual has shrunk by `accuracy`."""
    solution, residual = np.zeros_like(right), right.copy()
    direction = residual / diagonal
    energy = float(np.sum(residual * direction))
    goal = accuracy * float(np.linalg.norm(right))
    for _ in range(10 * right.size):
        image = product(direction)
        curvature = float(np.sum(direction * image))
        if np.linalg.norm(residual) <= goal or curvature <= 0:
            break
        length = energy / curvature
        solution += length * direction
        residual -= length * image
        scaled = residual / diagonal
        new_energy = float(np.sum(residual * scaled))
        direction = scaled + (new_energy / energy) * direction
        energy = new_energy
    return solution
