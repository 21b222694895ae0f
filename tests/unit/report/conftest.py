# SPDX-License-Identifier: Apache-2.0
"""Run directories as a run would leave them, made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import made_up_runs
from trainer.rundir import RunDir

Results = dict[str, Any]
Scores = Callable[..., Results]


@pytest.fixture
def two_classes() -> Results:
    """A finished run: two classes, cross-validation and a small test set."""
    return made_up_runs.two_classes()


@pytest.fixture
def many_classes() -> Results:
    """A finished run: thirty classes and a large test set only."""
    return made_up_runs.many_classes()


@pytest.fixture
def begun() -> Results:
    """A run that has nothing to tell yet."""
    return made_up_runs.blank(None)


@pytest.fixture
def scores() -> Scores:
    """Makes the figures of one source from a confusion and class names."""
    return made_up_runs.scores


@pytest.fixture
def headline() -> Callable[..., Results]:
    """Makes a headline from a source's name, its figures and a metric."""
    return made_up_runs.headline


@pytest.fixture
def leave(tmp_path: Path) -> Callable[..., RunDir]:
    """Leaves a run directory with these results and rows of its CSVs."""

    def leave_run(results: Results, name: str = "pools", **files: list[tuple[Any, ...]]) -> RunDir:
        return made_up_runs.leave(tmp_path / name, results, **files)

    return leave_run
