# SPDX-License-Identifier: Apache-2.0
"""Each check lets a sound page pass, and finds the page that it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

import page_checks
from opened_page import KEPT_IN
from page_checks import CHECKS, Check, name_of

SOUND = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sound</title>
<meta name="viewport" content="width=device-width">{head}
<style>circle {{ fill: CanvasText }} {style}</style>
</head><body><main><h1>Sound</h1><p>Text, <a href="#more">and more</a>.</p><h2 id="more">More</h2>
<details><summary>Details</summary><p>Shown.</p></details>
<svg width="20" height="20" role="img" aria-label="Dot"><circle cx="9" cy="9" r="9"/></svg>
{body}</main></body></html>"""

POLICY = """<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'">"""

CLOSED = "<details style='max-height: 1em'><summary>Closed</summary><p>Never shown.</p></details>"

BAD = [
    (page_checks.stands_alone, "<img alt='' src='https://example.org/pixel.png'>", ""),
    (page_checks.stands_alone, "<img alt='' src='elsewhere.png'>", ""),
    (page_checks.stands_alone, "<script>console.warn('odd')</script>", ""),
    (page_checks.stands_alone, "<script>throw Error('odd')</script>", ""),
    (page_checks.stands_alone, "<script>alert('odd')</script>", ""),
    (page_checks.lets_nothing_in, "", ""),
    (page_checks.draws_every_picture, "<img alt='' src='data:image/png;base64,AAAA'>", ""),
    (page_checks.draws_every_picture, "<svg></svg>", "svg { width: 0 }"),
    (page_checks.fits_any_window, "<p style='width: 400px'>wide</p>", ""),
    (page_checks.fits_any_window, f"<p>{'m' * 300}</p>", ""),
    (page_checks.fits_any_window, f"<p>{'m' * 300}</p>", "p { overflow: hidden }"),
    (page_checks.fits_any_window, "<svg><text x='-20' y='20'>cut</text></svg>", ""),
    (page_checks.is_accessible, "<p>pale</p>", "p { color: #aaa; background: #fff }"),
    (
        page_checks.is_accessible,
        "<p>dark</p>",
        "@media (prefers-color-scheme: dark) { p { color: #333; background: #000 } }",
    ),
    (page_checks.is_accessible, "<details><summary>Open</summary><input></details>", ""),
    (
        page_checks.keeps_to_forced_colours,
        "<p>kept</p>",
        "p { forced-color-adjust: none; color: #777; background: #777 }",
    ),
    (page_checks.keeps_to_forced_colours, "", "circle { forced-color-adjust: none; fill: Canvas }"),
    (page_checks.is_accessible, "<svg><text y='20' fill='#999'>pale</text></svg>", ""),
    (page_checks.moves_nothing, "", "html { scroll-behavior: smooth }"),
    (page_checks.moves_nothing, "", "@keyframes k { to { opacity: 0 } } p { animation: k 9s }"),
    (page_checks.is_reached_by_keyboard, "<a href='#more' tabindex='3'>first</a>", ""),
    (page_checks.is_reached_by_keyboard, "", "a:focus-visible { outline: none }"),
    (page_checks.is_reached_by_keyboard, "", "a { position: absolute; left: -999px }"),
    (page_checks.opens_its_details, CLOSED, "details { overflow: hidden }"),
    (page_checks.is_in_order, "<h4>deep</h4>", ""),
    (page_checks.is_in_order, "<h1>second</h1>", ""),
    (page_checks.is_in_order, "<a href='#nowhere'>lost</a>", ""),
    (page_checks.is_in_order, "<a href='gone.html'>lost</a>", ""),
    (page_checks.can_be_printed, "<table><td>1<td style='min-width: 700px'>2</table>", ""),
    (page_checks.can_be_printed, "", "body { background: black; print-color-adjust: exact }"),
]


RADIOS = "".join(f"<label><input type=radio name=a>{kind}</label>" for kind in "abc")


@pytest.fixture(autouse=True)
def _keep_no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to look at these pages."""
    monkeypatch.delenv(KEPT_IN, raising=False)


def _write(path: Path, body: str = "", style: str = "", head: str = "") -> Path:
    path.write_text(SOUND.format(body=body, style=style, head=head), encoding="utf-8")
    return path


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_sound_page_passes(check: Check, tmp_path: Path, browser: Browser) -> None:
    check(browser, _write(tmp_path / "page.html", head=POLICY))


@pytest.mark.parametrize(("check", "body", "style"), BAD)
def test_bad_page_is_found(
    check: Check, body: str, style: str, tmp_path: Path, browser: Browser
) -> None:
    with pytest.raises(AssertionError):
        check(browser, _write(tmp_path / "page.html", body, style))


def test_buttons_of_which_tab_reaches_one_are_sound(tmp_path: Path, browser: Browser) -> None:
    page_checks.is_reached_by_keyboard(browser, _write(tmp_path / "page.html", RADIOS))
