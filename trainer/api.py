# SPDX-License-Identifier: Apache-2.0
"""`trainer.Run`: a run directory in a notebook, its figures as tables and its model at hand."""

from __future__ import annotations

import html
import io
import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trainer.data.manifest import read_csv
from trainer.errors import DataError, UsageError
from trainer.report.verdict import last_lines, unfinished, verdict
from trainer.report.wording import visible
from trainer.rundir import RunDir

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image as Picture

    from trainer.predict import Model, Prediction

_COLUMNS = "path sha256 group label source fold l2 predicted".split()
"""Of predictions.csv, those of probabilities apart."""
_NUMBERS = {"fold": "Int64", "l2": "float64"}
"""Those that are no text; a fold may be missing."""


class Run:
    """A run, whatever came of it.

    `Run("runs/pools")` as the last line of a cell shows what it found.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Look at a run directory.

        Raises:
            UsageError: It is none.
            DataError: Its results are broken, or a newer version wrote them.
        """
        self._run = RunDir(Path(path))
        self._run.read_results()

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._run.path

    @property
    def results(self) -> dict[str, Any]:
        """`results.json` as it is now."""
        return self._run.read_results()

    @property
    def predictions(self) -> DataFrame:
        """`predictions.csv`: a row for each scored item and source (test, cross-validation, ...).

        Columns: path, sha256, group, label, source, predicted (text), fold (whole, or missing), l2
        and `p:CLASS` (probability) for each class.

        Raises:
            UsageError: pandas is not there.
            DataError: The table is not there, or broken.
        """
        pandas = _pandas()
        rows = read_csv(self._run.predictions)
        classes = (self.results.get("data") or {}).get("classes") or []
        columns = [*_COLUMNS, *(f"p:{name}" for name in classes)]
        table = pandas.DataFrame(rows, columns=list(rows[0]) if rows else columns, dtype=object)
        for name in table.columns:
            if name in _NUMBERS or name.startswith("p:"):
                numbers = pandas.to_numeric(table[name].replace("", None))
                table[name] = numbers.astype(_NUMBERS.get(name, "float64"))
        return table

    def predict(
        self, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    ) -> DataFrame:
        """Label new files with the run's model, which stays loaded for the next call.

        Args:
            paths: A file or folder, or several; folders are walked.
        Returns:
            A row for each file: path, predicted (None where it could not be read), `p:CLASS` for
            each class, unfamiliar (whether it is unlike all training images; None where nobody
            knows), error (empty where it could).
        Raises:
            UsageError: pandas is not there, or the run is not finished.
            DataError: A folder holds no file, or the model is damaged.
        """
        from trainer.predict import find_files

        pandas = _pandas()
        several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        classes, rows = self._model.about.classes, []
        for found in self._model.label(find_files([os.fspath(path) for path in several])):
            row = found.probabilities
            numbers = [math.nan] * len(classes) if row is None else row.tolist()
            named = found.named(classes, min_confidence=0) or None
            rows.append([found.path, named, *numbers, found.unfamiliar, found.error])
        columns = [f"p:{name}" for name in classes]
        return pandas.DataFrame(
            rows, columns=["path", "predicted", *columns, "unfamiliar", "error"]
        )

    def heatmap(self, path: str | os.PathLike[str]) -> Picture:
        """Where in an image the evidence for the predicted class lies, as a small picture.

        Blue speaks for the class that the model says, orange for the runner-up. It is drawn on the
        network's coarse grid; each cell sees far beyond itself.

        Raises:
            UsageError: The model has no network in it, as of a run on bottlenecks.
            DataError: The image cannot be read.
        """
        from PIL import Image

        look = self._labelled(path, looks=True).look
        if look is None or look.heat_map is None:
            raise UsageError(
                f"{visible(str(self.path))}: no heat maps: its model has no network in it that "
                "tells them."
            )
        return Image.open(io.BytesIO(look.heat_map))

    def neighbours(self, path: str | os.PathLike[str]) -> DataFrame:
        """The training images that an image is most like, the nearest first.

        Returns:
            Columns path (relative to the run's data), label, distance (1 - cosine in standardised
            bottleneck space).
        Raises:
            UsageError: pandas is not there.
            DataError: The image cannot be read.
        """
        pandas, classes = _pandas(), self._model.about.classes
        rows = [(one.path, classes[one.label], one.distance) for one in self._labelled(path).near]
        return pandas.DataFrame(rows, columns=["path", "label", "distance"])

    def _labelled(self, path: str | os.PathLike[str], looks: bool = False) -> Prediction:
        (found,) = self._model.label([os.fspath(path)], looks)
        if found.error:
            raise DataError(f"{visible(found.path)}: {found.error}.")
        return found

    @cached_property
    def _model(self) -> Model:
        from trainer.predict import Model

        return Model(self._run)

    def _lines(self) -> list[str]:
        """What the run ended with on the terminal; nothing where it did not come so far."""
        results = self.results
        return [] if unfinished(results) else last_lines(results, self.path)

    def __repr__(self) -> str:
        """The verdict and the last lines."""
        opening = f"{visible(str(self.path))}: {verdict(self.results)}"
        return "\n".join([opening, *self._lines()])

    def _repr_html_(self) -> str:
        """The same for Jupyter; names can neither end the markup nor turn their line around."""
        found = verdict(self.results, _isolated)
        lines = html.escape("\n".join(self._lines()))
        return f"<p><b>{found}</b></p>" + (f"<pre>{lines}</pre>" if lines else "")


def _isolated(name: str) -> str:
    return f'"<bdi>{html.escape(visible(name))}</bdi>"'


def _pandas() -> ModuleType:
    """Pandas, which only notebooks need.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "pandas is not installed, and tables for notebooks need it: "
            "pip install 'retrain-hpc[notebook]', or pip install pandas."
        ) from None
    module: ModuleType = pandas
    return module
