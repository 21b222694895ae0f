# SPDX-License-Identifier: Apache-2.0
"""Labels for new images, by a finished run's model alone: its data and its cache may be gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.analysis.heatmaps import evidence_of, two_likeliest
from trainer.analysis.neighbours import ARRAYS, Near, Neighbours
from trainer.analysis.pictures import heat_map, small_size, thumbnail
from trainer.arrays import Array, Float32Array, FloatArray
from trainer.data.images import NOT_REGULAR, SourceFile, Unreadable, hidden
from trainer.data.place import Place, patiently
from trainer.data.retrain_py import parse_bottleneck
from trainer.errors import DataError, UsageError
from trainer.features.backbone import set_up_tensorflow
from trainer.features.backbones import NETWORKS
from trainer.features.pipeline import Decoder, Outcome
from trainer.features.preprocess import Decoded
from trainer.head.export import (
    NEIGHBOURS,
    About,
    read_about,
    read_arrays,
    read_head,
    require_undamaged,
)
from trainer.head.train import score_items
from trainer.rundir import RunDir
from trainer.world import launch
from trainer.world.devices import own_device


@dataclass(frozen=True)
class Look:
    """A picture and where its evidence lies, as small JPEG files."""

    picture: bytes
    heat_map: bytes | None


@dataclass(frozen=True)
class Prediction:
    """What the model says of one file.

    Attributes:
        path: As given, or as found below a given folder.
        probabilities: (classes,), or None where the file could not be read.
        error: Why it could not; empty where it could.
        unfamiliar: Whether it is unlike all that the head was fitted on; None where nobody knows.
        near: What it looks like: fitted items, the nearest first.
        look: For a page; None where it was not asked for.
    """

    path: str
    probabilities: FloatArray | None
    error: str = ""
    unfamiliar: bool | None = None
    near: Sequence[Near] = ()
    look: Look | None = None

    def named(self, classes: list[str], min_confidence: float) -> str:
        """The predicted class; empty where nothing was read or nothing is sure enough."""
        if self.probabilities is None or self.probabilities.max() < min_confidence:
            return ""
        return classes[int(self.probabilities.argmax())]

    def likeliest(self, top: int) -> list[int]:
        """Numbers of the likeliest classes, of a file that was read."""
        assert self.probabilities is not None
        order: list[int] = np.argsort(-self.probabilities, kind="stable")[:top].tolist()
        return order


class Answer(NamedTuple):
    """What a file came to, before it is compared with others."""

    probabilities: FloatArray
    bottleneck: Float32Array
    look: Look | None = None


Label = Callable[[Sequence[str], bool], Iterator[Answer | str]]
"""From files to answers, in order, or the reason why one cannot be read; with looks or without."""


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
        self._neighbours = _read_neighbours(run.model)
        self._label: Label = self._images() if self.about.backbone else self._texts()

    def label(self, paths: Sequence[str], looks: bool = False) -> Iterator[Prediction]:
        """Label files, in order, a batch at a time.

        Args:
            paths: Files; a file that cannot be read gets a row with its error.
            looks: Whether small pictures are wanted too.
        """
        for path, answer in zip(paths, self._label(paths, looks), strict=True):
            if isinstance(answer, str):
                yield Prediction(path, None, answer)
            else:
                unfamiliar, near = self._compare(answer.bottleneck)
                yield Prediction(path, answer.probabilities, "", unfamiliar, near, answer.look)

    def _compare(self, bottleneck: Float32Array) -> tuple[bool | None, list[Near]]:
        """Whether it is unlike all fitted items, and what is nearest."""
        known = self._neighbours
        if known is None:
            return None, []
        near = known.near(known.nearest(bottleneck[None]), 0)
        return bool(near and near[0].distance > known.limit), near

    def _images(self) -> Label:
        launch.prepare_process()
        set_up_tensorflow(len(launch.given_cores()), own_device("auto", 0, 1))
        import tensorflow as tf

        size, side = self.about.batch_size, NETWORKS[self.about.backbone].side
        network = tf.saved_model.load(str(self._folder)).signatures["serving_default"]
        _, bias = read_head(self._folder)

        def label(paths: Sequence[str], looks: bool) -> Iterator[Answer | str]:
            with Decoder(place, side, len(launch.given_cores())) as decoder:
                for first in range(0, len(paths), size):
                    decoded = decode_files(paths[first : first + size], decoder)
                    padded = np.zeros((size, side, side, 3), np.uint8)
                    for number, picture in enumerate(decoded):
                        if isinstance(picture, Decoded):
                            padded[number] = picture.pixels
                    given = network(pixels=tf.constant(padded))
                    rows = {name: tensor.numpy() for name, tensor in given.items()}
                    for number, picture in enumerate(decoded):
                        if isinstance(picture, Decoded):
                            row = {name: values[number] for name, values in rows.items()}
                            look = _look(picture, row, bias) if looks else None
                            yield Answer(row["probabilities"], row["bottlenecks"], look)
                        else:
                            yield picture

        return label

    def _texts(self) -> Label:
        head = read_head(self._folder)

        def label(paths: Sequence[str], _: bool) -> Iterator[Answer | str]:
            for path in paths:
                try:
                    row = _bottleneck(path, self.about.features)
                except Unreadable as error:
                    yield error.reason
                else:
                    yield Answer(score_items(head, row[None])[0], row)

        return label


def _read_neighbours(folder: Path) -> Neighbours | None:
    """The items that the model keeps; one that an earlier version saved keeps none."""
    if not (folder / NEIGHBOURS).exists():
        return None
    return Neighbours.from_arrays(read_arrays(folder, NEIGHBOURS, ARRAYS))


def _look(picture: Decoded, row: dict[str, Array], bias: FloatArray) -> Look:
    size = small_size(*picture.size)
    classes = two_likeliest(row["probabilities"])
    shown = None
    if "evidence" in row:  # not in a model that an earlier version saved
        shown = heat_map(picture.pixels, size, evidence_of(row["evidence"], bias, *classes))
    return Look(thumbnail(picture.pixels, size), shown)


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
