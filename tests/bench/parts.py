# SPDX-License-Identifier: Apache-2.0
"""The parts of the bench that watch this project alone."""

from __future__ import annotations

import shutil
from typing import Any

import limit
import ours
from children import Failed
from contest import speed
from pictures import KINDS, LARGE, SMALL
from session import Session
from slowing import Slowed, ideal_seconds

SLOW_SHARE = 0.25
BUSY_SECONDS = 25.0
WARM_IMAGES = 2600
STARTS = 3


def arithmetic_limit(session: Session) -> dict[str, Any]:
    """Matrix products on all cores at once, in both number formats."""
    return {
        precision: limit.measure(session.cores, precision, 2 * limit.SECONDS)
        for precision in limit.PRECISIONS
    }


def slowed(session: Session) -> dict[str, Any]:
    """The job with one rank at a quarter of its speed, nearly from the start, against the ideal."""
    images = session.load(BUSY_SECONDS)
    free = ours.fit(images, session.weights, session.scratch / "free", session.ranks)
    rate = free.images / free.seconds
    victims = [1, 0] if session.ranks > 1 else [0]
    return {
        "share": SLOW_SHARE,
        "images": free.images,
        "ranks": session.ranks,
        "free_seconds": free.seconds,
        "victims": {str(victim): _with_slow_rank(session, victim, rate) for victim in victims},
    }


def _with_slow_rank(session: Session, victim: int, rate: float) -> dict[str, float]:
    session.say(f"rank {victim} slowed {1 / SLOW_SHARE:g} times")
    images = session.load(BUSY_SECONDS)
    with Slowed(SLOW_SHARE) as slowing:
        outcome = ours.fit(
            images,
            session.weights,
            session.scratch / "slowed",
            session.ranks,
            on_count=lambda ranks: slowing.begin(ranks[victim]),
        )
    if not slowing.seconds:
        raise Failed(f"{outcome.images} images were done before a rank could be slowed")
    free = outcome.watch.counted
    ideal = free + ideal_seconds(outcome.images - rate * free, rate, session.ranks, SLOW_SHARE)
    return {
        "seconds": outcome.seconds,
        "free_seconds": free,
        "ideal_seconds": ideal,
        "cost": outcome.seconds / ideal,
        "ran_share": slowing.ran_seconds / slowing.seconds,
    }


def warm(session: Session) -> dict[str, Any]:
    """A second run on files that did not change, with the first one's cache."""
    images = session.pictures(SMALL, session.count or WARM_IMAGES)
    cache = session.scratch / "kept-cache"
    shutil.rmtree(cache, ignore_errors=True)
    runs = []
    for name in ("cold", "warm"):
        session.say(f"{name} run")
        out = session.scratch / name
        outcome = ours.fit(images, session.weights, out, session.ranks, cache)
        runs.append(outcome)
    first, second = runs
    if second.images:
        raise Failed(f"the second run computed {second.images:,} images again")
    return {
        "images": first.images,
        "wall_seconds": second.wall_seconds,
        "before_head_seconds": second.before_head_seconds,
        "stages": second.results["seconds"],
        "cold_wall_seconds": first.wall_seconds,
    }


def startup(session: Session) -> dict[str, Any]:
    """From the command to the first computed images, on all ranks and on one."""
    images = session.pictures(session.kinds[0], session.trial_images)
    found = {}
    for ranks, cores in ((session.ranks, session.cores), (1, session.cores[:1])):
        out = session.scratch / "startup"
        starts = [ours.fit(images, session.weights, out, ranks, cores=cores) for _ in range(STARTS)]
        found[str(ranks)] = {
            "seconds": [start.startup_seconds for start in starts],
            "opening_seconds": [start.watch.opened for start in starts],
        }
    return found


def memory(session: Session) -> dict[str, Any]:
    """The most memory of each rank, on each kind of pictures."""
    found = {}
    for kind in session.kinds if session.images else KINDS:
        share = 0.5 if kind is LARGE else 1.0  # these take long to draw
        images = session.pictures(kind, int(share * session.trial_images))
        outcome = ours.fit(images, session.weights, session.scratch / "memory", session.ranks)
        peaks = outcome.watch.peak_mib
        found[kind.title] = [peaks[rank] for rank in sorted(peaks)]
    return found


def accuracy(session: Session) -> dict[str, Any]:
    """Cross-validated accuracy in the format that `auto` takes, against float32."""
    from trainer.data.drawings import draw

    count = session.count or WARM_IMAGES
    folder = session.out / "pictures" / f"plots-{count}"
    session.say(f"drawing {count:,} plots")
    draw(folder, count)
    found: dict[str, Any] = {}
    for precision in ("float32", "auto"):
        session.say(f"accuracy, precision {precision}")
        words = [f"backbone.precision={precision}"]
        out = session.scratch / f"accuracy-{precision}"
        results = ours.fit(folder, session.weights, out, session.ranks, settings=words).results
        scores = results["cross_validation"]
        found[precision] = {
            "precision": results["backbone"]["precision"],
            "precision_error": results["backbone"]["precision_error"],
            "accuracy": scores["accuracy"],
            "interval95": scores["interval95"],
            "n": scores["n"],
        }
    found["points"] = 100 * (found["auto"]["accuracy"] - found["float32"]["accuracy"])
    return found


PARTS = {
    "speed": speed,
    "limit": arithmetic_limit,
    "slowed": slowed,
    "warm": warm,
    "startup": startup,
    "memory": memory,
    "accuracy": accuracy,
}
"""Name to what measures it; the order in which they run."""
