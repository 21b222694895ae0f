# SPDX-License-Identifier: Apache-2.0
"""Heads on drawn rows, in a world of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from trainer.head.objective import Objective, Subset, make_subset
from trainer.head.rows import own_rows, spread


class Alone:
    """A world of one, as far as rows need it; that of several is tested under mpirun."""

    rank, size, cores = 0, 1, (0, 1)

    def sum(self, values: Any) -> Any:
        return values

    def gather(self, rows: Any) -> Any:
        return rows

    def largest(self, values: Any) -> Any:
        return np.asarray(values, np.float64)


def draw(rows: int, features: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.5, 1.0, (rows, features)).astype(np.float32)
    logits = values @ rng.normal(size=(features, classes)) + rng.gumbel(size=(rows, classes)) * 2
    return values, logits.argmax(axis=1)


@contextmanager
def objective(
    values: Any, labels: Any, subsets: list[Subset], classes: int, cells: Any = None
) -> Iterator[Objective]:
    world: Any = Alone()
    where = own_rows(len(values), world)
    cells = np.arange(len(values)) if cells is None else cells
    with spread(values, where, len(values), world) as rows:
        yield Objective(rows, labels, cells, subsets, classes)


def everything(labels: Any, classes: int, balanced: bool = False) -> Subset:
    return make_subset(np.ones(len(labels), bool), labels, classes, balanced)
