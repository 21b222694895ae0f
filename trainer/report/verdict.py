# SPDX-License-Identifier: Apache-2.0
"""What a run found: in a sentence for the page, in the last lines for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from trainer.analysis.scores import ENOUGH_TEST_ITEMS, nothing_learnt
from trainer.report.wording import count, interval, percent, quoted, shell_word, visible

Results = dict[str, Any]

SOURCES = {"cross_validation": "cross-validation", "test": "test set"}

_NO_RESULT = {
    "running": "No result yet: this run is still going on.",
    "stopped": "No result yet: this run was stopped. The same command goes on where it ended.",
    "failed": "No result: this run failed; log.txt says why.",
}
_NOT_SCORED = "No score: this run had neither a cross-validation nor a test set."

_LARGEST_DENOMINATOR = 10
_NEAR_ENOUGH = 0.015
_PATH_ENDS = (10.0, 1e-4)


def verdict(results: Results, name: Callable[[str], str] = quoted) -> str:
    """Say how good the head is, or that it learnt nothing, or why nobody knows.

    Args:
        results: `results.json`, whatever its status.
        name: How a class name stands in the sentence; the page isolates it by markup.
    """
    headline = results.get("headline")
    if headline is None:
        return _NO_RESULT[results["status"]] if unfinished(results) else _NOT_SCORED
    classes = len(results["data"]["classes"])
    guess = name(headline["majority"]["label"])
    reached = percent(guessing(headline["majority"], headline["metric"], classes), 0)
    if nothing_learnt(headline, classes):
        return f"No better than always guessing {guess} ({reached}): {_plainly(headline)}."
    found = _found(headline)
    return f"{found[0].upper()}{found[1:]}; always guessing {guess}: {reached}."


def unfinished(results: Results) -> bool:
    """Whether the results are those of a run that has not come to its scores.

    A page is drawn before its run turns `complete`, so `running` alone does not say so.
    """
    if results["status"] in ("stopped", "failed"):
        return True
    fitted = (results.get("head") or {}).get("l2") is not None
    return results["status"] == "running" and results.get("headline") is None and not fitted


def _found(headline: Results) -> str:
    """The headline as a success, by the nearest fraction that one can picture, if one is near."""
    if headline["metric"] == "macro_recall":
        return _plainly(headline)
    value = headline["value"]
    near = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
    if near in (0, 1) or abs(near - value) > _NEAR_ENOUGH:
        return _plainly(headline)
    often = f"{near.numerator} in {near.denominator} times"
    return f"right about {often} ({percent(value, 0)}; {_evidence(headline)})"


def _plainly(headline: Results) -> str:
    value, evidence = percent(headline["value"], 0), _evidence(headline)
    if headline["metric"] == "macro_recall":
        return f"finds {value} of a class on average (macro recall; {evidence})"
    return f"right {value} of the time ({evidence})"


def _evidence(headline: Results) -> str:
    images = count(headline["n"], "image")
    return f"95%: {interval(headline['interval95'])}, {images}, {SOURCES[headline['source']]}"


def guessing(majority: Results, metric: str, classes: int) -> float:
    """What always guessing the most frequent class reaches, as a share of 1."""
    return 1 / classes if metric == "macro_recall" else float(majority["share"])


def last_lines(results: Results, run: Path) -> list[str]:
    """The lines that a finished run ends with on the terminal.

    Args:
        results: `results.json` of a run that is done; parts that it lacks leave their line out.
        run: The run directory, as its user names it.
    """
    lines = [
        *_score_lines(results),
        ("Watch", " · ".join(watch(results))),
        ("Report", visible(str(run / "report.html"))),
        ("Try it", f"retrain predict {shell_word(str(run))} {to_label(results)}"),
    ]
    shown = [f"{label:<18}{text}" for label, text in lines if text]
    return shown + [note for note in [not_pretrained(results)] if note]


def to_label(results: Results) -> str:
    """An example of what the run can label: where no network was used, only bottlenecks."""
    return "photo.jpg" if (results.get("backbone") or {}).get("name") else "bottleneck.txt"


def _score_lines(results: Results) -> list[tuple[str, str]]:
    """A line for each source that was scored; the first also says what guessing reaches."""
    metric = (results.get("headline") or {}).get("metric", "accuracy")
    lines: list[tuple[str, str]] = []
    for key, label in [("cross_validation", "Cross-validation"), ("test", "Test set")]:
        if (figures := results.get(key)) is None:
            continue
        text = _score(figures, metric, tell_correct=key == "test")
        if not lines:
            majority = figures["majority"]
            share = guessing(majority, metric, len(results["data"]["classes"]))
            text += f"   always {quoted(majority['label'])}: {percent(share)}"
        lines.append((label, text))
    return lines


def _score(figures: Results, metric: str, tell_correct: bool) -> str:
    many = count(figures["n"], "image")
    if metric == "macro_recall":
        bounds = interval(figures["macro_recall_interval95"])
        return f"{percent(figures[metric])}  (macro recall; 95%: {bounds}, {many})"
    if tell_correct:
        many = f"{figures['correct']:,} of {figures['n']:,}"
    return f"{percent(figures['accuracy'])}  (95%: {interval(figures['interval95'])}, {many})"


def watch(results: Results) -> list[str]:
    """What to keep in mind when reading the result, in a few words each."""
    return observations(results) + _about_warnings(results)


def observations(results: Results) -> list[str]:
    """What the figures themselves say against the result; warnings stand beside it."""
    headline, test = results.get("headline"), results.get("test")
    words = []
    if headline and nothing_learnt(headline, len(results["data"]["classes"])):
        words.append("nothing learnt")
    if test and test["n"] < ENOUGH_TEST_ITEMS:
        words.append("small test set")
    words += _without_test_images(results)
    if test and (apart := test.get("without_near_duplicates")) and apart["n"] < test["n"]:
        alike = count(test["n"] - apart["n"], "test image")
        words.append(f"{alike} nearly the same as fitted ones")
    return words + _about_the_data(results.get("data") or {})


def _without_test_images(results: Results) -> list[str]:
    """Classes of which the test set says nothing: a manifest or retrain.py's rule dealt it so."""
    if not results.get("test"):
        return []
    shares = zip(results["data"]["classes"], results["test"]["recall"], strict=True)
    empty = [name for name, recall in shares if recall is None]
    if not empty:
        return []
    return [f"no test image of {quoted(empty[0]) if len(empty) == 1 else f'{len(empty)} classes'}"]


def _about_the_data(data: Results) -> list[str]:
    words = []
    if data.get("quarantined"):
        words.append(f"{count(data['quarantined'], 'image')} unreadable")
    if data.get("conflicts"):
        words.append(f"{data['conflicts']:,} labelled two ways")
    if data.get("duplicates"):
        words.append(f"{data['duplicates']:,} there twice")
    if data.get("compat"):
        words.append("sets as retrain.py dealt them")
    return words


def _about_warnings(results: Results) -> list[str]:
    warnings = results.get("warnings") or []
    rest = [text for text in warnings if not _tells_path_end(text, results)]
    words = ["L2 at its path's end"] if len(rest) < len(warnings) else []
    return [*words, f"{count(len(rest), 'warning')} in the report"] if rest else words


def _tells_path_end(warning: str, results: Results) -> bool:
    """Whether a warning says that the best L2 may lie beyond the path; a given l2 draws none."""
    l2 = (results.get("head") or {}).get("l2")
    at_end = l2 is not None and any(math.isclose(l2, end, rel_tol=1e-6) for end in _PATH_ENDS)
    return at_end and "l2" in warning.lower() and "end" in warning.lower()


def not_pretrained(results: Results) -> str:
    """The note that the backbone was not pretrained, as a sentence; empty where it was."""
    note = (results.get("weights_note") or "").strip()
    opening = "not pretrained"
    if note.lower().startswith(opening):
        return visible("N" + note[1:])
    return visible(f"Not pretrained: {note}") if note else ""
