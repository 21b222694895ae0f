# SPDX-License-Identifier: Apache-2.0
"""What a run found out, for its page: analysis.json, suspects.csv and the gallery in plain rows."""

from __future__ import annotations

from typing import Any

from trainer.data.manifest import read_csv
from trainer.errors import DataError
from trainer.report import charts, tables
from trainer.report.embedded import Embedded, from_gallery
from trainer.report.wording import count, percent
from trainer.rundir import RunDir

Figures = dict[str, Any]

EMPTY: Figures = {
    "shown": {"before_after": [], "mistakes": [], "unsure": [], "suspects": [], "sheet": []},
    "suspects": None,
    "neighbours": None,
    "learning_curve": None,
    "calibration": None,
    "abstaining": None,
    "head": {"path": [], "fit": []},
}
SOURCES = {"oof": "cross-validation", "test": "test set"}
MOST_SUSPECTS = 20


class Gallery:
    """A run's pictures on its page."""

    def __init__(self, run: RunDir) -> None:
        """Name the folder; nothing is read yet."""
        self._folder = run.gallery
        self._embedded = Embedded()

    def uri(self, name: str | None) -> str | None:
        """A picture by its name; None where there is none, or no more room."""
        return self._embedded.encoded(from_gallery(self._folder, name))


def read_analysis(run: RunDir) -> Figures:
    """analysis.json; a run that did not come so far, or whose file is broken, found out nothing."""
    try:
        return EMPTY | run.read_analysis()
    except DataError:
        return EMPTY


def found(run: RunDir, results: Figures) -> Figures:
    """The template's values.

    Args:
        run: A run directory.
        results: Its results.json.
    """
    analysis, pictures = read_analysis(run), Gallery(run)
    shown = analysis["shown"]
    return {
        "before_after": [_card(entry, pictures) for entry in shown["before_after"]],
        "mistakes": [_card(entry, pictures) for entry in shown["mistakes"]],
        "unsure": [_card(entry, pictures) for entry in shown["unsure"]],
        "suspects": [_card(entry, pictures) for entry in shown["suspects"]],
        "suspect_rows": _suspect_rows(run),
        "doubted": analysis["suspects"],
        "sheet": _sheet(shown["sheet"], pictures),
        "neighbours": analysis["neighbours"],
        "learning": analysis["learning_curve"],
        "learning_says": learning_sentence(analysis["learning_curve"], results),
        "calibration": analysis["calibration"],
        "abstaining": analysis["abstaining"],
        "charts": _charts(analysis, results),
        "scored_by": SOURCES,
    }


def _charts(analysis: Figures, results: Figures) -> Figures:
    l2 = (results.get("head") or {}).get("l2")
    return {
        "reliability": charts.reliability((analysis["calibration"] or {}).get("bins") or []),
        "coverage": charts.coverage((analysis["abstaining"] or {}).get("curve") or []),
        "learning": charts.learning((analysis["learning_curve"] or {}).get("points") or []),
        "path": charts.l2_path(analysis["head"]["path"], l2),
        "fit": charts.fit(analysis["head"]["fit"]),
    }


def _card(entry: Figures, pictures: Gallery) -> Figures:
    """An entry with its pictures in it."""
    neighbours = [near | {"picture": pictures.uri(near["picture"])} for near in entry["neighbours"]]
    return entry | {
        "picture": pictures.uri(entry["picture"]),
        "heat_map": pictures.uri(entry["heat_map"]),
        "right": entry["predicted"] == entry["label"],
        "neighbours": neighbours,
    }


def _sheet(entries: list[Figures], pictures: Gallery) -> list[tuple[str, list[Figures]]]:
    """The contact sheet by class."""
    by_class: dict[str, list[Figures]] = {}
    for entry in entries:
        if uri := pictures.uri(entry["picture"]):
            by_class.setdefault(entry["label"], []).append(entry | {"picture": uri})
    return list(by_class.items())


def _suspect_rows(run: RunDir) -> tables.Excerpt[dict[str, str]]:
    """The labels that are doubted, the most suspicious first."""
    rows = read_csv(run.suspects) if run.suspects.exists() else []
    return tables.excerpt([row for row in rows if row["flagged"] == "1"], MOST_SUSPECTS)


def learning_sentence(curve: Figures | None, results: Figures) -> str:
    """Whether more images would help, as far as can be told."""
    if curve is None:
        if not results.get("cross_validation"):
            return "Not measured: there was no cross-validation to measure it by."
        return "Not measured: fewer than 100 items tell nothing about it."
    gained = (
        f"from half to all of the images it gained {_points(curve['step'])} "
        f"(standard error {_points(curve['standard_error'])}, {count(curve['n'], 'image')})"
    )
    if curve["still_rising"]:
        return f"Still rising: {gained}. More images of the same kind are likely to help."
    return (
        f"Not clearly rising any more: {gained}. Other images, or labels put right, may help more."
    )


def _points(share: float) -> str:
    value = f"{100 * share:.1f}"
    return f"{value} percentage point{'' if value == '1.0' else 's'}"


def wish_rows(wishes: list[Figures], name: str, left: str) -> list[tuple[str, str, str, str]]:
    """What common wishes need: the wish, the threshold, what is reached, what is left."""
    return [
        (
            percent(wish["wish"], 0),
            percent(wish["threshold"]),
            percent(wish[name]),
            percent(wish[left]),
        )
        for wish in wishes
    ]
