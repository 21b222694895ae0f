# SPDX-License-Identifier: Apache-2.0
"""Records of finished stages: what each was made from, and the files that it left.

A stage is passed over only where its record says the same inputs and its files have the same
contents. Each record also holds a hash of itself: one that is damaged is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import trainer
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.plan import Plan
from trainer.features.bottlenecks import Features
from trainer.rundir import RunDir, remove, sha256_of, write_json

STOPPED = "stopped"
"""The record that is not of a stage: what was kept at the last stop."""

Inputs = dict[str, Any]
"""Hashes and plain values, by what they are of."""


def finish(run: RunDir, name: str, inputs: Inputs, files: Sequence[Path] = ()) -> None:
    """Leave the record of a stage whose files are on disk; on rank 0 alone.

    Raises:
        RetrainError: It cannot be written.
    """
    write(run, name, {"inputs": whole(inputs), "files": _hashes(run, files)})


def write(run: RunDir, name: str, record: dict[str, Any]) -> None:
    """Write a record and its own hash; on rank 0 alone.

    Raises:
        RetrainError: It cannot be written.
    """
    write_json(run.stage(name), {**record, "sha256": _hash(record)})


def unchanged(run: RunDir, name: str, inputs: Inputs, files: Sequence[Path] = ()) -> bool:
    """Whether a stage was finished with these inputs, and its files are as it left them."""
    try:
        return read(run, name) == {"inputs": whole(inputs), "files": _hashes(run, files)}
    except OSError:
        return False


def read(run: RunDir, name: str) -> dict[str, Any] | None:
    """A record as it was written; None where there is none, or a damaged one."""
    try:
        record = json.loads(run.stage(name).read_bytes())
        told = record.pop("sha256")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return dict(record) if told == _hash(record) else None


def drop_damaged(run: RunDir) -> list[Path]:
    """Remove the records that are damaged: what they were of is not known to be done.

    Returns:
        Where they were.
    """
    damaged = [
        path
        for path in sorted(run.stages.glob("*.json"))
        if path != run.complete and read(run, path.stem) is None
    ]
    for path in damaged:
        remove(path)
    return damaged


def changed_files(run: RunDir) -> list[str]:
    """Files that are not as their stages left them, by path relative to the run."""
    left: dict[str, str] = {}
    for path in run.stages.glob("*.json"):
        left |= (read(run, path.stem) or {}).get("files", {})
    return sorted(name for name in left if _hash_of_file(run.path / name) != left[name])


def _hash_of_file(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""


def finished(run: RunDir) -> int:
    """How many stages have a record."""
    names = {path.stem for path in run.stages.glob("*.json")} - {STOPPED}
    return sum(read(run, name) is not None for name in names)


def whole(inputs: Inputs) -> Inputs:
    """Also the program: another version may do a stage otherwise."""
    return {"version": trainer.__version__, **inputs}


def _hashes(run: RunDir, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files, and of all that lies in folders, by path relative to the run."""
    found: dict[str, str] = {}
    for path in files:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if not file.is_dir():
                found[file.relative_to(run.path).as_posix()] = sha256_of(file)
    return found


def bottlenecks_inputs(plan: Plan, features: Features) -> Inputs:
    """What decides the bottlenecks: contents, and the network as it was used."""
    return {"data": plan.fingerprint, "backbone": (features.backbone or {}).get("fingerprint")}


def head_inputs(dataset: Dataset, features: Features, config: Config) -> Inputs:
    """What decides the fits: items with labels, sets and folds, their bottlenecks, settings."""
    return {
        "items": dataset.fingerprint(),
        "backbone": (features.backbone or {}).get("fingerprint"),
        "head": config.head.model_dump(mode="json"),
        "folds": dataset.fold_count,
    }


def key_of(inputs: Inputs) -> bytes:
    """32 bytes that stand for inputs."""
    return bytes.fromhex(_hash(whole(inputs)))


def _hash(value: object) -> str:
    """SHA-256 of what JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
