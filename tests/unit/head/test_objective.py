# SPDX-License-Identifier: Apache-2.0
"""The stacked loss is each head's own loss; its sums are exact; its optimum is scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stacked_heads import Alone, draw, everything, objective
from trainer.head.lbfgs import solve
from trainer.head.objective import Subset, make_subset, zero_sum_basis
from trainer.head.rows import BLOCK, grid, moments, own_rows, spread
from trainer.head.standings import Standing


def naive_loss(values: Any, labels: Any, subset: Subset, theta: Any, l2: float, k: int) -> float:
    """J as the method page writes it, straight from the definition."""
    weights = subset.fitted * subset.class_weights[labels]
    mean = np.average(values, axis=0, weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    table = theta.reshape(-1, k - 1) @ zero_sum_basis(k).T
    logits = (values - mean) / deviation @ table[:-1] + table[-1]
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(np.average(losses, weights=weights) + l2 / 2 * (table[:-1] ** 2).sum())


@pytest.mark.parametrize("balanced", [False, True])
def test_loss_is_that_of_the_definition_on_each_heads_own_rows(balanced: bool) -> None:
    values, labels = draw(300, 5, 3)
    fitted = np.random.default_rng(1).random((2, 300)) < 0.7
    subsets = [make_subset(mask, labels, 3, balanced) for mask in fitted]
    theta = np.random.default_rng(2).normal(size=(2, 12))
    l2 = np.array([0.1, 0.01])
    with objective(values, labels, subsets, 3) as stacked:
        losses, _ = stacked.evaluate(np.arange(2), theta, l2)
    for head in range(2):
        own = naive_loss(values.astype(float), labels, subsets[head], theta[head], l2[head], 3)
        assert losses[head] == pytest.approx(own, rel=1e-12)


def test_gradient_is_the_numerical_one() -> None:
    values, labels = draw(200, 4, 3)
    subsets = [everything(labels, 3), make_subset(np.arange(200) % 3 > 0, labels, 3, True)]
    theta = np.random.default_rng(2).normal(size=(2, 10))
    l2 = np.array([0.1, 0.01])
    with objective(values, labels, subsets, 3) as stacked:
        _, gradient = stacked.evaluate(np.arange(2), theta, l2)
        for entry in range(10):
            step = np.zeros(10)
            step[entry] = 1e-6
            above, _ = stacked.evaluate(np.arange(2), theta + step, l2)
            below, _ = stacked.evaluate(np.arange(2), theta - step, l2)
            assert (above - below) / 2e-6 == pytest.approx(gradient[:, entry], abs=1e-8)


def test_balanced_weights_sum_to_the_rows_and_give_classes_the_same_total() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2])
    weights = everything(labels, 4, balanced=True).class_weights
    totals = weights * np.bincount(labels, minlength=4)
    assert totals == pytest.approx([100 / 3, 100 / 3, 100 / 3, 0])


CASES = {
    "more rows than features": (600, 20, 4),
    "more features than rows": (60, 300, 2),
    "two classes": (400, 30, 2),
    "one feature": (200, 1, 3),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("l2", [1.0, 0.001])
def test_optimum_is_that_of_scikit_learn(case: str, l2: float) -> None:
    rows, features, classes = CASES[case]
    values, labels = draw(rows, features, classes)
    probabilities, minimum = fit(values, labels, classes, l2)
    scaled = (values - values.mean(axis=0, dtype=float)) / values.std(axis=0, dtype=float)
    factor = 2 if classes == 2 else 1
    other = LogisticRegression(C=factor / (l2 * rows), tol=1e-12, max_iter=20000)
    assert minimum.converged
    assert probabilities == pytest.approx(other.fit(scaled, labels).predict_proba(scaled), abs=1e-5)


def fit(values: Any, labels: Any, classes: int, l2: float) -> tuple[Any, Any]:
    with objective(values, labels, [everything(labels, classes)], classes) as stacked:
        start = Standing(np.zeros(stacked.size))
        (minimum,) = solve(stacked, np.array([0]), [start], np.array([l2]), 1e-8)
        weights, bias = stacked.raw_head(0, minimum.parameters)
    logits = values.astype(float) @ weights + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), minimum


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: np.hstack([values, np.full((len(values), 3), 7.25, np.float32)]),
        lambda values: np.hstack([values, values, values]),
        lambda values: values * np.float32(10) ** np.arange(-4, 4, dtype=np.float32),
    ],
    ids=["constant", "collinear", "badly scaled"],
)
def test_awkward_features_still_reach_the_optimum(spoil: Any) -> None:
    values, labels = draw(300, 8, 3)
    probabilities, minimum = fit(spoil(values), labels, 3, 0.01)
    assert minimum.converged
    assert minimum.gradient_norm <= 1e-8
    assert np.isfinite(probabilities).all()


def test_separable_rows_reach_the_optimum_at_the_weakest_l2() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 200)).astype(np.float32)
    labels = np.arange(80) % 2
    _, minimum = fit(values, labels, 2, 1e-4)
    assert minimum.converged


def test_class_that_a_head_lacks_gets_probability_zero() -> None:
    values, labels = draw(200, 4, 3)
    subset = make_subset(labels != 1, labels, 3, False)
    with objective(values, labels, [subset], 3) as stacked:
        start = Standing(np.zeros(stacked.size))
        (minimum,) = solve(stacked, np.array([0]), [start], np.array([0.1]), 1e-8)
        scores = stacked.log_probabilities(np.array([0]), minimum.parameters[None])
    assert minimum.converged
    assert np.exp(scores[:, 0, 1]).max() == 0
    assert np.exp(scores[:, 0]).sum(axis=1) == pytest.approx(np.ones(200))


def test_moments_are_those_of_numpy_even_far_from_zero() -> None:
    world: Any = Alone()
    rng = np.random.default_rng(0)
    values = (1e4 + rng.normal(size=(700, 3))).astype(np.float32)
    cells = rng.integers(0, 4, 700)
    with spread(values, slice(0, 700), 700, world) as rows:
        found = moments(rows, cells, 4)
    for cell in range(4):
        members = values[cells == cell].astype(float)
        assert found.mean[cell] == pytest.approx(members.mean(axis=0), rel=1e-14)
        assert found.squares[cell] == pytest.approx(members.var(axis=0) * len(members), rel=1e-9)
    weights = np.array([1.0, 0.0, 2.0, 0.5])
    mean, deviation = found.combine(weights)
    by_row = weights[cells]
    assert mean == pytest.approx(np.average(values.astype(float), axis=0, weights=by_row))
    variance = np.average((values.astype(float) - mean) ** 2, axis=0, weights=by_row)
    assert deviation == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_sums_on_the_grid_are_the_same_however_blocks_are_grouped() -> None:
    parts = np.random.default_rng(0).normal(size=(50, 8)) * np.logspace(-6, 6, 8)
    scale = grid(np.abs(parts).sum(axis=0))
    whole = np.rint(parts * scale).astype(np.int64)
    halves = whole[:17].sum(axis=0) + whole[17:].sum(axis=0)
    assert (whole.sum(axis=0) == halves).all()
    assert whole.sum(axis=0) / scale == pytest.approx(parts.sum(axis=0), rel=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_ranks_share_whole_blocks_and_every_row_once(size: int) -> None:
    count = 5 * BLOCK + 17
    shares = []
    for rank in range(size):
        world: Any = Alone()
        world.rank, world.size = rank, size
        shares.append(own_rows(count, world))
    assert [row for share in shares for row in range(count)[share]] == list(range(count))
    assert all(share.start % BLOCK == 0 for share in shares)
