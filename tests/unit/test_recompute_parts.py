# SPDX-License-Identifier: Apache-2.0
"""The numbers of the recomputation are right by themselves."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "recompute"))

from checks import SOURCES
from dealing import Item, deal, deal_folds, gather, group_of
from head import Fitting
from nested import PATH, Choice
from results import BLOCKS
from scoring import bin_sizes, effective_size, wilson
from tables import unescape


@pytest.mark.parametrize(
    ("field", "name"),
    [("a\\\\b", "a\\b"), ("'=1", "=1"), ("''", "'"), ("\\xff", "\udcff"), ("\\\\xff", "\\xff")],
)
def test_escapes_of_a_field_are_undone(field: str, name: str) -> None:
    assert unescape(field) == name


@pytest.mark.parametrize("field", ["=1", "'a", "a\\b", "\\xf"])
def test_a_field_that_no_escaping_gives_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=r"leading|backslash"):
        unescape(field)


def item(position: float, label: str, group: str = "") -> Item:
    """An item alone whose u is about `position`."""
    head = int(position * 2**64).to_bytes(8, "big").hex()
    rest = hashlib.sha256(label.encode()).hexdigest()[:48]
    return Item(head + rest, f"{label}/{position}", label, group, ())


def test_u_of_a_group_is_that_of_its_name() -> None:
    digest = hashlib.sha256(b"roof/house 7").digest()
    assert item(0.5, "roof", "roof/house 7").position == int.from_bytes(digest[:8], "big") / 2**64
    assert group_of("roof/house 7_nohash_1_nohash_.jpg") == "roof/house 7"


def test_an_empty_set_gets_the_lowest_item_of_the_fullest() -> None:
    items = [item(u, "a") for u in (0.3, 0.4, 0.5, 0.6)]
    dealt = deal(items, 0.1, 0.1)
    assert [(dealt[i.sha256].set, dealt[i.sha256].moved) for i in items] == [
        ("test", "training"),
        ("validation", "training"),
        ("training", ""),
        ("training", ""),
    ]


def test_folds_go_on_where_the_last_class_stopped() -> None:
    items = [item(u, "a") for u in (0.9, 0.5, 0.7)] + [item(u, "b") for u in (0.2, 0.1)]
    folds = deal_folds(items, 4)
    assert [folds[i.sha256] for i in items] == [2, 0, 1, 0, 3]


def test_a_content_under_two_labels_is_no_item() -> None:
    gathered = gather({"a/1": "00", "a/2": "00", "b/1": "00", "b/2": "11", "b/3": "11"})
    assert gathered.conflicts == ["a/1", "a/2", "b/1"]
    assert [(i.path, i.copies) for i in gathered.items] == [("b/2", ("b/3",))]


def test_interval_of_44_of_52_is_that_of_the_textbook() -> None:
    assert wilson(44 / 52, 52) == pytest.approx((0.725, 0.920), abs=5e-4)


def test_groups_shrink_the_effective_size() -> None:
    assert effective_size(["a", "a", "b", "c"]) == pytest.approx(16 / 6)


def test_bins_hold_equal_counts() -> None:
    assert bin_sizes(107) == [22, 22, 21, 21, 21]


def test_of_losses_within_1e_4_the_stronger_l2_is_taken() -> None:
    losses = [0.9, 0.50009, 0.5, 0.8]
    assert Choice(PATH[:4], losses, 50).best == 1


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_equals_scikit_learns_on_more_features_than_rows(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(40, 90)), np.arange(40) % classes
    weights, strength = generator.uniform(0.5, 2, size=40), 0.01
    fitting = Fitting(x, labels, weights, classes)
    head = fitting.path([strength])[0]
    vectors = 2 if classes == 2 else 1
    model = LogisticRegression(C=vectors / (strength * weights.sum()), tol=1e-10, max_iter=10_000)
    model.fit(fitting.standardised(x), labels, weights)
    new = generator.normal(size=(7, 90))
    theirs = model.predict_proba(fitting.standardised(new))
    assert fitting.probabilities(head, new) == pytest.approx(theirs, abs=1e-6)


def test_a_class_that_a_fit_lacks_gets_probability_0() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    fitting = Fitting(x, np.arange(10) % 2 * 2, np.ones(10), 3)
    values = fitting.probabilities(fitting.path([0.1])[0], x)
    assert np.all(values[:, 1] == 0)
    assert np.allclose(values.sum(axis=1), 1)


def test_every_source_of_predictions_has_a_block_of_results() -> None:
    assert sorted(BLOCKS.values()) == sorted(SOURCES)
