# SPDX-License-Identifier: Apache-2.0
"""What must hold for every page that retrain draws, as a reader's browser shows it.

Each check opens the page anew from its file and says in its AssertionError what is wrong. The tests
of a page are all of them: `pytest.mark.parametrize("check", CHECKS, ids=name_of)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser

from opened_page import (
    broken_pictures,
    faint_texts,
    focused,
    found_by_axe,
    keep,
    keep_picture,
    let_in,
    number_stops,
    open_details,
    opened,
    sticking_out,
    unseen_shapes,
)

Check = Callable[[Browser, Path], None]

SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
PHONE, DESK = 390, 1280
NARROWEST = 320
"""The desk's page at four times its size: WCAG 2.2, 1.4.10 (Reflow)."""
PAPER = 687
"""An A4 sheet's width in CSS pixels, less margins of 14 mm."""
WHITE = ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")


def stands_alone(browser: Browser, path: Path) -> None:
    """It asks for nothing but itself, opens nothing and says nothing on the console."""
    heard: list[str] = []
    with opened(browser, path) as page:
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("popup", lambda _: heard.append("another window"))
        page.on("dialogclosed", lambda _: heard.append("a dialog"))
        page.on("request", lambda request: heard.append(f"request: {request.url}"))
        page.reload()
        open_details(page)
        page.wait_for_load_state("networkidle")
    own = f"request: {path.resolve().as_uri()}"
    assert own in heard, "not even the request for the page was heard"
    strange = [line for line in heard if line != own and not line.startswith("request: data:")]
    assert not strange, strange


def lets_nothing_in(browser: Browser, path: Path) -> None:
    """Its own policy keeps out what a hole in the escaping of names would let in."""
    with opened(browser, path) as page:
        assert not (left := let_in(page)), left


def draws_every_picture(browser: Browser, path: Path) -> None:
    """Pictures are decoded, drawings have a size."""
    with opened(browser, path) as page:
        open_details(page)
        assert not (broken := broken_pictures(page)), broken


def fits_any_window(browser: Browser, path: Path) -> None:
    """It never scrolls sideways, and hides nothing for that; wide tables scroll by themselves."""
    for width in (NARROWEST, PHONE, DESK):
        with opened(browser, path, width) as page:
            open_details(page)
            assert not (wide := sticking_out(page)), f"at {width} px: {wide}"
            scrolled = page.evaluate("document.documentElement.scrollWidth")
            assert scrolled <= width, f"{scrolled} px wide at {width} px"


def is_accessible(browser: Browser, path: Path) -> None:
    """axe-core finds nothing serious on a light phone and on a dark desk.

    Layout does not depend on the scheme, nor do colours on the width: the other two are only kept.
    """
    for width, scheme in product((PHONE, DESK), SCHEMES):
        with opened(browser, path, width, color_scheme=scheme) as page:
            keep_picture(page, path, f"{width}-{scheme}")
            if (width, scheme) in ((PHONE, "light"), (DESK, "dark")):
                open_details(page)
                found = found_by_axe(page) + faint_texts(page)
                assert not found, f"{scheme}, {width} px: {found}"


def keeps_to_forced_colours(browser: Browser, path: Path) -> None:
    """With the reader's own few colours it can be read, and its drawings seen."""
    for scheme in SCHEMES:
        forced = {"color_scheme": scheme, "forced_colors": "active"}
        with opened(browser, path, PHONE, **forced) as page:
            keep_picture(page, path, f"forced-{scheme}")
            open_details(page)
            assert not (found := found_by_axe(page, "color-contrast")), f"{scheme}: {found}"
            assert not (unseen := unseen_shapes(page)), f"{scheme}: {unseen}"


def moves_nothing(browser: Browser, path: Path) -> None:
    """For a reader who asked for no motion nothing moves, and links jump."""
    with opened(browser, path, reduced_motion="reduce") as page:
        open_details(page)
        assert page.evaluate("document.getAnimations().length") == 0
        scrolling = "getComputedStyle(document.documentElement).scrollBehavior"
        assert page.evaluate(scrolling) == "auto"


def is_reached_by_keyboard(browser: Browser, path: Path) -> None:
    """Tab reaches all that can be acted on, in reading order, shows where it is, and leaves."""
    with opened(browser, path) as page:
        open_details(page)
        stops = number_stops(page)
        reached = []
        for _ in range(stops):
            page.keyboard.press("Tab")
            reached.append(focused(page))
    wrong = [each for at, each in enumerate(reached) if each["stop"] != str(at)]
    assert not wrong, f"{len(wrong)} of {stops} out of order, first: {wrong[0]}"
    assert not (unmarked := [each["what"] for each in reached if not each["marked"]]), unmarked
    assert not (unseen := [each["what"] for each in reached if not each["seen"]]), unseen


_OPEN_AROUND = """summary => {
  let around = summary.parentElement;
  while (around = around.parentElement.closest("details")) around.open = true;
}"""


def opens_its_details(browser: Browser, path: Path) -> None:
    """Each of its details opens from the keyboard, shows something, and closes again."""
    with opened(browser, path, PHONE) as page:
        for summary in page.locator("summary").all():
            summary.evaluate(_OPEN_AROUND)
            height = "summary => summary.parentElement.getBoundingClientRect().height"
            closed = summary.evaluate(height)
            summary.press("Enter")
            assert summary.evaluate(height) > closed, summary.inner_text()
            summary.press("Space")
            assert summary.evaluate(height) == closed, summary.inner_text()


def is_in_order(browser: Browser, path: Path) -> None:
    """One h1, no level of headings passed over, a language, a title, links that lead somewhere."""
    with opened(browser, path) as page:
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(each => +each.tagName[1])"
        )
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
        links = page.evaluate("[...document.querySelectorAll('a')].map(each => each.href)")
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.title().strip()
        assert page.locator("main").count() == 1
    assert levels[:1] == [1]
    assert levels.count(1) == 1
    assert all(lower <= upper + 1 for upper, lower in pairwise(levels)), levels
    assert len(set(ids)) == len(ids)
    assert not (lost := [link for link in links if not _leads_somewhere(link, path, ids)]), lost


def _leads_somewhere(link: str, path: Path, ids: list[str]) -> bool:
    parts = urlsplit(link)
    if parts.scheme != "file":
        return parts.scheme == "https"
    aim = Path(unquote(parts.path))
    return unquote(parts.fragment) in ids if aim == path.resolve() else aim.exists()


def can_be_printed(browser: Browser, path: Path) -> None:
    """A PDF with pages, dark on white; nothing is wider than paper, and so cut or made small."""
    with opened(browser, path, PAPER, color_scheme="dark") as page:
        printed = page.pdf(format="A4", prefer_css_page_size=True)
        keep(path, "print.pdf", printed)
        page.emulate_media(media="print")
        assert not (wide := sticking_out(page)), wide
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") in WHITE
    assert printed.startswith(b"%PDF-")
    assert re.search(rb"/Type\s*/Page\b", printed)


CHECKS: tuple[Check, ...] = (
    stands_alone,
    lets_nothing_in,
    draws_every_picture,
    fits_any_window,
    is_accessible,
    keeps_to_forced_colours,
    moves_nothing,
    is_reached_by_keyboard,
    opens_its_details,
    is_in_order,
    can_be_printed,
)


def name_of(check: Check) -> str:
    """How a check is called in a test's name."""
    return check.__name__
