# SPDX-License-Identifier: Apache-2.0
"""`retrain demo`: the main job on pictures that the package draws itself."""

from __future__ import annotations

from pathlib import Path

from trainer.config import default_cache
from trainer.config_file import load
from trainer.data.drawings import draw
from trainer.errors import DataError
from trainer.features.weights import NOT_PRETRAINED, locate_imagenet
from trainer.progress import to_stderr
from trainer.start import start
from trainer.world import launch

PICTURES = 240


def run_demo(out: Path, ranks: int, again: bool) -> int:
    """Draw the pictures beside the run directory, unless they are there, and train on them.

    Returns:
        The exit code.
    """
    folder = out.with_name(f"{out.name}-pictures")
    overrides = ["name=demo", f"backbone.weights={_weights(out)}"]
    if not launch.in_world():
        _tell_and_draw(folder, overrides[1])
    return start(load(str(folder), overrides), str(folder), overrides, ranks, out, again)


def _weights(out: Path) -> str:
    """ImageNet's weights if they are in reach, else random ones; no other command picks itself."""
    try:
        locate_imagenet(default_cache(out.parent))
    except DataError:
        return "random"
    return "imagenet"


def _tell_and_draw(folder: Path, weights: str) -> None:
    tell = to_stderr()
    if weights.endswith("random"):
        tell.say(f"Demo, {NOT_PRETRAINED} (ImageNet's are not at hand; see retrain fetch)")
    else:
        tell.say("Demo, with ImageNet's weights")
    if not folder.exists():
        tell.say(f"Drawing {PICTURES} pictures into {folder}")
    draw(folder, PICTURES)
