# SPDX-License-Identifier: Apache-2.0
"""Which number format the network computes in, and the check that a reduced one is good enough.

The world agrees on what all its devices compute fast. The check compares bottlenecks of the run's
own images in both formats; its verdict is kept beside the bottlenecks that it is about.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from trainer.arrays import ByteArray, Float32Array
from trainer.config import Precision
from trainer.errors import printable
from trainer.features.backbone import FrozenBackbone
from trainer.features.cache import Cache
from trainer.progress import Progress
from trainer.shared import Damaged, names, read_sealed, seal
from trainer.world.comm import World
from trainer.world.devices import Device

LARGEST_ERROR = 0.01
"""Squared distance of the reduced bottlenecks from the float32 ones, over that of these from their
mean."""
REDUCED: tuple[Precision, ...] = ("bfloat16", "float16")
SUFFIX = ".verdict2.json"  # another layout takes another, so that versions leave each other's alone
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
    fast = (one for one in REDUCED if all(one in device.fast for device in devices))
    return next(fast, "float32")


def kept_verdict(cache: Cache, digests: Collection[bytes], progress: Progress) -> Verdict | None:
    """The verdict of an earlier check on this run's own images, if there is one.

    Args:
        cache: Of the reduced bottlenecks.
        digests: All contents of the run.
        progress: Told of damaged verdicts: they cost a new check, no more.
    """
    enough = min(FEWEST_CHECKED, len(digests))
    verdicts = [one for one in _kept(cache, progress) if one.covers(digests) >= enough]
    return max(verdicts, key=lambda one: (one.covers(digests), one.error), default=None)


def _kept(cache: Cache, progress: Progress) -> list[Verdict]:
    found = []
    with suppress(OSError):  # a folder that cannot be listed; of its shards that was told
        for name in names(cache.folder, SUFFIX):
            path = cache.folder / name
            try:
                found.append(_verdict(read_sealed(path)))
            except OSError:
                cache.use.closed.add(path)
            except Damaged as error:
                progress.say(printable(f"{path}: damaged verdict, passed over ({error})"))
    return found


def _verdict(value: Any) -> Verdict:
    """A verdict out of a file that a stranger may have written."""
    try:
        verdict = Verdict(**value)
        lengths = {len(bytes.fromhex(image)) for image in verdict.images}
        once = len(set(verdict.images)) == len(verdict.images)
    except (TypeError, ValueError):
        raise Damaged("no verdict") from None
    number = isinstance(verdict.error, float) and verdict.error >= 0
    if lengths - {32} or not once or not number or verdict.precision not in REDUCED:
        raise Damaged("no verdict")
    return verdict


def keep_verdict(cache: Cache, verdict: Verdict) -> None:
    """Write a verdict, under a name of its own.

    Raises:
        RetrainError: The disk is full.
    """
    name = f"{socket.gethostname()}-{secrets.token_hex(8)}{SUFFIX}"
    cache.use.write(cache.folder / name, seal(asdict(verdict)))


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
    pictures = list(mine.values())
    rows = [world.cut_short(partial(_in_batches, one, pictures, size)) for one in (network, plain)]
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
