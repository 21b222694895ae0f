# SPDX-License-Identifier: Apache-2.0
"""The loss of many heads at once, each on its own subset of the same rows.

For one head, with x~ = (x - mu) / sigma by its own fitted rows, weights w >= 0 and l2 > 0:

    J(W, b) = sum_i w_i CE(y_i, softmax(x~_i W + b)) / sum_i w_i + l2/2 |W|^2

At the optimum each row of W sums to zero over the classes, and b may. So the parameters of a head
are one float64 vector, a table T of (features + 1) x (classes - 1), the last row for the bias, with
(W; b) = T C' and C an orthonormal basis of such rows: gradients keep their norm, two classes need
one column. The heads' products are stacked into one: rows are standardised once by all of them, and
each head's own mu and sigma are folded into its weights before, and out of its gradient after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.arrays import BoolArray, FloatArray, IntArray
from trainer.head.preconditioner import Preconditioner
from trainer.head.rows import GRID_BITS, Moments, Rows, moments, useful

HIGH, LOW = 2.0**20, 2.0**66
"""A loss is added in two integers: multiples of 2^-20, and what is left in multiples of 2^-66."""
LARGEST_LOSS = 2.0**40


@dataclass(frozen=True)
class Subset:
    """The rows that one head is fitted on.

    Attributes:
        fitted: (rows,) bool.
        class_weights: (classes,) weight of each row of a class; 0 for a class it lacks.
    """

    fitted: BoolArray
    class_weights: FloatArray


def make_subset(fitted: BoolArray, labels: IntArray, classes: int, balanced: bool) -> Subset:
    """Weigh the rows of a fit: all alike, or every class the same in total, so that sum w = n."""
    counts = np.bincount(labels[fitted], minlength=classes).astype(np.float64)
    present = counts > 0
    weights = present.astype(np.float64)
    if balanced:
        share = counts.sum() / present.sum()
        weights = np.where(present, share / np.maximum(counts, 1), 0.0)
    return Subset(fitted, weights)


class Objective:
    """Losses and gradients of heads; one integer sum over the ranks an evaluation."""

    def __init__(
        self,
        rows: Rows,
        labels: IntArray,
        cells: IntArray,
        subsets: Sequence[Subset],
        classes: int,
    ) -> None:
        """Standardise the rows, and each head's share of them; Collective.

        Args:
            rows: The rows, raw; their values are standardised in place.
            labels: (rows.count,) class numbers.
            cells: (rows.count,) numbers such that every subset holds a cell whole or not at all,
                and gives its rows one weight.
            subsets: One a head.
            classes: Number of classes.
        """
        self.rows = rows
        self.columns = classes - 1
        self._basis = zero_sum_basis(classes)
        self._labels = labels[rows.where]
        found = moments(rows, cells, int(cells.max()) + 1)
        self._mean, self._deviation = found.combine(np.ones(len(found.count)))
        self._used = useful(self._mean, self._deviation)
        self._standardise()
        self._largest = max(1.0, float(rows.world.largest(np.abs(rows.values).max(initial=0.0))))
        self.preconditioner = Preconditioner(rows, classes)
        self._add_heads(found, labels, cells, subsets)

    def _standardise(self) -> None:
        self.rows.values -= self._mean
        self.rows.values /= np.where(self._used, self._deviation, 1.0)
        self.rows.values[:, ~self._used] = 0.0

    def _add_heads(
        self, found: Moments, labels: IntArray, cells: IntArray, subsets: Sequence[Subset]
    ) -> None:
        own = self.rows.where
        means, deviations, masks = [], [], []
        for subset in subsets:
            weights = np.zeros(len(found.count))
            fitted = subset.fitted
            weights[cells[fitted]] = subset.class_weights[labels[fitted]]
            mean, deviation = found.combine(weights)
            means.append(mean)
            deviations.append(deviation)
            masks.append(useful(mean, deviation) & self._used)
        self.means, self.deviations = np.array(means), np.array(deviations)
        self._masks = np.array(masks)
        row_weights = [s.fitted * s.class_weights[labels] for s in subsets]
        self._weights = np.array([w[own] / w.sum() for w in row_weights]).T
        self._absent = np.array([s.class_weights == 0 for s in subsets])
        divisors = np.where(self._masks, self.deviations, 1.0)
        self._scale = np.where(self._masks, self._deviation / divisors, 0.0)
        self._shift = (self.means - self._mean) / np.where(self._used, self._deviation, 1.0)

    @property
    def size(self) -> int:
        """Length of a head's parameter vector."""
        return (self.rows.features + 1) * self.columns

    def _stacked(
        self, heads: IntArray, parameters: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weights (features, heads x columns) and biases (heads, columns) for the common rows."""
        table = parameters.reshape(len(heads), -1, self.columns)
        own = table[:, :-1]
        folded = own * self._scale[heads][:, :, None]
        bias = table[:, -1] - np.einsum("hf,hfk->hk", self._shift[heads], folded)
        return folded.transpose(1, 0, 2).reshape(self.rows.features, -1), bias, own

    def log_probabilities(self, heads: IntArray, parameters: FloatArray) -> FloatArray:
        """Score the own rows.

        Args:
            heads: (n,) numbers of heads.
            parameters: (n, size).
        Returns:
            (own rows, n, classes) natural logarithms; -inf for a class that the head lacks.
        """
        weights, bias, _ = self._stacked(heads, parameters)
        parts = [
            self._log_softmax(self.rows.values[block] @ weights, heads, bias)
            for block in self.rows.blocks()
        ]
        empty = np.empty((0, len(heads), self.columns + 1))
        return np.concatenate([empty, *parts])

    def _log_softmax(self, products: FloatArray, heads: IntArray, bias: FloatArray) -> FloatArray:
        reduced = products.reshape(len(products), len(heads), self.columns) + bias
        table: FloatArray = reduced @ self._basis.T
        table[:, self._absent[heads]] = -np.inf
        table -= table.max(axis=2, keepdims=True)
        table -= np.log(np.exp(table).sum(axis=2, keepdims=True))
        return table

    def evaluate(
        self, heads: IntArray, parameters: FloatArray, l2: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Find losses and gradients; Collective.

        Args:
            heads: (n,) numbers of heads.
            parameters: (n, size).
            l2: (n,) strengths.
        Returns:
            (n,) losses J and (n, size) gradients.
        """
        weights, bias, own = self._stacked(heads, parameters)
        width = len(heads) * self.columns
        scale = 2.0 ** (GRID_BITS - np.ceil(np.log2(self._largest)) - 1)

        def block_sums(block: slice) -> IntArray:
            values, row_weights = self.rows.values[block], self._weights[block][:, heads]
            table = self._log_softmax(values @ weights, heads, bias)
            truth = (np.arange(len(values)), slice(None), self._labels[block])
            losses = -np.where(row_weights > 0, table[truth], 0.0)
            residual = np.exp(table)
            residual[truth] -= 1.0
            residual *= row_weights[:, :, None]
            flat = (residual @ self._basis).reshape(len(values), width)
            gradient = np.concatenate([values.T @ flat, flat.sum(axis=0)[None]])
            return np.concatenate(
                [
                    np.rint(gradient * scale).astype(np.int64).ravel(),
                    *_loss_in_integers((losses * row_weights).sum(axis=0)),
                ]
            )

        entries = (self.rows.features + 1) * width
        total = self.rows.sum_blocks(block_sums, (entries + 2 * len(heads),))
        losses = total[entries : entries + len(heads)] / HIGH + total[entries + len(heads) :] / LOW
        raw = (total[:entries] / scale).reshape(-1, len(heads), self.columns).transpose(1, 0, 2)
        gradient = self._unfolded(heads, raw)
        gradient[:, :-1] += l2[:, None, None] * own
        losses += l2 / 2 * (own**2).sum(axis=(1, 2))
        return losses, gradient.reshape(len(heads), -1)

    def _unfolded(self, heads: IntArray, raw: FloatArray) -> FloatArray:
        """The gradient by a head's own standardised weights, from that by the common rows."""
        gradient = raw.copy()
        gradient[:, :-1] -= self._shift[heads][:, :, None] * raw[:, -1:]
        gradient[:, :-1] *= self._scale[heads][:, :, None]
        return gradient

    def raw_head(self, head: int, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Fold a head's standardisation into its weights: logits = bottleneck W + b.

        Returns:
            W (features, classes) and b (classes,), -inf for a class that the head lacks.
        """
        table = parameters.reshape(-1, self.columns) @ self._basis.T
        divisor = np.where(self._masks[head], self.deviations[head], 1.0)
        weights = np.where(self._masks[head][:, None], table[:-1] / divisor[:, None], 0.0)
        bias = table[-1] - self.means[head] @ weights
        return weights, np.where(self._absent[head], -np.inf, bias)


def zero_sum_basis(classes: int) -> FloatArray:
    """An orthonormal basis of the vectors over classes that sum to zero: (classes, classes - 1)."""
    basis = np.zeros((classes, classes - 1))
    for column in range(classes - 1):
        basis[: column + 1, column] = 1.0
        basis[column + 1, column] = -(column + 1.0)
    lengths: FloatArray = np.sqrt((basis**2).sum(axis=0))
    return basis / lengths


def _loss_in_integers(losses: FloatArray) -> tuple[IntArray, IntArray]:
    bounded = np.minimum(losses, LARGEST_LOSS)
    high = np.rint(bounded * HIGH)
    low = np.rint((bounded - high / HIGH) * LOW)
    return high.astype(np.int64), low.astype(np.int64)
