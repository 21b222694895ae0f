# SPDX-License-Identifier: Apache-2.0
"""Weights are the same whatever file they came from, and never those of another network."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from trainer.errors import DataError
from trainer.features import weights


@pytest.fixture(scope="module")
def drawn() -> weights.Weights:
    return weights.random(1)


def write_keras3(path: Path, layers: weights.Weights) -> Path:
    """A `.weights.h5` as Keras 3 lays it out; h5py lists its groups in alphabetical order."""
    with h5py.File(path, "w") as file:
        for number, layer in enumerate(layers):
            suffix = f"_{number}" if number else ""
            file[f"layers/conv2d{suffix}/vars/0"] = layer.kernel
            for place, array in enumerate(layer.arrays[1:]):
                file[f"layers/batch_normalization{suffix}/vars/{place}"] = array
    return path


def write_legacy(path: Path, layers: weights.Weights, top: bool, nested: bool) -> Path:
    """An older `.h5`: layers named by counters that began at 95, in an order of its own."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if nested else file
        names = []
        for number, layer in enumerate(layers, start=95):
            for name, arrays in (
                (f"conv_{number}", [layer.kernel]),
                (f"bn_{number}", layer.arrays[1:]),
            ):
                keys = [f"{name}/{place}" for place in range(len(arrays))]
                for key, array in zip(keys, arrays, strict=True):
                    group[f"{name}/{key}"] = array
                group[name].attrs["weight_names"] = [key.encode() for key in keys]
                names.append(name)
        if top:
            group["predictions/kernel"] = np.zeros((2048, 10), np.float32)
            group["predictions/bias"] = np.zeros(10, np.float32)
            group["predictions"].attrs["weight_names"] = [b"kernel", b"bias"]
            names.append("predictions")
        group.attrs["layer_names"] = [name.encode() for name in names]
    return path


def test_the_table_has_94_convolutions_and_21_8_million_weights() -> None:
    shapes = weights.kernel_shapes()
    kernels = sum(int(np.prod(shape)) for shape in shapes)
    vectors = 3 * sum(shape[3] for shape in shapes)
    assert len(shapes) == 94
    assert kernels + vectors == 21_802_784  # Keras' own count without the classifier


def test_random_weights_depend_on_the_seed_alone(drawn: weights.Weights) -> None:
    assert weights.sha256(weights.random(1)) == weights.sha256(drawn)
    assert weights.sha256(weights.random(2)) != weights.sha256(drawn)


@pytest.mark.parametrize("top", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_legacy_file_gives_the_weights_that_it_was_made_of(
    top: bool, nested: bool, drawn: weights.Weights, tmp_path: Path
) -> None:
    path = write_legacy(tmp_path / "a.h5", drawn, top, nested)
    assert weights.sha256(weights.read_file(path)) == weights.sha256(drawn)


def test_keras_3_file_gives_the_weights_that_it_was_made_of(
    drawn: weights.Weights, tmp_path: Path
) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", drawn)
    assert weights.sha256(weights.read_file(path)) == weights.sha256(drawn)


def test_file_with_fewer_layers_is_refused_with_both_counts(
    drawn: weights.Weights, tmp_path: Path
) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", drawn[:50])
    with pytest.raises(DataError, match=r"another network.* 50 convolutions.*wanted 94"):
        weights.read_file(path)


def test_file_with_layers_in_another_order_is_refused(
    drawn: weights.Weights, tmp_path: Path
) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", [*drawn[1:], drawn[0]])
    with pytest.raises(DataError, match=r"another network.*layer 0"):
        weights.read_file(path)


def test_weights_that_are_not_finite_are_refused(drawn: weights.Weights, tmp_path: Path) -> None:
    spoilt = list(drawn)
    beta = spoilt[3].beta.copy()
    beta[0] = np.nan
    spoilt[3] = weights.LayerWeights(spoilt[3].kernel, beta, spoilt[3].mean, spoilt[3].variance)
    with pytest.raises(DataError, match="not finite"):
        weights.read_file(write_keras3(tmp_path / "a.weights.h5", spoilt))


def test_file_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"not a weight in it")
    with pytest.raises(DataError, match="not an HDF5 file"):
        weights.read_file(tmp_path / "a.h5")


def test_imagenet_is_found_in_keras_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / weights.NOTOP).touch()
    assert weights.locate_imagenet(tmp_path / "cache") == tmp_path / "models" / weights.NOTOP


def test_download_that_is_another_file_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "login.html").write_text("please log in")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(weights, "IMAGENET_URL", (tmp_path / "login.html").as_uri())
    with pytest.raises(DataError, match="another file"):
        weights.locate_imagenet(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_imagenet_out_of_reach_names_the_places_and_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(weights, "IMAGENET_URL", (tmp_path / "nothing").as_uri())
    with pytest.raises(DataError) as error:
        weights.locate_imagenet(tmp_path / "cache")
    assert str(tmp_path / "cache") in error.value.message
    assert "backbone.weights=random" in error.value.todo
