# SPDX-License-Identifier: Apache-2.0
"""Chooses l2 by pooled folds, for the final head and nested for each fold (sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from head import Fitting, Floats, Ints
from scoring import log_loss

PATH = [10 ** (1 - half / 2) for half in range(11)]
ROOM = 1e-4
"""How much log loss a stronger l2 may cost."""
ENOUGH_TO_CHOOSE = 2000
FEW_TO_CHOOSE = 30


@dataclass(frozen=True)
class Data:
    """All items as arrays, in one order, and how they are to be fitted."""

    shas: list[str]
    x: Floats
    """(n, features) bottlenecks."""
    labels: Ints
    folds: Ints
    """(n,) fold of each item, -1 in the test set."""
    sets: list[str]
    classes: list[str]
    fold_count: int
    balanced: bool
    strengths: Sequence[float]

    def within(self, *names: str) -> Ints:
        """Places of the items of some sets."""
        return np.flatnonzero([name in names for name in self.sets])

    def without(self, left: frozenset[int]) -> Ints:
        """Places of development's items outside some folds."""
        return np.flatnonzero((self.folds >= 0) & ~np.isin(self.folds, list(left)))

    def inside(self, left: frozenset[int]) -> Ints:
        """Places of development's items in some folds."""
        return np.flatnonzero(np.isin(self.folds, list(left)))

    def weights(self, places: Ints) -> Floats:
        """One for each item, or n / (K n_class) over the classes that occur."""
        if not self.balanced:
            return np.ones(len(places))
        counts = np.bincount(self.labels[places], minlength=len(self.classes))
        present = np.count_nonzero(counts)
        return np.asarray(len(places) / (present * counts[self.labels[places]]))

    def fitting(self, places: Ints) -> Fitting:
        """A fit on some items."""
        weights = self.weights(places)
        return Fitting(self.x[places], self.labels[places], weights, len(self.classes))


@dataclass(frozen=True)
class HeldOut:
    """What the fits of one path say of items that they left out."""

    places: Ints
    """(m,) rising places of these items."""
    fitted: Ints
    """Classes that the fits had."""
    by_strength: list[Floats]
    """(m, classes) probabilities for each strength."""

    def only(self, wanted: Ints) -> HeldOut:
        """The part that concerns some of the items."""
        rows = np.searchsorted(self.places, wanted)
        return HeldOut(wanted, self.fitted, [values[rows] for values in self.by_strength])


@dataclass(frozen=True)
class Choice:
    """The pooled loss of each strength, and the one that section 3 takes."""

    strengths: Sequence[float]
    losses: list[float]
    items: int

    @property
    def best(self) -> int:
        """Place of the strongest l2 within 1e-4 of the least loss."""
        least = min(self.losses)
        return next(i for i, loss in enumerate(self.losses) if loss <= least + ROOM)

    @property
    def margin(self) -> float:
        """How near a loss lies to the line between taken and not taken."""
        least = min(self.losses)
        others = [loss for loss in self.losses if loss != least]
        return min((abs(loss - least - ROOM) for loss in others), default=1.0)

    @property
    def doubtful(self) -> bool:
        """Whether section 3 asks for a warning."""
        at_end = self.best in {0, len(self.strengths) - 1}
        return len(self.strengths) > 1 and (at_end or self.items < FEW_TO_CHOOSE)


def choose(data: Data, pool: list[HeldOut]) -> Choice:
    """Pool the choosing items; those of a class that their fit lacked are left out."""
    pool = [part.only(part.places[known(data, part)]) for part in pool]
    items = np.concatenate([part.places for part in pool])
    weights = data.weights(items)
    losses = [
        log_loss(data.labels[items], np.concatenate(rows), weights)
        for rows in zip(*(part.by_strength for part in pool), strict=True)
    ]
    return Choice(data.strengths, losses, len(items))


def known(data: Data, part: HeldOut) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which items' class the fits had."""
    return np.isin(data.labels[part.places], part.fitted)


def score(data: Data, fitted: Ints, places: Ints) -> HeldOut:
    """Fit the whole path on some items and score others."""
    fitting = data.fitting(fitted)
    rows = [fitting.probabilities(head, data.x[places]) for head in fitting.path(data.strengths)]
    return HeldOut(places, fitting.present, rows)


@dataclass
class Chooser:
    """Makes the choices; a fit that several of them need is made once."""

    data: Data
    fits: dict[frozenset[int], HeldOut] = field(default_factory=dict)

    def final(self) -> Choice:
        """For the head on all of development."""
        if self.data.fold_count:
            return self.by_folds([*range(self.data.fold_count)], frozenset())
        training, validation = self.data.within("training"), self.data.within("validation")
        return choose(self.data, [score(self.data, training, validation)])

    def fold(self, fold: int) -> Choice:
        """For the fit that scores one fold: by the others, from the opposite one on."""
        folds = self.data.fold_count
        order = [(fold + folds // 2 + step) % folds for step in range(folds)]
        return self.by_folds([other for other in order if other != fold], frozenset({fold}))

    def by_folds(self, order: list[int], always_left: frozenset[int]) -> Choice:
        """By the first folds of an order that together hold 2,000 items, or by all."""
        held = accumulate(len(self.data.inside(frozenset({fold}))) for fold in order)
        enough = next((n for n, items in enumerate(held, 1) if items >= ENOUGH_TO_CHOOSE), None)
        return choose(
            self.data,
            [
                self.left_out(always_left | {fold}).only(self.data.inside(frozenset({fold})))
                for fold in order[:enough]
            ],
        )

    def left_out(self, left: frozenset[int]) -> HeldOut:
        """What the fit without these folds says of them."""
        if left not in self.fits:
            self.fits[left] = score(self.data, self.data.without(left), self.data.inside(left))
        return self.fits[left]
