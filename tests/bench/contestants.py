# SPDX-License-Identifier: Apache-2.0
"""Who takes part: three peers in the ways that they are used, and this project."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import ours
from children import peer, run
from pictures import files_of

Measured = dict[str, Any]
"""images, seconds, startup_seconds, peak_memory_mib of one run."""
Rows = npt.NDArray[np.float32]


class Contestant(Protocol):
    """Computes the bottlenecks of a folder of images."""

    name: str
    title: str

    def measure(self, images: Path, scratch: Path) -> Measured:
        """Run once, leaving what it makes in `scratch`."""

    def bottlenecks(self, images: Path, scratch: Path) -> Rows:
        """Those of the last run, (images, features), in the order of the files' paths."""


@dataclass
class Peer:
    """Another project's way, as a program in peers/."""

    name: str
    title: str
    program: str
    weights: Path
    options: Sequence[str] = ()

    def measure(self, images: Path, scratch: Path) -> Measured:
        """See Contestant."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        command = peer(self.program, images, self.weights, scratch, *self.options)
        measured: Measured = json.loads(run(command).output.splitlines()[-1])
        return measured

    def bottlenecks(self, images: Path, scratch: Path) -> Rows:
        """See Contestant."""
        rows: Rows = np.load(scratch / "bottlenecks.npy")
        return rows


@dataclass
class Ours:
    """This project, on some ranks."""

    name: str
    title: str
    weights: Path
    ranks: int
    cores: Sequence[int]

    def measure(self, images: Path, scratch: Path) -> Measured:
        """See Contestant."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        outcome = ours.fit(
            images,
            self.weights,
            scratch / "run",
            self.ranks,
            cache=scratch / "cache",
            cores=self.cores,
        )
        return {
            "images": outcome.images,
            "seconds": outcome.seconds,
            "plan_seconds": outcome.results["seconds"]["plan"],
            "startup_seconds": outcome.startup_seconds,
            "peak_memory_mib": sum(outcome.watch.peak_mib.values()),
            "precision": outcome.results["backbone"]["precision"],
            "ranks": outcome.results["world"]["ranks"],
        }

    def bottlenecks(self, images: Path, scratch: Path) -> Rows:
        """See Contestant."""
        from trainer.cache_use import CacheUse
        from trainer.features.cache import Cache
        from trainer.progress import Progress

        results = json.loads((scratch / "run" / "results.json").read_text(encoding="utf-8"))
        backbone = results["backbone"]
        use = CacheUse(scratch / "cache", scratch / "run")
        cache = Cache(use, backbone["fingerprint"], backbone["features"])
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in files_of(images)]
        return cache.read_index(set(digests), Progress()).read(digests, cache.features)


def openvino(weights: Path, precision: str, options: Sequence[str]) -> Peer:
    """OpenVINO in one number format."""
    title = f"OpenVINO, {'bfloat16' if precision == 'bf16' else 'float32'}"
    words = ["--precision", precision, *options]
    return Peer(f"openvino_{precision}", title, "openvino_async", weights, words)


def tuned_openvino(weights: Path, images: Path, cores: int, scratch: Path) -> list[str]:
    """The options with which OpenVINO is fastest here, of those that a user would try.

    Args:
        weights: The network's.
        images: A few pictures to try them on.
        cores: How many there are.
        scratch: For what the trials leave.
    """
    choices = [["--batch", "1"]]
    choices += [["--batch", str(batch), "--streams", str(cores)] for batch in (1, 4, 8)]
    seconds = {
        number: min(
            openvino(weights, "bf16", options).measure(images, scratch)["seconds"] for _ in range(2)
        )
        for number, options in enumerate(choices)
    }
    return choices[min(seconds, key=seconds.__getitem__)]


def all_contestants(
    weights: Path, cores: Sequence[int], ranks: int, options: Sequence[str], float32: bool
) -> list[Contestant]:
    """Everyone, in the order of a round.

    Args:
        weights: The network's.
        cores: Those that may be used.
        ranks: Of this project, when it may use all cores.
        options: OpenVINO's.
        float32: Whether OpenVINO in float32 takes part as well.
    """
    return [
        Peer("retrain_py", "retrain.py's way", "retrain_py", weights),
        Peer("keras", "Keras predict, tf.data", "keras_predict", weights),
        *([openvino(weights, "f32", options)] if float32 else []),
        openvino(weights, "bf16", options),
        Ours("ours", f"retrain, {ranks} ranks", weights, ranks, cores),
        Ours("ours_one", "retrain, 1 rank on 1 core", weights, 1, cores[:1]),
    ]
