# SPDX-License-Identifier: Apache-2.0
"""The keys that a finished run's documents must have; after this check, all of them are there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from findings import Broken
from tables import RunFiles

SCORES = (
    "n n_effective correct accuracy interval95 log_loss macro_recall macro_f1 ece ece_expected "
    "majority confusion"
)
RESULTS = {
    "": "schema name status weights_note warnings headline data backbone bottlenecks head test "
    "validation cross_validation before world seconds gpu_hours energy_joules",
    "headline": "source metric value interval95 n majority",
    "data": "images classes quarantined duplicates conflicts near_duplicates split",
    "backbone": "name weights weights_sha256 layer precision features fingerprint precision_error",
    "bottlenecks": "computed reused seconds images_per_second",
    "head": "solver l2 loss gradient_norm iterations seconds",
    "test": SCORES + " without_near_duplicates",
    "test.majority": "label share",
    "validation": SCORES,
    "validation.majority": "label share",
    "cross_validation": SCORES + " folds",
    "cross_validation.folds": "n accuracy l2",
    "cross_validation.majority": "label share",
    "world": "size hosts device_kinds ranks",
    "world.ranks": "rank host device images busy_seconds wait_seconds",
    "seconds": "total",
}
CONFIG = {
    "": "data head evaluate",
    "data": "bottlenecks exclude split max_bad views",
    "data.split": "validation test",
    "head": "solver l2 class_weight",
    "evaluate": "folds",
}


def require_keys(run: RunFiles) -> None:
    """Every object that is not null has its keys, and the run is finished.

    Raises:
        Broken: a key is missing, or the run is of another schema or not complete.
    """
    require("results.json", run.results, RESULTS)
    require("config.yaml", run.config, CONFIG)
    for key, value in (("schema", 1), ("status", "complete")):
        if run.results[key] != value:
            raise Broken("results.json", f"{key} {run.results[key]!r}", repr(value))


def require(file: str, document: dict[str, Any], wanted: dict[str, str]) -> None:
    """Look for the keys of one document."""
    for place, names in wanted.items():
        for holder in holders(document, place):
            missing = [name for name in names.split() if name not in holder]
            if missing:
                raise Broken(file, f"{place or 'the document'} without {missing}", names)


def holders(document: Any, place: str) -> Iterable[dict[str, Any]]:
    """The objects at a dotted place: none where it is null, several where it is a list."""
    for key in place.split(".") if place else []:
        document = (document or {}).get(key)
    if document is None:
        return []
    return document if isinstance(document, list) else [document]
