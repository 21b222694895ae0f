# SPDX-License-Identifier: Apache-2.0
"""The page: whole for any run, nothing loaded from elsewhere, no name that runs or breaks it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from made_up_runs import HOSTILE, with_names
from trainer.errors import UsageError
from trainer.report.page import write_report
from trainer.rundir import RunDir

Results = dict[str, Any]
Leave = Callable[..., RunDir]

VOID = {"meta", "line", "circle", "wbr", "img", "path", "use"}
HOSTILE_SEEN = HOSTILE.replace("\n", "\\n").replace("\u202e", "\\u202e")


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, run: RunDir) -> None:
        """Read the report of a run."""
        super().__init__()
        self.source = run.report.read_bytes().decode("utf-8")
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.isolated: set[str] = set()
        self.text = self.name = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it, and keep what is open."""
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "bdi":
            self.name = ""

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag == "bdi":
            self.isolated.add(self.name)
        self.text += "" if tag == "span" else " "

    def handle_data(self, data: str) -> None:
        """Gather what is read, and apart from it the names."""
        self.text += data if self.open[-1:] != ["style"] else ""
        if self.open[-1:] == ["bdi"]:
            self.name += data


@pytest.fixture
def draw(leave: Leave) -> Callable[..., Page]:
    """Draws the page of a run with these results and CSV rows."""

    def draw_page(results: Results, name: str = "pools", **files: list[Any]) -> Page:
        run = leave(results, name, **files)
        write_report(run)
        return Page(run)

    return draw_page


Draw = Callable[..., Page]


@pytest.mark.parametrize("kind", ["two_classes", "many_classes", "begun"])
def test_page_of_any_run_is_well_formed(
    kind: str, draw: Draw, request: pytest.FixtureRequest
) -> None:
    page = draw(request.getfixturevalue(kind))
    assert page.open == []
    assert page.tags["h1"] == page.tags["main"] == page.tags["title"] == 1


@pytest.mark.parametrize("kind", ["two_classes", "many_classes", "begun"])
def test_page_refers_to_nothing_but_itself(
    kind: str, draw: Draw, request: pytest.FixtureRequest
) -> None:
    page = draw(request.getfixturevalue(kind))
    ids = {f"#{value}" for name, value in page.attributes if name == "id"}
    names = ("href", "xlink:href", "src", "action")
    references = {value for name, value in page.attributes if name in names}
    pictures = {
        value for value in references if value and value.startswith("data:image/jpeg;base64,")
    }
    assert references - pictures <= ids
    assert not re.search(r"https?:|url\((?!#)|@import", page.source)


def test_page_forbids_every_request(two_classes: Results, draw: Draw) -> None:
    page = draw(two_classes)
    policy = next(value for _, value in page.attributes if value and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_run_that_came_to_nothing_has_a_page_that_says_so(
    status: str, begun: Results, draw: Draw
) -> None:
    page = draw(begun | {"status": status})
    assert "No result" in page.text
    assert "retrain run pools/config.yaml --out pools " in page.text


def test_page_needs_no_file_but_the_results(begun: Results, leave: Leave) -> None:
    run = leave(begun)
    run.config.unlink()
    run.environment.unlink()
    write_report(run)
    assert "No result yet" in Page(run).text


def test_results_with_only_schema_and_status_have_a_page(draw: Draw) -> None:
    assert "No result" in draw({"schema": 1, "name": "pools", "status": "failed"}).text


def test_folder_without_results_is_no_run(leave: Leave, begun: Results) -> None:
    run = leave(begun)
    run.results.unlink()
    with pytest.raises(UsageError, match="no run directory"):
        write_report(run)


def test_verdict_and_limits_come_first(two_classes: Results, draw: Draw) -> None:
    two_classes |= {"weights_note": "not pretrained: random weights", "warnings": ["Few images."]}
    text = draw(two_classes).text
    places = [
        text.index(part)
        for part in ("Right about 5 in 6", "Not pretrained: random", "Few images.", "Scores by")
    ]
    assert places == sorted(places)


def test_page_shows_that_nothing_was_learnt(two_classes: Results, draw: Draw) -> None:
    two_classes["headline"] |= {"value": 0.7, "interval95": [0.66, 0.74]}
    page = draw(two_classes)
    assert "No better than always guessing" in page.text
    assert ("class", "verdict poor") in page.attributes


def test_what_limits_each_score_stands_beside_it(two_classes: Results, draw: Draw) -> None:
    text = draw(two_classes).text
    assert "approximate: folds share training images" in text
    assert "seen in choosing" in text


def test_few_classes_have_a_confusion_table_with_the_truth_in_rows(
    two_classes: Results, draw: Draw
) -> None:
    page = draw(two_classes)
    assert "house_with_pool 310 21 93.7%" in " ".join(page.text.split())
    shades = [value for _, value in page.attributes if value in ("r5", "w1")]
    assert shades[:2] == ["r5", "w1"]


def test_many_classes_have_their_most_confused_pairs_instead(
    many_classes: Results, draw: Draw
) -> None:
    page = draw(many_classes)
    assert "Most confused" in page.text
    assert "species 02 species 00 9 of 18" in " ".join(page.text.split())
    assert ("class", "matrix") not in page.attributes


def test_each_table_has_a_caption_and_each_head_a_scope(two_classes: Results, draw: Draw) -> None:
    page = draw(two_classes, quarantine=[("a/1.jpg", 0, "empty")])
    assert page.tags["table"] == page.tags["caption"]
    scopes = sum(name == "scope" for name, _ in page.attributes)
    assert page.tags["th"] == scopes


def test_quarantine_shows_fifty_files_and_points_to_the_rest(
    two_classes: Results, draw: Draw
) -> None:
    rows = [(f"a/{number}.jpg", 1234, "cut off") for number in range(57)]
    text = draw(two_classes, quarantine=rows).text
    assert text.count("cut off") == 50
    assert "7 more rows: see quarantine.csv" in text


def test_copies_and_conflicts_are_listed(two_classes: Results, draw: Draw) -> None:
    manifest = [
        ("a/1.jpg", "house_with_pool", "01", "", "training", ""),
        ("a/2.jpg", "house_with_pool", "01", "", "training", ""),
        ("a/3.jpg", "house_with_pool", "02", "", "conflict", ""),
        ("b/3.jpg", "house_without_pool", "02", "", "conflict", ""),
    ]
    page = draw(two_classes, manifest=manifest)
    assert {"a/1.jpg", "a/2.jpg", "a/3.jpg", "b/3.jpg"} <= page.isolated


def test_near_duplicates_are_listed_with_a_word_on_labels_that_differ(
    two_classes: Results, draw: Draw
) -> None:
    manifest = [
        ("a/1.jpg", "house_with_pool", "01", "", "training", ""),
        ("b/2.jpg", "house_without_pool", "02", "", "test", ""),
    ]
    groups = [
        ("01", "a/1.jpg", "house_with_pool", "01"),
        ("02", "b/2.jpg", "house_without_pool", "01"),
    ]
    page = draw(two_classes, manifest=manifest, groups=groups)
    assert {"a/1.jpg", "b/2.jpg"} <= page.isolated
    assert "labels differ" in page.source


def test_strangers_names_neither_run_nor_break_the_page(two_classes: Results, draw: Draw) -> None:
    files = {
        "manifest": [("a/1", HOSTILE, "01", "", "conflict", "")],
        "quarantine": [("a/2", 5, "cut off")],
    }
    plain = draw(two_classes, name="plain", **files)
    hostile_files = {
        "manifest": [(HOSTILE, HOSTILE, "01", "", "conflict", "")],
        "quarantine": [(f"\udcff{HOSTILE}", 5, HOSTILE)],
    }
    name = HOSTILE.replace("/", "")
    page = draw(with_names(two_classes, HOSTILE, [HOSTILE, "b\udce9"]), name=name, **hostile_files)
    # Two more items limit the hostile run; nothing else may have become an element.
    assert page.tags - plain.tags == Counter({"li": 2})
    assert {HOSTILE_SEEN, f"\\xff{HOSTILE_SEEN}", "b\\xe9"} <= page.isolated
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "\u202e" not in page.source


def test_commands_quote_the_run_directory_for_the_shell(two_classes: Results, draw: Draw) -> None:
    text = draw(two_classes, name="my $(pools)").text
    assert "retrain predict 'my $(pools)' photo.jpg" in text
    assert "retrain run 'my $(pools)/config.yaml' --out 'my $(pools)-again'" in text


def test_page_drawn_again_elsewhere_has_the_same_bytes(two_classes: Results, leave: Leave) -> None:
    run = leave(two_classes)
    write_report(run)
    first = run.report.read_bytes()
    moved = RunDir(run.path.parent / "elsewhere" / run.path.name)
    moved.path.parent.mkdir()
    run.path.rename(moved.path)
    write_report(moved)
    assert moved.report.read_bytes() == first


def test_page_drawn_just_before_the_final_mark_is_that_of_a_finished_run(
    two_classes: Results, draw: Draw
) -> None:
    page = draw(two_classes | {"status": "running"})
    assert page.source == draw(two_classes, name="pools").source


def test_large_numbers_are_set_apart(two_classes: Results, draw: Draw) -> None:
    two_classes["data"]["images"] = 1234567
    assert "1,234,567" in draw(two_classes).text
