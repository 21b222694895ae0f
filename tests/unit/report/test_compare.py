# SPDX-License-Identifier: Apache-2.0
"""Two runs on the same images: what is matched, what is left out, and how it is told."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.data.manifest import unescaped, write_csv
from trainer.errors import DataError, UsageError
from trainer.report.compare import Comparison, compare
from trainer.report.compare_words import as_csv, as_json, as_text, verdict, write_page
from trainer.rundir import RunDir

Results = dict[str, Any]
Leave = Callable[..., RunDir]

HOSTILE = "=\"><script>alert(1)</script>\n\u202e\x1b[31m{{ 7*7 }}'</style>\udcff"


class Item:
    """An image in predictions.csv: `c1 pool pool` is content, label, and what the run says."""

    def __init__(self, words: str, source: str = "test", fold: str = "", group: str = "") -> None:
        """Spell it out; a fourth word is the path."""
        self.sha256, self.label, self.predicted, *path = words.split()
        self.path = path[0] if path else f"{self.label}/{self.sha256}.jpg"
        self.source, self.fold, self.group = source, fold, group

    def row(self) -> list[object]:
        """As it stands in the file."""
        given = self.path, self.sha256, self.group, self.label, self.source, self.fold
        return [*given, 0.1, self.predicted, 0.4, 0.6]


Given = Iterable[Item | str]
Run = Callable[..., Path]


def _items(right: int, wrong: int, first: int = 0, **other: str) -> list[Item]:
    """So many images that a run has right, then so many that it has wrong."""
    says = ["pool"] * right + ["roof"] * wrong
    return [Item(f"c{first + n} pool {word}", **other) for n, word in enumerate(says)]


@pytest.fixture
def run(leave: Leave, two_classes: Results) -> Run:
    """Leaves a run with predictions, finished unless told otherwise."""

    def leave_run(name: str, items: Given, settings: Any = None, **other: Any) -> Path:
        results = deepcopy(two_classes) | other
        results["data"]["classes"] = other.pop("classes", ["pool", "roof"])
        left = leave(results, name)
        if settings is not None:
            left.config.write_text(yaml.safe_dump(settings))
        header = "path sha256 group label source fold l2 predicted p:pool p:roof".split()
        rows = [(Item(item) if isinstance(item, str) else item).row() for item in items]
        write_csv(left.predictions, header, rows)
        if results["status"] == "complete":
            left.stages.mkdir()
            left.write_complete(results)
        return left.path

    return leave_run


def test_images_are_matched_by_content_though_renamed(run: Run) -> None:
    first = run("a", ["c1 pool pool", "c2 pool roof", "c3 roof roof"])
    second = run("b", ["c2 pool pool new/name.jpg", "c3 roof roof", "c4 pool pool"])
    (test,) = compare(first, second).sources
    assert (test.counts.n, test.counts.first, test.counts.second) == (2, 1, 2)
    assert [pair[1]["path"] for pair in test.gained] == ["new/name.jpg"]
    assert test.lost == []


def test_images_with_other_labels_are_listed_and_left_out(run: Run) -> None:
    first = run("a", ["c1 pool pool", "c2 pool roof"])
    second = run("b", ["c1 pool pool", "c2 roof roof"])
    comparison = compare(first, second)
    assert comparison.sources[0].counts.n == 1
    assert [a["sha256"] for a, _ in comparison.relabelled] == ["c2"]
    text = as_text(comparison)
    assert "Left out: labelled otherwise in B (1)\n  roof/c2.jpg  A pool · B roof\n" in text


def test_runs_without_an_image_in_common_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="no image that both scored alike"):
        compare(run("a", ["c1 pool pool"]), run("b", ["c2 pool pool"]))


def test_runs_whose_common_images_all_have_other_labels_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="1 image is in both, under other labels"):
        compare(run("a", ["c1 pool pool"]), run("b", ["c1 roof roof"]))


def test_images_tested_in_one_run_and_fitted_on_in_the_other_are_left_out(run: Run) -> None:
    first = run("a", ["c1 pool pool", "c2 pool pool"])
    second = run("b", ["c1 pool pool", Item("c2 pool roof", "oof", "0")])
    comparison = compare(first, second)
    assert [each.counts.n for each in comparison.sources] == [1]
    assert comparison.notes == [
        "1 image is in the test set of one run and in development of the other: left out."
    ]


def test_validation_rows_count_nowhere(run: Run) -> None:
    items = [Item("c1 pool pool", "validation")]
    with pytest.raises(DataError, match="no image"):
        compare(run("a", items), run("b", items))


FOLDS = [("c1", "0"), ("c2", "0"), ("c3", "1")]


def _folded(folds: Iterable[tuple[str, str]]) -> list[Item]:
    return [Item(f"{content} pool pool", "oof", fold) for content, fold in folds]


def test_out_of_fold_images_count_where_folds_agree_whatever_their_numbers(run: Run) -> None:
    renumbered = [("c1", "3"), ("c2", "3"), ("c3", "2")]
    comparison = compare(run("a", _folded(FOLDS)), run("b", _folded(renumbered)))
    assert [(each.source, each.counts.n) for each in comparison.sources] == [("oof", 3)]
    assert "approximate" in as_text(comparison)


@pytest.mark.parametrize(
    "others", [[("c1", "0"), ("c2", "1"), ("c3", "1")], [("c1", "0"), ("c2", "0"), ("c3", "0")]]
)
def test_out_of_fold_images_are_left_out_where_folds_differ(
    others: list[tuple[str, str]], run: Run
) -> None:
    first, second = (
        run("a", ["c9 pool pool", *_folded(FOLDS)]),
        run("b", ["c9 pool pool", *_folded(others)]),
    )
    comparison = compare(first, second)
    assert [each.source for each in comparison.sources] == ["test"]
    assert "dealt into other folds" in as_text(comparison)


def test_nothing_but_other_folds_is_refused(run: Run) -> None:
    others = [("c1", "0"), ("c2", "1"), ("c3", "0")]
    with pytest.raises(DataError, match="other folds"):
        compare(run("a", _folded(FOLDS)), run("b", _folded(others)))


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
@pytest.mark.parametrize("which", [0, 1])
def test_unfinished_run_is_refused_by_name(status: str, which: int, run: Run) -> None:
    runs = [
        run(name, ["c1 pool pool"], status=status if place == which else "complete")
        for place, name in enumerate(("first", "second"))
    ]
    with pytest.raises(UsageError, match=f"{('first', 'second')[which]}: not finished: {status}"):
        compare(*runs)


def test_folder_without_a_run_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no run directory"):
        compare(run("a", ["c1 pool pool"]), tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"path,label\na,b\n", b"\xff", b"path,label\na\n", None])
def test_damaged_predictions_are_refused(content: bytes | None, run: Run) -> None:
    first, second = run("a", ["c1 pool pool"]), run("b", ["c1 pool pool"])
    predictions = RunDir(second).predictions
    predictions.unlink() if content is None else predictions.write_bytes(content)
    with pytest.raises(DataError, match=r"b/predictions\.csv: "):
        compare(first, second)


def test_predictions_edited_after_the_end_are_refused(run: Run) -> None:
    first, second = run("a", ["c1 pool pool"]), run("b", ["c1 pool pool"])
    predictions = RunDir(second).predictions
    predictions.write_text(predictions.read_text().replace("pool", "roof"))
    with pytest.raises(DataError, match="changed since the run was finished"):
        compare(first, second)


# What it says


def _verdict(run: Run, first: list[Item], second: list[Item]) -> str:
    return verdict(compare(run("a", first), run("b", second)).sources[0])


def test_verdict_says_how_often_chance_does_as_much(run: Run) -> None:
    # One image lost, six gained: 2 (1 + 7) / 2^7 = 12.5%.
    first = [*_items(40, 0), *_items(1, 6, 100), *_items(0, 5, 200)]
    second = [*_items(40, 0), *_items(0, 1, 100), *_items(6, 0, 101), *_items(0, 5, 200)]
    assert _verdict(run, first, second) == (
        "B is right on 5 more of 52 test images; by chance alone such a difference or a larger "
        "one comes in 12% of cases (McNemar): not shown to be better."
    )


def test_verdict_names_the_better_one_where_chance_is_small(run: Run) -> None:
    told = _verdict(run, _items(20, 0), _items(8, 12))
    assert told.startswith("A is right on 12 more of 20 test images; by chance alone")
    assert "in less than 0.1% of cases (McNemar): shown to be better." in told


def test_verdict_of_equally_good_runs(run: Run) -> None:
    assert _verdict(run, ["c1 pool pool", "c2 pool roof"], ["c1 pool roof", "c2 pool pool"]) == (  # type: ignore[list-item]
        "A and B are right on 1 of 2 test images, each alone on 1: no difference shown."
    )


def test_run_compared_with_itself_shows_no_difference(run: Run) -> None:
    path = run("a", ["c1 pool pool", "c2 pool roof"])
    comparison = compare(path, path)
    assert verdict(comparison.sources[0]) == (
        "A and B are right on the same 1 of 2 test images: no difference."
    )
    assert comparison.settings == []
    assert "None." in _page(comparison, path / "page.html").text


def test_groups_widen_the_interval_and_a_note_says_what_mcnemar_counts(run: Run) -> None:
    first = [Item(f"c{n} pool {'pool' if n % 3 else 'roof'}", group=str(n // 4)) for n in range(40)]
    second = [Item(f"c{n} pool pool", group=str(n // 4)) for n in range(40)]
    alone = [Item(f"c{n} pool pool") for n in range(40)]
    grouped = compare(run("a", first), run("b", second))
    # The more cautious of both runs' groups counts.
    assert compare(run("c", first), run("d", alone)).sources[0].effective == pytest.approx(10)
    (test,) = grouped.sources
    low, high = test.interval
    assert high - low > 0.4
    assert "the intervals count 10.0 instead of 40" in grouped.notes[0]
    assert "McNemar's test counts single images" in grouped.notes[0]


def test_settings_that_differ_are_told(run: Run) -> None:
    common = {"name": "x", "run": {"cache": "/a"}}
    first = run("a", ["c1 pool pool"], common | {"head": {"l2": "auto"}})
    second = run("b", ["c1 pool pool"], {"name": "y", "head": {"l2": 0.1}})
    comparison = compare(first, second)
    assert comparison.settings == [("head.l2", "auto", 0.1)]
    assert "  head.l2: auto in A, 0.1 in B\n" in as_text(comparison)


def test_class_that_one_run_alone_knows_is_named(run: Run) -> None:
    first = run("a", ["c1 pool pool"], classes=["lake", "pool", "roof"])
    comparison = compare(first, run("b", ["c1 pool pool"]))
    assert comparison.notes == ['A alone knows "lake".']


def test_terminal_text_keeps_to_80_columns_and_begins_with_the_verdict(run: Run) -> None:
    first = [*_items(10, 30), *_items(20, 20, 100, source="oof", fold="0")]
    second = [*_items(40, 0), *_items(10, 30, 100, source="oof", fold="0")]
    text = as_text(compare(run("a", first), run("b", second)))
    lines = [line for line in text.splitlines() if not line.startswith(("A  ", "B  "))]
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("B is right on 30 more of 40 test images")
    assert "  and 10 more: see --csv or --json" in lines
    assert "Only B right          30                    0" in lines
    assert "B minus A, points     +75.0                 -25.0" in lines


# Other forms


def _rows(comparison: Comparison) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO("".join(as_csv(comparison)), newline=""))
    return [{key: unescaped(value) for key, value in row.items()} for row in reader]


def test_csv_has_a_row_for_each_image_that_changed_sides(run: Run) -> None:
    first = run("a", ["c1 pool pool", "c2 pool roof x/2.jpg", "c3 roof roof", "c4 roof pool"])
    second = run("b", ["c1 pool roof", "c2 pool pool y/2.jpg", "c3 roof roof", "c4 roof pool"])
    lost, gained = _rows(compare(first, second))
    assert (lost["right"], lost["sha256"], lost["predicted_b"]) == ("A", "c1", "roof")
    assert gained == {
        "source": "test",
        "right": "B",
        "path_a": "x/2.jpg",
        "path_b": "y/2.jpg",
        "sha256": "c2",
        "label": "pool",
        "predicted_a": "roof",
        "predicted_b": "pool",
    }


def test_json_holds_the_figures(run: Run) -> None:
    told = json.loads(as_json(compare(run("a", _items(1, 3)), run("b", _items(3, 1)))))
    test = told["test"]
    assert (test["n"], test["only_a"], test["only_b"], test["mcnemar"]) == (4, 0, 2, 0.5)
    assert test["difference"] == pytest.approx(0.5)
    assert test["interval95"][0] < 0 < test["interval95"][1]
    assert told["cross_validation"] is None
    assert len(told["changed"]) == 2


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, source: str) -> None:
        """Read it."""
        super().__init__()
        self.source = source
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Gather elements."""
        self.tags.append(tag)
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather what is read."""
        self.text += data


def _page(comparison: Comparison, path: Path) -> Page:
    write_page(path, comparison)
    return Page(path.read_text(encoding="utf-8"))


def test_page_tells_the_same_and_loads_nothing(run: Run, tmp_path: Path) -> None:
    comparison = compare(run("a", _items(1, 3)), run("b", _items(3, 1)))
    page = _page(comparison, tmp_path / "page.html")
    assert page.open == []
    assert verdict(comparison.sources[0]) in page.text
    assert "pool/c1.jpg" in page.text
    assert "default-src 'none'; style-src" in page.source
    assert not re.search(r"<script|https?:|url\(|src=", page.source)


def test_strangers_names_break_neither_page_nor_csv_nor_terminal(run: Run, tmp_path: Path) -> None:
    def hostile(says: str, source: str = "test") -> Item:
        item = Item(f"c1 pool {says}", source)
        item.path = item.label = HOSTILE
        item.predicted = HOSTILE if says == "right" else f"-{HOSTILE}"
        return item

    relabelled = [hostile("right"), hostile("right")]
    relabelled[0].sha256 = relabelled[1].sha256 = "c2"
    relabelled[1].label = "@x"
    classes = [HOSTILE.replace("\udcff", ""), "b"]
    name = HOSTILE.replace("/", "")
    first = run(name, [hostile("right"), relabelled[0]], {HOSTILE[:-1]: 1}, classes=classes)
    second = run("b", [hostile("wrong"), relabelled[1]], {HOSTILE[:-1]: HOSTILE[:-1]})
    comparison = compare(first, second)
    page = _page(comparison, tmp_path / "page.html")
    text = as_text(comparison)
    assert "script" not in page.tags
    assert page.open == []
    for shown in (page.source, text):
        assert not {"\u202e", "\x1b", "\udcff"} & set(shown)
        assert "\\u202e\\x1b[31m{{ 7*7 }}" in shown
    assert [row["path_a"] for row in _rows(comparison)] == [HOSTILE]
    assert as_json(comparison).isascii()
