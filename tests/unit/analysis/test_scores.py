# SPDX-License-Identifier: Apache-2.0
"""Scores against numbers worked out by hand, against scikit-learn, and on shuffled labels."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from trainer.analysis.scores import (
    Scored,
    effective_size,
    headline,
    majority_class,
    nothing_learnt,
    score,
    wilson,
)

NAMES = ["a", "b", "c"]
PRIOR = np.array([0.5, 0.3, 0.2])


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(4)


def answers(labels: list[int], predicted: list[int], groups: list[str] | None = None) -> Scored:
    """Three classes; each answer is given with probability 0.8."""
    probabilities = np.full((len(labels), 3), 0.1)
    probabilities[np.arange(len(labels)), predicted] = 0.8
    return Scored(np.array(labels, dtype=np.int64), probabilities, groups or [""] * len(labels))


def figures(scored: Scored, seed: int = 0) -> dict[str, Any]:
    found = score(scored, 0, NAMES, seed, PRIOR)
    assert found is not None
    return found


class TestWilson:
    def test_44_of_52_lie_between_72_5_and_92_percent(self) -> None:
        low, high = wilson(44 / 52, 52)
        assert (round(low, 3), round(high, 3)) == (0.725, 0.920)

    def test_bounds_are_where_the_accuracy_is_z_standard_errors_away(self) -> None:
        for bound in wilson(0.3, 40):
            distance = abs(0.3 - bound) / np.sqrt(bound * (1 - bound) / 40)
            assert distance == pytest.approx(1.959963984540054, abs=1e-12)

    def test_none_right_has_lower_bound_0_and_an_upper_bound_above_it(self) -> None:
        low, high = wilson(0.0, 10)
        assert low == 0.0
        assert high == pytest.approx(0.2775328, abs=1e-7)

    def test_all_right_has_upper_bound_1_and_a_lower_bound_below_it(self) -> None:
        low, high = wilson(1.0, 10)
        assert low == pytest.approx(0.7224672, abs=1e-7)
        assert high == 1.0

    @pytest.mark.parametrize("n", [1, 3, 7, 52, 466, 1e6 / 3])
    def test_bounds_of_none_and_all_right_end_at_exactly_0_and_1(self, n: float) -> None:
        assert wilson(0.0, n)[0] == 0.0
        assert wilson(1.0, n)[1] == 1.0


class TestEffectiveSize:
    def test_items_alone_count_whole(self) -> None:
        assert effective_size(["", "", "x", "y"]) == 4.0

    def test_one_group_counts_as_one_item(self) -> None:
        assert effective_size(["x"] * 9) == 1.0

    def test_unequal_groups_count_n_squared_over_the_sum_of_squared_sizes(self) -> None:
        assert effective_size(["x", "x", "x", "y", "y", ""]) == pytest.approx(36 / 14)


class TestMajorityClass:
    def test_most_frequent_class_is_the_majority(self) -> None:
        assert majority_class(np.array([2, 1, 2, 0]), 3) == 2

    def test_of_equally_frequent_classes_the_first_is_the_majority(self) -> None:
        assert majority_class(np.array([2, 1, 2, 1]), 3) == 1


class TestScore:
    def test_counts_and_shares_of_six_items_are_those_worked_out_by_hand(self) -> None:
        found = figures(answers([0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 2, 0]))
        assert (found["n"], found["correct"]) == (6, 4)
        assert found["accuracy"] == 4 / 6
        assert found["majority"] == {"label": "a", "share": 4 / 6}
        assert found["confusion"] == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]

    def test_class_without_items_has_no_recall_and_no_part_in_the_macro_recall(self) -> None:
        found = figures(answers([0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 2, 0]))
        assert found["recall"] == [0.75, 0.5, None]
        assert found["macro_recall"] == 0.625

    def test_class_predicted_though_without_items_lowers_the_macro_f1(self) -> None:
        found = figures(answers([0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 2, 0]))
        assert found["macro_f1"] == pytest.approx((6 / 7 + 2 / 4 + 0) / 3)

    def test_class_neither_there_nor_predicted_takes_no_part_in_the_macro_f1(self) -> None:
        assert figures(answers([0, 1, 1], [0, 1, 1]))["macro_f1"] == 1.0

    def test_of_equal_probabilities_the_first_class_is_predicted(self) -> None:
        tied = Scored(np.array([0, 1]), np.array([[0.2, 0.4, 0.4], [0.4, 0.4, 0.2]]), ["", ""])
        assert tied.predicted.tolist() == [1, 0]

    def test_interval_is_wilsons_at_the_effective_size(self) -> None:
        found = figures(answers([0, 0, 1, 1], [0, 0, 1, 0], ["x", "x", "y", "y"]))
        assert found["n_effective"] == 2.0
        assert found["interval95"] == list(wilson(0.75, 2.0))

    def test_log_losses_are_the_heads_and_the_priors(self) -> None:
        found = figures(answers([0, 1], [0, 0]))
        assert found["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.1)) / 2)
        assert found["prior_log_loss"] == pytest.approx(-(np.log(0.5) + np.log(0.3)) / 2)

    def test_calibration_is_given_from_100_items_on(self) -> None:
        for n, given in ((99, False), (100, True)):
            found = figures(answers([0] * n, [0] * n))
            assert (found["ece"] is not None) == given
            assert (found["ece_expected"] is not None) == given

    def test_calibration_compares_top_confidence_with_accuracy(self) -> None:
        assert figures(answers([0] * 100, [0] * 100))["ece"] == pytest.approx(0.2)

    def test_no_items_have_no_score(self) -> None:
        empty = Scored(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), [])
        assert score(empty, 0, NAMES, 0, PRIOR) is None

    def test_means_equal_scikit_learns(self, random: np.random.Generator) -> None:
        scored = Scored(random.integers(3, size=400), random.dirichlet(np.ones(3), 400), [""] * 400)
        found = figures(scored)
        truth = scored.labels, scored.predicted
        recall = metrics.recall_score(*truth, average=None)
        assert found["recall"] == pytest.approx(recall.tolist(), abs=1e-12)
        assert found["macro_recall"] == pytest.approx(recall.mean(), abs=1e-12)
        f1 = metrics.f1_score(*truth, average="macro")
        assert found["macro_f1"] == pytest.approx(f1, abs=1e-12)
        assert found["confusion"] == metrics.confusion_matrix(*truth).tolist()

    def test_values_are_plain_and_survive_json_unchanged(self, random: np.random.Generator) -> None:
        scored = Scored(random.integers(3, size=120), random.dirichlet(np.ones(3), 120), [""] * 120)
        found = figures(scored)
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_lengths_that_differ_are_refused_with_all_three(self) -> None:
        with pytest.raises(ValueError, match=r"\(2, 1, 2\)"):
            Scored(np.array([0, 1]), np.array([[0.5, 0.5]]), ["", ""])

    def test_probability_that_is_not_a_number_is_refused(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            Scored(np.array([0]), np.array([[np.nan, 0.5]]), [""])


class TestBootstrap:
    def half_right(self, groups: list[str] | None = None) -> Scored:
        """200 items of class a; the first 100 are right."""
        return answers([0] * 200, [0] * 100 + [1] * 100, groups)

    def test_items_alone_give_the_interval_of_a_binomial_share(self) -> None:
        low, high = figures(self.half_right())["macro_recall_interval95"]
        half = 1.96 * np.sqrt(0.5 * 0.5 / 200)
        assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.007)

    def test_groups_are_drawn_whole_and_widen_the_interval(self) -> None:
        grouped = self.half_right(["right"] * 100 + ["wrong"] * 100)
        # a quarter of the draws holds one of the two groups twice
        assert figures(grouped)["macro_recall_interval95"] == [0.0, 1.0]

    def test_interval_of_f1_is_that_of_f1_and_not_of_recall(self) -> None:
        found = figures(answers([0] * 90 + [1] * 90, [0] * 90 + [1] * 45 + [2] * 45))
        low, high = found["macro_f1_interval95"]
        assert low < found["macro_f1"] < high
        assert high < found["macro_recall_interval95"][0]

    def test_draw_without_a_class_averages_over_the_others(self) -> None:
        found = figures(answers([0] * 50 + [1], [0] * 51))
        # class b, never right, is missing from more than a third of the draws
        assert found["macro_recall_interval95"] == [0.5, 1.0]

    def test_intervals_repeat_with_their_seed_and_move_with_another(
        self, random: np.random.Generator
    ) -> None:
        scored = answers(random.integers(3, size=97).tolist(), random.integers(3, size=97).tolist())
        first = figures(scored, 1)["macro_f1_interval95"]
        assert first == figures(scored, 1)["macro_f1_interval95"]
        assert first != figures(scored, 2)["macro_f1_interval95"]


def source(n: int, low: float = 0.7, share: float = 0.6) -> dict[str, Any]:
    return {
        "n": n,
        "accuracy": 0.8,
        "interval95": [low, 0.9],
        "macro_recall": 0.75,
        "macro_recall_interval95": [low - 0.1, 0.85],
        "majority": {"label": "a", "share": share},
    }


class TestHeadline:
    @pytest.mark.parametrize(
        ("folds", "test", "expected"),
        [
            (source(466), source(199), "cross_validation"),
            (source(466), source(200), "test"),
            (source(466), None, "cross_validation"),
            (None, source(52), "test"),
        ],
    )
    def test_cross_validation_leads_while_the_test_set_is_small(
        self, folds: dict[str, Any] | None, test: dict[str, Any] | None, expected: str
    ) -> None:
        found = headline(folds, test, balanced=False)
        assert found is not None
        assert found["source"] == expected

    def test_without_any_source_there_is_no_headline(self) -> None:
        assert headline(None, None, balanced=False) is None

    def test_accuracy_leads_with_its_interval_and_majority(self) -> None:
        assert headline(source(466), source(52), balanced=False) == {
            "source": "cross_validation",
            "metric": "accuracy",
            "value": 0.8,
            "interval95": [0.7, 0.9],
            "n": 466,
            "majority": {"label": "a", "share": 0.6},
        }

    def test_macro_recall_leads_under_balanced_weights_with_its_own_interval(self) -> None:
        found = headline(source(466), None, balanced=True)
        assert found is not None
        assert (found["metric"], found["value"]) == ("macro_recall", 0.75)
        assert found["interval95"] == pytest.approx([0.6, 0.85])


class TestNothingLearnt:
    @pytest.mark.parametrize(("low", "expected"), [(0.59, True), (0.6, True), (0.61, False)])
    def test_accuracy_must_exceed_the_majoritys_share_by_its_lower_bound(
        self, low: float, expected: bool
    ) -> None:
        found = headline(None, source(300, low, share=0.6), balanced=False)
        assert found is not None
        assert nothing_learnt(found, 2) is expected

    @pytest.mark.parametrize(("low", "expected"), [(0.30, True), (0.36, False)])
    def test_macro_recall_must_exceed_one_share_in_the_number_of_classes(
        self, low: float, expected: bool
    ) -> None:
        found = headline(None, source(300, low + 0.1, share=0.9), balanced=True)
        assert found is not None
        assert nothing_learnt(found, 3) is expected

    @pytest.mark.parametrize("balanced", [False, True])
    def test_always_guessing_the_majority_is_nothing_learnt(self, balanced: bool) -> None:
        guessing = figures(answers([0] * 70 + [1] * 20 + [2] * 10, [0] * 100))
        found = headline(guessing, None, balanced)
        assert found is not None
        assert nothing_learnt(found, 3)

    @pytest.mark.parametrize("balanced", [False, True])
    def test_good_answers_are_learnt_and_the_same_with_shuffled_labels_are_not(
        self, balanced: bool, random: np.random.Generator
    ) -> None:
        labels = [0] * 200 + [1] * 120 + [2] * 80
        predicted = labels[:180] + [1] * 20 + labels[200:]
        shuffled = random.permutation(labels).tolist()
        verdicts = []
        for truth in (labels, shuffled):
            found = headline(figures(answers(truth, predicted)), None, balanced)
            assert found is not None
            verdicts.append(nothing_learnt(found, 3))
        assert verdicts == [False, True]
