# SPDX-License-Identifier: Apache-2.0
"""Records of finished stages: what each was made from, and the files that it left.

A stage is passed over only where its record says the same inputs and its files have the same
contents. A record that is damaged is none.
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
from trainer.rundir import RunDir, sha256_of, write_json

Inputs = dict[str, Any]
"""Hashes and plain values, by what they are of."""


def finish(run: RunDir, name: str, inputs: Inputs, files: Sequence[Path] = ()) -> None:
    """Leave the record of a stage whose files are on disk; on rank 0 alone."""
    write_json(run.stage(name), {"inputs": whole(inputs), "files": _hashes(run, files)})


def unchanged(run: RunDir, name: str, inputs: Inputs, files: Sequence[Path] = ()) -> bool:
    """Whether a stage was finished with these inputs, and its files are as it left them."""
    try:
        return read(run, name) == {"inputs": whole(inputs), "files": _hashes(run, files)}
    except OSError:
        return False


def read(run: RunDir, name: str) -> dict[str, Any] | None:
    """The record of a stage: `inputs` and `files`; None where there is none, or a damaged one."""
    try:
        record = json.loads(run.stage(name).read_bytes())
    except (OSError, ValueError):
        return None
    parts = record if isinstance(record, dict) else {}
    sound = all(isinstance(parts.get(part), dict) for part in ("inputs", "files"))
    return parts if sound else None


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
    return {"data": plan.fingerprint(), "backbone": (features.backbone or {}).get("fingerprint")}


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
    return hashlib.sha256(json.dumps(whole(inputs), sort_keys=True).encode()).digest()
