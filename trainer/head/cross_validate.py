# SPDX-License-Identifier: Apache-2.0
"""The choice of L2, and nested cross-validation that repeats it for every fold.

All fits that choose run the path of strengths together, each left with the rows of its own fold,
or pair of folds, out. A fit without folds k and j scores j for k and k for j.
"""

from __future__ import annotations

import numpy as np

from trainer.arrays import Array, BoolArray, Float32Array, FloatArray, IntArray
from trainer.config import Head
from trainer.errors import Stopped
from trainer.head.choice import LARGEST_LOSS, PATH, Choosers, Table, Walk
from trainer.head.development import Development
from trainer.head.fits import Fits
from trainer.head.fitted import Fitted
from trainer.head.kept import Keeper
from trainer.head.lbfgs import Minimum, solve
from trainer.head.objective import Objective
from trainer.head.rows import Rows
from trainer.head.standings import (
    Standing,
    fit_in_a_file,
    standings_from_arrays,
    standings_to_arrays,
)
from trainer.progress import Progress

PATH_TOLERANCE, FINAL_TOLERANCE = 1e-6, 1e-8
CHECKPOINT = "checkpoint"


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
        self._fits = fits = Fits(development, settings)
        self._objective = Objective(
            rows, development.labels, fits.cells(), fits.subsets, development.classes
        )
        self._kept = keeper.load(CHECKPOINT) or {}
        self._walk = Walk([], np.empty((0, self._objective.size)))
        self._standings: list[Standing] = []
        self._finishing = False
        self._passes = self._passes_before = int(self._kept.get("passes", 0))
        progress.kept["strengths"] = lambda: self._walk.done
        progress.kept["passes"] = self._kept_passes

    def fit(self) -> Fitted:
        """Choose, fit and score; Collective.

        Raises:
            Stopped: Some rank was asked to stop; where the fits stand is kept.
        """
        try:
            return self._fit()
        except Stopped:
            if self._kept_passes():
                self._keeper.save(CHECKPOINT, self._to_arrays())
            raise

    def _to_arrays(self) -> dict[str, Array]:
        """Where the fits stand."""
        return {
            "finishing": np.array(self._finishing),
            "passes": np.array(self._kept_passes()),
            **self._walk.to_arrays(),
            **(standings_to_arrays(self._standings) if fit_in_a_file(self._standings) else {}),
        }

    def _kept_passes(self) -> int:
        """Passes over the rows that are not done again when the fits go on from a file."""
        return self._passes if fit_in_a_file(self._standings) else self._passes_before

    def _after_pass(self) -> None:
        self._passes += 1
        if fit_in_a_file(self._standings):
            self._keeper.save_if_due(CHECKPOINT, self._to_arrays)

    def _fit(self) -> Fitted:
        tables = self._tables()
        choice = tables[0].choice() if tables else None
        fold_l2 = self._fold_l2(tables)
        fits, folds = self._fits, range(self._development.fold_count)
        l2 = choice.l2 if choice else float(self._settings.l2)
        singles = [fits.without(fold) for fold in folds]
        heads, strengths = [fits.without(), *singles], [l2, *fold_l2]
        if fits.training is not None:
            heads.append(fits.training)
            strengths.append(l2)
        minima = self._refit(heads, strengths)
        scores = self._probabilities(heads, minima)
        return Fitted(
            final=self._objective.raw_head(heads[0], minima[0].parameters),
            minimum=minima[0],
            choice=choice,
            path=tables[0].path() if tables else np.empty((0, 3)),
            l2=l2,
            fold_l2=fold_l2,
            fold_heads=self._raw_heads(singles, minima[1 : 1 + len(folds)]),
            out_of_fold=self._own_fold(scores) if len(folds) else None,
            validation=None if fits.training is None else scores[:, -1],
            unconverged=sum(not minimum.converged for minimum in minima),
            lacking=[fold for fold in folds if fits.lacks(singles[fold]).any()],
        )

    def _raw_heads(self, heads: list[int], minima: list[Minimum]) -> Float32Array:
        """(heads, features + 1, classes) weights and biases for bottlenecks as they are."""
        shape = (len(heads), self._objective.rows.features + 1, self._development.classes)
        raw = np.empty(shape, np.float32)
        for row, head, minimum in zip(raw, heads, minima, strict=True):
            row[:-1], row[-1] = self._objective.raw_head(head, minimum.parameters)
        return raw

    def _own_fold(self, scores: FloatArray) -> FloatArray:
        items = np.arange(len(self._development.folds))
        own: FloatArray = scores[items, 1 + self._development.folds]
        return own

    def _refit(self, heads: list[int], strengths: list[float]) -> list[Minimum]:
        starts = np.zeros((len(heads), self._objective.size))
        self._finishing = True
        going_on = "going on with " if self._is_kept_of_now() else ""
        self._progress.say(f"Head: {going_on}{len(heads)} fits at the chosen L2")
        curvature = self._walk.curvature(strengths[0])
        if curvature is not None:
            self._objective.preconditioner.adapt(curvature)
        return self._solve(np.array(heads), starts, np.array(strengths), FINAL_TOLERANCE)

    def _solve(
        self, heads: IntArray, starts: FloatArray, strengths: FloatArray, tolerance: float
    ) -> list[Minimum]:
        """Minimise, from where an earlier start was in these same fits, or else from `starts`."""
        if self._is_kept_of_now():
            self._standings = standings_from_arrays(self._kept)
        else:
            self._standings = [Standing(start) for start in starts]
        return solve(
            self._objective,
            heads,
            self._standings,
            strengths,
            tolerance,
            self._after_pass,
        )

    def _is_kept_of_now(self) -> bool:
        """Whether an earlier start's solvers were in the fits that now begin."""
        kept = self._kept
        return (
            "points" in kept
            and bool(kept["finishing"]) == self._finishing
            and len(kept["walk_curvatures"]) == self._walk.done
        )

    def _probabilities(self, heads: list[int], minima: list[Minimum]) -> FloatArray:
        """(items, heads, classes) by every head, of every item; Collective."""
        parameters = np.array([minimum.parameters for minimum in minima])
        own = np.exp(self._objective.log_probabilities(np.array(heads), parameters))
        gathered: FloatArray = self._objective.rows.world.gather(own)
        return gathered

    def _tables(self) -> list[Table]:
        """What chooses, for the final head and each fold; none where L2 is given; Collective."""
        if self._settings.l2 != "auto":
            return []
        folds = range(self._development.fold_count)
        return self._walk_path([self._fits.choosers(left_out) for left_out in (None, *folds)])

    def _fold_l2(self, tables: list[Table]) -> list[float]:
        if self._settings.l2 != "auto":
            return [self._settings.l2] * self._development.fold_count
        return [table.choice().l2 for table in tables[1:]]

    def _walk_path(self, choosers: list[Choosers]) -> list[Table]:
        """Fit the path, strong to weak, each fit from where it ended before; Collective."""
        heads = np.unique(np.concatenate([chooser.heads for chooser in choosers]))
        position = {head: place for place, head in enumerate(heads.tolist())}
        tables = [self._fits.table(chooser) for chooser in choosers]
        walk = self._walk = Walk(tables, np.zeros((len(heads), self._objective.size)))
        self._take_walk()
        self._tell_path(len(heads))
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
            self._standings, self._passes_before = [], self._passes
            self._objective.preconditioner.adapt(curvature)
            self._keeper.save_if_due(CHECKPOINT, self._to_arrays)
            self._progress.say(
                f"  L2 {l2:<9.4g} training loss {np.mean([m.loss for m in minima]):.4f}, "
                f"validation log loss {tables[0].losses[-1]:.4f}, "
                f"accuracy {100 * tables[0].accuracies[-1]:.1f}%"
            )
        return tables

    def _take_walk(self) -> None:
        """Begin the path where an earlier start left it, as if this one had come there."""
        if self._kept:
            self._walk.take(self._kept)
        if self._walk.done:
            self._objective.preconditioner.adapt(self._walk.curvatures[-1])

    def _tell_path(self, heads: int) -> None:
        todo = PATH[self._walk.done :]
        if not self._kept:
            text = f"choosing L2 by {heads} fits at each of {len(PATH)} strengths"
        elif todo:
            text = f"going on at L2 {todo[0]:.4g}, {heads} fits"
        else:
            text = "L2 was chosen before"
        self._progress.say(f"Head: {text}")

    def _scored(
        self, heads: IntArray, points: FloatArray
    ) -> tuple[FloatArray, BoolArray, FloatArray]:
        """Each item's cross-entropy by each head, and whether the head is right; Collective.

        Returns:
            Both, (items, heads); and the curvature, (sampled items,), that the fits have at their
            own rows.
        """
        rows, classes = self._objective.rows, self._development.classes
        table = self._objective.log_probabilities(heads, points)
        labels = self._development.labels[rows.where]
        truth = table[np.arange(len(labels)), :, labels]
        right = table.argmax(axis=2) == labels[:, None]
        fitted = np.array([self._fits.subsets[head].fitted[rows.where] for head in heads]).T
        spread = np.exp(table)
        spread = (spread * (1 - spread)).sum(axis=2) / (classes - 1)
        own = (spread * fitted).sum(axis=1) / np.maximum(fitted.sum(axis=1), 1)
        loss = np.minimum(-truth, LARGEST_LOSS)
        gathered = rows.world.gather(np.stack([loss, right.astype(np.float64)], axis=1))
        curvature = rows.world.gather(own)[self._objective.preconditioner.sampled]
        return gathered[:, 0], gathered[:, 1] > 0, curvature
