# SPDX-License-Identifier: Apache-2.0
"""Compares every chosen l2 and every probability of a run with new fits (sections 3 and 4).

Expected probabilities come from fits of our own to a gradient norm of 1e-10; each of them is also
compared with scikit-learn's, which shares no code and no reduction with it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from checks import Expected, probabilities
from dealing import TEST, TRAINING, VALIDATION
from findings import Broken, Findings
from head import Floats, Head, Ints, moments
from nested import PATH, Choice, Chooser, Data
from source import Source
from tables import Row, RunFiles

CLOSE = 1e-4
THIS_PROGRAM = "(this program)"


def check_refit(findings: Findings, run: RunFiles, expected: Expected, source: Source) -> None:
    """Every chosen l2 and every probability of a run on bottleneck texts.

    Raises:
        Broken: the run used images, or a solver or views that this program does not know.
    """
    if run.config["data"]["bottlenecks"] is None:
        raise Broken("config.yaml", "no data.bottlenecks", "bottleneck texts to fit again")
    data = gather_data(run, expected, source)
    chooser = Chooser(data)
    say(f"fitting again: {len(data.strengths)} strengths, {data.fold_count} folds")
    choices = [chooser.final()]
    strength = taken(findings, "head.l2", run.results["head"]["l2"], choices[0])
    development, test = data.within(TRAINING, VALIDATION), data.within(TEST)
    head = check_fit(findings, run, data, "test", development, test, strength)
    check_head(findings, run.results["head"], head)
    training, validation = data.within(TRAINING), data.within(VALIDATION)
    check_fit(findings, run, data, "validation", training, validation, strength)
    for fold in range(data.fold_count):
        choices.append(chooser.fold(fold))
        check_fold(findings, run, data, fold, choices[-1])
    check_warned(findings, run, choices)


def gather_data(run: RunFiles, expected: Expected, source: Source) -> Data:
    """Everything that the fits need, from the source folder and config.yaml."""
    head, views = run.config["head"], run.config["data"]["views"]
    if head["solver"] != "lbfgs" or views:
        raise Broken("config.yaml", f"{head['solver']}, views {views}", "lbfgs, no views to refit")
    items = expected.items.items
    number = {name: index for index, name in enumerate(expected.classes)}
    return Data(
        [item.sha256 for item in items],
        np.array([source.bottlenecks[item.sha256] for item in items]),
        np.array([number[item.label] for item in items]),
        np.array([fold_of(expected, item.sha256) for item in items]),
        [expected.dealt[item.sha256].set for item in items],
        expected.classes,
        expected.fold_count,
        head["class_weight"] == "balanced",
        PATH if head["l2"] == "auto" else [float(head["l2"])],
    )


def fold_of(expected: Expected, sha256: str) -> int:
    """Fold of an item; without cross-validation all of development counts as one fold."""
    if expected.dealt[sha256].set == TEST:
        return -1
    return expected.folds.get(sha256, 0)


def taken(findings: Findings, key: str, found: Any, choice: Choice) -> float:
    """Compare a chosen l2; go on with the run's own, so that one mistake is told once."""
    expected = choice.strengths[choice.best]
    same = found is not None and bool(np.isclose(found, expected, rtol=1e-6))
    losses = [round(loss, 6) for loss in choice.losses]
    wanted = f"{expected} (by {choice.margin:.1e} of log loss, {losses} from strong to weak)"
    findings.claim(same, "results.json", key, found, wanted)
    return expected if found is None or not found > 0 else float(found)


def check_fold(findings: Findings, run: RunFiles, data: Data, fold: int, choice: Choice) -> None:
    """The l2 and the out-of-fold probabilities of one fold."""
    say(f"fold {fold + 1} of {data.fold_count}")
    table = (run.results["cross_validation"] or {}).get("folds", [])
    found = table[fold]["l2"] if fold < len(table) else None
    strength = taken(findings, f"cross_validation.folds[{fold}].l2", found, choice)
    left = frozenset({fold})
    check_fit(findings, run, data, "oof", data.without(left), data.inside(left), strength)


def check_fit(
    findings: Findings,
    run: RunFiles,
    data: Data,
    source: str,
    fitted: Ints,
    places: Ints,
    strength: float,
) -> Head:
    """Fit at one l2, and compare the run's probabilities for some items to 1e-4."""
    fitting = data.fitting(fitted)
    head = fitting.path([*(s for s in data.strengths if s > strength), strength])[-1]
    wanted = fitting.probabilities(head, data.x[places])
    theirs = by_scikit_learn(data, fitted, places, strength)
    apart = float(np.abs(wanted - theirs).max(initial=0.0))
    findings.close(THIS_PROGRAM, f"{source} fit apart from scikit-learn's", apart, 0.0, 1e-5)
    rows = {row["sha256"]: row for row in run.predictions if row["source"] == source}
    for place, values in zip(places, wanted, strict=True):
        row = rows.get(data.shas[place])
        if row is not None:
            compare_row(findings, row, values, data.classes)
    return head


def compare_row(findings: Findings, row: Row, wanted: Floats, classes: list[str]) -> None:
    """One row of predictions.csv."""
    found = probabilities([row], classes)[0]
    holds = bool(np.abs(found - wanted).max() <= CLOSE)
    key = f"probabilities of {row['source']} {row['path']!r}"
    findings.claim(holds, "predictions.csv", key, found.tolist(), wanted.tolist())


def by_scikit_learn(data: Data, fitted: Ints, places: Ints, strength: float) -> Floats:
    """The same fit by scikit-learn's own L-BFGS on all standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    present = np.unique(data.labels[fitted])
    result = np.zeros((len(places), len(data.classes)))
    if len(present) == 1:
        result[:, present] = 1.0
        return result
    weights = data.weights(fitted)
    vectors = 2 if len(present) == 2 else 1
    x = data.x[:, moments(data.x[fitted], weights / weights.sum())[2]]
    scaler = StandardScaler().fit(x[fitted], sample_weight=weights)
    model = LogisticRegression(C=vectors / (strength * weights.sum()), tol=1e-10, max_iter=100_000)
    model.fit(scaler.transform(x[fitted]), data.labels[fitted], weights)
    if len(places):
        result[:, present] = model.predict_proba(scaler.transform(x[places]))
    return result


def check_head(findings: Findings, found: dict[str, Any], head: Head) -> None:
    """The final head's J, and that its solver ended where section 3 says."""
    findings.close("results.json", "head.loss", found["loss"], head.loss, 1e-6)
    norm = found["gradient_norm"]
    findings.claim(norm <= 1e-8, "results.json", "head.gradient_norm", norm, "at most 1e-8")


def check_warned(findings: Findings, run: RunFiles, choices: list[Choice]) -> None:
    """A choice at an end of the path or by few items is warned of."""
    doubtful = sum(choice.doubtful for choice in choices)
    warnings = run.results["warnings"]
    told = doubtful == 0 or bool(warnings)
    findings.claim(told, "results.json", "warnings", warnings, f"{doubtful} doubtful choices")
    say(f"closest choice of l2: by {min(choice.margin for choice in choices):.1e} of log loss")


def say(line: str) -> None:
    """Tell how far the fitting is."""
    print(line, file=sys.stderr)
