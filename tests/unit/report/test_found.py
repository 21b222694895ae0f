# SPDX-License-Identifier: Apache-2.0
"""What was found out, on the page: pictures, charts, labels, thresholds, classes one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn import metrics

import made_up_runs
from made_up_runs import HOSTILE, POOLS, Results, find_out
from trainer.report import charts
from trainer.report.classes import class_rows, weakest_first
from trainer.report.embedded import MOST_BYTES, Embedded, from_gallery
from trainer.report.found import learning_sentence
from trainer.report.page import write_report
from trainer.rundir import RunDir

Leave = Callable[..., RunDir]
NAMES = [f"{label}/{number}.jpg" for number in range(4) for label in POOLS]


def drawn(run: RunDir) -> str:
    write_report(run)
    return run.report.read_text(encoding="utf-8")


@pytest.fixture
def run(leave: Leave) -> RunDir:
    return find_out(leave(made_up_runs.two_classes()), POOLS, NAMES)


def test_sections_stand_in_the_order_in_which_a_reader_asks(run: RunDir) -> None:
    headings = re.findall(r'<h2 id="(\w+)">', drawn(run))
    assert headings == [
        "limits", "show", "given", "weak", "labels", "probabilities", "more", "use", "made",
    ]  # fmt: skip


def test_every_picture_is_in_the_page(run: RunDir) -> None:
    page = drawn(run)
    sources = re.findall(r'<img[^>]* src="([^"]*)"', page)
    assert len(sources) > 30
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))


def test_run_that_shows_no_pictures_has_rows_instead(leave: Leave) -> None:
    page = drawn(find_out(leave(made_up_runs.two_classes()), POOLS, NAMES, pictures=False))
    assert "<img" not in page
    assert page.count("house_<wbr>with_<wbr>pool/<wbr>0.jpg") > 3


def test_charts_follow_the_page_in_the_dark_and_have_their_numbers_beside_them(
    run: RunDir,
) -> None:
    page = drawn(run)
    svgs = re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL)
    assert len(svgs) == 5
    assert not any(re.search(r"#[0-9a-f]{6}\b", svg) for svg in svgs)
    assert all("var(--" in svg and 'role="img"' in svg for svg in svgs)
    assert page.count("<summary>The numbers</summary>") == 5


def test_drawing_again_gives_the_same_bytes(run: RunDir) -> None:
    assert drawn(run) == drawn(run)


def test_damaged_findings_leave_a_page_without_them(run: RunDir) -> None:
    run.analysis.write_text("{")
    assert "Not examined" in drawn(run)


def test_strangers_names_do_not_run(leave: Leave) -> None:
    classes = [HOSTILE, f"b{HOSTILE}"]
    results = made_up_runs.with_names(made_up_runs.two_classes(), HOSTILE, classes)
    page = drawn(find_out(leave(results), classes, [HOSTILE] * 3))
    assert "<script" not in page
    assert "onerror=alert(2)>" not in page.replace("&gt;", "")
    assert "\u202e" not in page
    assert "7*7" in page
    assert ">49<" not in page


def test_name_of_a_picture_cannot_point_elsewhere(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "secret.jpg", None):
        assert from_gallery(run.gallery, name) is None


def test_full_page_takes_no_more_pictures() -> None:
    embedded = Embedded()
    assert embedded.encoded(b"x" * (MOST_BYTES * 3 // 4 - 3))
    assert embedded.encoded(b"x" * 99) is None


def test_threshold_that_a_wish_needs_is_told(run: RunDir) -> None:
    found = json.loads(run.analysis.read_text())
    found["abstaining"]["wishes"] = [
        {"wish": 0.95, "threshold": 0.875, "coverage": 0.5, "accuracy": 0.9512}
    ]
    run.analysis.write_text(json.dumps(found))
    cells = re.findall(r'<td class="number">([^<]*)</td>', drawn(run))
    place = cells.index("87.5%")
    assert cells[place - 1 : place + 3] == ["95%", "87.5%", "95.1%", "50.0%"]


def test_sentence_says_whether_more_images_would_help() -> None:
    curve = {"n": 466, "step": 0.037, "standard_error": 0.0145, "still_rising": True}
    assert learning_sentence(curve, {}) == (
        "Still rising: from half to all of the images it gained 3.7 percentage points (standard "
        "error 1.5 percentage points, 466 images). More images of the same kind are likely to help."
    )
    said = learning_sentence(curve | {"still_rising": False}, {})
    assert said.startswith("Not clearly rising any more")


@pytest.mark.parametrize(
    ("scored", "why"),
    [(None, "no cross-validation"), ({}, "no cross-validation"), ({"n": 40}, "100 items")],
)
def test_missing_curve_is_explained(scored: Results | None, why: str) -> None:
    assert why in learning_sentence(None, {"cross_validation": scored})


def test_class_figures_are_scikit_learns() -> None:
    truth = [0] * 10 + [1] * 10 + [2] * 10
    said = [0] * 7 + [1] * 3 + [1] * 9 + [2] + [2] * 4 + [0] * 6
    confusion = metrics.confusion_matrix(truth, said).tolist()
    rows = class_rows(confusion, ["a", "b", "c"], 1.0)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, said)
    assert [row.precision for row in rows] == pytest.approx(precision)
    assert [row.recall for row in rows] == pytest.approx(recall)
    assert [row.f1 for row in rows] == pytest.approx(f1)
    for row in rows:
        for value, bounds in ((row.recall, row.recall95), (row.f1, row.f195)):
            assert bounds
            assert value
            assert bounds[0] < value < bounds[1]
    assert [row.name for row in weakest_first(rows)] == ["c", "a", "b"]


def test_groups_widen_the_intervals_of_classes() -> None:
    alone = class_rows([[8, 2], [1, 9]], ["a", "b"], 1.0)[0].recall95
    grouped = class_rows([[8, 2], [1, 9]], ["a", "b"], 0.5)[0].recall95
    assert alone
    assert grouped
    assert grouped[1] - grouped[0] > alone[1] - alone[0]


def test_class_that_occurs_nowhere_has_no_figures() -> None:
    row = class_rows([[3, 0], [0, 0]], ["a", "b"], 1.0)[1]
    assert (row.recall, row.precision, row.f1) == (None, None, None)
    assert weakest_first([row]) == []


def test_nothing_to_draw_is_no_chart() -> None:
    assert charts.reliability([]) is None
    assert charts.coverage([]) is None
    assert charts.learning([]) is None
    assert charts.l2_path([], None) is None
    assert charts.fit([{"iteration": 0, "loss": 1.0, "gradient_norm": 1.0}]) is None
