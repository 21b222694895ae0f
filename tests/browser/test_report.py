# SPDX-License-Identifier: Apache-2.0
"""The report of a run in a browser: every kind of run, everything that must hold for a page."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from page_checks import CHECKS, Check, name_of
from report_runs import ITEMS, RUNS, MakeRun, large
from trainer.report.page import write_report

Report = Callable[[MakeRun], Path]

MOST_BYTES = 5_000_000
MOST_SECONDS = 30


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The page of a run of this kind; made once."""
    drawn: dict[MakeRun, Path] = {}

    def report_of(make: MakeRun) -> Path:
        if make not in drawn:
            run = make(tmp_path_factory.mktemp(make.__name__, numbered=False))
            write_report(run)
            drawn[make] = run.report
        return drawn[make]

    return report_of


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("make", RUNS, ids=lambda make: make.__name__)
def test_report(make: MakeRun, check: Check, report: Report, browser: Browser) -> None:
    check(browser, report(make))


def test_report_of_many_items_is_small_and_soon_drawn(tmp_path: Path) -> None:
    run = large(tmp_path)
    started = time.monotonic()
    write_report(run)
    seconds = time.monotonic() - started
    assert run.manifest.read_text().count("\n") > ITEMS
    assert run.report.stat().st_size < MOST_BYTES
    assert seconds < MOST_SECONDS
