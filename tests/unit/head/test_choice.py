# SPDX-License-Identifier: Apache-2.0
"""Which items choose the strength of L2, and which strength they choose."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.head.choice import PATH, Table
from trainer.head.development import Development


def development(sizes: list[int]) -> Development:
    """Folds of these sizes."""
    folds = np.repeat(np.arange(len(sizes)), sizes)
    items = len(folds)
    return Development(
        labels=np.arange(items) % 2,
        validation=np.zeros(items, bool),
        folds=folds,
        fold_count=len(sizes),
        classes=2,
    )


def table(losses: list[float]) -> Table:
    """One item, scored so at each strength from the strongest on."""
    found = Table(np.ones(1))
    for l2, loss in zip(PATH, losses, strict=False):
        found.add(l2, np.array([loss]), np.array([True]))
    return found


def test_path_runs_from_10_to_a_ten_thousandth_in_half_decades() -> None:
    assert len(PATH) == 11
    assert [PATH[0], PATH[2], PATH[-1]] == pytest.approx([10, 1, 1e-4])


def test_all_folds_choose_where_they_hold_fewer_than_2000_items() -> None:
    assert development([50] * 6).choosing_folds(None) == [0, 1, 2, 3, 4, 5]


def test_final_head_is_chosen_by_folds_from_0_on_until_2000_items() -> None:
    assert development([900] * 6).choosing_folds(None) == [0, 1, 2]
    assert development([1000] * 6).choosing_folds(None) == [0, 1]


def test_nested_choice_begins_half_way_round_and_leaves_its_own_fold_out() -> None:
    assert development([900] * 6).choosing_folds(1) == [4, 5, 0]
    assert development([50] * 5).choosing_folds(4) == [1, 2, 3, 0]


def test_least_log_loss_wins() -> None:
    assert table([0.9, 0.5, 0.4, 0.6]).choice().l2 == PATH[2]


def test_stronger_penalty_wins_within_a_ten_thousandth() -> None:
    assert table([0.9, 0.40009, 0.4, 0.39995]).choice().l2 == PATH[2]
    assert table([0.9, 0.40004, 0.4, 0.39995]).choice().l2 == PATH[1]


@pytest.mark.parametrize(("losses", "at_end"), [([0.1, 0.5], True), ([0.5, 0.1, 0.5], False)])
def test_end_of_the_path_is_noticed(losses: list[float], at_end: bool) -> None:
    assert table(losses).choice().at_end() is at_end


def test_items_without_weight_take_no_part_even_with_endless_loss() -> None:
    found = Table(np.array([1.0, 0.0, 3.0]))
    found.add(PATH[0], np.array([0.4, np.inf, 0.8]), np.array([True, False, False]))
    assert found.losses == pytest.approx([0.7])
    assert found.accuracies == [0.5]
    assert found.choice().items == 2
