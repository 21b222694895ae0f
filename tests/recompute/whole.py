# SPDX-License-Identifier: Apache-2.0
"""The order of the checks: each rests on what the ones before it compared."""

from __future__ import annotations

from pathlib import Path

from checks import (
    check_groups,
    check_manifest,
    check_predictions,
    check_source,
    expect,
    manifest_digests,
)
from findings import Broken, Findings
from refit import check_refit
from results import check_complete, check_results
from schema import require_keys
from source import Source, read_source
from tables import read_run


def recompute(findings: Findings, folder: Path, root: Path | None, refit: bool) -> None:
    """All checks, from the files up to the figures.

    Args:
        findings: Collects what disagrees.
        folder: The run directory.
        root: The folder of classes that the run read; None takes manifest.csv's word for it.
        refit: Fit all heads again; needs `root`.

    Raises:
        Broken: something is so wrong that the rest cannot be compared.
    """
    run = read_run(folder)
    require_keys(run)
    digests = manifest_digests(run)
    source: Source | None = None
    texts = run.config["data"]["bottlenecks"] is not None
    if root is not None:
        source = read_source(root, run.config["data"]["exclude"], texts)
        check_source(findings, run, source, root)
        digests = source.readable
    expected = expect(run, digests)
    check_manifest(findings, run, expected)
    check_groups(findings, run, expected)
    check_predictions(findings, run, expected)
    check_results(findings, run, expected)
    check_complete(findings, run)
    if refit and source is not None:
        if not texts:
            raise Broken("config.yaml", "no data.bottlenecks", "bottleneck texts to fit again")
        check_refit(findings, run, expected, source)
