# SPDX-License-Identifier: Apache-2.0
"""A reduced number format is checked on the run's own images, and given up if it is too coarse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from worlds import SMALL, Finished, Job

Retrain = Callable[..., Finished]
REDUCED = "backbone.precision=bfloat16"
# With random weights this network's last layer tells no two pictures apart.
COARSE = ("backbone.name=mobilenet_v2", "backbone.weights=random", REDUCED)


def run(
    retrain: Retrain, pictures: Path, base: Path, *words: object, ranks: int = 2, out: str = "run"
) -> Job:
    options = ("evaluate.folds=0", f"run.cache={base / 'cache'}", "--ranks", ranks)
    done = retrain("run", pictures, *words, *options, "--out", base / out)
    assert done.returncode == 0, done.stderr
    return Job(base / out, done.stdout, done.stderr)


def test_accepted_format_is_recorded_with_its_error_on_any_number_of_ranks(
    retrain: Retrain, pictures: Path, tmp_path: Path
) -> None:
    told = {}
    for ranks in (1, 2):
        base = tmp_path / str(ranks)
        told[ranks] = run(retrain, pictures, base, *SMALL, REDUCED, ranks=ranks)
    backbone = told[1].results["backbone"]
    assert backbone == told[2].results["backbone"]
    assert backbone["precision"] == "bfloat16"
    assert 0 < backbone["precision_error"] <= 0.01
    assert told[1].rows("predictions.csv") == told[2].rows("predictions.csv")


@pytest.fixture(scope="module")
def refused(
    retrain: Retrain, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Job]:
    base = tmp_path_factory.mktemp("refused")
    return base, run(retrain, pictures, base, *COARSE)


def test_format_that_is_too_coarse_gives_way_to_float32_with_a_warning(
    refused: tuple[Path, Job],
) -> None:
    results = refused[1].results
    assert results["backbone"]["precision"] == "float32"
    assert results["backbone"]["precision_error"] is None
    (warning,) = [text for text in results["warnings"] if "bfloat16" in text]
    assert "32 images compared" in warning
    assert "float32 is used" in warning


def test_kept_verdict_spares_the_next_run_the_check(
    retrain: Retrain, pictures: Path, refused: tuple[Path, Job]
) -> None:
    base, first = refused
    again = run(retrain, pictures, base, *COARSE, out="again")
    assert again.results["bottlenecks"]["computed"] == 0
    assert again.results["backbone"] == first.results["backbone"]
    assert again.results["warnings"] == first.results["warnings"]
    assert len(list((base / "cache").rglob("*.verdict2.json"))) == 1
