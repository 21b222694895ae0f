# SPDX-License-Identifier: Apache-2.0
"""The order of the checks: each rests on what the ones before it compared."""

from __future__ import annotations

from pathlib import Path

from aside import check_aside
from checks import (
    check_groups,
    check_manifest,
    check_predictions,
    check_source,
    expect,
    told_source,
)
from findings import Findings
from refit import check_refit
from results import check_complete, check_near, check_results
from schema import require_keys
from source import Source, read_source
from tables import RunFiles, read_run


def recompute(findings: Findings, folder: Path, origin: Path | None, refit: bool) -> None:
    """All checks, from the files up to the figures.

    Args:
        findings: Collects what disagrees.
        folder: The run directory.
        origin: The folder, archive or manifest that the run read; None takes the run's own tables'
            word for it.
        refit: Fit all heads again; needs `origin`.

    Raises:
        Broken: something is so wrong that the rest cannot be compared.
    """
    run = read_run(folder)
    require_keys(run)
    if origin is None:
        source = told_source(run)
    else:
        source = read(run, origin)
        check_source(findings, run, source)
    expected = expect(run, source)
    check_manifest(findings, run, expected)
    check_groups(findings, run, expected)
    check_predictions(findings, run, expected)
    check_results(findings, run, expected)
    check_aside(findings, run, expected)
    if origin is not None:
        check_near(findings, run, expected)
    check_complete(findings, run)
    if refit:
        check_refit(findings, run, expected, source)


def read(run: RunFiles, origin: Path) -> Source:
    """Read the source as the run's configuration says."""
    data = run.config["data"]
    return read_source(origin, data["exclude"], data["bottlenecks"] is None)
