# SPDX-License-Identifier: Apache-2.0
"""The bench's table."""

from __future__ import annotations

from typing import Any

import pytest

from showing import failures, markdown, terminal

MACHINE = {
    "processor": "A Processor With A Long Name 9999X 64-Core",
    "flags": ["avx2", "avx512f", "avx512_bf16"],
    "cores": 2,
    "packages": {"tensorflow-cpu": "2.18.1", "openvino": "2026.4.1"},
    "date": "2026-01-31",
}


def turn(images: int, seconds: float) -> dict[str, Any]:
    return {
        "images": images,
        "seconds": seconds,
        "startup_seconds": 12.34,
        "peak_memory_mib": 3840.0,
    }


def one_round(ours: float, peer: float) -> dict[str, Any]:
    return {
        "keras": turn(12000, peer),
        "ours": turn(12000, ours),
        "limit": {"images_per_second": 1250.0},
    }


@pytest.fixture
def bench() -> dict[str, Any]:
    contest = {
        "kind": "600 x 340 JPEG",
        "titles": {"keras": "Keras predict, tf.data", "openvino": "OpenVINO", "ours": "retrain"},
        "precision": "bfloat16",
        "errors": {"keras": 0.02, "ours": 0.0013},
        "left_out": {"openvino": "exit code 1\nTraceback"},
        "rounds": [one_round(10, 25), one_round(10, 30), one_round(12, 24)],
    }
    slow = {
        "share": 0.25,
        "ranks": 2,
        "victims": {"1": {"cost": 1.04, "seconds": 20.8, "ideal_seconds": 20.0}},
    }
    return {
        "machine": MACHINE,
        "failures": {},
        "parts": {"speed": {"jpeg": contest}, "slowed": slow},
    }


def test_terminal_table_fits_80_columns(bench: dict[str, Any]) -> None:
    assert max(map(len, terminal(bench).splitlines())) <= 80


def test_ratio_against_a_peer_stands_with_its_range(bench: dict[str, Any]) -> None:
    assert "2.50x (2.00-3.00)" in terminal(bench)


def test_share_of_the_arithmetic_limit_is_the_median_of_the_rounds(bench: dict[str, Any]) -> None:
    assert "96% of it" in terminal(bench)


def test_peer_that_was_left_out_is_told_in_one_line(bench: dict[str, Any]) -> None:
    assert failures(bench) == {"OpenVINO, 600 x 340 JPEG": "exit code 1"}
    assert "not measured: OpenVINO, 600 x 340 JPEG: exit code 1" in terminal(bench)


def test_markdown_rows_have_as_many_cells_as_their_headings(bench: dict[str, Any]) -> None:
    for table in markdown(bench).split("\n\n")[1:]:
        assert len({line.count("|") for line in table.splitlines()}) == 1
