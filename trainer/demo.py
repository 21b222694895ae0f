# SPDX-License-Identifier: Apache-2.0
"""`retrain demo`: the main job on pictures that the package draws itself."""

from __future__ import annotations

from pathlib import Path

from trainer.config import default_cache
from trainer.config_file import load
from trainer.data.drawings import draw
from trainer.errors import DataError
from trainer.features.backbones import NETWORKS
from trainer.features.weights import NOT_PRETRAINED, find_imagenet, locate_imagenet
from trainer.progress import to_stderr
from trainer.start import start
from trainer.world import launch

PICTURES = 240
BEST_FIRST = ("inception_v3", "efficientnet_lite0")


def run_demo(out: Path, ranks: int, again: bool) -> int:
    """Draw the pictures beside the run directory, unless they are there, and train on them.

    Returns:
        The exit code.
    """
    folder = out.with_name(f"{out.name}-pictures")
    alone = not launch.in_world()
    name, weights = _best_weights(default_cache(out.parent), alone)
    overrides = ["name=demo", f"backbone.name={name}", f"backbone.weights={weights}"]
    if alone:
        _tell_and_draw(folder, NETWORKS[name].title, weights)
    return start(load(str(folder), overrides), str(folder), overrides, ranks, out, again)


def _best_weights(cache: Path, alone: bool) -> tuple[str, str]:
    """The best weights in reach; no other command picks itself.

    Args:
        cache: Of the demo's run.
        alone: Whether no other ranks pick at the same time, so that it may fetch.
    Returns:
        Values for `backbone.name` and `backbone.weights`.
    """
    tell = to_stderr()
    for name in BEST_FIRST:
        if find_imagenet(NETWORKS[name], cache):
            return name, "imagenet"
        if alone:
            tell.say(f"Looking for {NETWORKS[name].title}'s ImageNet weights")
            try:
                locate_imagenet(NETWORKS[name], cache, tell, hurry=True)
            except DataError as error:
                tell.say(f"Not in reach: {error.message}")
            else:
                return name, "imagenet"
    return BEST_FIRST[0], "random"


def _tell_and_draw(folder: Path, network: str, weights: str) -> None:
    tell = to_stderr()
    if weights == "random":
        tell.say(f"Demo on {network}, {NOT_PRETRAINED}; `retrain fetch` gets ImageNet's")
    else:
        tell.say(f"Demo on {network}, with its ImageNet weights")
    if not folder.exists():
        tell.say(f"Drawing {PICTURES} pictures into {folder}")
    draw(folder, PICTURES)
