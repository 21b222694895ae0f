# SPDX-License-Identifier: Apache-2.0
"""A second run on two ranks knows what is unchanged; --verify reaches the ranks and hashes all."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from trainer.data.index import SETTLED_SECONDS
from worlds import Finished

Run = Callable[..., Finished]
KNOWN = "12 files unchanged since they were last hashed"


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, retrain: Callable[..., Finished]
) -> Callable[..., Finished]:
    """The same job on retrain.py's texts, which need no TensorFlow; done once already."""
    base = tmp_path_factory.mktemp("warm")
    for label in "ab":
        (base / "texts" / label).mkdir(parents=True)
        for number in range(6):
            values = np.random.default_rng([ord(label), number]).random(8)
            text = ",".join(map(str, values))
            (base / "texts" / label / f"{number}.txt").write_text(text)
    config = base / "texts.yaml"
    config.write_text(f"data: {{bottlenecks: '{base / 'texts'}'}}\nevaluate: {{folds: 0}}\n")
    time.sleep(SETTLED_SECONDS + 0.5)  # only then may the first run remember the files

    def again(*words: object) -> Finished:
        place = (f"run.cache={base / 'cache'}", "--out", base / "run")
        done = retrain("run", config, *place, *words)
        assert done.returncode == 0, done.stderr
        return done

    assert KNOWN not in again("--ranks", 2).stderr
    return again


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_two_ranks_hashed_is_known_to_the_next_run(ranks: int, run: Run) -> None:
    told = run("--ranks", ranks).stderr
    assert KNOWN in told
    assert "is done" in told


@pytest.mark.parametrize("ranks", [1, 2])
def test_verify_hashes_all_files_even_of_a_finished_run(ranks: int, run: Run) -> None:
    told = run("--ranks", ranks, "--verify").stderr
    assert KNOWN not in told
    assert "is done" in told
