# SPDX-License-Identifier: Apache-2.0
"""From raw timings to what is said of them; no clock, no file."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Round = Mapping[str, Mapping[str, Any]]
"""Contestant to what it did in one round: images, seconds, and more."""


@dataclass(frozen=True)
class Spread:
    """The median of some values, and the least and greatest."""

    median: float
    least: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def rate(measured: Mapping[str, Any]) -> float:
    """Images a second."""
    return float(measured["images"] / measured["seconds"])


def rates(rounds: Sequence[Round], name: str) -> Spread | None:
    """A contestant's images a second over all rounds; None where it was in none."""
    found = [rate(one[name]) for one in rounds if name in one]
    return spread(found) if found else None


def ratios(rounds: Sequence[Round], name: str, other: str) -> Spread | None:
    """How many times as fast a contestant is as another, round by round."""
    found = [rate(one[name]) / rate(one[other]) for one in rounds if name in one and other in one]
    return spread(found) if found else None


def median_of(rounds: Sequence[Round], name: str, key: str) -> float | None:
    """The median of one figure of a contestant."""
    found = [one[name][key] for one in rounds if name in one]
    return statistics.median(found) if found else None


def relative_error(rows: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Squared distance from the reference, as a share of the reference's own spread.

    Args:
        rows: (images, features) bottlenecks.
        reference: The same of the reference.
    """
    wanted = np.asarray(reference, np.float64)
    off = np.asarray(rows, np.float64) - wanted
    return float((off**2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum())


def images_a_round(measured: Sequence[Mapping[str, Any]], seconds: float, least: float) -> int:
    """How many images a round takes.

    Args:
        measured: What each contestant did in a trial.
        seconds: How long the slowest shall take.
        least: How long the fastest shall take at least; a short run measures its edges.
    """
    speeds = [rate(one) for one in measured]
    return int(np.ceil(max(seconds * min(speeds), least * max(speeds))))
