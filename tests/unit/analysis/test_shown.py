# SPDX-License-Identifier: Apache-2.0
"""What a page shows is chosen by rules."""

from __future__ import annotations

import numpy as np

from trainer.analysis.shown import least_sure_hits, some_of_each, worst_mistakes

LABELS = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([[0.2, 0.8], [0.6, 0.4], [0.95, 0.05], [0.1, 0.9]])


def test_surest_mistake_comes_first() -> None:
    assert worst_mistakes(LABELS, PROBABILITIES) == [2, 0]


def test_right_answer_with_the_nearest_runner_up_comes_first() -> None:
    assert least_sure_hits(LABELS, PROBABILITIES) == [1, 3]


def test_some_of_each_class_are_those_of_the_lowest_contents() -> None:
    digests = [b"d", b"a", b"c", b"b", b"e"]
    chosen = some_of_each(np.array([0, 0, 1, 1, 1]), digests, 4, 8)
    assert chosen.tolist() == [1, 0, 3, 2]


def test_no_class_has_more_than_its_part_and_no_more_classes_than_there_is_room() -> None:
    labels = np.arange(100) // 10
    digests = [bytes([number]) for number in range(100)]
    assert len(some_of_each(labels, digests, 60, 3)) == 30
    assert some_of_each(labels, digests, 4, 3).tolist() == [0, 10, 20, 30]


def test_nothing_gives_nothing() -> None:
    assert some_of_each(np.empty(0, np.int64), [], 4, 3).tolist() == []
