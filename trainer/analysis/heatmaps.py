# SPDX-License-Identifier: Apache-2.0
"""Where in a picture the evidence lies that the predicted class has over the runner-up.

The map of one class alone is not identified: adding one vector to all classes' weights changes no
probability. That of a difference is.
"""

from __future__ import annotations

import numpy as np

from trainer.arrays import Float32Array, FloatArray


def two_likeliest(probabilities: FloatArray) -> tuple[int, int]:
    """The predicted class and the runner-up of one item; of equal ones the first comes first."""
    first, second = np.argsort(-probabilities, kind="stable")[:2].tolist()
    return first, second


def evidence(
    cells: Float32Array, head: tuple[FloatArray, FloatArray], predicted: int, runner_up: int
) -> Float32Array:
    """What each cell of the network's grid says for one class and against another.

    Args:
        cells: (height, width, features): their mean over the grid is the bottleneck.
        head: W (features, classes) and b (classes,).
        predicted, runner_up: Two classes.

    Returns:
        (height, width), its mean the difference of the two logits: every cell has the difference of
        the biases in it, without which its sign would say nothing. That is left out where one is
        infinite, of a class that the head was not fitted on.

    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, CVPR,
    equations 1 and 2.
    """
    weights, bias = head
    difference = (weights[:, predicted] - weights[:, runner_up]).astype(np.float32)
    found: Float32Array = cells @ difference + _offset(bias, predicted, runner_up)
    return found


def evidence_of(
    by_class: Float32Array, bias: FloatArray, predicted: int, runner_up: int
) -> Float32Array:
    """The same from what a saved model gives: (height, width, classes) without the biases."""
    difference = by_class[..., predicted] - by_class[..., runner_up]
    found: Float32Array = difference + _offset(bias, predicted, runner_up)
    return found


def _offset(bias: FloatArray, predicted: int, runner_up: int) -> np.float32:
    offset = np.float32(bias[predicted] - bias[runner_up])
    return offset if np.isfinite(offset) else np.float32(0)
