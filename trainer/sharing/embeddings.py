# SPDX-License-Identifier: Apache-2.0
"""The bottlenecks of a finished run as one file of arrays, for other programs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.arrays import Float32Array
from trainer.cache_use import CacheUse
from trainer.config import Config, cache_folder
from trainer.config_file import load
from trainer.data.images import Unreadable
from trainer.data.manifest import read_csv
from trainer.data.place import patiently
from trainer.data.retrain_py import parse_bottleneck
from trainer.data.source import list_names, open_source
from trainer.errors import DataError, RetrainError, printable
from trainer.features.cache import Cache
from trainer.head.export import packed, read_about
from trainer.progress import Progress
from trainer.rundir import RunDir

Results = dict[str, Any]
Rows = list[dict[str, str]]

COLUMNS = ("sha256", "path", "label", "split", "group")


def pack_embeddings(run: RunDir, results: Results, progress: Progress) -> bytes:
    """Gather the bottlenecks of all items.

    Args:
        run: A finished run.
        results: Its results.
        progress: Told of damaged shards.
    Returns:
        An .npz that needs no pickle: `embeddings` (n, features) float32; `sha256`, `path`,
        `label`, `split` and `group` (n,) text; `classes` (classes,) text, in the order of the
        model's probabilities. In path order, of equal files the first, none of two labels.
    Raises:
        DataError: The cache or the data no longer holds what the run used.
    """
    items = _items(run)
    config = load(str(run.config), [])
    if results["backbone"]:
        table = _from_cache(run, items, results["backbone"], config, progress)
    else:
        table = _from_texts(items, read_about(run.model).features, config)
    arrays = {name: np.array([row[name] for row in items], np.str_) for name in COLUMNS}
    classes = np.array(results["data"]["classes"], np.str_)
    return packed({"embeddings": table, "classes": classes, **arrays})


def _items(run: RunDir) -> Rows:
    """The manifest's rows that were dealt: neither copies of others nor conflicts."""
    dealt = {row["path"] for row in read_csv(run.groups)}
    return [row for row in read_csv(run.manifest) if row["path"] in dealt]


def _from_cache(
    run: RunDir, items: Rows, backbone: Results, config: Config, progress: Progress
) -> Float32Array:
    digests = [bytes.fromhex(row["sha256"]) for row in items]
    use = CacheUse(cache_folder(config, run.path.parent), run.path)
    cache = Cache(use, backbone["fingerprint"], backbone["features"])
    known = cache.read_index(set(digests), progress)
    missing = sum(one not in known or one in known.unreadable for one in digests)
    if missing:
        raise DataError(
            f"{use.root}: no longer has {missing:,} of the run's {len(items):,} bottlenecks.",
            "Start the same `retrain run` with --again: it computes them anew. Or say where they "
            "are by RETRAIN_CACHE.",
        )
    try:
        return known.read(digests, cache.features)
    except RetrainError as error:
        raise DataError(
            error.message, "Start the same `retrain run` with --again: it computes them anew."
        ) from None


def _from_texts(items: Rows, features: int, config: Config) -> Float32Array:
    source = open_source(config.data)
    places = {file.path: source.place(file) for file in list_names(source).files}
    changed: list[str] = []
    table = np.empty((len(items), features), np.float32)
    for row, item in zip(table, items, strict=True):
        try:
            content = patiently(places[item["path"]].read)
            if hashlib.sha256(content).hexdigest() != item["sha256"]:
                changed.append(item["path"])
            else:
                row[:] = parse_bottleneck(content)
        except (KeyError, OSError, Unreadable):
            changed.append(item["path"])
    if changed:
        raise _other_texts(config, changed)
    return table


def _other_texts(config: Config, changed: Sequence[str]) -> DataError:
    return DataError(
        f"{config.data.source_key} {config.data.source}: {len(changed):,} files are gone or were "
        f"changed since the run, such as {printable(changed[0])}.",
        "Bring them back, or start the same `retrain run` with --again for what is there now.",
    )
