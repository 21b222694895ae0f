# SPDX-License-Identifier: Apache-2.0
"""Pages over many runs, two runs and new images in a browser: what must hold for every page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from opened_page import opened
from other_pages import PAGES, MakePage, many_runs
from page_checks import CHECKS, Check, name_of

Page = Callable[[MakePage], Path]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of this kind; made once."""
    drawn: dict[MakePage, Path] = {}

    def page_of(make: MakePage) -> Path:
        if make not in drawn:
            drawn[make] = make(tmp_path_factory.mktemp(make.__name__, numbered=False))
        return drawn[make]

    return page_of


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("make", PAGES, ids=lambda make: make.__name__)
def test_page(make: MakePage, check: Check, page: Page, browser: Browser) -> None:
    check(browser, page(make))


def test_runs_are_sorted_by_the_keyboard(page: Page, browser: Browser) -> None:
    with opened(browser, page(many_runs)) as shown:
        head = shown.locator("th[aria-sort] button, th:has(button) button").first
        names = "[...document.querySelectorAll('tbody tr')].map(row => row.innerText)"
        before = shown.evaluate(names)
        head.press("Enter")
        first = shown.evaluate(names)
        head.press("Enter")
        second = shown.evaluate(names)
    assert sorted(before) == sorted(first) == sorted(second)
    assert first != second
