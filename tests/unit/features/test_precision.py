# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from trainer.cache_use import CacheUse
from trainer.features.cache import Cache
from trainer.features.precision import (
    Verdict,
    agree_on,
    keep_verdict,
    kept_verdict,
    relative_error,
)
from trainer.progress import Progress
from trainer.shared import seal
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


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return Cache(CacheUse(tmp_path / "cache", tmp_path / "run"), "f" * 64, 7)


def test_verdict_serves_runs_that_hold_enough_of_the_images_compared(store: Cache) -> None:
    keep_verdict(store, verdict_on(digests(0, 40), 0.001))
    assert kept_verdict(store, digests(8, 5000), Progress()) == verdict_on(digests(0, 40), 0.001)
    assert kept_verdict(store, digests(9, 5000), Progress()) is None


def test_verdict_on_all_images_of_a_small_run_serves_it_again(store: Cache) -> None:
    keep_verdict(store, verdict_on(digests(0, 5), float("inf")))
    kept = kept_verdict(store, digests(0, 5), Progress())
    assert kept is not None
    assert not kept.accepted


def test_of_two_verdicts_the_one_on_more_of_the_runs_images_counts(store: Cache) -> None:
    keep_verdict(store, verdict_on(digests(0, 36), 0.001))
    keep_verdict(store, verdict_on(digests(0, 40), 0.02))
    kept = kept_verdict(store, digests(0, 50), Progress())
    assert kept is not None
    assert kept.error == 0.02


WRONG: list[dict[str, object]] = [
    {"error": float("nan")},
    {"error": -1.0},
    {"error": True},
    {"error": "0.1"},
    {"images": ["00" * 32] * 40},
    {"images": ["00"] * 40},
    {"images": 5},
    {"precision": "float64"},
    {"more": 1},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_verdict_that_no_check_gave_is_passed_over(wrong: dict[str, object], store: Cache) -> None:
    keep_verdict(store, verdict_on(digests(0, 40), 0.001))
    (path,) = store.folder.glob("*.verdict2.json")
    path.write_bytes(seal({**asdict(verdict_on(digests(0, 40), 0.001)), **wrong}))
    assert kept_verdict(store, digests(0, 40), Progress()) is None


def test_change_of_any_byte_of_a_verdict_is_named_or_changes_nothing(
    store: Cache, tmp_path: Path
) -> None:
    verdict = verdict_on(digests(0, 3), 0.00125)
    keep_verdict(store, verdict)
    (path,) = store.folder.glob("*.verdict2.json")
    content = path.read_bytes()
    found = 0
    for place in range(len(content)):
        for bits in (0x01, 0x20, 0x80):
            flipped = bytearray(content)
            flipped[place] ^= bits
            path.write_bytes(flipped)
            log = tmp_path / "log"
            log.unlink(missing_ok=True)
            progress = Progress()
            with progress.logging_to(log):
                kept = kept_verdict(store, digests(0, 3), progress)
            assert kept == verdict or (kept is None and str(path) in log.read_text())
            found += kept is None
    assert found > 2 * len(content)


def test_verdict_that_one_may_not_read_costs_a_new_check(store: Cache) -> None:
    keep_verdict(store, verdict_on(digests(0, 40), 0.001))
    (path,) = store.folder.glob("*.verdict2.json")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.shared.os.open", refuse)
        assert kept_verdict(store, digests(0, 40), Progress()) is None
    assert store.use.closed == {path}
