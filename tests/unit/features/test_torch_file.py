# SPDX-License-Identifier: Apache-2.0
"""PyTorch's older files give their tensors, and nothing in them can run, hang or fill memory."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torch_writer import KINDS, Tensor, dump, tensor, write
from trainer.errors import DataError
from trainer.features import torch_file
from trainer.features.torch_file import read_tensors


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_tensors(path)
    assert str(path) in error.value.message
    return error.value.message


@pytest.mark.parametrize("form", KINDS)
def test_tensors_come_as_float32_in_the_files_order(form: str, tmp_path: Path) -> None:
    first, second = np.arange(6).reshape(2, 3).astype(form), np.array([7], form)
    state = OrderedDict(b=tensor("1", first), a=tensor("2", second))
    path = write(tmp_path / "a", dump(state), {"2": second, "1": first})
    found = read_tensors(path)
    assert list(found) == ["b", "a"]
    assert all(array.dtype == np.float32 for array in found.values())
    np.testing.assert_array_equal(found["b"], first)
    np.testing.assert_array_equal(found["a"], second)


def test_a_tensor_that_is_a_transposed_part_of_its_storage_is_read_so(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype="<f4")
    part = Tensor("1", "FloatStorage", 12, (2, (2, 3), (1, 4)))
    path = write(tmp_path / "a", dump({"a": part}), {"1": numbers})
    np.testing.assert_array_equal(read_tensors(path)["a"], [[2, 6, 10], [3, 7, 11]])


PLANTED = "planted"


def deep(levels: int) -> bytes:
    """A tuple that holds itself twice, and again: to hash it takes 2^levels steps."""
    return b")" + b"q\x00h\x00\x86" * levels


@pytest.mark.parametrize(
    ("pickled", "told"),
    [
        (b"\x80\x02cos\nsystem\n(U\x0ctouch plantedtR.", "os.system"),
        (b"\x80\x02cbuiltins\neval\n(U\x011tR.", "builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch planted\x85R.", "more than tensors"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "_v2.__globals__"),
        (b"\x80\x02ccollections\nOrderedDict.fromkeys\n.", "OrderedDict.fromkeys"),
        (b"\x80\x02c__builtin__\nOrderedDict\n.", "__builtin__.OrderedDict"),
        (b"\x80\x02(S'touch planted'\nios\nsystem\n.", "more than tensors"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "more than tensors"),
        (b"\x80\x02ccollections\nOrderedDict\n" + deep(60) + b"\x85R.", "more than tensors"),
        (b"\x80\x02}" + deep(60) + b"Ns.", "more than tensors"),
        (b"\x80\x02}(" + deep(60) + b"Nu.", "more than tensors"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "more than tensors"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", "damaged"),
        (b"\x80\x02R.", "damaged"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02}}b.", "contradict"),
        (b"", "damaged"),
    ],
)
def test_a_pickle_that_wants_more_than_tensors_is_refused_and_does_nothing(
    pickled: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refusal(write(tmp_path / "a", pickled, {"0": np.zeros(1, np.float32)}))
    assert not (tmp_path / PLANTED).exists()


ONE = np.zeros(16, "<f4")


@pytest.mark.parametrize(
    ("count", "layout", "told"),
    [
        (16, (0, (17,), (1,)), "beyond its storage"),
        (16, (1, (16,), (1,)), "beyond its storage"),
        (16, (0, (4, 4), (5, 1)), "beyond its storage"),
        (16, (0, (10**9, 10**9), (0, 0)), "larger than the file"),
        (16, (0, (2**62, 2**62), (0, 0)), "larger than the file"),
        (16, (15, (16,), (-1,)), "negative or odd"),
        (16, (-1, (2,), (1,)), "negative or odd"),
        (16, (0, (-2,), (1,)), "negative or odd"),
        (16, (0, (2,), (1, 1)), "negative or odd"),
        (16, (0, (1,) * 9, (1,) * 9), "negative or odd"),
        (16, (0, (2.0,), (1,)), "more than tensors"),
        (2**60, (0, (16,), (1,)), "contradict"),
        (-1, (0, (0,), (1,)), "negative or odd"),
    ],
)
def test_a_tensor_that_does_not_lie_in_its_storage_is_refused(
    count: int, layout: tuple[Any, ...], told: str, tmp_path: Path
) -> None:
    pickled = dump({"a": Tensor("1", "FloatStorage", count, layout)})
    assert told in refusal(write(tmp_path / "a", pickled, {"1": ONE}))


def test_many_names_for_one_storage_cannot_fill_memory(tmp_path: Path) -> None:
    storage = np.zeros(2**16, "<f4")
    state = {str(number): tensor("1", storage) for number in range(100)}
    assert "larger than the file" in refusal(write(tmp_path / "a", dump(state), {"1": storage}))


def test_storages_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    pickled = dump({"a": Tensor("1", "QUInt8Storage", 16, (0, (16,), (1,)))})
    assert "torch.QUInt8Storage" in refusal(write(tmp_path / "a", pickled, {"1": ONE}))


def test_a_storage_that_the_file_states_longer_than_it_is_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", dump({"a": tensor("1", ONE)}), {"1": ONE})
    path.write_bytes(path.read_bytes()[:-1])
    assert "damaged or cut short" in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_truncated_file_is_told_as_such(share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "a", dump({"a": tensor("1", ONE)}), {"1": ONE})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged or cut short" in refusal(path)


def test_a_file_longer_than_any_of_these_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_file, "LONGEST_FILE", 100)
    path = write(tmp_path / "a", dump({"a": tensor("1", ONE)}), {"1": ONE})
    assert "longer than" in refusal(path)


def test_a_state_that_holds_more_than_tensors_is_refused(tmp_path: Path) -> None:
    state = {"epoch": 3, "a": tensor("1", ONE)}
    assert "more than tensors" in refusal(write(tmp_path / "a", dump(state), {"1": ONE}))


def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = write(tmp_path / "a", dump({"a": tensor("1", ONE)}), {"1": ONE}).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(500):
        spoilt = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            spoilt[place] = generator.integers(256)
        (tmp_path / "b").write_bytes(spoilt)
        try:
            read_tensors(tmp_path / "b")
        except DataError:
            continue
