# SPDX-License-Identifier: Apache-2.0
"""A page in Debian's Chromium, and what can be asked of it; the asking runs in spite of its policy.

Pictures of what was seen are kept in the folder that RETRAIN_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize

SERIOUS = ("serious", "critical")

_INTERACTIVE = (
    "a[href], button, input, select, textarea, summary, audio[controls], video[controls], "
    "[tabindex], [contenteditable]"
)
KEPT_IN = "RETRAIN_SCREENSHOTS"


@contextmanager
def opened(browser: Browser, path: Path, width: int = 1280, **emulated: Any) -> Iterator[Page]:
    """A page from its file, in a window of its own without any network.

    Args:
        browser: Where to open it.
        path: The HTML file.
        width: Of the window, CSS pixels.
        emulated: What Playwright's `new_context` takes: `color_scheme`, `forced_colors`, ...
    """
    window = ViewportSize(width=width, height=900)
    context = browser.new_context(offline=True, viewport=window, **emulated)
    try:
        page = context.new_page()
        page.goto(path.resolve().as_uri())
        yield page
    finally:
        context.close()


def open_details(page: Page) -> None:
    """Open all that a reader could."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")


def keep(path: Path, what: str, content: bytes) -> None:
    """Keep what was made of a page, if somebody wants to look at it."""
    if folder := os.environ.get(KEPT_IN):
        name = re.sub(r"[^\w.-]+", "_", f"{path.parent.name}-{path.stem}")[-80:]
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}-{what}").write_bytes(content)


def keep_picture(page: Page, path: Path, what: str) -> None:
    """Keep the whole page as a picture, if somebody wants to look at it."""
    if os.environ.get(KEPT_IN):
        keep(path, f"{what}.png", page.screenshot(full_page=True))


def let_in(page: Page) -> list[str]:
    """What the page's policy does not refuse: of a script, a request and a picture."""
    return list(page.evaluate(_LET_IN))


def broken_pictures(page: Page) -> list[str]:
    """Pictures that cannot be decoded, drawings without a size."""
    return list(page.evaluate(_BROKEN_PICTURES))


def sticking_out(page: Page) -> list[str]:
    """What lies left or right of the window and cannot be scrolled to by itself, or is cut off."""
    return list(page.evaluate(_STICKING_OUT))


def found_by_axe(page: Page, *rules: str) -> list[str]:
    """What axe-core finds serious or critical: rule, how many elements, the first one and why.

    Args:
        page: All of it is looked at, but for closed details.
        rules: The rules to hold it against; none: all that axe-core has.
    """
    chosen = {"runOnly": list(rules)} if rules else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], **chosen})
    return [
        f"{each['id']}: {len(each['nodes'])}, {each['nodes'][0]['html'][:200]}: "
        f"{each['nodes'][0]['failureSummary']}"
        for each in found.response["violations"]
        if each["impact"] in SERIOUS
    ]


def faint_texts(page: Page) -> list[str]:
    """Words in drawings, of which axe-core does not judge, with less than 4.5:1 on the paper."""
    return list(page.evaluate(_FAINT_TEXTS))


def unseen_shapes(page: Page) -> list[str]:
    """Parts of drawings that have no colour but that of the paper, where colours are forced."""
    return list(page.evaluate(_UNSEEN_SHAPES))


def number_stops(page: Page) -> int:
    """Number all that can be acted on in reading order; return how many there are."""
    return int(page.evaluate(_NUMBER_STOPS, _INTERACTIVE))


def focused(page: Page) -> dict[str, Any]:
    """What has the focus: its number as `stop`, `what` it is, whether `marked`, whether `seen`."""
    return dict(page.evaluate(_FOCUSED))


_LET_IN = """async () => {
  const left = new Set(["script-src-elem", "connect-src", "img-src"]);
  const done = new Promise(resolve => {
    document.addEventListener("securitypolicyviolation", event => {
      left.delete(event.effectiveDirective);
      if (!left.size) resolve();
    });
    setTimeout(resolve, 1000);
  });
  const script = document.createElement("script");
  script.textContent = "0";
  const picture = document.createElement("img");
  picture.src = "https://example.org/picture.png";
  document.body.append(script, picture);
  await fetch("https://example.org/").catch(() => null);
  await done;
  return [...left];
}"""

_BROKEN_PICTURES = """async () => {
  const broken = [];
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => null);
    if (!image.naturalWidth) broken.push(image.outerHTML.slice(0, 200));
  }
  for (const drawing of document.querySelectorAll("svg")) {
    const box = drawing.getBoundingClientRect();
    if (!box.width || !box.height) broken.push(drawing.outerHTML.slice(0, 200));
  }
  return broken;
}"""

# Text is measured, not its element: it may be longer than that. What is for screen readers alone
# has one pixel.
_STICKING_OUT = """() => {
  const outside = box => box.width > 1 && (box.left < -1 || box.right > innerWidth + 1);
  const flow = each => getComputedStyle(each).overflowX;
  const scrolls = each => each && each !== document.documentElement
    && (["auto", "scroll"].includes(flow(each)) || scrolls(each.parentElement));
  const unseen = each => each && (each.clientWidth === 1 || unseen(each.parentElement));
  const found = [];
  const range = document.createRange();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, holder = text.parentElement;
    range.selectNodeContents(text);
    if (outside(range.getBoundingClientRect()) && !scrolls(holder) && !unseen(holder))
      found.push(`${holder.tagName}: ${text.data.trim().slice(0, 80)}`);
  }
  for (const each of document.querySelectorAll("table, img, svg, canvas, pre")) {
    if (outside(each.getBoundingClientRect()) && !scrolls(each.parentElement))
      found.push(each.outerHTML.slice(0, 80));
  }
  for (const each of document.querySelectorAll("svg text")) {
    const drawing = each.ownerSVGElement;
    const word = each.getBoundingClientRect(), paper = drawing.getBoundingClientRect();
    if (flow(drawing) === "visible") continue;
    if (word.left < paper.left - 1 || word.right > paper.right + 1
        || word.top < paper.top - 1 || word.bottom > paper.bottom + 1)
      found.push(`outside of its drawing: ${each.textContent.trim().slice(0, 80)}`);
  }
  for (const each of document.querySelectorAll("body, body *")) {
    if (["hidden", "clip"].includes(flow(each)) && each.clientWidth > 1
        && each.scrollWidth > each.clientWidth + 1)
      found.push(`cut off: ${each.outerHTML.slice(0, 80)}`);
  }
  return found.slice(0, 10);
}"""

# WCAG 2.2, "relative luminance" and "contrast ratio".
_FAINT_TEXTS = """() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(level => level / 255).map(
      level => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  document.documentElement.style.caretColor = "Canvas";
  const own = getComputedStyle(document.body).backgroundColor;
  const canvas = getComputedStyle(document.documentElement).caretColor;
  const paper = own === "rgba(0, 0, 0, 0)" ? canvas : own;
  return [...document.querySelectorAll("svg text")].filter(text => {
    const [dark, pale] = [light(getComputedStyle(text).fill), light(paper)].sort((a, b) => a - b);
    return (pale + 0.05) / (dark + 0.05) < 4.5;
  }).map(text => text.outerHTML).slice(0, 10);
}"""

_UNSEEN_SHAPES = """() => {
  document.documentElement.style.caretColor = "Canvas";
  const paper = getComputedStyle(document.documentElement).caretColor;
  const shapes = document.querySelectorAll("svg :is(line, path, polyline, polygon, rect, circle)");
  return [...shapes].filter(shape => {
    if (shape.closest("defs, clipPath, mask, pattern, symbol")) return false;
    const style = getComputedStyle(shape);
    return [style.stroke, style.fill].every(colour => colour === "none" || colour === paper);
  }).map(shape => shape.outerHTML).slice(0, 10);
}"""

# Of radio buttons that belong together Tab reaches one, arrows the others.
_NUMBER_STOPS = """selector => {
  const group = each => [...document.querySelectorAll("input[type=radio]")].filter(
    other => other.name === each.name && other.form === each.form);
  const leads = each => each === (group(each).find(other => other.checked) ?? group(each)[0]);
  const stops = [...document.querySelectorAll(selector)].filter(
    each => each.tabIndex >= 0 && !each.disabled && each.checkVisibility()
      && (each.type !== "radio" || leads(each)));
  stops.forEach((each, at) => { each.dataset.stop = at; });
  return stops.length;
}"""

_FOCUSED = """() => {
  const each = document.activeElement, box = each.getBoundingClientRect();
  const style = getComputedStyle(each);
  return {
    stop: each.dataset.stop ?? "none",
    what: each.outerHTML.slice(0, 120),
    marked: each.matches(":focus-visible")
      && (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1),
    seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
  };
}"""
