# SPDX-License-Identifier: Apache-2.0
"""`retrain fetch`: the weights that a run will want, put into its cache while there is internet."""

from __future__ import annotations

from pathlib import Path

from trainer.config import Config, cache_folder
from trainer.config_file import load_words
from trainer.errors import UsageError
from trainer.features.backbones import NETWORKS
from trainer.features.weight_files import read_file
from trainer.features.weights import locate_imagenet
from trainer.progress import Progress

POOLS = "pools"


def fetch(words: list[str], runs: Path, progress: Progress) -> Path | None:
    """Put in the cache what a configuration wants.

    Args:
        words: A configuration or a folder, which may be left out, then `key=value` words.
        runs: The folder that will hold the run directories.
        progress: Told how far it is, and why nothing is fetched.
    Returns:
        The file of weights; None where a run needs none.
    Raises:
        UsageError: The words are wrong.
        DataError: The weights cannot be had, or do not serve.
    """
    if words[:1] == [POOLS]:
        raise UsageError(
            "fetch pools: the code pattern's photographs come with a later version.",
            "`retrain demo` draws pictures of its own.",
        )
    return _weights(load_words(words), runs, progress)


def _weights(config: Config, runs: Path, progress: Progress) -> Path | None:
    network, wanted = NETWORKS[config.backbone.name], config.backbone.weights
    if config.data.images is None:
        progress.say("data.bottlenecks: this run computes none, so it needs no weights")
        return None
    if wanted == "random":
        progress.say("backbone.weights random: they are drawn, so there is nothing to fetch")
        return None
    if wanted == "imagenet":
        return locate_imagenet(network, cache_folder(config, runs), progress)
    read_file(Path(wanted), network)
    return Path(wanted)
