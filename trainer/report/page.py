# SPDX-License-Identifier: Apache-2.0
"""One run as one page, drawn from the run directory's files alone; it loads nothing from elsewhere.

The page tells nothing of where it lies, so that a run directory can be moved or sent, and drawing
it again gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainer.analysis.scores import nothing_learnt
from trainer.data.manifest import read_csv
from trainer.report import tables, wording
from trainer.report.classes import ClassRow, class_rows, weakest_first
from trainer.report.found import found, wish_rows
from trainer.report.pages import draw, quoted_name
from trainer.report.values import class_names
from trainer.report.verdict import (
    guessing,
    not_pretrained,
    observations,
    to_label,
    unfinished,
    verdict,
)
from trainer.rundir import RunDir, write_text

Results = dict[str, Any]

_SECTIONS = {
    "data": "images classes quarantined duplicates conflicts near_duplicates split compat",
    "backbone": "name weights weights_sha256 layer precision features fingerprint precision_error",
    "bottlenecks": "computed reused seconds images_per_second",
    "head": "solver l2 loss gradient_norm iterations seconds",
    "world": "size hosts device_kinds ranks",
}
"""What the template asks for; in a run that did not come so far it is null."""


def write_report(run: RunDir) -> None:
    """Draw `report.html`, whatever came of the run.

    Args:
        run: A run directory with `results.json`; of its other files what is there.

    Raises:
        DataError: There are no results, or a newer version wrote them.
        RetrainError: The page cannot be written.
    """
    results = run.read_results()
    values = _overview(results) | _scores(results) | _given(run, results) | _made(run, results)
    values |= _found(run, results)
    write_text(run.report, draw("report.html", values))


def redraw(run: RunDir) -> None:
    """Draw the report of a run again, and keep the final mark right, which covers it.

    Raises:
        DataError: There are no results, or the run is not as it was when it was finished, so that
            the page could tell something wrong.
        RetrainError: The page cannot be written.
    """
    results = run.read_results()
    marked = run.complete.exists()
    if marked:
        run.require_undamaged()
    write_report(run)
    if marked:
        run.write_complete(results)


def _overview(results: Results) -> Results:
    headline = results.get("headline")
    classes = class_names(results)
    seen = " · ".join(observations(results))
    limits = [not_pretrained(results), seen, *(results.get("warnings") or [])]
    return {
        "name": results.get("name") or "",
        "status": results["status"],
        "unfinished": unfinished(results),
        # The sentence is our own words and numbers; the one name in it comes escaped.
        "verdict": Markup(verdict(results, quoted_name)),
        "headline": headline and _scale(headline, len(classes)),
        "limits": [text[0].upper() + text[1:] for text in limits if text],
    }


def _scale(headline: Results, classes: int) -> Results:
    """The headline with all that its drawing needs."""
    return headline | {
        "guessing": guessing(headline["majority"], headline["metric"], classes),
        "nothing_learnt": nothing_learnt(headline, classes),
    }


def _scores(results: Results) -> Results:
    scored = tables.sources(results)
    confused = [source for source in scored if source.figures.get("confusion")][:2]
    classes = class_names(results)
    return {
        "sources": scored,
        "score_rows": tables.score_rows(scored),
        "before": results.get("before"),
        "apart": _apart(results.get("test")),
        "folds": (results.get("cross_validation") or {}).get("folds") or [],
        "numbered": len(classes) > tables.MOST_NAMED_COLUMNS,
        "large": len(classes) > tables.LARGEST_MATRIX,
        "confusions": [_confusion(source, classes) for source in confused],
        "class_scores": [(source, _class_rows(source.figures, classes)) for source in confused],
        "class_count": len(classes),
    }


def _class_rows(figures: Results, classes: list[str]) -> tables.Excerpt[ClassRow]:
    thinning = figures["n_effective"] / figures["n"]
    rows = class_rows(figures["confusion"], classes, thinning)
    return tables.excerpt(weakest_first(rows) if len(classes) > tables.LARGEST_MATRIX else rows)


def _apart(test: Results | None) -> Results | None:
    """The test figures without near-duplicates of development, where there are any."""
    apart: Results | None = (test or {}).get("without_near_duplicates")
    return apart if test and apart and apart["n"] < test["n"] else None


def _confusion(source: tables.Source, classes: list[str]) -> Results:
    rows = tables.truth_rows(source.figures["confusion"], classes)
    return {
        "source": source,
        "rows": rows,
        "pairs": tables.excerpt(tables.confused_pairs(rows), tables.MOST_PAIRS),
    }


def _given(run: RunDir, results: Results) -> Results:
    manifest = _rows(run.manifest)
    given = tables.given(manifest)
    classes = class_names(results)
    return {
        "given": given,
        "class_sets": tables.excerpt(tables.class_sets(given, classes)),
        "copies": tables.excerpt(given.copies),
        "conflicts": tables.excerpt(given.conflicts),
        "alike": tables.excerpt(tables.alike(_rows(run.groups), manifest)),
        "quarantine": tables.excerpt(_rows(run.quarantine)),
    }


def _made(run: RunDir, results: Results) -> Results:
    values: Results = {
        section: dict.fromkeys(keys.split()) | (results.get(section) or {})
        for section, keys in _SECTIONS.items()
    }
    world = values["world"]
    return values | {
        "ranks": tables.excerpt(world["ranks"] or []),
        "world_size": _world_size(world),
        "seconds": {"total": None} | (results.get("seconds") or {}),
        "gpu_hours": results.get("gpu_hours"),
        "energy_joules": results.get("energy_joules"),
        "to_label": to_label(results),
        "files": {path.name: _text(path) for path in (run.config, run.environment)},
        "run_name": run.path.resolve().name,
    }


def _found(run: RunDir, results: Results) -> Results:
    """What analysis.json and the gallery add, and the wishes of people who let it abstain."""
    values = found(run, results)
    abstaining = values["abstaining"] or {"wishes": [], "classes": []}
    scored = (results.get("cross_validation") or results.get("test")) or {}
    classes = class_names(results)
    return values | {
        "ece": None if scored.get("ece") is None else (scored["ece"], scored["ece_expected"]),
        "wishes": wish_rows(abstaining["wishes"], "accuracy", "coverage"),
        "class_wishes": [
            (label, wish_rows(one["wishes"], "precision", "recall"))
            for label, one in zip(classes, abstaining.get("classes", []), strict=False)
            if one["wishes"]
        ],
    }


def _world_size(world: Results) -> str:
    hosts = wording.count(len(world["hosts"] or []), "host")
    return f"{wording.count(world['size'] or 0, 'rank')} on {hosts}"


def _rows(path: Path) -> tables.Rows:
    return read_csv(path) if path.exists() else []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip() if path.exists() else ""
