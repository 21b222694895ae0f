# SPDX-License-Identifier: Apache-2.0
"""The demo takes the best weights in reach, and says which these are and what was out of reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer import demo
from trainer.features.download import Checksum
from trainer.features.weights import IMAGENET, Release
from trainer.world import launch

EMPTY = Checksum("md5", "d41d8cd98f00b204e9800998ecf8427e")


@pytest.fixture(autouse=True)
def nothing_in_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RETRAIN_CACHE", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    for name in demo.BEST_FIRST:
        monkeypatch.setitem(IMAGENET, name, Release(name, EMPTY, "http://127.0.0.1:9"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that the job is started with."""
    words: list[str] = []

    def start(config: Any, source: str, overrides: list[str], *_: object) -> int:
        words.extend(overrides)
        return 0

    monkeypatch.setattr(demo, "start", start)
    monkeypatch.setattr(demo, "PICTURES", 8)
    return words


def keep(*names: str) -> None:
    """Put networks' weights into the demo's cache."""
    folder = Path("runs/.retrain-cache/weights")
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("there", "name", "weights", "said"),
    [
        (
            ["inception_v3", "efficientnet_lite0"],
            "inception_v3",
            "imagenet",
            "Demo on Inception-v3",
        ),
        (["efficientnet_lite0"], "efficientnet_lite0", "imagenet", "Demo on EfficientNet-Lite0"),
        ([], "inception_v3", "random", "Demo on Inception-v3, not pretrained"),
    ],
)
def test_the_best_weights_in_reach_are_taken_and_named(
    there: list[str],
    name: str,
    weights: str,
    said: str,
    started: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(*there)
    assert demo.run_demo(Path("runs/demo"), 1, False) == 0
    assert started[1:] == [f"backbone.name={name}", f"backbone.weights={weights}"]
    told = capsys.readouterr().err
    assert said in told
    assert told.count("Not in reach: ") == {2: 0, 1: 1, 0: 2}[len(there)]


def test_ranks_that_were_started_together_fetch_nothing(
    started: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/demo-pictures").mkdir(parents=True)
    monkeypatch.setattr(launch, "in_world", lambda: True)
    demo.run_demo(Path("runs/demo"), 1, False)
    assert "backbone.weights=random" in started
    assert "Not in reach" not in capsys.readouterr().err
