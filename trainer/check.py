# SPDX-License-Identifier: Apache-2.0
"""`retrain check`: what can be known of a run without TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer.config import Config, cache_folder
from trainer.data.dataset import Dataset, deal_dataset
from trainer.data.images import BadFile, SourceFile, Unreadable
from trainer.data.plan import Plan, assemble, hash_or_reason, list_enough
from trainer.data.retrain_py import common_length, parse_bottleneck
from trainer.data.split import TEST, TRAINING, VALIDATION
from trainer.features import weights
from trainer.features.backbones import NETWORKS
from trainer.features.preprocess import pixels
from trainer.progress import to_stderr
from trainer.report.wording import visible
from trainer.world import launch

MOST_SHOWN = 10


def check_source(config: Config, quick: bool) -> None:
    """Print what a run would find.

    Args:
        config: The run.
        quick: Open no file.
    Raises:
        RetrainError: What the run would end with.
    """
    listing = list_enough(config.data)
    if quick:
        counts = Counter(file.label for file in listing.files)
        for label in listing.classes:
            print(f"{counts[label]:8,}  {visible(label)}")
        print(f"{len(listing.files):8,}  files in {len(listing.classes)} classes; none was opened")
        return
    if config.data.images is not None:
        network, cache = NETWORKS[config.backbone.name], cache_folder(config, Path("runs"))
        network.cut_at(config.backbone.layer)
        weights.load(network, config.backbone.weights, cache, config.run.seed)
    plan, unreadable = _read_all(config)
    _print_table(deal_dataset(plan, unreadable, config), plan)


def _read_all(config: Config) -> tuple[Plan, list[BadFile]]:
    """Hash and decode every file, on all cores."""
    root, listing = config.data.source, list_enough(config.data)
    with ThreadPoolExecutor(len(launch.given_cores())) as pool:
        hashes = list(pool.map(lambda file: hash_or_reason(root / file.path), listing.files))
        plan = assemble(root, listing, hashes)
        tell = to_stderr()
        outcomes = []
        with tell.track("Files read", len(plan.files)) as track:
            for outcome in pool.map(_decoder(config, root), plan.files):
                outcomes.append(outcome)
                track.reach(len(outcomes))
    return plan, _unreadable(plan.files, outcomes)


def _decoder(config: Config, root: Path) -> Callable[[SourceFile], int | str]:
    """From a file to the numbers that its bottleneck has (pictures: 0), or why it is unreadable."""
    side = NETWORKS[config.backbone.name].side

    def decode(file: SourceFile) -> int | str:
        try:
            content = (root / file.path).read_bytes()
            if config.data.images is None:
                return len(parse_bottleneck(content))
            pixels(content, side)
        except Unreadable as error:
            return error.reason
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return 0

    return decode


def _unreadable(files: Sequence[SourceFile], outcomes: Sequence[int | str]) -> list[BadFile]:
    lengths = [outcome for outcome in outcomes if isinstance(outcome, int)]
    most = common_length(lengths) if lengths else 0
    bad = []
    for file, outcome in zip(files, outcomes, strict=True):
        if isinstance(outcome, str):
            bad.append(BadFile(file.path, file.bytes, outcome))
        elif outcome != most:
            reason = f"has {outcome:,} numbers; most have {most:,}"
            bad.append(BadFile(file.path, file.bytes, reason))
    return bad


def _print_table(dataset: Dataset, plan: Plan) -> None:
    sets = (TRAINING, VALIDATION, TEST)
    counts = Counter(
        (item.label, dealt.set)
        for item, dealt in zip(dataset.gathered.items, dataset.dealt, strict=True)
    )
    print("  ".join(f"{name:>10}" for name in sets) + "  class")
    for label in dataset.classes:
        print("  ".join(f"{counts[label, name]:10,}" for name in sets) + f"  {visible(label)}")
    found = dataset.summary()
    print(
        f"{found['images']:,} files can be read; {found['duplicates']:,} are there twice, "
        f"{found['conflicts']:,} lie under two labels, {found['quarantined']:,} cannot be used"
    )
    for file in sorted(dataset.bad, key=lambda file: file.path)[:MOST_SHOWN]:
        print(f"  {visible(file.path)} {file.reason}")
    if len(dataset.bad) > MOST_SHOWN:
        print(f"  and {len(dataset.bad) - MOST_SHOWN:,} more")
    if plan.outside:
        print(f"{plan.outside:,} files or links lie in no class folder and are passed over")
