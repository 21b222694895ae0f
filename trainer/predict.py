# SPDX-License-Identifier: Apache-2.0
"""Labels for new images, by a finished run's model alone: its data and its cache may be gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.arrays import ByteArray, FloatArray
from trainer.data.images import PASSED_OVER, Unreadable
from trainer.data.retrain_py import parse_bottleneck
from trainer.errors import DataError, UsageError
from trainer.features.backbone import set_up_tensorflow
from trainer.features.backbones import NETWORKS
from trainer.features.preprocess import pixels
from trainer.head.export import About, read_about, read_head
from trainer.head.train import score_items
from trainer.rundir import RunDir
from trainer.world import launch
from trainer.world.devices import own_device


@dataclass(frozen=True)
class Prediction:
    """What the model says of one file.

    Attributes:
        path: As given, or as found below a given folder.
        probabilities: (classes,), or None where the file could not be read.
        error: Why it could not; empty where it could.
    """

    path: str
    probabilities: FloatArray | None
    error: str = ""


Label = Callable[[Sequence[bytes]], Iterator[FloatArray | str]]
"""From files' contents to probabilities, or the reason why one cannot be read."""


class Model:
    """A saved model, ready to label."""

    def __init__(self, run: RunDir) -> None:
        """Load it.

        Raises:
            DataError: The folder is no finished run.
        """
        if not run.model.is_dir():
            lacks = "it has no model/" if run.path.is_dir() else "no such folder"
            raise UsageError(
                f"{run.path}: no finished run: {lacks}.",
                "Give the folder that `retrain run` named at its end, such as runs/NAME.",
            )
        self.about: About = read_about(run.model)
        self._folder = run.model
        self._label: Label = self._images() if self.about.backbone else self._texts()

    def label(self, paths: Sequence[str]) -> Iterator[Prediction]:
        """Label files, in order, a batch at a time.

        Args:
            paths: Files; a file that cannot be read gets a row with its error.
        """
        size = self.about.batch_size
        for first in range(0, len(paths), size):
            yield from self._label_batch(paths[first : first + size])

    def _label_batch(self, paths: Sequence[str]) -> Iterator[Prediction]:
        contents: list[bytes] = []
        failures: dict[str, str] = {}
        for path in paths:
            try:
                contents.append(Path(path).read_bytes())
            except OSError as error:
                failures[path] = f"cannot be read: {error.strerror}"
        answers = self._label(contents)
        for path in paths:
            answer = failures.get(path) or next(answers)
            if isinstance(answer, str):
                yield Prediction(path, None, answer)
            else:
                yield Prediction(path, answer)

    def _images(self) -> Label:
        launch.prepare_process()
        set_up_tensorflow(len(launch.given_cores()), own_device("auto", 0, 1))
        import tensorflow as tf

        side = NETWORKS[self.about.backbone].side
        network = tf.saved_model.load(str(self._folder)).signatures["serving_default"]

        def label(contents: Sequence[bytes]) -> Iterator[FloatArray | str]:
            decoded = [_decoded(content, side) for content in contents]
            padded = np.zeros((self.about.batch_size, side, side, 3), np.uint8)
            for place, picture in enumerate(decoded):
                if not isinstance(picture, str):
                    padded[place] = picture
            rows = network(pixels=tf.constant(padded))["probabilities"].numpy()
            for picture, row in zip(decoded, rows, strict=False):
                yield picture if isinstance(picture, str) else row

        return label

    def _texts(self) -> Label:
        head = read_head(self._folder)

        def label(contents: Sequence[bytes]) -> Iterator[FloatArray | str]:
            for content in contents:
                try:
                    row = parse_bottleneck(content)
                except Unreadable as error:
                    yield error.reason
                    continue
                if len(row) != self.about.features:
                    yield f"has {len(row):,} numbers; the model wants {self.about.features:,}"
                else:
                    yield score_items(head, row[None])[0]

        return label


def _decoded(content: bytes, side: int) -> ByteArray | str:
    try:
        return pixels(content, side)
    except Unreadable as error:
        return error.reason


def find_files(words: Sequence[str]) -> list[str]:
    """The files that a command names: files as they are, folders walked, hidden names passed over.

    Raises:
        DataError: A folder holds no file.
    """
    found: list[str] = []
    for word in words:
        if not os.path.isdir(word):
            found.append(word)
            continue
        below = sorted(_walk(word))
        if not below:
            raise DataError(
                f"{word}: no files in this folder.", "Give images, or a folder of them."
            )
        found += below
    return found


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _shown(name)]
        for name in names:
            path = os.path.join(parent, name)
            if _shown(name) and os.path.isfile(path):
                yield path


def _shown(name: str) -> bool:
    return not name.startswith(".") and name not in PASSED_OVER
