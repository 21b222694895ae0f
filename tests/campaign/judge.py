# SPDX-License-Identifier: Apache-2.0
"""Whether a run's result is that of an undisturbed one, and whether anything lies about."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bad import Bad, require
from cases import Case

TABLES = ("manifest.csv", "groups.csv", "quarantine.csv")
TOLERANCE = 1e-6
OF_THE_DAY = ("bottlenecks", "seconds", "gpu_hours", "energy_joules", "world", "warnings")
"""Sections of results.json that tell how a run went, not what it found."""
OF_THE_HEAD = ("seconds", "iterations", "gradient_norm")
"""The same in its section on the head: one that was resumed ends by another way."""


def same_result(run: Path, case: Case, forgiven: str = "") -> None:
    """Compare a complete run with the undisturbed one of its case.

    Args:
        run: The run directory.
        case: What was run.
        forgiven: A text in warnings that this run may have beside those of the undisturbed one.
    Raises:
        Bad: Another result.
    """
    results = read(run / "results.json")
    require(results.get("status") == "complete", f"results.json says {results.get('status')}")
    for name in TABLES:
        same = (run / name).read_bytes() == (case.reference / name).read_bytes()
        require(same, f"wrong result: {name} is another")
    _same_rows(run / "predictions.csv", case.reference / "predictions.csv")
    found, wanted = (dict(_figures(results)), dict(_figures(case.results)))
    for key in sorted(found.keys() | wanted.keys()):
        same = _equal(found.get(key), wanted.get(key))
        require(same, f"wrong result: {key} is {found.get(key)}, was {wanted.get(key)}")
    more = set(results["warnings"]) ^ set(case.results["warnings"])
    strange = sorted(line for line in more if not (forgiven and forgiven in line))
    require(not strange, f"other warnings: {strange}")
    _same_findings(read(run / "analysis.json"), read(case.reference / "analysis.json"))
    for name in ("head.npz", "neighbours.npz"):
        _same_arrays(run / "model" / name, case.reference / "model" / name)


def _same_findings(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare what analysis.json says; how the final fit went may differ."""
    found["head"].pop("fit")
    wanted["head"].pop("fit")
    ours, theirs = dict(_leaves(found, "")), dict(_leaves(wanted, ""))
    for key in sorted(ours.keys() | theirs.keys()):
        same = _equal(ours.get(key), theirs.get(key))
        require(same, f"wrong result: {key} of analysis.json is {ours.get(key)}: {theirs.get(key)}")


def same_files(run: Path, case: Case) -> None:
    """See that a run directory holds what an undisturbed run leaves, and nothing else.

    Raises:
        Bad: Files are missing, or lie about.
    """
    names, usual = _names(run), _names(case.reference)
    require(names <= usual, f"stray files in the run directory: {sorted(names - usual)}")
    require(names >= usual, f"files that are not there: {sorted(usual - names)}")


def read(path: Path) -> dict[str, Any]:
    """A JSON file's content; empty where there is none.

    Raises:
        Bad: It is broken.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise Bad(f"half-written: {path}") from None


def _names(folder: Path) -> set[str]:
    """All, but for files of events, which have the time in their names."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {name for name in names if not name.startswith("events/")}


def _same_rows(found: Path, wanted: Path) -> None:
    if found.read_bytes() == wanted.read_bytes():
        return
    rows, others = _table(found), _table(wanted)
    require(len(rows) == len(others), f"wrong result: {len(rows)} predictions of {len(others)}")
    for row, other in zip(rows, others, strict=True):
        for key, value in other.items():
            same = _near(row.get(key), value) if key[:2] == "p:" else row.get(key) == value
            require(same, f"wrong result: {key} of {row.get('path')} is {row.get(key)}: {value}")


def _table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _near(found: str | None, wanted: str) -> bool:
    return bool(found) and abs(float(found or 0) - float(wanted)) <= TOLERANCE


def _figures(results: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every figure that must be the same, by its path in results.json."""
    kept = {key: value for key, value in results.items() if key not in OF_THE_DAY}
    head = {key: value for key, value in results["head"].items() if key not in OF_THE_HEAD}
    return _leaves({**kept, "head": head}, "")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{place}")
    else:
        yield path, value


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(found == wanted)


def _same_arrays(found: Path, wanted: Path) -> None:
    with np.load(found, allow_pickle=False) as ours, np.load(wanted, allow_pickle=False) as theirs:
        require(ours.files == theirs.files, f"wrong result: {found} holds {ours.files}")
        for name in theirs.files:
            mine, other = ours[name], theirs[name]
            numbers = mine.dtype.kind == "f" and mine.shape == other.shape
            same = np.allclose(mine, other, rtol=1e-4, atol=1e-4) if numbers else (mine == other)
            require(bool(np.all(same)), f"wrong result: {name} in {found} is another")


def no_strays(cache: Path, case: Case) -> None:
    """See that a cache holds only files of the kinds that an undisturbed run leaves.

    Raises:
        Bad: It holds others.
    """
    kinds = _kinds(case.cache)
    strange = sorted(
        path.relative_to(cache).as_posix()
        for path in cache.rglob("*")
        if path.is_file() and (_kind(path, cache) not in kinds or path.name.startswith("."))
    )
    require(not strange, f"stray files in the cache: {strange}")


def _kinds(cache: Path) -> set[tuple[str, str]]:
    return {_kind(path, cache) for path in cache.rglob("*") if path.is_file()}


def _kind(path: Path, cache: Path) -> tuple[str, str]:
    return path.relative_to(cache).parts[0], path.suffix


def half_written(folder: Path) -> list[str]:
    """Temporary files below a folder."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.endswith(".tmp") or path.name.startswith(".")
    )


def committed(cache: Path, case: Case) -> frozenset[bytes]:
    """The pictures whose bottlenecks are visible in a cache, whatever its shards' layout is.

    A shard's index holds the SHA-256 of each picture as it is: so it is searched for all of them.
    """
    folder = cache / "bottlenecks" / case.fingerprint
    if not case.images or not folder.is_dir():
        return frozenset()
    shards = [path for path in folder.iterdir() if ".shard" in path.name and path.name[0] != "."]
    contents = [path.read_bytes() for path in shards]
    return frozenset(
        digest for digest in case.digests if any(digest in content for content in contents)
    )
