# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.features.precision import (
    Verdict,
    agree_on,
    keep_verdict,
    kept_verdict,
    relative_error,
)
from trainer.world.devices import Device

PLAIN = Device("cpu")
AMX = Device("cpu", fast=("bfloat16",))
V100 = Device("Tesla V100", 0, fast=("float16",))
A100 = Device("A100", 0, fast=("bfloat16", "float16"))


@pytest.mark.parametrize(
    ("devices", "agreed"),
    [
        ([AMX, AMX], "bfloat16"),
        ([A100], "bfloat16"),
        ([V100, A100], "float16"),
        ([AMX, PLAIN], "float32"),
        ([AMX, V100], "float32"),
    ],
)
def test_auto_takes_what_all_devices_compute_fast(devices: list[Device], agreed: str) -> None:
    assert agree_on("auto", devices) == agreed


def test_named_format_is_taken_on_any_device() -> None:
    assert agree_on("float32", [AMX]) == "float32"
    assert agree_on("bfloat16", [PLAIN]) == "bfloat16"


def test_error_is_the_squared_distance_over_the_spread() -> None:
    full = np.array([[0, 0], [2, 0]], np.float32)
    low = full + np.array([[0.1, 0], [0, 0.1]], np.float32)
    assert relative_error(low, full) == pytest.approx(0.01)


def test_common_offset_of_all_bottlenecks_does_not_hide_an_error() -> None:
    """The cosine of such vectors is near 1 whatever is done to what tells images apart."""
    rng = np.random.default_rng(0)
    full = (1000 + rng.normal(0, 1, (40, 8))).astype(np.float32)
    low = (full + rng.normal(0, 1, full.shape)).astype(np.float32)
    assert relative_error(low, full) > 0.5


@pytest.mark.parametrize("low", [np.ones((3, 2)), np.full((3, 2), np.nan), np.zeros((0, 2))])
def test_images_that_are_all_alike_and_numbers_that_overflow_are_not_accepted(
    low: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    error = relative_error(low.astype(np.float32), np.ones_like(low, np.float32))
    assert not Verdict("float16", error, []).accepted


def digests(first: int, last: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(first, last)]


def verdict_on(images: list[bytes], error: float) -> Verdict:
    return Verdict("bfloat16", error, [image.hex() for image in images])


def test_verdict_serves_runs_that_hold_enough_of_the_images_compared(tmp_path: Path) -> None:
    keep_verdict(tmp_path, verdict_on(digests(0, 40), 0.001))
    assert kept_verdict(tmp_path, digests(8, 5000)) == verdict_on(digests(0, 40), 0.001)
    assert kept_verdict(tmp_path, digests(9, 5000)) is None


def test_verdict_on_all_images_of_a_small_run_serves_it_again(tmp_path: Path) -> None:
    keep_verdict(tmp_path, verdict_on(digests(0, 5), float("inf")))
    kept = kept_verdict(tmp_path, digests(0, 5))
    assert kept is not None
    assert not kept.accepted


def test_of_two_verdicts_the_one_on_more_of_the_runs_images_counts(tmp_path: Path) -> None:
    keep_verdict(tmp_path, verdict_on(digests(0, 36), 0.001))
    keep_verdict(tmp_path, verdict_on(digests(0, 40), 0.02))
    kept = kept_verdict(tmp_path, digests(0, 50))
    assert kept is not None
    assert kept.error == 0.02


def test_broken_verdict_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.verdict.json").write_text('{"precision": "bfl')
    assert kept_verdict(tmp_path, digests(0, 40)) is None
