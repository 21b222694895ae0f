# SPDX-License-Identifier: Apache-2.0
"""What retrain.py did: its bottleneck files, and the sets that it dealt images into."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from trainer.arrays import Float32Array
from trainer.data.images import Unreadable
from trainer.data.sets import TEST, TRAINING, VALIDATION

MOST_IMAGES_A_CLASS = 2**27 - 1
_BOTTLENECK = re.compile(r"(\.[^./_]+)(?:_[^/]+)?\.txt$")
"""How it named the bottleneck of `photo.jpg`: `photo.jpg.txt`, later `photo.jpg_NETWORK.txt`."""


def parse_bottleneck(content: bytes) -> Float32Array:
    """Read one bottleneck.

    Args:
        content: The whole file; blanks around numbers do not matter.
    Returns:
        (features,) float32, all finite.
    Raises:
        Unreadable: It is empty, or holds something that is no finite float32.
    """
    if not content.strip():
        raise Unreadable("is empty")
    words = content.split(b",")
    if b"_" in content:  # float() takes 1_000, and retrain.py never wrote it
        raise _no_number(words)
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        raise _no_number(words) from None
    with np.errstate(over="ignore"):
        bottleneck = values.astype(np.float32)
    if not np.isfinite(bottleneck).all():
        where = int(np.flatnonzero(~np.isfinite(bottleneck))[0])
        raise Unreadable(f"has {values[where]:g} as number {where + 1}: no finite float32")
    return bottleneck


def _no_number(words: list[bytes]) -> Unreadable:
    """Name the first word that is no number."""
    where = next(n for n, word in enumerate(words) if not _is_number(word))
    shown = words[where][:20].decode("ascii", "replace")
    return Unreadable(f"has {shown!r} where number {where + 1} should stand")


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word


def common_length(lengths: Sequence[int]) -> int:
    """The length that most bottlenecks have; of equally frequent ones the largest.

    Args:
        lengths: At least one.
    """
    counts = Counter(lengths)
    return max(counts, key=lambda length: (counts[length], length))


def set_of_path(path: str, validation: float, test: float) -> str:
    """The set that retrain.py dealt an image into.

    Args:
        path: As retrain.py saw it: its image folder as it was given, class folder, name. That of
            a bottleneck file counts as its image's.
        validation: Share of the validation set.
        test: Share of the test set.
    Source: TensorFlow Hub, examples/image_retraining/retrain.py, create_image_lists.
    """
    name = re.sub(r"_nohash_.*$", "", _BOTTLENECK.sub(r"\1", path))
    number = int(hashlib.sha1(os.fsencode(name), usedforsecurity=False).hexdigest(), 16)
    percentage = (number % (MOST_IMAGES_A_CLASS + 1)) * (100.0 / MOST_IMAGES_A_CLASS)
    if percentage < 100 * validation:
        return VALIDATION
    return TEST if percentage < 100 * (validation + test) else TRAINING
