# SPDX-License-Identifier: Apache-2.0
"""What is folded; that it is right is shown against Keras, in tests/parallel."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.features import weights
from trainer.features.backbones import NETWORKS
from trainer.features.folding import Step, fold


def folded(name: str, cut: str | None = None) -> list[Step]:
    network = NETWORKS[name]
    return fold(network, weights.random(network, 0), network.cut_at(cut))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_batch_normalisation_is_left(name: str) -> None:
    steps = folded(name)
    assert {step.layer.kind for step in steps}.isdisjoint({"normalization"})
    assert all(step.layer.kind != "scale" for step in steps if step.layer.name != "input")


def test_pixels_are_normalised_by_the_first_convolution_where_it_pads_nothing() -> None:
    first = folded("inception_v3")[0]
    assert (first.layer.name, first.layer.kind) == ("input", "input")


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_pixels_are_normalised_before_where_zeros_are_put_around_them(name: str) -> None:
    first = folded(name)[0]
    assert first.layer.kind == "scale"
    factor, offset = first.arrays
    # The network's own mean pixel becomes what it is padded with.
    mean = NETWORKS[name].mean[:: -1 if NETWORKS[name].order == "BGR" else 1]
    assert np.abs(factor * np.array(mean) + offset).max() < 1e-4


def test_convolution_that_is_the_cut_keeps_its_normalisation_out() -> None:
    steps = folded("mobilenet_v2", "Conv1")
    assert [step.layer.name for step in steps] == ["input", "Conv1", "mean"]
    assert [array.shape for array in steps[1].arrays] == [(3, 3, 3, 32)]


def test_layers_behind_the_cut_and_beside_it_are_left_out() -> None:
    names = {step.layer.name for step in folded("inception_v3", "mixed0")}
    assert "mixed0" in names
    assert "mixed1" not in names
    assert len(names) < 40


def test_each_input_is_an_earlier_step() -> None:
    for name in NETWORKS:
        seen: set[str] = set()
        for step in folded(name):
            assert seen.issuperset(step.layer.inputs)
            seen.add(step.layer.name)
