# SPDX-License-Identifier: Apache-2.0
"""Weights are the same whatever file they came from, and never those of another network."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from torch_writer import dump, tensor, write
from trainer.arrays import Array
from trainer.errors import DataError
from trainer.features.backbones import NETWORKS
from trainer.features.weight_files import Weights, read_file
from trainer.features.weights import random, sha256
from weight_writers import write_counted, write_keras, write_listed

NETWORK = NETWORKS["mobilenet_v2"]  # the smallest
OTHER = NETWORKS["efficientnet_lite0"]


@pytest.fixture(scope="module")
def drawn() -> Weights:
    """Weights that differ in every array."""
    generator = np.random.default_rng(0)
    return {
        name: tuple(
            np.abs(array + generator.normal(0, 1, array.shape)).astype(np.float32)
            for array in arrays
        )
        for name, arrays in random(NETWORK, 1).items()
    }


WRITERS: dict[str, Callable[[Path, Weights], None]] = {
    "Keras 3": lambda path, weights: write_counted(path, NETWORK, weights),
    "Keras 3, whole": lambda path, weights: write_counted(path, NETWORK, weights, top=True),
    "Keras 3, in another model": lambda path, weights: write_counted(
        path, NETWORK, weights, top=True, inside="layers/functional/"
    ),
    "older": write_listed,
    "older, whole": lambda path, weights: write_listed(path, weights, top=True),
    "older, a model": lambda path, weights: write_listed(path, weights, top=True, nested=True),
    "older, in another model": lambda path, weights: write_listed(path, weights, within=True),
    ".keras": lambda path, weights: write_keras(path, NETWORK, weights),
}


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_weights_that_it_was_made_of_whatever_its_name(
    form: str, drawn: Weights, tmp_path: Path
) -> None:
    WRITERS[form](tmp_path / "anything.bin", drawn)
    found = read_file(tmp_path / "anything.bin", NETWORK)
    assert list(found) == list(drawn)
    assert sha256(found) == sha256(drawn)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_read_back(name: str, tmp_path: Path) -> None:
    weights = random(NETWORKS[name], 3)
    write_counted(tmp_path / "a", NETWORKS[name], weights)
    assert sha256(read_file(tmp_path / "a", NETWORKS[name])) == sha256(weights)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_file(path, NETWORK)
    assert error.value.todo
    prefix = f"backbone.weights {path}: "
    assert error.value.message.startswith(prefix)
    return error.value.message.removeprefix(prefix)


def changed(weights: Weights, layer: str, place: int, value: float) -> Weights:
    """The same with one number of one layer's array."""
    arrays = [array.copy() for array in weights[layer]]
    arrays[place].flat[0] = value
    return {**weights, layer: tuple(arrays)}


def test_a_layer_of_another_shape_is_named_with_both_shapes(drawn: Weights, tmp_path: Path) -> None:
    spoilt = {**drawn, "block_1_expand": (np.zeros((3, 3, 16, 8), np.float32),)}
    write_listed(tmp_path / "a", spoilt)
    assert refusal(tmp_path / "a") == (
        "another network than mobilenet_v2: layer block_1_expand wants 1x1x16x96, "
        "the file has 3x3x16x8."
    )


def test_a_layer_with_other_arrays_is_named(drawn: Weights, tmp_path: Path) -> None:
    write_listed(tmp_path / "a", {**drawn, "bn_Conv1": drawn["bn_Conv1"][1:]})
    told = refusal(tmp_path / "a")
    assert "layer bn_Conv1 wants 32 and 32 and 32 and 32, the file has 32 and 32 and 32." in told


@pytest.mark.parametrize("write", ["Keras 3", "older"])
def test_a_file_with_fewer_layers_names_the_first_that_lacks(
    write: str, drawn: Weights, tmp_path: Path
) -> None:
    WRITERS[write](tmp_path / "a", dict(list(drawn.items())[:-2]))
    told = "layer Conv_1 wants 1x1x320x1280, the file has no more such layer."
    assert told in refusal(tmp_path / "a")


@pytest.mark.parametrize("write", ["Keras 3", "older"])
def test_a_file_with_more_convolutions_is_another_network(
    write: str, drawn: Weights, tmp_path: Path
) -> None:
    stored = [(name, arrays) for name, arrays in drawn.items()]
    network = NETWORKS["mobilenet_v2"]
    path = tmp_path / "a"
    if write == "older":
        write_listed(path, dict([*stored, ("more", drawn["Conv_1"])]))
    else:
        write_counted(path, network, drawn)
        with h5py.File(path, "a") as file:
            file["layers/conv2d_35/vars/0"] = np.zeros((1, 1, 8, 8), np.float32)
    assert "it has 53 convolutions; wanted 52." in refusal(path)


def test_another_of_our_networks_is_told_by_its_name(tmp_path: Path) -> None:
    write_counted(tmp_path / "a", OTHER, random(OTHER, 0))
    told = refusal(tmp_path / "a")
    assert told == "these are efficientnet_lite0's; backbone.name is mobilenet_v2."


def test_numbers_that_are_not_finite_name_their_layer(drawn: Weights, tmp_path: Path) -> None:
    write_counted(tmp_path / "a", NETWORK, changed(drawn, "block_3_project_BN", 1, np.nan))
    told = refusal(tmp_path / "a")
    assert told == "layer block_3_project_BN holds numbers that are not finite."


def test_numbers_too_large_for_float32_are_not_finite(drawn: Weights, tmp_path: Path) -> None:
    large = {**drawn, "Conv1": (np.full((3, 3, 3, 32), 1e39, np.float64),)}
    write_counted(tmp_path / "a", NETWORK, large)  # type: ignore[arg-type]
    assert "layer Conv1 holds numbers that are not finite" in refusal(tmp_path / "a")


def test_negative_variance_names_its_layer(drawn: Weights, tmp_path: Path) -> None:
    write_counted(tmp_path / "a", NETWORK, changed(drawn, "bn_Conv1", 3, -1))
    assert refusal(tmp_path / "a") == "layer bn_Conv1 has a negative variance."


def test_whole_numbers_are_no_weights(drawn: Weights, tmp_path: Path) -> None:
    whole = {**drawn, "Conv1": (np.zeros((3, 3, 3, 32), np.int8),)}
    write_counted(tmp_path / "a", NETWORK, whole)  # type: ignore[arg-type]
    assert "layer Conv1 holds int8, no decimal numbers" in refusal(tmp_path / "a")


FOREIGN = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
    "a web page": b"\n  <!DOCTYPE html><html><body>Sign in</body></html>",
    "a web page, ": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a frozen TensorFlow graph": b"\n\x3c\n\x13DecodeJpeg/contents\x12\x05Const*\x10",
    "a SavedModel's graph": b"\x08\x01\x12\xff\x01\n\x10",
    "a TFLite model": b"\x1c\x00\x00\x00TFL3\x14\x00",
    "a safetensors file": b'\x10\x00\x00\x00\x00\x00\x00\x00{"a":{"dtype":"F32"',
    "a compressed file": b"\x1f\x8b\x08\x00",
    "an empty file": b"",
    "no file of weights of a known form": b"weights, honestly",
}


@pytest.mark.parametrize("told", FOREIGN)
def test_what_is_no_file_of_weights_is_told_for_what_it_is(told: str, tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(FOREIGN[told])
    assert refusal(tmp_path / "w.h5").startswith(told)


def test_a_saved_model_folder_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert refusal(tmp_path) == "a SavedModel folder, not a file of weights."


def test_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "a folder."
    assert refusal(tmp_path / "gone.h5") == "no such file."


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ("archive/data.pkl", "a PyTorch file of the newer, zipped form"),
        ("words.txt", "a zip file without model.weights.h5"),
    ],
)
def test_other_zip_files_are_told_for_what_they_are(member: str, told: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr(member, "x")
    assert refusal(tmp_path / "a.pth").startswith(told)


@pytest.mark.parametrize("write", ["Keras 3", "older", ".keras"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_told_in_one_line(
    write: str, share: float, drawn: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    WRITERS[write](path, drawn)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    told = refusal(path)
    assert told.startswith("damaged or cut short (")
    assert "\n" not in told


def test_hdf5_that_is_not_keras_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        file["numbers"] = np.zeros(3)
    assert refusal(tmp_path / "a") == "an HDF5 file, but not laid out as Keras' weights."


@pytest.mark.parametrize("layout", ["layers/conv2d/vars/x", "layers/conv2d", "layers"])
def test_hdf5_that_is_laid_out_almost_as_keras_is_told(layout: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        file[layout] = np.zeros(3)
    assert refusal(tmp_path / "a") == "an HDF5 file, but not laid out as Keras' weights."


def test_a_stated_shape_that_fills_memory_is_refused_unread(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (2**20,) * 3, "f4", chunks=(64,) * 3)
    assert "the file has 1048576x1048576x1048576" in refusal(tmp_path / "a")


def test_a_copy_under_another_name_gives_the_same_hash(drawn: Weights, tmp_path: Path) -> None:
    write_counted(tmp_path / "a.weights.h5", NETWORK, drawn)
    write_listed(tmp_path / "b.h5", drawn)
    shutil.copy(tmp_path / "b.h5", tmp_path / "c.keras")
    hashes = {sha256(read_file(path, NETWORK)) for path in tmp_path.iterdir()}
    assert len(hashes) == 1


def torch_modules(weights: Weights) -> dict[str, Array]:
    """EfficientNet-Lite0's layers under PyTorch's names and in its order of axes."""
    tensors: dict[str, Array] = {}
    for number, layer in enumerate(layer for layer in OTHER.layers if layer.weight_shapes):
        name = {"stem_conv": "_conv_stem", "top_conv": "_conv_head"}.get(layer.name)
        if layer.kind == "normalization":
            for part, array in zip(PARTS, weights[layer.name], strict=True):
                tensors[f"_bn{number}.{part}"] = array
            tensors[f"_bn{number}.num_batches_tracked"] = np.array(7)
        elif layer.kind == "depthwise":
            (kernel,) = weights[layer.name]
            tensors[f"_blocks.{number}._depthwise_conv.weight"] = kernel.transpose(2, 3, 0, 1)
        else:
            (kernel,) = weights[layer.name]
            tensors[f"{name or f'_blocks.{number}._conv'}.weight"] = kernel.transpose(3, 2, 0, 1)
    return {**tensors, "_fc.weight": np.ones((9, 4), np.float32), "_fc.bias": np.ones(9)}


PARTS = ("weight", "bias", "running_mean", "running_var")


def write_torch(path: Path, tensors: dict[str, Array]) -> None:
    """A whole file; each tensor alone in its storage."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write(path, dump({name: tensor(name, array) for name, array in arrays.items()}), arrays)


def test_efficientnet_lite0_is_read_from_pytorchs_file_without_its_classifier(
    tmp_path: Path,
) -> None:
    drawn = random(OTHER, 4)
    write_torch(tmp_path / "w.pth", torch_modules(drawn))
    found = read_file(tmp_path / "w.pth", OTHER)
    assert list(found) == list(drawn)
    assert sha256(found) == sha256(drawn)


def test_pytorchs_file_of_another_network_is_refused(tmp_path: Path) -> None:
    write_torch(tmp_path / "w.pth", {"features.0.0.weight": np.ones((32, 3, 3, 3), np.float32)})
    assert refusal(tmp_path / "w.pth") == "another network's PyTorch file."


def test_pytorchs_file_is_no_file_of_the_other_backbones(tmp_path: Path) -> None:
    write_torch(tmp_path / "w.pth", torch_modules(random(OTHER, 4)))
    told = refusal(tmp_path / "w.pth")
    assert told == "these are efficientnet_lite0's; backbone.name is mobilenet_v2."
