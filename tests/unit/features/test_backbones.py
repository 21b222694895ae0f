# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from trainer.errors import UsageError
from trainer.features.backbones import NETWORKS


@pytest.mark.parametrize(
    ("name", "layer", "features"),
    [
        ("inception_v3", None, 2048),
        ("inception_v3", "mixed7", 768),
        ("resnet50", None, 2048),
        ("resnet50", "conv1_pad", 3),
        ("mobilenet_v2", "block_16_depthwise", 960),
        ("efficientnet_lite0", None, 1280),
    ],
)
def test_bottleneck_has_as_many_numbers_as_the_layer_has_channels(
    name: str, layer: str | None, features: int
) -> None:
    network = NETWORKS[name]
    assert network.features(network.cut_at(layer)) == features


def test_unknown_layer_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="mixd7: no such layer in inception_v3") as error:
        NETWORKS["inception_v3"].cut_at("mixd7")
    assert "mixed7" in error.value.todo


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_comes_after_those_that_it_reads(name: str) -> None:
    seen: set[str] = set()
    for layer in NETWORKS[name].layers:
        assert seen.issuperset(layer.inputs)
        seen.add(layer.name)
    assert NETWORKS[name].cut in seen


def test_weight_shapes_are_those_of_kernel_and_bias_or_of_three_or_four_vectors() -> None:
    shapes = {name: layer.weight_shapes for name, layer in NETWORKS["resnet50"].by_name.items()}
    assert shapes["conv1_conv"] == [(7, 7, 3, 64), (64,)]
    assert shapes["conv1_bn"] == [(64,)] * 4
    assert NETWORKS["inception_v3"].by_name["batch_normalization"].weight_shapes == [(32,)] * 3
