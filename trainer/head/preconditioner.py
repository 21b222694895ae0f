# SPDX-License-Identifier: Apache-2.0
"""An approximate inverse of the loss's Hessian, from a sample of the rows.

The Hessian of a head is near M + l2 I, where M is the correlation matrix of the rows, each weighted
by the softmax's curvature there. M is known by the singular vectors V and values s of a sample;
beyond their span it counts as zero:

    (M + l2 I)^-1 = (I - V diag(s / (s + l2)) V') / l2

Heads that differ by the folds that they leave out share it. It decides how fast the solver gets to
the optimum, not where that is.
"""

from __future__ import annotations

import numpy as np

from trainer.arrays import FloatArray
from trainer.head.rows import Rows

SAMPLE = 512
"""Rows that the correlation matrix is taken from."""
LEAST_CURVATURE = 1e-6


class Preconditioner:
    """One for all heads: their own standardisations differ little from the common one.

    Attributes:
        sampled: (sample,) which of all rows are in the sample.
    """

    def __init__(self, rows: Rows, classes: int) -> None:
        """Gather the sample, rows at even distances, to every rank; Collective.

        Args:
            rows: Standardised rows.
            classes: Number of classes.
        """
        self._columns = classes - 1
        self.sampled = np.linspace(0, rows.count - 1, min(SAMPLE, rows.count)).astype(np.int64)
        mine = (self.sampled >= rows.where.start) & (self.sampled < rows.where.stop)
        self._sample = rows.world.gather(rows.values[self.sampled[mine] - rows.where.start])
        self.adapt(np.full(len(self.sampled), 1 / classes))

    def adapt(self, curvature: FloatArray) -> None:
        """Take the Hessian at another point.

        Args:
            curvature: (sample,) of the softmax at each row of it: for classes that are equally
                likely, 1 / classes.
        """
        weights = np.maximum(curvature, LEAST_CURVATURE) / len(self.sampled)
        weighted = self._sample * np.sqrt(weights)[:, None]
        values, left = np.linalg.eigh(weighted @ weighted.T)
        kept = values > 1e-9 * values[-1]
        self._values = values[kept]
        self._vectors = weighted.T @ (left[:, kept] / np.sqrt(self._values))
        self._bias = 1 / weights.sum()

    def apply(self, gradients: FloatArray, l2: FloatArray) -> FloatArray:
        """Multiply gradients by the approximate inverse.

        Args:
            gradients: (n, size), one a head, bias last.
            l2: (n,) strengths.
        Returns:
            (n, size).
        """
        count = len(gradients)
        table = gradients.reshape(count, -1, self._columns)
        weights = table[:, :-1].transpose(1, 0, 2).reshape(-1, count * self._columns)
        share = self._values[:, None] / (self._values[:, None] + l2)
        inside = self._vectors.T @ weights * np.repeat(share, self._columns, axis=1)
        weights = weights - self._vectors @ inside
        result = np.empty_like(table)
        result[:, :-1] = weights.reshape(-1, count, self._columns).transpose(1, 0, 2)
        result[:, :-1] /= l2[:, None, None]
        result[:, -1] = table[:, -1] * self._bias
        return result.reshape(count, -1)
