# SPDX-License-Identifier: Apache-2.0
"""The files of a run as they are given away: where names of hosts, people and folders stand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.analysis.neighbours import ARRAYS, Neighbours
from trainer.config import Config, Tree
from trainer.data.manifest import read_csv, write_csv
from trainer.head.export import NEIGHBOURS, packed, read_arrays, seal
from trainer.rundir import RunDir, write_bytes, write_json
from trainer.sharing.scrub import Secrets

Results = dict[str, Any]

TABLES = ("manifest.csv", "quarantine.csv", "groups.csv", "predictions.csv", "suspects.csv")
ANALYSIS = "analysis.json"

_PATHS = ("path", "group", "unit")
"""Columns that hold paths, or what is made of them."""


def cleaned_config(config: Config, secrets: Secrets) -> Tree:
    """The configuration with the last part of every path, and no cache."""
    tree = config.model_dump()
    data, backbone = tree["data"], tree["backbone"]
    for section, key in ((data, "images"), (data, "bottlenecks"), (data["split"], "image_dir")):
        section[key] = section[key] and _last(section[key], secrets)
    backbone["weights"] = _last(backbone["weights"], secrets)
    tree["run"]["cache"] = None
    return tree


def _last(path: str, secrets: Secrets) -> str:
    """The last part of a path; of a word that is none, the word."""
    return secrets.scrubbed(os.path.basename(path.rstrip("/")))


def cleaned_results(results: Results, other: dict[str, str], secrets: Secrets) -> Results:
    """The results under other names of hosts; what is no message stays as it is.

    Args:
        results: As they are; not changed.
        other: Names of hosts, by their real ones.
        secrets: What messages must not hold.
    """
    cleaned = results | {"warnings": [secrets.scrubbed(text) for text in results["warnings"]]}
    if world := results.get("world"):
        ranks = [rank | {"host": other[rank["host"]]} for rank in world["ranks"]]
        cleaned["world"] = world | {"hosts": _renamed(world["hosts"], other), "ranks": ranks}
    if backbone := results.get("backbone"):
        weights = _last(backbone["weights"], secrets)
        cleaned["backbone"] = backbone | {"weights": weights}
    return cleaned


def _renamed(names: list[str], other: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(other[name] for name in names))


def cleaned_environment(environment: Results, other: dict[str, str], secrets: Secrets) -> Results:
    """What the run ran with, under other names of hosts, one a rank as before."""
    ranks = [other[name] for name in environment.get("hosts", [])]
    cleaned: Results = _each_text(environment, secrets.scrubbed)
    return cleaned | {"hosts": ranks}


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A value of JSON with every text in it changed, keys apart."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(one, change) for one in value]
    if isinstance(value, dict):
        return {key: _each_text(one, change) for key, one in value.items()}
    return value


def make_relative(copy: RunDir) -> None:
    """Shorten the absolute paths that a manifest gave its images, alike in all files.

    What they have in common is left out. Other tables are left as they are, byte for byte.

    Args:
        copy: A copy of a run, with its tables.
    """
    tables = {path: read_csv(path) for name in TABLES if (path := copy.path / name).is_file()}
    paths = [row["path"] for rows in tables.values() for row in rows]
    folders = [os.path.dirname(path) for path in paths if os.path.isabs(path)]
    if not folders:
        return
    common = os.path.join(os.path.commonpath(folders), "")

    def shorter(text: str) -> str:
        return text.removeprefix(common)

    for path, rows in tables.items():
        for row in rows:
            row.update({name: shorter(row[name]) for name in _PATHS if name in row})
        if rows:
            write_csv(path, list(rows[0]), [list(row.values()) for row in rows])
    analysis = copy.path / ANALYSIS
    if analysis.is_file():
        known = json.loads(analysis.read_text(encoding="utf-8"))
        write_json(analysis, _each_text(known, shorter))
    if copy.model.is_dir():
        _shorten_neighbours(copy.model, shorter)


def _shorten_neighbours(model: Path, shorter: Callable[[str], str]) -> None:
    """Rename the items that a copied model keeps, and seal it anew."""
    known = Neighbours.from_arrays(read_arrays(model, NEIGHBOURS, ARRAYS))
    known.paths = [shorter(path) for path in known.paths]
    write_bytes(model / NEIGHBOURS, packed(known.to_arrays()))
    seal(model)
