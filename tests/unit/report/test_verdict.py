# SPDX-License-Identifier: Apache-2.0
"""The sentence and the last lines: what they claim, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.report.verdict import last_lines, unfinished, verdict, watch

Results = dict[str, Any]
Maker = Callable[..., Results]


def test_verdict_names_value_interval_size_source_and_what_guessing_reaches(
    two_classes: Results,
) -> None:
    assert verdict(two_classes) == (
        "Right about 5 in 6 times (84%; 95%: 80 to 87%, 466 images, cross-validation); "
        'always guessing "house_with_pool": 71%.'
    )


def test_verdict_gives_percent_alone_where_no_simple_fraction_is_near(two_classes: Results) -> None:
    two_classes["headline"] |= {"value": 0.9571, "interval95": [0.93, 0.97]}
    assert verdict(two_classes).startswith("Right 96% of the time (95%: 93 to 97%, 466 images")


def test_all_right_is_no_fraction(two_classes: Results) -> None:
    two_classes["headline"] |= {"value": 1.0, "interval95": [0.99, 1.0]}
    assert verdict(two_classes).startswith("Right 100% of the time (95%: 99 to 100%")


def test_lower_bound_at_the_majority_is_no_better_than_guessing(two_classes: Results) -> None:
    share = two_classes["headline"]["majority"]["share"]
    two_classes["headline"] |= {"value": 0.75, "interval95": [share, 0.79]}
    assert verdict(two_classes) == (
        'No better than always guessing "house_with_pool" (71%): '
        "right 75% of the time (95%: 71 to 79%, 466 images, cross-validation)."
    )


def test_balanced_run_is_told_by_macro_recall_against_one_class_in_k(
    two_classes: Results, headline: Maker
) -> None:
    figures = two_classes["cross_validation"]
    two_classes["headline"] = headline("cross_validation", figures, "macro_recall")
    assert verdict(two_classes) == (
        "Finds 77% of a class on average (macro recall; 95%: 73 to 80%, 466 images, "
        'cross-validation); always guessing "house_with_pool": 50%.'
    )


def test_balanced_run_that_learnt_nothing_is_compared_with_one_class_in_k(
    two_classes: Results, headline: Maker, scores: Maker
) -> None:
    figures = scores([[300, 31], [124, 11]], two_classes["data"]["classes"])
    two_classes["headline"] = headline("test", figures, "macro_recall")
    assert verdict(two_classes).startswith(
        'No better than always guessing "house_with_pool" (50%): finds 49% of a class on average'
    )


@pytest.mark.parametrize(
    ("status", "opening"),
    [("running", "No result yet"), ("stopped", "No result yet"), ("failed", "No result: ")],
)
def test_run_without_result_says_why(begun: Results, status: str, opening: str) -> None:
    assert verdict(begun | {"status": status}).startswith(opening)


@pytest.mark.parametrize("status", ["complete", "running"])
def test_finished_run_without_any_scored_set_says_so(two_classes: Results, status: str) -> None:
    two_classes |= {"status": status, "headline": None, "test": None, "cross_validation": None}
    assert verdict(two_classes) == (
        "No score: this run had neither a cross-validation nor a test set."
    )


def test_page_drawn_just_before_the_final_mark_is_that_of_a_finished_run(
    two_classes: Results,
) -> None:
    assert not unfinished(two_classes | {"status": "running"})


def test_control_characters_of_a_class_name_never_reach_the_terminal(two_classes: Results) -> None:
    name = "\x1b[2Jpool\n\u202e"
    two_classes["headline"]["majority"]["label"] = name
    two_classes["cross_validation"]["majority"]["label"] = name
    text = verdict(two_classes) + "".join(last_lines(two_classes, Path("runs/\x1b\n")))
    assert text.isprintable()


def test_last_lines_are_those_of_the_design(two_classes: Results) -> None:
    two_classes["data"] |= {"duplicates": 0}
    assert last_lines(two_classes, Path("runs/pools")) == [
        'Cross-validation  83.9%  (95%: 80 to 87%, 466 images)   always "house_with_pool": 71.0%',
        "Test set          84.6%  (95%: 72 to 92%, 44 of 52)",
        "Watch             small test set · 3 images unreadable · 2 labelled two ways",
        "Report            runs/pools/report.html",
        "Try it            retrain predict runs/pools photo.jpg",
    ]


def test_without_cross_validation_the_test_set_says_what_guessing_reaches(
    many_classes: Results,
) -> None:
    lines = last_lines(many_classes, Path("runs/birds"))
    assert lines[0] == (
        'Test set          97.1%  (95%: 93 to 100%, 531 of 547)   always "species 07": 4.0%'
    )


def test_without_a_test_set_its_line_is_left_out(two_classes: Results) -> None:
    lines = last_lines(two_classes | {"test": None}, Path("runs/pools"))
    assert not any(line.startswith("Test set") for line in lines)


def test_balanced_run_ends_with_macro_recall(two_classes: Results, headline: Maker) -> None:
    figures = two_classes["cross_validation"]
    two_classes["headline"] = headline("cross_validation", figures, "macro_recall")
    assert last_lines(two_classes, Path("runs/pools"))[:2] == [
        "Cross-validation  76.8%  (macro recall; 95%: 73 to 80%, 466 images)   "
        'always "house_with_pool": 50.0%',
        "Test set          81.2%  (macro recall; 95%: 78 to 84%, 52 images)",
    ]


def test_nothing_to_watch_leaves_its_line_out(many_classes: Results) -> None:
    many_classes["data"] |= {"quarantined": 0, "conflicts": 0, "duplicates": 0}
    lines = last_lines(many_classes, Path("runs/birds"))
    assert not any(line.startswith("Watch") for line in lines)


@pytest.mark.parametrize("note", ["not pretrained: random weights", "random weights"])
def test_note_on_the_weights_is_the_last_line(two_classes: Results, note: str) -> None:
    lines = last_lines(two_classes | {"weights_note": note}, Path("runs/pools"))
    assert lines[-1] == "Not pretrained: random weights"


def test_run_directory_is_quoted_for_the_shell(two_classes: Results) -> None:
    lines = last_lines(two_classes, Path("runs/my $(pools)"))
    assert lines[-1] == "Try it            retrain predict 'runs/my $(pools)' photo.jpg"


def test_run_on_bottlenecks_is_tried_on_a_bottleneck(two_classes: Results) -> None:
    two_classes["backbone"] |= {"name": None, "weights": None}
    lines = last_lines(two_classes, Path("runs/pools"))
    assert lines[-1].endswith("retrain predict runs/pools bottleneck.txt")


def test_watch_begins_with_nothing_learnt(two_classes: Results) -> None:
    two_classes["headline"] |= {"value": 0.7, "interval95": [0.66, 0.74]}
    assert watch(two_classes)[0] == "nothing learnt"


def test_watch_tells_of_classes_without_test_images(two_classes: Results, scores: Maker) -> None:
    classes = two_classes["data"]["classes"]
    two_classes["test"] = scores([[0, 0], [30, 90]], classes)
    assert f'no test image of "{classes[0]}"' in watch(two_classes)
    two_classes["data"]["classes"] = [*classes, "house"]
    two_classes["test"] = scores(
        [[0, 0, 0], [30, 90, 9], [0, 0, 0]], two_classes["data"]["classes"]
    )
    assert "no test image of 2 classes" in watch(two_classes)


def test_watch_names_the_end_of_the_l2_path_and_counts_other_warnings(
    two_classes: Results,
) -> None:
    two_classes["head"]["l2"] = 1e-4
    two_classes["warnings"] = ["The chosen l2 is at the weak end of its path.", "Something else."]
    assert watch(two_classes)[-2:] == ["L2 at its path's end", "1 warning in the report"]


def test_l2_inside_its_path_is_nothing_to_watch(two_classes: Results) -> None:
    assert "L2 at its path's end" not in watch(two_classes)
