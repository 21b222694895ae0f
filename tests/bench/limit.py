# SPDX-License-Identifier: Apache-2.0
"""The arithmetic limit: matrix products on all cores at once, in the terms of the network."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from children import Failed, peer, started_child

GFLOP_AN_IMAGE = 11.42
"""Inception-v3 at 299 pixels: multiplications and additions of its convolutions."""
PRECISIONS = ("bfloat16", "float32")
SECONDS = 4.0


def measure(cores: Sequence[int], precision: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Multiply matrices on every core at the same time.

    Args:
        cores: Their numbers; one process is pinned to each.
        precision: A TensorFlow number format.
        seconds: How long.
    Returns:
        `gflops` by core, and the `images_per_second` that they would allow.
    Raises:
        Failed: A process did not answer.
    """
    with ExitStack() as running, open(os.devnull, "wb") as nowhere:
        children = [
            running.enter_context(
                started_child(
                    peer("product", str(core), precision, str(seconds)),
                    nowhere.fileno(),
                    stdin=subprocess.PIPE,
                )
            )
            for core in cores
        ]
        for child in children:
            _line(child)
        for child in children:
            assert child.stdin
            child.stdin.write(b"\n")
            child.stdin.flush()
        gflops = [float(json.loads(_line(child))["gflops"]) for child in children]
    return {"gflops": gflops, "images_per_second": sum(gflops) / GFLOP_AN_IMAGE}


def _line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout
    line = child.stdout.readline().decode().strip()
    if not line:
        raise Failed("the matrix product ended without an answer")
    return line
