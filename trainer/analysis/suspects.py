# SPDX-License-Identifier: Apache-2.0
"""Labels that may be wrong: what heads that had not seen an item say against its label."""

from __future__ import annotations

import numpy as np

from trainer.arrays import BoolArray, FloatArray, IntArray


def most_suspicious_first(labels: IntArray, probabilities: FloatArray) -> IntArray:
    """Order items by the probability of the label that they have, the lowest first.

    Args:
        labels: (n,) class numbers as given.
        probabilities: (n, classes) by heads that had not seen the item.

    Returns:
        (n,) positions; equal probabilities stay in the given order.
    """
    return np.argsort(probabilities[np.arange(len(labels)), labels], kind="stable")


def thresholds(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """How sure of a class one is, on average, where it is the label.

    Args:
        labels: (n,) class numbers as given.
        probabilities: (n, classes) by heads that had not seen the item.

    Returns:
        (classes,) mean probability of the class over the items that have it as their label;
        infinite for a class without items.

    Source: Northcutt, Jiang, Chuang 2021, J. Artif. Intell. Res. 70, equation 2, page 1379.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, own, classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def confident_classes(labels: IntArray, probabilities: FloatArray) -> IntArray:
    """The class that each item is confidently counted to.

    That is the likeliest of the classes whose probability reaches the class's threshold.

    Args:
        labels: (n,) class numbers as given.
        probabilities: (n, classes) by heads that had not seen the item.

    Returns:
        (n,) class numbers; -1 where no class reaches its threshold.

    Source: Northcutt, Jiang, Chuang 2021, J. Artif. Intell. Res. 70, equation 1, page 1379.
    """
    reached = probabilities >= thresholds(labels, probabilities)
    likeliest = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), likeliest, -1)


def flagged(labels: IntArray, probabilities: FloatArray) -> BoolArray:
    """Whether each item is confidently counted to a class that is not its label.

    Args:
        labels: (n,) class numbers as given.
        probabilities: (n, classes) by heads that had not seen the item.
    """
    counted = confident_classes(labels, probabilities)
    against: BoolArray = (counted >= 0) & (counted != labels)
    return against
