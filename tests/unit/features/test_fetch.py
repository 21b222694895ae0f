# SPDX-License-Identifier: Apache-2.0
"""`retrain fetch` gets what a run of the same words would want, and puts it where that looks."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from trainer.errors import DataError, UsageError
from trainer.features.backbones import NETWORKS
from trainer.features.download import Checksum
from trainer.features.fetch import fetch
from trainer.features.weights import IMAGENET, Release, random
from trainer.progress import Progress
from weight_writers import write_counted

EMPTY = Checksum("md5", "d41d8cd98f00b204e9800998ecf8427e")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches that hold a published file, empty, for each network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RETRAIN_CACHE", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    for cache in ("runs/.retrain-cache", "named", "given"):
        (tmp_path / cache / "weights").mkdir(parents=True)
        for name in NETWORKS:
            (tmp_path / cache / "weights" / name).touch()
            monkeypatch.setitem(IMAGENET, name, Release(name, EMPTY, "http://127.0.0.1:9"))


def fetched(*words: str) -> Path | None:
    return fetch(list(words), Path("runs"), Progress())


def test_without_words_it_is_inception_v3_in_the_default_cache() -> None:
    assert fetched() == Path("runs/.retrain-cache/weights/inception_v3")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_word_names_another_network(name: str) -> None:
    assert fetched(f"backbone.name={name}") == Path(f"runs/.retrain-cache/weights/{name}")


def test_a_configuration_names_network_and_cache(tmp_path: Path) -> None:
    Path("a.yaml").write_text(
        "{data: {images: x}, backbone: {name: resnet50}, run: {cache: given}}"
    )
    assert fetched("a.yaml") == tmp_path / "given" / "weights" / "resnet50"
    words = ("a.yaml", "backbone.name=mobilenet_v2")
    assert fetched(*words) == tmp_path / "given" / "weights" / "mobilenet_v2"


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_CACHE", "named")
    assert fetched() == Path("named/weights/inception_v3")


def test_what_cannot_be_had_is_an_error_and_nothing_else_is_fetched() -> None:
    with pytest.raises(DataError, match="Connection refused"):
        fetched("run.cache=elsewhere")
    assert not list(Path("elsewhere").rglob("*.*"))


def test_a_file_that_is_named_is_looked_at(tmp_path: Path) -> None:
    network = NETWORKS["mobilenet_v2"]
    write_counted(tmp_path / "w.h5", network, random(network, 0))
    assert fetched("backbone.name=mobilenet_v2", "backbone.weights=w.h5") == tmp_path / "w.h5"
    with pytest.raises(DataError, match="these are mobilenet_v2's"):
        fetched("backbone.weights=w.h5")


@pytest.mark.parametrize("word", ["backbone.weights=random", "data.bottlenecks=texts"])
def test_a_run_that_wants_no_weights_is_told_so(word: str) -> None:
    stream = StringIO()
    assert fetch([word], Path("runs"), Progress(stream)) is None
    assert word.split("=")[0] in stream.getvalue()


@pytest.mark.parametrize("words", [["pools"], ["gone.yaml"], ["backbone.bogus=x"], ["=x"]])
def test_wrong_words_are_a_mistake_in_usage(words: list[str]) -> None:
    with pytest.raises(UsageError):
        fetched(*words)
