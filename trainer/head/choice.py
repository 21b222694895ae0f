# SPDX-License-Identifier: Apache-2.0
"""The choice of L2: items that heads have not seen score each strength of the path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer.arrays import Array, BoolArray, FloatArray, IntArray

PATH = [10.0 ** (1 - half / 2) for half in range(11)]
"""Strengths of L2, strong to weak."""
NEAR = 1e-4
"""Log losses this close are alike; the stronger penalty wins."""
FEW_CHOOSING_ITEMS = 30
LARGEST_LOSS = -float(np.log(1e-15))
"""Cross-entropies are clipped where the log loss clips probabilities."""


@dataclass(frozen=True)
class Choice:
    """The strength that choosing items picked.

    Attributes:
        l2: The strength.
        log_loss, accuracy: Of the choosing items at that strength.
        items: How many chose.
    """

    l2: float
    log_loss: float
    accuracy: float
    items: int

    def at_end(self) -> bool:
        """Whether the strength is the first or the last of the path."""
        return self.l2 in (PATH[0], PATH[-1])


@dataclass(frozen=True)
class Choosers:
    """The items that choose one L2.

    Attributes:
        items: (n,) which development items.
        heads: (n,) the fit that scores each.
    """

    items: IntArray
    heads: IntArray


@dataclass
class Table:
    """Log loss and accuracy of one group of choosing items along the path.

    Attributes:
        weights: (items,) 0 for an item that takes no part.
    """

    weights: FloatArray
    strengths: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    def add(self, l2: float, loss: FloatArray, right: BoolArray) -> None:
        """Score one strength from the items' cross-entropies and hits, both (items,)."""
        used = self.weights > 0
        self.strengths.append(l2)
        self.losses.append(float(np.average(loss[used], weights=self.weights[used])))
        self.accuracies.append(float(right[used].mean()))

    def path(self) -> FloatArray:
        """(strengths, 3) L2, log loss and accuracy."""
        return np.array([self.strengths, self.losses, self.accuracies]).T

    def choice(self) -> Choice:
        """The strongest of the strengths whose loss is near the least."""
        near = np.array(self.losses) <= min(self.losses) + NEAR
        place = int(np.argmax(near))
        return Choice(
            self.strengths[place],
            self.losses[place],
            self.accuracies[place],
            int((self.weights > 0).sum()),
        )


@dataclass
class Walk:
    """How far the path of strengths was walked, and what it showed so far.

    Attributes:
        tables: One for each choice that is to be made.
        points: (heads, size) where the fits ended at the last strength.
        curvatures: (sampled items,) of the softmax, for each strength that is done.
    """

    tables: list[Table]
    points: FloatArray
    curvatures: list[FloatArray] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Strengths of the path that are done."""
        return len(self.curvatures)

    def curvature(self, l2: float) -> FloatArray | None:
        """What the fits at one strength of the path showed."""
        return dict(zip(PATH, self.curvatures, strict=False)).get(l2)

    def to_arrays(self) -> dict[str, Array]:
        """All but the tables' weights, which the data gives again."""
        return {
            "walk_points": self.points,
            "walk_curvatures": np.array(self.curvatures),
            "walk_losses": np.array([table.losses for table in self.tables]),
            "walk_accuracies": np.array([table.accuracies for table in self.tables]),
        }

    def take(self, arrays: Mapping[str, Array]) -> None:
        """Go on from where another walk was."""
        self.points = arrays["walk_points"]
        self.curvatures = list(arrays["walk_curvatures"])
        for table, losses, accuracies in zip(
            self.tables, arrays["walk_losses"], arrays["walk_accuracies"], strict=True
        ):
            table.strengths = PATH[: self.done]
            table.losses, table.accuracies = losses.tolist(), accuracies.tolist()
