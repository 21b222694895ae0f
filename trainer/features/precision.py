# SPDX-License-Identifier: Apache-2.0
"""Which number format the network computes in, and the check that a reduced one is good enough.

The world agrees on what all its devices compute fast. The check compares bottlenecks of the run's
own images in both formats; its verdict is kept beside the bottlenecks that it is about.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trainer.arrays import ByteArray, Float32Array
from trainer.config import Precision
from trainer.features.backbone import FrozenBackbone
from trainer.rundir import write_text
from trainer.world.comm import World
from trainer.world.devices import Device

LARGEST_ERROR = 0.01
"""Squared distance of the reduced bottlenecks from the float32 ones, over that of these from their
mean."""
CHECKED, FEWEST_CHECKED = 40, 32
"""Images of a new check, and how many of them a run must hold for its verdict to be the run's too:
a few may be removed without a new check."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check.

    Attributes:
        precision: What was checked against float32.
        error: As LARGEST_ERROR; infinite where the images are all alike and nothing can be said.
        images: SHA-256 of those compared.
    """

    precision: str
    error: float
    images: list[str]

    @property
    def accepted(self) -> bool:
        """Whether the reduced format may be used."""
        return self.error <= LARGEST_ERROR

    def covers(self, digests: Collection[bytes]) -> int:
        """How many of these images were compared."""
        return sum(bytes.fromhex(image) in digests for image in self.images)


def agree_on(wanted: Precision | Literal["auto"], devices: Sequence[Device]) -> Precision:
    """The format that a run would like to compute in.

    Args:
        wanted: `backbone.precision`.
        devices: Of all ranks; the weakest decides.
    """
    if wanted != "auto":
        return wanted
    reduced: tuple[Precision, ...] = ("bfloat16", "float16")
    fast = (one for one in reduced if all(one in device.fast for device in devices))
    return next(fast, "float32")


def kept_verdict(folder: Path, digests: Collection[bytes]) -> Verdict | None:
    """The verdict of an earlier check on this run's own images, if there is one.

    Args:
        folder: Of the reduced bottlenecks.
        digests: All contents of the run.
    """
    enough = min(FEWEST_CHECKED, len(digests))
    verdicts = [_read(path) for path in sorted(folder.glob("*.verdict.json"))]
    fitting = [one for one in verdicts if one is not None and one.covers(digests) >= enough]
    return max(fitting, key=lambda one: (one.covers(digests), one.error), default=None)


def _read(path: Path) -> Verdict | None:
    try:
        return Verdict(**json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        return None  # a verdict that cannot be read costs a new check, no more


def keep_verdict(folder: Path, verdict: Verdict) -> None:
    """Write a verdict, under a name of its own.

    Raises:
        RetrainError: The disk is full.
    """
    name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.verdict.json"
    write_text(folder / name, json.dumps(asdict(verdict)) + "\n")


def check(
    network: FrozenBackbone,
    digests: Sequence[bytes],
    read: Callable[[bytes], ByteArray | None],
    size: int,
    world: World,
) -> Verdict:
    """Compute some images in the network's format and in float32; Collective.

    Args:
        network: In the reduced format.
        digests: All contents of the run, in order; the first that can be read are compared.
        read: From a content to its pixels, or None where it cannot be read.
        size: Images in a batch.
        world: Shares the work.
    """
    mine: dict[bytes, ByteArray] = {}
    compared: list[bytes] = []
    for first in range(0, len(digests), CHECKED):
        part = list(digests[first : first + CHECKED])[world.rank :: world.size]
        mine.update((one, picture) for one in part if (picture := read(one)) is not None)
        compared = world.join(list(mine))
        if len(compared) >= FEWEST_CHECKED:
            break
    plain = network.at("float32")
    rows = [_in_batches(one, list(mine.values()), size) for one in (network, plain)]
    # In the order of the digests, so that the number of ranks changes no bit of the sums.
    order = sorted(range(len(compared)), key=compared.__getitem__)
    low, full = (world.gather(part)[order] for part in rows)
    return Verdict(
        precision=network.precision,
        error=relative_error(low, full),
        images=[digest.hex() for digest in compared],
    )


def _in_batches(network: FrozenBackbone, pictures: list[ByteArray], size: int) -> Float32Array:
    side = network.network.side
    network.warm_up(size)
    rows = [np.zeros((0, network.features), np.float32)]
    for first in range(0, len(pictures), size):
        batch = np.zeros((size, side, side, 3), np.uint8)
        part = pictures[first : first + size]
        batch[: len(part)] = part
        rows.append(network(batch)[: len(part)])
    return np.concatenate(rows)


def relative_error(low: Float32Array, full: Float32Array) -> float:
    """Squared distance of two sets of bottlenecks, as a share of the second's spread.

    Args:
        low, full: (images, features) of the same images.
    """
    exact = full.astype(np.float64)
    spread = float(np.sum((exact - exact.mean(axis=0)) ** 2)) if len(exact) else 0.0
    distance = float(np.sum((low - exact) ** 2))
    if not np.isfinite(distance) or not spread:
        return float("inf")
    return distance / spread
