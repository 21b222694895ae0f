# SPDX-License-Identifier: Apache-2.0
"""The fitted rows, spread over the ranks in fixed blocks, and sums that no rank count can change.

A block's sums are float64 and depend on the block alone. They are put on a power-of-two grid that
all ranks share and added as integers, so that neither order nor grouping can change a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from trainer.arrays import Array, Float32Array, FloatArray, IntArray
from trainer.world.comm import World

BLOCK = 128
"""Rows in a block: part of the results' last bits, so a constant."""
GRID_BITS = 61
"""Sums stay below 2^61 on their grid, so that int64 cannot overflow."""


def own_rows(count: int, world: World) -> slice:
    """The rows that this rank holds: whole blocks, in order, as even as whole blocks allow."""
    blocks = -(-count // BLOCK)
    first = blocks * world.rank // world.size
    end = blocks * (world.rank + 1) // world.size
    return slice(first * BLOCK, min(end * BLOCK, count))


def grid(bound: FloatArray) -> FloatArray:
    """The power of two that puts sums up to `bound` (any shape, >= 0) below 2^61."""
    _, exponent = np.frexp(bound)
    scale: FloatArray = np.ldexp(1.0, np.clip(GRID_BITS - exponent, -1000, 1000))
    return scale


@dataclass
class Rows:
    """This rank's share of the rows.

    Attributes:
        values: (own, features) float64.
        where: Which of all rows they are.
        count: All rows of all ranks.
    """

    values: FloatArray
    where: slice
    count: int
    world: World
    pool: ThreadPoolExecutor

    @property
    def features(self) -> int:
        """Numbers in a row."""
        return int(self.values.shape[1])

    def blocks(self) -> list[slice]:
        """Positions of the own blocks, relative to the own rows."""
        own = len(self.values)
        return [slice(first, min(first + BLOCK, own)) for first in range(0, own, BLOCK)]

    def sum_blocks(self, work: Callable[[slice], IntArray], shape: tuple[int, ...]) -> IntArray:
        """Add what each block gives over all blocks of all ranks, exactly; Collective.

        Args:
            work: From a block's position, relative to the own rows, to integers of one shape.
            shape: That shape, for ranks without a block.
        """
        total = np.zeros(shape, np.int64)
        for part in self.pool.map(work, self.blocks()):
            total += part
        return self.world.sum(total)

    def exact_sum(self, work: Callable[[slice], FloatArray], bound: FloatArray) -> FloatArray:
        """Add float64 block sums exactly; Collective.

        Args:
            work: From a block's position to its sums.
            bound: Of the sums' shape: a limit to the absolute value of any total.
        """
        scale = grid(bound)
        total = self.sum_blocks(
            lambda block: np.rint(work(block) * scale).astype(np.int64), bound.shape
        )
        return total / scale


@contextmanager
def spread(values: Float32Array, where: slice, count: int, world: World) -> Iterator[Rows]:
    """Hold rows for fitting: blocks run on this rank's cores, each product on one thread.

    Args:
        values: (own, features) float32, this rank's rows.
        where: Which of all rows they are, from `own_rows`.
        count: All rows of all ranks.
        world: Who shares them.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(world.cores)) as pool:
        yield Rows(values.astype(np.float64), where, count, world, pool)


@dataclass
class Moments:
    """Counts, means and sums of squared deviations of the rows of each cell.

    Attributes:
        count: (cells,).
        mean: (cells, features).
        squares: (cells, features), around the cell's own mean.
    """

    count: FloatArray
    mean: FloatArray
    squares: FloatArray

    def combine(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weighted mean and population deviation over cells.

        Args:
            weights: (cells,) weight of each row of a cell.
        Returns:
            Two arrays (features,).
        Source: Chan, Golub, LeVeque 1983, The American Statistician 37(3), pages 242-247.
        """
        mass = weights * self.count
        mean = mass @ self.mean / mass.sum()
        between = mass @ (self.mean - mean) ** 2
        return mean, np.sqrt((weights @ self.squares + between) / mass.sum())


def moments(rows: Rows, cells: IntArray, cell_count: int) -> Moments:
    """Find the moments of each cell in two passes, exactly added; Collective.

    Args:
        rows: The rows.
        cells: (rows.count,) cell of every row.
        cell_count: Number of cells.
    """
    own = cells[rows.where]
    count = np.bincount(cells, minlength=cell_count).astype(np.float64)
    divisor = np.maximum(count, 1)[:, None]
    largest = rows.world.largest(np.abs(rows.values).max(axis=0, initial=0.0))

    def membership(block: slice) -> FloatArray:
        member: FloatArray = (own[block] == np.arange(cell_count)[:, None]).astype(np.float64)
        return member

    def sums(block: slice) -> FloatArray:
        return membership(block) @ rows.values[block]

    mean = rows.exact_sum(sums, count[:, None] * largest) / divisor

    def squares(block: slice) -> FloatArray:
        around: FloatArray = (rows.values[block] - mean[own[block]]) ** 2
        return membership(block) @ around

    return Moments(count, mean, rows.exact_sum(squares, count[:, None] * (2 * largest) ** 2))


def useful(mean: FloatArray, deviation: FloatArray) -> Array:
    """(features,) bool: which features vary enough to be used (method: standardised)."""
    return np.asarray(deviation > 1e-6 * np.maximum(1, np.abs(mean)))
