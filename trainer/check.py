# SPDX-License-Identifier: Apache-2.0
"""`retrain check`: what can be known of a run without TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from trainer.config import Config, cache_folder
from trainer.data.dataset import Dataset, Hashes, deal_dataset, require_dealable
from trainer.data.difference_hash import DifferenceHash
from trainer.data.images import BadFile, Listing, Unreadable
from trainer.data.place import patiently
from trainer.data.plan import Plan, assemble, hash_file
from trainer.data.retrain_py import common_length, parse_bottleneck
from trainer.data.sets import TEST, TRAINING, VALIDATION
from trainer.data.source import Source, list_enough, look_at, put_in, require_whole, unseen
from trainer.features import weights
from trainer.features.backbones import NETWORKS
from trainer.features.exact_hashes import HashTable, complete
from trainer.features.pipeline import Decoder, Outcome, Work
from trainer.features.preprocess import HASH_ALONE, Decoded
from trainer.progress import to_stderr
from trainer.report.wording import visible
from trainer.world import launch

AT_ONCE = 32
"""Files that are begun together, for each core."""
MOST_SHOWN = 10


def check_source(config: Config, quick: bool) -> None:
    """Print what a run would find.

    Args:
        config: The run.
        quick: Open no file.
    Raises:
        RetrainError: What the run would end with.
    """
    source, names = list_enough(config.data)
    if quick:
        counts = Counter(file.label for file in names.files)
        for label in names.classes:
            print(f"{counts[label]:8,}  {visible(label)}")
        print(f"{len(names.files):8,}  files in {len(names.classes)} classes; none was opened")
        return
    if config.data.images is not None:
        network, cache = NETWORKS[config.backbone.name], cache_folder(config, Path("runs"))
        network.cut_at(config.backbone.layer)
        weights.load(network, config.backbone.weights, cache, config.run.seed)
    plan = _plan(source, names)
    require_dealable(plan, config)
    found = _read_all(config, plan)
    hashes = None if config.data.images is None else _hashes(plan, found)
    dataset = deal_dataset(plan, _unreadable(plan, found), hashes, config)
    _print_table(dataset, plan)


def _plan(source: Source, names: Listing) -> Plan:
    """Look at every file and hash it."""
    listing = put_in(names, chain.from_iterable(look_at(source, names.files, unseen(names))))
    require_whole(source, listing)
    with ThreadPoolExecutor(len(launch.given_cores())) as pool:
        hashed = list(pool.map(lambda file: hash_file(source, file).content, listing.files))
    return assemble(source, listing, hashed)


Read = tuple[str, DifferenceHash | int | None]
"""Why a file is unreadable, or nothing; a picture's difference hash, or a text's numbers."""


def _read_all(config: Config, plan: Plan) -> list[Read]:
    """Decode every file, on all cores."""
    found: list[Read] = []
    with to_stderr().track("Files read", len(plan.files)) as track:
        for one in _pictures(config, plan) if config.data.images is not None else _texts(plan):
            found.append(one)
            track.reach(len(found))
    return found


def _pictures(config: Config, plan: Plan) -> Iterator[Read]:
    work = list(zip(plan.files, plan.digests, strict=True))
    for outcome in _decoded(plan, work, NETWORKS[config.backbone.name].side):
        if isinstance(outcome, Decoded):
            yield "", outcome.dhash
        else:
            yield _reason(outcome), None


def _decoded(plan: Plan, work: Work, side: int) -> Iterator[Outcome]:
    """Decode some files, in order, on all cores."""
    cores = len(launch.given_cores())
    with Decoder(plan.source.place, side, cores) as decoder:
        for first in range(0, len(work), AT_ONCE * cores):
            for future in decoder.start(work[first : first + AT_ONCE * cores]):
                yield future.result()


def _reason(outcome: str | OSError) -> str:
    return outcome if isinstance(outcome, str) else f"cannot be read: {outcome.strerror}"


def _texts(plan: Plan) -> Iterator[Read]:
    for file in plan.files:
        try:
            yield "", len(parse_bottleneck(patiently(plan.source.place(file).read)))
        except Unreadable as error:
            yield error.reason, None
        except OSError as error:
            yield f"cannot be read: {error.strerror}", None


def _unreadable(plan: Plan, found: Sequence[Read]) -> list[BadFile]:
    lengths = [length for _, length in found if isinstance(length, int)]
    most = common_length(lengths) if lengths else None
    bad = []
    for file, (reason, length) in zip(plan.files, found, strict=True):
        if not reason and most and length != most:
            reason = f"has {length:,} numbers; most have {most:,}"
        if reason:
            bad.append(BadFile(file.path, file.bytes, reason))
    return bad


def _hashes(plan: Plan, found: Sequence[Read]) -> Hashes:
    """Hashes from which the near-duplicates follow; for that some images are decoded whole."""
    first = dict(zip(reversed(plan.digests), reversed(plan.files), strict=True))
    known = zip(plan.digests, found, strict=True)
    table = HashTable(
        {digest: dhash for digest, (_, dhash) in known if isinstance(dhash, DifferenceHash)}
    )

    def decode(digests: Sequence[bytes]) -> tuple[dict[bytes, DifferenceHash], list[BadFile]]:
        exact, bad = {}, []
        work = [(first[digest], digest) for digest in digests]
        with progress.track("Files read at full size", len(work)) as track:
            for (file, digest), outcome in zip(work, _decoded(plan, work, HASH_ALONE), strict=True):
                if isinstance(outcome, Decoded):
                    exact[digest] = outcome.dhash
                else:
                    bad.append(BadFile(file.path, file.bytes, _reason(outcome)))
                track.reach(len(exact) + len(bad))
        return exact, bad

    progress = to_stderr()
    complete(table, decode, progress)
    return table.look_up


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
    print(f"{found['images']:,} files can be read; {found['quarantined']:,} cannot be used")
    near = found["near_duplicates"]
    print(
        f"copies of another: {found['duplicates']:,}; under two labels: {found['conflicts']:,}"
        + ("" if near is None else f"; nearly like another: {near:,}")
    )
    bad = sorted((file.path, file.reason) for file in dataset.bad)
    _print_some([f"{visible(path)} {reason}" for path, reason in bad])
    torn = dataset.gathered.conflicts
    _print_some([f"{visible(file.path)} lies under another label too" for file, _ in torn])
    if plan.outside:
        print(f"{plan.outside:,} files or links lie in no class folder and are passed over")


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:MOST_SHOWN]:
        print(f"  {line}")
    if len(lines) > MOST_SHOWN:
        print(f"  and {len(lines) - MOST_SHOWN:,} more")
