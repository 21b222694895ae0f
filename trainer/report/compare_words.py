# SPDX-License-Identifier: Apache-2.0
"""A comparison in words: for people, as CSV, as JSON and as a page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainer.data.manifest import csv_line
from trainer.report.compare import TEST, Compared, Comparison, Matched
from trainer.report.pages import draw
from trainer.report.runs import Setting
from trainer.report.tables import excerpt
from trainer.report.wording import NOTHING, count, number, percent, visible
from trainer.rundir import write_text

WIDTH = 80
SHOWN = 20
"""Images of one list on the terminal; the CSV has all."""
SHOWN_ON_PAGE = 500

LEVEL = 0.05
"""Below this chance a difference counts as shown."""

_SMALLEST_CHANCE = 0.001
_COLUMN = 22
_NAMES = {TEST: "Test set", "oof": "Cross-validation"}
_IMAGES = {TEST: "test image", "oof": "cross-validated image"}
_CSV = "source right path_a path_b sha256 label predicted_a predicted_b".split()


def verdict(compared: Compared) -> str:
    """Which run is better on the images of one source, and whether chance alone explains it."""
    counts = compared.counts
    images = count(counts.n, _IMAGES[compared.source])
    more = counts.second - counts.first
    if not counts.only_first and not counts.only_second:
        return f"A and B are right on the same {counts.first:,} of {images}: no difference."
    if more == 0:
        each = f"each alone on {counts.only_first:,}"
        return f"A and B are right on {counts.first:,} of {images}, {each}: no difference shown."
    better = "B" if more > 0 else "A"
    shown = "shown to be better" if compared.chance < LEVEL else "not shown to be better"
    test = "McNemar" if compared.source == TEST else "McNemar, approximate"
    return (
        f"{better} is right on {abs(more):,} more of {images}; by chance alone such a difference "
        f"or a larger one comes in {chance(compared.chance)} of cases ({test}): {shown}."
    )


def chance(share: float) -> str:
    """A probability, with digits where it is small."""
    if share < _SMALLEST_CHANCE:
        return f"less than {percent(_SMALLEST_CHANCE)}"
    return percent(share, 1 if share < 2 * LEVEL else 0)


def points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def as_text(comparison: Comparison) -> str:
    """The comparison for a terminal of 80 columns, its last line ended."""
    paragraphs = [_wrapped(verdict(each)) for each in comparison.sources]
    names = (("A", comparison.first), ("B", comparison.second))
    paragraphs += [[f"{letter}  {visible(str(path))}" for letter, path in names]]
    paragraphs += [_table(comparison.sources)]
    if comparison.settings:
        paragraphs += [["Settings that differ", *map(_setting, comparison.settings)]]
    for each in comparison.sources:
        where = _NAMES[each.source]
        paragraphs += [_list(f"{where}: right in A, wrong in B", each.lost)]
        paragraphs += [_list(f"{where}: wrong in A, right in B", each.gained)]
    paragraphs += [_list("Left out: labelled otherwise in B", comparison.relabelled, _labels)]
    paragraphs += [_wrapped(note) for note in comparison.notes]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines) + "\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def figures(sources: list[Compared]) -> list[tuple[str, list[str]]]:
    """The table: a title, and a cell for each source."""
    rows: list[tuple[str, Callable[[Compared], str]]] = [
        ("Images", lambda each: number(each.counts.n)),
        ("A right", lambda each: _right(each.counts.first, each)),
        ("B right", lambda each: _right(each.counts.second, each)),
        ("Only A right", lambda each: number(each.counts.only_first)),
        ("Only B right", lambda each: number(each.counts.only_second)),
        ("B minus A, points", lambda each: points(each.difference)),
        ("95% interval", lambda each: " to ".join(map(points, each.interval))),
        ("Chance (McNemar)", lambda each: chance(each.chance)),
    ]
    return [(title, [cell(each) for each in sources]) for title, cell in rows]


def _right(right: int, compared: Compared) -> str:
    return f"{right:,} ({percent(right / compared.counts.n)})"


def heads(sources: list[Compared]) -> list[tuple[str, str]]:
    """Title and note of each source's column."""
    return [(_NAMES[each.source], "" if each.source == TEST else "approximate") for each in sources]


def _table(sources: list[Compared]) -> list[str]:
    titles = [f"{title} ({note})" if note else title for title, note in heads(sources)]
    rows = [("", titles), *figures(sources)]
    return [
        f"{title:<{_COLUMN}}{''.join(f'{cell:<{_COLUMN}}' for cell in cells)}".rstrip()
        for title, cells in rows
    ]


def _setting(setting: tuple[str, Setting | None, Setting | None]) -> str:
    key, first, second = setting
    return f"  {visible(key)}: {_value(first)} in A, {_value(second)} in B"


def _value(value: Setting | None) -> str:
    return NOTHING if value is None else visible(str(value))


def _list(title: str, matched: Matched, tell: Callable[..., str] | None = None) -> list[str]:
    """Images under a heading that tells how many they are."""
    if not matched:
        return []
    lines = [f"{title} ({len(matched):,})"]
    for first, second in matched[:SHOWN]:
        path, told = visible(second["path"]), (tell or _predictions)(first, second)
        line = f"  {path}  {told}"
        lines += [line] if len(line) <= WIDTH else [f"  {path}", f"    {told}"]
    left = len(matched) - SHOWN
    return [*lines, f"  and {left:,} more: see --csv or --json"] if left > 0 else lines


def _predictions(first: dict[str, str], second: dict[str, str]) -> str:
    label, a, b = (visible(t) for t in (first["label"], first["predicted"], second["predicted"]))
    return f"label {label} · A {a} · B {b}"


def _labels(first: dict[str, str], second: dict[str, str]) -> str:
    return f"A {visible(first['label'])} · B {visible(second['label'])}"


def as_csv(comparison: Comparison) -> Iterator[str]:
    """One line for each image that changed sides, its end included; the header first."""
    yield csv_line(_CSV)
    for row in changed(comparison):
        yield csv_line([row[key] for key in _CSV])


def changed(comparison: Comparison) -> Iterator[dict[str, str]]:
    """Images that one run alone has right; `right` names it."""
    for each in comparison.sources:
        for right, matched in (("A", each.lost), ("B", each.gained)):
            for first, second in matched:
                yield {
                    "source": each.source,
                    "right": right,
                    "path_a": first["path"],
                    "path_b": second["path"],
                    "sha256": first["sha256"],
                    "label": first["label"],
                    "predicted_a": first["predicted"],
                    "predicted_b": second["predicted"],
                }


def as_json(comparison: Comparison) -> str:
    """All of it, for programs; ASCII, whatever the names."""
    by_source = {each.source: _counted(each) for each in comparison.sources}
    relabelled = [
        {
            "path_a": first["path"],
            "path_b": second["path"],
            "sha256": first["sha256"],
            "label_a": first["label"],
            "label_b": second["label"],
        }
        for first, second in comparison.relabelled
    ]
    whole = {
        "schema": 1,
        "a": str(comparison.first),
        "b": str(comparison.second),
        "verdicts": [verdict(each) for each in comparison.sources],
        "test": by_source.get(TEST),
        "cross_validation": by_source.get("oof"),
        "settings": {key: [first, second] for key, first, second in comparison.settings},
        "changed": list(changed(comparison)),
        "relabelled": relabelled,
        "notes": comparison.notes,
    }
    return json.dumps(whole, indent=2) + "\n"


def _counted(compared: Compared) -> dict[str, Any]:
    counts = compared.counts
    return {
        "n": counts.n,
        "n_effective": compared.effective,
        "correct_a": counts.first,
        "correct_b": counts.second,
        "only_a": counts.only_first,
        "only_b": counts.only_second,
        "difference": compared.difference,
        "interval95": list(compared.interval),
        "mcnemar": compared.chance,
        "approximate": compared.source != TEST,
    }


def write_page(path: Path, comparison: Comparison) -> None:
    """Write the comparison as a page that loads nothing.

    Raises:
        RetrainError: It cannot be written.
    """
    lists = [
        (f"{_NAMES[each.source]}: {title}", excerpt(matched, SHOWN_ON_PAGE))
        for each in comparison.sources
        for title, matched in (
            ("right in A, wrong in B", each.lost),
            ("wrong in A, right in B", each.gained),
        )
        if matched
    ]
    values = {
        "a": str(comparison.first),
        "b": str(comparison.second),
        "verdicts": [verdict(each) for each in comparison.sources],
        "shown": comparison.sources[0].chance < LEVEL,
        "heads": heads(comparison.sources),
        "figures": figures(comparison.sources),
        "settings": [(key, _value(a), _value(b)) for key, a, b in comparison.settings],
        "lists": lists,
        "relabelled": excerpt(comparison.relabelled, SHOWN_ON_PAGE),
        "notes": comparison.notes,
    }
    write_text(path, draw("compare.html", values))
