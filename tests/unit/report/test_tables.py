# SPDX-License-Identifier: Apache-2.0
"""The rows behind the page's tables."""

from __future__ import annotations

from typing import Any

from trainer.report import tables

CLASSES = ["a", "b", "c"]


def _manifest(*rows: tuple[str, str, str, str, str]) -> tables.Rows:
    return [
        dict(zip(("path", "label", "sha256", "split", "moved"), row, strict=True)) for row in rows
    ]


def test_recall_is_the_right_share_of_a_row_and_none_without_items() -> None:
    rows = tables.truth_rows([[3, 1, 0], [0, 0, 0], [2, 0, 2]], CLASSES)
    assert [row.recall for row in rows] == [0.75, None, 0.5]


def test_one_mistake_among_many_is_still_shaded() -> None:
    row = tables.truth_rows([[999, 1, 0], [0, 1, 0], [0, 0, 1]], CLASSES)[0]
    assert [cell.shade for cell in row.cells] == [5, 1, 0]


def test_confused_pairs_leave_out_what_is_right_and_begin_with_the_most_frequent() -> None:
    rows = tables.truth_rows([[9, 1, 0], [0, 9, 4], [0, 2, 9]], CLASSES)
    pairs = tables.confused_pairs(rows)
    assert [(pair.truth, pair.predicted, pair.count) for pair in pairs] == [
        ("b", "c", 4),
        ("c", "b", 2),
        ("a", "b", 1),
    ]


def test_copies_count_once_and_conflicts_in_no_set() -> None:
    given = tables.given(
        _manifest(
            ("a/1", "a", "01", "training", ""),
            ("a/2", "a", "01", "training", ""),
            ("a/3", "a", "02", "test", "training"),
            ("a/4", "a", "03", "conflict", ""),
            ("b/1", "b", "03", "conflict", ""),
            ("b/2", "b", "04", "validation", ""),
        )
    )
    assert tables.class_sets(given, ["a", "b"]) == [("a", [1, 0, 1]), ("b", [0, 1, 0])]
    assert given.copies == [tables.Copy("a/2", "a/1")]
    assert [row["path"] for row in given.conflicts] == ["a/4", "b/1"]
    assert given.moved == 1


def test_effective_number_is_told_only_where_groups_make_it_smaller(
    two_classes: dict[str, Any],
) -> None:
    def titles() -> list[str]:
        return [row.title for row in tables.score_rows(tables.sources(two_classes))]

    assert "Items, effective" not in titles()
    two_classes["test"]["n_effective"] = 40.2
    assert "Items, effective" in titles()


def test_excerpt_says_how_many_rows_it_leaves_out() -> None:
    assert tables.excerpt(list(range(7)), most=5) == tables.Excerpt([0, 1, 2, 3, 4], 2)


def _units(*rows: tuple[str, str, str, str]) -> list[tables.Alike]:
    """Of items with these contents, labels, groups and units."""
    manifest = [
        {"path": one, "label": label, "sha256": one, "group": group, "split": "training"}
        for one, label, group, _ in rows
    ]
    groups = [
        {"sha256": one, "path": one, "label": label, "unit": unit} for one, label, _, unit in rows
    ]
    return tables.alike(groups, manifest)


def test_units_of_several_items_are_alike_and_those_of_two_labels_come_first() -> None:
    found = _units(
        ("1", "a", "", "1"), ("2", "a", "", "1"), ("3", "a", "", "3"), ("4", "b", "", "3")
    )
    assert [[row["path"] for row in one.rows] for one in found] == [["3", "4"], ["1", "2"]]
    assert [one.labels for one in found] == [2, 1]


def test_group_by_itself_is_not_alike() -> None:
    assert not _units(("1", "a", "g", "g"), ("2", "b", "g", "g"), ("3", "a", "", "3"))
