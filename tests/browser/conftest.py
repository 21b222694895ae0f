# SPDX-License-Identifier: Apache-2.0
"""The browser; without one these tests fail, they are never passed over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine: Playwright brings the protocol, but here no browser."""
    found = [path for path in map(shutil.which, PROGRAMS) if path]
    if not found:
        pytest.fail(f"no {', '.join(PROGRAMS)} here: apt-get install chromium, as root")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0])
        yield browser
        browser.close()
