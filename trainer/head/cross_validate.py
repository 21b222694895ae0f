# SPDX-License-Identifier: Apache-2.0
"""The choice of L2, and nested cross-validation that repeats it for every fold.

All fits that choose run the path of strengths together, each left with the rows of its own fold,
or pair of folds, out. A fit without folds k and j scores j for k and k for j.
"""

from __future__ import annotations

import numpy as np

from trainer.arrays import Array, BoolArray, FloatArray, IntArray
from trainer.config import Head
from trainer.errors import Stopped
from trainer.head.choice import LARGEST_LOSS, PATH, Choice, Choosers, Table, Walk
from trainer.head.development import Development
from trainer.head.fitted import Fitted
from trainer.head.kept import Keeper, standings_from_arrays, standings_to_arrays
from trainer.head.lbfgs import Minimum, Standing, solve
from trainer.head.objective import Objective, Subset, make_subset
from trainer.head.rows import Rows
from trainer.progress import Progress

PATH_TOLERANCE, FINAL_TOLERANCE = 1e-6, 1e-8
CHECKPOINT = "checkpoint"


Fold = int
Left = frozenset[Fold]
"""The folds that a fit leaves out: none (all of development), one, or two."""


class CrossValidation:
    """The fits of one development set, and what they say."""

    def __init__(
        self,
        rows: Rows,
        development: Development,
        settings: Head,
        keeper: Keeper,
        progress: Progress,
    ) -> None:
        """Plan the fits and standardise the rows for each; Collective.

        Args:
            rows: The development items' bottlenecks.
            development: Their labels and folds.
            settings: The head section of the configuration.
            keeper: Has what an earlier start came to, and is given what this one comes to.
            progress: Told loss and accuracy as the path goes.
        """
        self._development = development
        self._settings = settings
        self._keeper = keeper
        self._progress = progress
        folds = range(development.fold_count)
        self._choosers = {fold: development.choosing_folds(fold) for fold in folds}
        self._subsets: list[Subset] = []
        self._numbers: dict[Left, int] = {}
        for left in self._planned(folds):
            self._numbers[left] = len(self._subsets)
            self._add(~np.isin(development.folds, list(left)))
        self._training = len(self._subsets)
        if development.validation.any():
            self._add(~development.validation)
        self._objective = Objective(
            rows, development.labels, self._cells(), self._subsets, development.classes
        )
        self._kept = keeper.load(CHECKPOINT) or {}
        self._walk = Walk([], np.empty((0, self._objective.size)))
        self._standings: list[Standing] = []
        self._finishing = False

    def _planned(self, folds: range) -> list[Left]:
        singles = [frozenset({fold}) for fold in folds]
        pairs = {frozenset({fold, other}) for fold in folds for other in self._choosers[fold]}
        nested = sorted(pairs, key=sorted) if self._settings.l2 == "auto" else []
        return [frozenset(), *singles, *nested]

    def _add(self, fitted: BoolArray) -> None:
        balanced = self._settings.class_weight == "balanced"
        development = self._development
        self._subsets.append(make_subset(fitted, development.labels, development.classes, balanced))

    def _cells(self) -> IntArray:
        """Rows that every fit treats alike: by fold and set, and by class where it has a weight."""
        development = self._development
        cells = 2 * development.folds + development.validation
        if self._settings.class_weight == "balanced":
            cells = cells * development.classes + development.labels
        numbers: IntArray = np.unique(cells, return_inverse=True)[1].astype(np.int64)
        return numbers

    def fit(self) -> Fitted:
        """Choose, fit and score; Collective.

        Raises:
            Stopped: Some rank was asked to stop; where the fits stand is kept.
        """
        try:
            return self._fit()
        except Stopped:
            if self._standings or self._walk.done:
                self._keeper.save(CHECKPOINT, self._to_arrays())
            raise

    def _to_arrays(self) -> dict[str, Array]:
        """Where the fits stand."""
        standings = standings_to_arrays(self._standings) if self._standings else {}
        return {
            "finishing": np.array(self._finishing),
            **self._walk.to_arrays(),
            **standings,
        }

    def _fit(self) -> Fitted:
        choice, fold_l2 = self._chosen()
        folds = range(self._development.fold_count)
        l2 = choice.l2 if choice else float(self._settings.l2)
        heads = [0, *(self._numbers[frozenset({fold})] for fold in folds)]
        strengths = [l2, *fold_l2]
        if self._training < len(self._subsets):
            heads.append(self._training)
            strengths.append(l2)
        minima = self._refit(heads, strengths)
        scores = self._probabilities(heads, minima)
        has_validation = self._training < len(self._subsets)
        return Fitted(
            final=self._objective.raw_head(0, minima[0].parameters),
            minimum=minima[0],
            choice=choice,
            l2=l2,
            fold_l2=fold_l2,
            out_of_fold=self._own_fold(scores) if len(folds) else None,
            validation=scores[:, -1] if has_validation else None,
            unconverged=sum(not minimum.converged for minimum in minima),
            lacking=[fold for fold in folds if self._lacks(self._numbers[frozenset({fold})]).any()],
        )

    def _lacks(self, head: int) -> BoolArray:
        lacking: BoolArray = self._subsets[head].class_weights == 0
        return lacking

    def _own_fold(self, scores: FloatArray) -> FloatArray:
        items = np.arange(len(self._development.folds))
        own: FloatArray = scores[items, 1 + self._development.folds]
        return own

    def _refit(self, heads: list[int], strengths: list[float]) -> list[Minimum]:
        starts = np.zeros((len(heads), self._objective.size))
        self._progress.say(f"Head: {len(heads)} fits at the chosen L2")
        curvature = self._walk.curvature(strengths[0])
        if curvature is not None:
            self._objective.preconditioner.adapt(curvature)
        self._finishing = True
        return self._solve(np.array(heads), starts, np.array(strengths), FINAL_TOLERANCE)

    def _solve(
        self, heads: IntArray, starts: FloatArray, strengths: FloatArray, tolerance: float
    ) -> list[Minimum]:
        """Minimise, from where an earlier start was in these same fits, or else from `starts`."""
        self._standings = self._resumed() or [Standing(start) for start in starts]
        return solve(
            self._objective,
            heads,
            self._standings,
            strengths,
            tolerance,
            lambda: self._keeper.save_if_due(CHECKPOINT, self._to_arrays),
        )

    def _resumed(self) -> list[Standing]:
        """Where an earlier start's solvers were, if it was in the fits that now begin."""
        kept = self._kept
        if "points" not in kept or kept["finishing"] != self._finishing:
            return []
        if len(kept["walk_curvatures"]) != self._walk.done:
            return []
        standings = standings_from_arrays(kept)
        self._progress.say(f"  going on after {max(one.iterations for one in standings)} steps")
        return standings

    def _probabilities(self, heads: list[int], minima: list[Minimum]) -> FloatArray:
        """(items, heads, classes) by every head, of every item; Collective."""
        parameters = np.array([minimum.parameters for minimum in minima])
        own = np.exp(self._objective.log_probabilities(np.array(heads), parameters))
        gathered: FloatArray = self._objective.rows.world.gather(own)
        return gathered

    def _chosen(self) -> tuple[Choice | None, list[float]]:
        """The final head's choice and each fold's L2; Collective."""
        folds = range(self._development.fold_count)
        if self._settings.l2 != "auto":
            return None, [self._settings.l2] * len(folds)
        choosers = self._final_choosers()
        nested = [self._choosers_of(fold) for fold in folds]
        tables = self._walk_path([choosers, *nested])
        return tables[0].choice(), [table.choice().l2 for table in tables[1:]]

    def _final_choosers(self) -> Choosers:
        development = self._development
        if not development.fold_count:
            items = np.flatnonzero(development.validation)
            return Choosers(items, np.full(len(items), self._training))
        return self._pooled(development.choosing_folds(None), None)

    def _choosers_of(self, fold: Fold) -> Choosers:
        return self._pooled(self._choosers[fold], fold)

    def _pooled(self, choosing: list[Fold], left_out: Fold | None) -> Choosers:
        """The items of the choosing folds, each with the fit that leaves it (and a fold) out."""
        extra = frozenset() if left_out is None else frozenset({left_out})
        items, heads = [], []
        for fold in choosing:
            members = np.flatnonzero(self._development.folds == fold)
            items.append(members)
            heads.append(np.full(len(members), self._numbers[frozenset({fold}) | extra]))
        return Choosers(np.concatenate(items), np.concatenate(heads))

    def _walk_path(self, choosers: list[Choosers]) -> list[Table]:
        """Fit the path, strong to weak, each fit from where it ended before; Collective."""
        heads = np.unique(np.concatenate([chooser.heads for chooser in choosers]))
        position = {head: place for place, head in enumerate(heads.tolist())}
        tables = [self._table(chooser) for chooser in choosers]
        walk = self._walk = Walk(tables, np.zeros((len(heads), self._objective.size)))
        self._progress.say(
            f"Head: choosing L2 by {len(heads)} fits at each of {len(PATH)} strengths"
        )
        self._take_walk()
        for l2 in PATH[walk.done :]:
            strengths = np.full(len(heads), l2)
            minima = self._solve(heads, walk.points, strengths, PATH_TOLERANCE)
            points = np.array([minimum.parameters for minimum in minima])
            loss, right, curvature = self._scored(heads, points)
            for chooser, table in zip(choosers, tables, strict=True):
                place = np.array([position[head] for head in chooser.heads.tolist()])
                table.add(l2, loss[chooser.items, place], right[chooser.items, place])
            walk.points = points
            walk.curvatures.append(curvature)
            self._standings = []
            self._objective.preconditioner.adapt(curvature)
            self._progress.say(
                f"  L2 {l2:<9.4g} training loss {np.mean([m.loss for m in minima]):.4f}, "
                f"validation log loss {tables[0].losses[-1]:.4f}, "
                f"accuracy {100 * tables[0].accuracies[-1]:.1f}%"
            )
        return tables

    def _take_walk(self) -> None:
        """Begin the path where an earlier start left it, as if this one had come there."""
        if not self._kept:
            return
        self._walk.take(self._kept)
        if self._walk.done:
            self._objective.preconditioner.adapt(self._walk.curvatures[-1])
            self._progress.say(f"  going on after {self._walk.done} of {len(PATH)} strengths")

    def _scored(
        self, heads: IntArray, points: FloatArray
    ) -> tuple[FloatArray, BoolArray, FloatArray]:
        """Each item's cross-entropy by each head, and whether the head is right; Collective.

        Returns:
            Both, (items, heads); and the curvature, (items,), that the fits have at their own rows.
        """
        rows, classes = self._objective.rows, self._development.classes
        table = self._objective.log_probabilities(heads, points)
        labels = self._development.labels[rows.where]
        truth = table[np.arange(len(labels)), :, labels]
        right = table.argmax(axis=2) == labels[:, None]
        fitted = np.array([self._subsets[head].fitted[rows.where] for head in heads]).T
        spread = np.exp(table)
        spread = (spread * (1 - spread)).sum(axis=2) / (classes - 1)
        own = (spread * fitted).sum(axis=1) / np.maximum(fitted.sum(axis=1), 1)
        loss = np.minimum(-truth, LARGEST_LOSS)
        gathered = rows.world.gather(np.stack([loss, right.astype(np.float64)], axis=1))
        return gathered[:, 0], gathered[:, 1] > 0, rows.world.gather(own)

    def _table(self, chooser: Choosers) -> Table:
        """Weights of the choosing items; items whose class their fit lacks take no part."""
        labels = self._development.labels[chooser.items]
        lacks = np.array([self._subsets[head].class_weights == 0 for head in chooser.heads])
        scored = ~lacks[np.arange(len(labels)), labels]
        balanced = self._settings.class_weight == "balanced"
        subset = make_subset(scored, labels, self._development.classes, balanced)
        return Table(scored * subset.class_weights[labels])
