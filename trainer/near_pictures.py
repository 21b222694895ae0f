# SPDX-License-Identifier: Apache-2.0
"""Small pictures of the training images that a new one looks like, where they still lie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack

from trainer.analysis.neighbours import Near
from trainer.analysis.pictures import LONGER_SIDE, small_size, thumbnail
from trainer.config import Config
from trainer.config_file import load
from trainer.data.images import SourceFile
from trainer.data.place import Place
from trainer.data.source import Source, open_source
from trainer.errors import DataError, RetrainError
from trainer.features.pipeline import Decoder
from trainer.features.preprocess import Decoded
from trainer.rundir import RunDir
from trainer.world import launch


class NearPictures:
    """Pictures by what they show, each made once; a context.

    They come from the run's own data, and only if a file's content is what it was. Of an archive,
    of a run that was told `report.images: false`, and of files that are gone there are none.
    """

    def __init__(self, run: RunDir) -> None:
        """Find out where the run's images are."""
        self._source = _source(run)
        self._made: dict[bytes, bytes | None] = {}
        self._held = ExitStack()
        self._decoder = Decoder(self._place, LONGER_SIDE, len(launch.given_cores()))

    def __enter__(self) -> NearPictures:
        """Decode inside."""
        self._held.enter_context(self._decoder)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the decoders."""
        self._held.close()

    def of(self, near: Iterable[Near]) -> list[bytes | None]:
        """Small JPEGs of kept items; None for each that cannot be had."""
        return [self._of(one) for one in near]

    def _of(self, one: Near) -> bytes | None:
        if one.digest not in self._made:
            self._made[one.digest] = self._make(one)
        return self._made[one.digest]

    def _make(self, one: Near) -> bytes | None:
        if self._source is None:
            return None
        file = SourceFile(one.path, "")
        if not os.path.isfile(self._place(file).path):
            return None
        try:
            image = self._decoder.decode(file, one.digest)
        except DataError:
            return None  # its content is another now
        if not isinstance(image, Decoded):
            return None
        return thumbnail(image.pixels, small_size(*image.size))

    def _place(self, file: SourceFile) -> Place:
        assert self._source
        return Place(os.path.join(self._source.base, file.path))


def _source(run: RunDir) -> Source | None:
    try:
        config: Config = load(str(run.config), [])
        if config.data.images is None or not config.report.images:
            return None
        source = open_source(config.data)
    except RetrainError:
        return None  # the model alone was brought here
    return None if source.form == "archive" else source
