# SPDX-License-Identifier: Apache-2.0
"""Labels for new images, by a finished run's model alone: its data and its cache may be gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.arrays import Float32Array, FloatArray
from trainer.data.images import NOT_REGULAR, SourceFile, Unreadable, hidden
from trainer.data.place import Place, patiently
from trainer.data.retrain_py import parse_bottleneck
from trainer.errors import DataError, UsageError
from trainer.features.backbone import set_up_tensorflow
from trainer.features.backbones import NETWORKS
from trainer.features.pipeline import Decoder, Outcome
from trainer.features.preprocess import Decoded
from trainer.head.export import About, read_about, read_head, require_undamaged
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


Label = Callable[[Sequence[str]], Iterator[FloatArray | str]]
"""From files to probabilities, in order, or the reason why one cannot be read."""


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
        require_undamaged(run.model)
        self.about: About = read_about(run.model)
        self._folder = run.model
        self._label: Label = self._images() if self.about.backbone else self._texts()

    def label(self, paths: Sequence[str]) -> Iterator[Prediction]:
        """Label files, in order, a batch at a time.

        Args:
            paths: Files; a file that cannot be read gets a row with its error.
        """
        for path, answer in zip(paths, self._label(paths), strict=True):
            if isinstance(answer, str):
                yield Prediction(path, None, answer)
            else:
                yield Prediction(path, answer)

    def _images(self) -> Label:
        launch.prepare_process()
        set_up_tensorflow(len(launch.given_cores()), own_device("auto", 0, 1))
        import tensorflow as tf

        size, side = self.about.batch_size, NETWORKS[self.about.backbone].side
        network = tf.saved_model.load(str(self._folder)).signatures["serving_default"]

        def label(paths: Sequence[str]) -> Iterator[FloatArray | str]:
            with Decoder(place, side, len(launch.given_cores())) as decoder:
                for first in range(0, len(paths), size):
                    decoded = decode_files(paths[first : first + size], decoder)
                    padded = np.zeros((size, side, side, 3), np.uint8)
                    for number, picture in enumerate(decoded):
                        if isinstance(picture, Decoded):
                            padded[number] = picture.pixels
                    rows = network(pixels=tf.constant(padded))["probabilities"].numpy()
                    for picture, row in zip(decoded, rows, strict=False):
                        yield row if isinstance(picture, Decoded) else picture

        return label

    def _texts(self) -> Label:
        head = read_head(self._folder)

        def label(paths: Sequence[str]) -> Iterator[FloatArray | str]:
            for path in paths:
                try:
                    row = _bottleneck(path, self.about.features)
                except Unreadable as error:
                    yield error.reason
                else:
                    yield score_items(head, row[None])[0]

        return label


def place(file: SourceFile) -> Place:
    """Where a file of the command line lies."""
    return Place(file.path)


def decode_files(paths: Sequence[str], decoder: Decoder) -> list[Decoded | str]:
    """Decode files, each of them to an image or the reason why there is none.

    Args:
        paths: Regular files; what else they name is not opened.
        decoder: Made with `place`.
    """
    reasons = [_why_not_opened(path) for path in paths]
    files = [SourceFile(path, "") for path in paths]
    asked = [(file, None) for file, reason in zip(files, reasons, strict=True) if not reason]
    outcomes = iter(decoder.start(asked))
    return [reason or _told(next(outcomes).result()) for reason in reasons]


def _told(outcome: Outcome) -> Decoded | str:
    return f"cannot be read: {outcome.strerror}" if isinstance(outcome, OSError) else outcome


def _why_not_opened(path: str) -> str:
    """Why a file is left alone; empty where it is not."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if regular else NOT_REGULAR


def _bottleneck(path: str, features: int) -> Float32Array:
    if reason := _why_not_opened(path):
        raise Unreadable(reason)
    try:
        row = parse_bottleneck(patiently(Place(path).read))
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    if len(row) != features:
        raise Unreadable(f"has {len(row):,} numbers; the model wants {features:,}")
    return row


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
        folders[:] = [name for name in folders if not hidden(name)]
        for name in names:
            path = os.path.join(parent, name)
            if not hidden(name) and os.path.isfile(path):
                yield path
