# SPDX-License-Identifier: Apache-2.0
"""What every peer does alike: list the files, stop the time, tell the outcome in one JSON line."""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Rows = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
SIDE = 299
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


def files_of(images: Path) -> list[Path]:
    """All pictures below a folder, in the order of their paths."""
    return sorted(path for path in images.rglob("[!.]*") if path.suffix.lower() in SUFFIXES)


def cores() -> int:
    """The cores that this process was given."""
    return len(os.sched_getaffinity(0))


def frozen_of(weights: Path) -> Path:
    """Where `prepare` leaves the frozen graph of a weights file."""
    return weights.with_name("frozen.pb")


def converted_of(weights: Path) -> Path:
    """Where `prepare` leaves the network as OpenVINO reads it."""
    return weights.with_name("openvino.xml")


def decoded(path: Path) -> Pixels:
    """A picture by Pillow, reduced while it is decoded where that is free; (299, 299, 3)."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.uint8)


def arguments(*extra: str) -> argparse.Namespace:
    """IMAGES WEIGHTS OUT, then options of which each takes a word."""
    parser = argparse.ArgumentParser()
    for name in ("images", "weights", "out"):
        parser.add_argument(name, type=Path)
    for name in extra:
        parser.add_argument(f"--{name}", default="")
    return parser.parse_args()


def seconds_since_launch() -> float:
    """How long this process has been there (Linux)."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2]
    ticks = int(after_name.split()[19])  # field 22, starttime; proc(5)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def report(given: argparse.Namespace, work: Callable[[list[Path]], Rows]) -> None:
    """Time the work from the first file to the last bottleneck on disk, and print one JSON line.

    Args:
        given: From `arguments`.
        work: Takes the files; gives their bottlenecks (files, features) float32 in that order,
            which are on disk by then or are written here.
    """
    files = files_of(given.images)
    startup_seconds = seconds_since_launch()
    started = time.monotonic()
    rows = work(files)
    np.save(given.out / "bottlenecks.npy", rows)
    outcome = {
        "images": len(files),
        "seconds": time.monotonic() - started,
        "startup_seconds": startup_seconds,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "bottlenecks": str(given.out / "bottlenecks.npy"),
    }
    print(json.dumps(outcome), flush=True)
