# SPDX-License-Identifier: Apache-2.0
"""What became of the development items: the head, and scores by heads that had not seen them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from trainer.arrays import Array, Float32Array, FloatArray
from trainer.head.choice import Choice
from trainer.head.lbfgs import Minimum


@dataclass
class Fitted:
    """What became of the development items, the same on every rank.

    Attributes:
        final: Weights (features, classes) and bias (classes,) of the head fitted on all of them.
        minimum: How its fit ended.
        choice: How its L2 was chosen; None where it was given.
        path: (strengths, 3) L2, log loss and accuracy of the choosing items along the path; empty
            where it was given.
        l2: Its L2.
        fold_l2: (folds,) L2 of each fold's head.
        fold_heads: (folds, features + 1, classes) float32, each fold's head: its weights, and last
            its bias.
        out_of_fold: (items, classes) probabilities by the head that left the item out, or None.
        validation: (items, classes) probabilities by the head fitted on training alone; rows of
            training items mean nothing.
        unconverged: Fits that stopped short of their gradient norm.
        lacking: Folds whose fit lacks a class.
    """

    final: tuple[FloatArray, FloatArray]
    minimum: Minimum
    choice: Choice | None
    path: FloatArray
    l2: float
    fold_l2: list[float]
    fold_heads: Float32Array
    out_of_fold: FloatArray | None
    validation: FloatArray | None
    unconverged: int
    lacking: list[int] = field(default_factory=list)

    def head_of(self, fold: int | None) -> tuple[FloatArray, FloatArray]:
        """Weights (features, classes) and bias (classes,) of a fold's head; of the final for None.

        A fold's are rounded to float32.
        """
        if fold is None:
            return self.final
        head = self.fold_heads[fold].astype(np.float64)
        return head[:-1], head[-1]

    def to_arrays(self) -> dict[str, Array]:
        """All of it, for a file; what is None is left out."""
        weights, bias = self.final
        arrays: dict[str, Any] = {
            "weights": weights,
            "bias": bias,
            "parameters": self.minimum.parameters,
            "trace": self.minimum.trace,
            "converged": self.minimum.converged,
            "choice": self.choice and astuple(self.choice),
            "path": self.path,
            "l2": self.l2,
            "fold_l2": self.fold_l2,
            "fold_heads": self.fold_heads,
            "out_of_fold": self.out_of_fold,
            "validation": self.validation,
            "unconverged": self.unconverged,
            "lacking": self.lacking,
        }
        return {name: np.asarray(value) for name, value in arrays.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Fitted:
        """What `to_arrays` was called for."""
        minimum = Minimum(arrays["parameters"], arrays["trace"], bool(arrays["converged"]))
        choice = None
        if "choice" in arrays:
            l2, log_loss, accuracy, items = arrays["choice"].tolist()
            choice = Choice(l2, log_loss, accuracy, int(items))
        return cls(
            final=(arrays["weights"], arrays["bias"]),
            minimum=minimum,
            choice=choice,
            path=arrays["path"],
            l2=float(arrays["l2"]),
            fold_l2=arrays["fold_l2"].tolist(),
            fold_heads=arrays["fold_heads"],
            out_of_fold=arrays.get("out_of_fold"),
            validation=arrays.get("validation"),
            unconverged=int(arrays["unconverged"]),
            lacking=arrays["lacking"].tolist(),
        )
