# SPDX-License-Identifier: Apache-2.0
"""Many runs on one page: ranked where they can be, and shown whatever state they are in."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
import yaml

from other_users import ANN, as_user, common
from trainer.data.manifest import read_csv
from trainer.errors import UsageError
from trainer.lock_owner import Owner
from trainer.report.gather import Gathered, gather
from trainer.rundir import RunDir

__all__ = ["common"]

Results = dict[str, Any]
Leave = Callable[..., RunDir]

HOSTILE = "\"><script>alert(1)</script>\n\u202e\x1b[31m{{ 7*7 }}'</style>"


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, source: str) -> None:
        """Read it."""
        super().__init__()
        self.tags: list[str] = []
        self.inside = ""
        self.links: list[str] = []
        self.policy = self.text = self.script = ""
        self.cells: list[list[str]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Gather elements, links and the policy."""
        self.tags.append(tag)
        self.inside = tag
        values = dict(attrs)
        if tag == "a":
            self.links.append(str(values["href"]))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """What follows stands in what is around it."""
        self.inside = ""

    def handle_data(self, data: str) -> None:
        """Gather what is read."""
        if self.inside == "script":
            self.script += data
        elif self.inside != "style":
            self.text += data
            if self.cells and self.cells[-1]:
                self.cells[-1][-1] += data


class Made:
    """What was gathered, read back."""

    def __init__(self, gathered: Gathered) -> None:
        """Read both files."""
        self.source = gathered.page.read_text(encoding="utf-8")
        self.page = Page(self.source)
        self.rows = read_csv(gathered.table)
        self.lines = gathered.lines()

    def column(self, key: str) -> dict[str, str]:
        """One column of the CSV, by folder."""
        return {row["folder"]: row[key] for row in self.rows}


@pytest.fixture
def runs(tmp_path: Path, leave: Leave, two_classes: Results) -> Callable[..., RunDir]:
    """Leaves a run below `runs`, with a log loss, items and settings."""

    def leave_one(
        folder: str,
        loss: float | None = 0.4,
        items: Sequence[str] = ("d1 training", "d2 validation", "t1 test"),
        settings: Any = None,
        **other: Any,
    ) -> RunDir:
        results = deepcopy(two_classes) | other
        if loss is None:
            results["cross_validation"] = None
        elif results["cross_validation"]:
            results["cross_validation"]["log_loss"] = loss
        rows = [(f"a/{c}.jpg", "a", c, "", s, "") for c, s in map(str.split, items)]
        run = leave(results, f"runs/{folder}", manifest=rows)
        if settings is not None:
            run.config.write_text(yaml.safe_dump(settings))
        return run

    (tmp_path / "runs").mkdir()
    return leave_one


Runs = Callable[..., RunDir]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Made]:
    """Gathers all runs that were left."""
    return lambda: Made(gather([tmp_path / "runs"], None))


Make = Callable[..., Made]


def test_runs_are_ranked_by_cross_validated_log_loss(runs: Runs, made: Make) -> None:
    for name, loss in [("a", 0.5), ("b", 0.3), ("c", 0.4)]:
        runs(name, loss)
    gathered = made()
    assert gathered.column("rank") == {"b": "1", "c": "2", "a": "3"}
    assert [row["folder"] for row in gathered.rows] == ["b", "c", "a"]
    assert "Best by cross-validated log loss: b (log loss 0.3000" in gathered.page.text
    assert any(line.startswith("Best ") and "3 runs ranked" in line for line in gathered.lines)


def test_equal_log_losses_share_a_rank(runs: Runs, made: Make) -> None:
    for name, loss in [("a", 0.3), ("b", 0.3), ("c", 0.4)]:
        runs(name, loss)
    assert made().column("rank") == {"a": "1", "b": "1", "c": "3"}


def test_test_accuracy_is_shown_for_the_best_alone(runs: Runs, made: Make) -> None:
    runs("a", 0.5)
    best = runs("b", 0.3)
    results = best.read_results()
    results["test"] |= {"accuracy": 0.875, "interval95": [0.8, 0.9]}
    best.results.write_text(json.dumps(results))
    gathered = made()
    assert gathered.column("test_accuracy") == {"b": "0.875", "a": ""}
    assert gathered.column("test_shared_by") == {"b": "2", "a": ""}
    assert "87.5%" in gathered.source
    assert "84.6%" not in gathered.source  # the other one's
    assert "2 runs of those gathered here were scored on this test set" in gathered.page.text


def test_runs_on_other_items_are_ranked_apart(runs: Runs, made: Make) -> None:
    runs("a", 0.5)
    runs("b", 0.3)
    runs("other", 0.1, items=["d1 training", "d9 training", "t1 test"])
    gathered = made()
    assert gathered.column("rank") == {"b": "1", "a": "2", "other": "1"}
    assert gathered.column("data") == {"b": "1", "a": "1", "other": "2"}
    assert "2 different data sets" in gathered.page.text
    # The test set is the same one: three runs looked at it.
    assert gathered.column("test_shared_by") == {"b": "3", "a": "", "other": "3"}


def test_copies_and_the_deal_into_training_and_validation_make_no_other_data(
    runs: Runs, made: Make
) -> None:
    runs("a", 0.5)
    runs("b", 0.3, items=["d1 training", "d1 training", "d2 training", "t1 test", "x conflict"])
    assert made().column("data") == {"b": "1", "a": "1"}


def test_runs_that_did_not_end_have_no_rank(runs: Runs, made: Make) -> None:
    runs("done", 0.5)
    for status in ("running", "stopped", "failed"):
        runs(status, 0.1, status=status)
    gathered = made()
    assert gathered.column("rank") == {"done": "1", "running": "", "stopped": "", "failed": ""}
    assert gathered.column("status")["stopped"] == "stopped"
    assert gathered.column("finished")["running"] == ""
    assert "4: 1 running, 1 stopped, 1 complete, 1 failed" in gathered.lines[0]


def test_run_that_was_killed_is_a_stopped_one(runs: Runs, made: Make) -> None:
    killed, running = (runs(name, status="running") for name in ("killed", "running"))
    gone = "from trainer.lock_owner import Owner; print(Owner.myself().encode().decode())"
    killed.lock.write_bytes(subprocess.check_output([sys.executable, "-c", gone]))
    running.lock.write_bytes(Owner.myself().encode())
    gathered = made()
    assert gathered.column("status") == {"killed": "stopped", "running": "running"}
    assert gathered.column("problem")["killed"] == f"killed on {gethostname()}; start it again."
    assert "start it again" in gathered.page.text


def test_without_cross_validation_there_is_no_best(runs: Runs, made: Make) -> None:
    runs("a", None)
    runs("b", None)
    gathered = made()
    assert set(gathered.column("rank").values()) == {""}
    assert set(gathered.column("test_accuracy").values()) == {""}
    assert "None can be ranked" in gathered.page.text
    assert "84.6%" not in gathered.source


def test_only_run_on_its_data_was_not_chosen_and_shows_its_test_accuracy(
    runs: Runs, made: Make
) -> None:
    runs("a", None)
    assert made().column("test_accuracy")["a"].startswith("0.846")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"schema": 2, "status": "complete"}', "schema 2; this version reads up to 1"),
        (b'{"schema": 1, "status": "co', "cannot be read: JSONDecodeError"),
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"schema": 1, "status": "sleeping"}', "damaged: status 'sleeping'"),
    ],
)
def test_results_that_cannot_be_read_are_a_row_that_says_so(
    content: bytes, problem: str, runs: Runs, made: Make
) -> None:
    runs("good", 0.3)
    runs("bad").results.write_bytes(content)
    gathered = made()
    assert gathered.column("status") == {"good": "complete", "bad": "unreadable"}
    assert problem in gathered.column("problem")["bad"]
    assert problem in gathered.page.text


def _short(value: object) -> str:
    return str(value)[:9]


@pytest.mark.parametrize(
    "value", ["text", 5, [], {}, None, True, float("nan"), 10**400], ids=_short
)
@pytest.mark.parametrize(
    "section", ["cross_validation", "test", "headline", "data", "seconds", "name", "weights_note"]
)
def test_results_of_another_shape_are_no_reason_to_fail(
    section: str, value: object, runs: Runs, made: Make
) -> None:
    runs("good", 0.3)
    runs("odd", None, **{section: value})
    assert made().column("rank")["good"] == "1"


@pytest.mark.parametrize(
    "value", ["text", [], {}, None, True, float("nan"), -(10**400)], ids=_short
)
@pytest.mark.parametrize("key", ["log_loss", "accuracy", "interval95", "n", "majority"])
def test_figures_of_another_kind_are_no_reason_to_fail(
    key: str, value: object, two_classes: Results, runs: Runs, made: Make
) -> None:
    runs("good", 0.3)
    runs("odd", cross_validation={**two_classes["cross_validation"], key: value})
    assert made().column("rank")["good"] == "1"


def test_run_that_failed_before_its_manifest_is_shown_without_rank(
    begun: Results, leave: Leave, runs: Runs, made: Make
) -> None:
    runs("good", 0.3)
    leave(begun | {"status": "failed"}, "runs/early")
    gathered = made()
    assert gathered.column("status") == {"good": "complete", "early": "failed"}
    assert gathered.column("data") == {"good": "1", "early": ""}
    assert "Best by cross-validated log loss: good" in gathered.page.text


@pytest.mark.parametrize("manifest", [b"", b"path\n", b"a,b\n1\n", b"\xff\xff", None])
def test_finished_run_whose_manifest_is_lost_says_so(
    manifest: bytes | None, runs: Runs, made: Make
) -> None:
    run = runs("lost")
    run.manifest.unlink() if manifest is None else run.manifest.write_bytes(manifest)
    gathered = made()
    assert gathered.column("rank") == {"lost": ""}
    assert "manifest.csv is missing or damaged" in gathered.column("problem")["lost"]


def test_settings_that_differ_are_columns(runs: Runs, made: Make) -> None:
    common = {"name": "x", "run": {"cache": "/a", "seed": 0}}
    runs("a", 0.3, settings=common | {"head": {"l2": 0.1}})
    runs("b", 0.4, settings=common | {"name": "y", "head": {"l2": "auto"}, "new": {"key": 1}})
    other = {"name": "x", "run": {"cache": "/b", "seed": 0}}
    runs("c", 0.5, settings=other | {"head": {"l2": 1.0}})
    gathered = made()
    assert gathered.column("head.l2") == {"a": "0.1", "b": "auto", "c": "1.0"}
    assert set(gathered.rows[0]) & {"run.cache", "run.seed", "new.key"} == set()
    assert gathered.page.cells[0][-1].strip() == "head.l2"


@pytest.mark.parametrize(
    "config",
    [b"[", b"text", b"", b"\xff", b"a: &a [*a]", b"? [1]\n: 2", b"[" * 5000, b"a: 2020-01-01"],
)
def test_configuration_that_is_none_is_no_reason_to_fail(
    config: bytes, runs: Runs, made: Make
) -> None:
    runs("good", settings={"head": {"l2": 1}})
    runs("odd").config.write_bytes(config)
    assert len(made().rows) == 2


def test_configuration_that_refers_to_itself_again_and_again_is_cut(runs: Runs, made: Make) -> None:
    lines = ["a0: &a0 {k: v}"]
    for level in range(1, 9):
        keys = ", ".join(f"k{key}: *a{level - 1}" for key in range(30))
        lines.append(f"a{level}: &a{level} {{{keys}}}")
    runs("odd").config.write_text("\n".join(lines))
    runs("good")
    began = time.monotonic()
    assert len(made().rows) == 2
    assert time.monotonic() - began < 10


def test_nothing_learnt_and_not_pretrained_stand_beside_the_score(
    two_classes: Results, runs: Runs, made: Make
) -> None:
    poor = two_classes["cross_validation"] | {"interval95": [0.6, 0.72]}
    runs("poor", 0.6, cross_validation=poor, weights_note="not pretrained: random weights")
    runs("good", 0.3)
    gathered = made()
    assert gathered.column("nothing_learnt") == {"good": "false", "poor": "true"}
    assert gathered.column("weights_note")["poor"] == "not pretrained: random weights"
    assert "nothing learnt · not pretrained" in gathered.page.text


def test_runs_are_found_at_any_depth_and_once(
    tmp_path: Path, leave: Leave, two_classes: Results, runs: Runs, made: Make
) -> None:
    runs("top")
    leave(two_classes, "runs/x/y/z/deep")
    leave(two_classes, "runs/.hidden/run")
    leave(two_classes, "runs/top/model/inner")
    (tmp_path / "runs/x/loop").symlink_to(tmp_path / "runs")
    (tmp_path / "runs/gone").symlink_to(tmp_path / "nowhere")
    leave(two_classes, "elsewhere/linked")
    (tmp_path / "runs/far").symlink_to(tmp_path / "elsewhere")
    assert set(made().column("folder")) == {"top", "x/y/z/deep", "far/linked"}


def test_folder_that_cannot_be_listed_is_passed_over(
    common: Path, tmp_path: Path, runs: Runs
) -> None:
    runs("good")
    shutil.copytree(tmp_path / "runs", common / "runs")
    (common / "runs/private").mkdir(mode=0)
    out = common / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)

    def read() -> set[str]:
        gathered = gather([common / "runs"], out)
        return {row["folder"] for row in read_csv(gathered.table)}

    found = as_user(ANN, 0o022, read) if os.geteuid() == 0 else read()  # root may read everything
    assert {Path(folder).name for folder in found} == {"good"}


def test_results_that_vanish_leave_the_others(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs("good")
    going = runs("going")
    read = RunDir.read_results

    def vanish(run: RunDir) -> Results:
        going.results.unlink(missing_ok=True)
        return read(run)

    monkeypatch.setattr(RunDir, "read_results", vanish)
    assert set(Made(gather([tmp_path / "runs"], None)).column("folder")) == {"good"}


def test_several_runs_are_gathered_into_the_current_folder(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs("a")
    runs("b")
    monkeypatch.chdir(tmp_path)
    gathered = Made(gather([Path("runs/a"), Path("runs/b"), Path("runs")], None))
    assert (tmp_path / "index.html").exists()
    assert set(gathered.column("folder")) == {"runs/a", "runs/b"}


def test_out_is_made_and_linked_from(tmp_path: Path, runs: Runs) -> None:
    run = runs("a")
    run.report.write_text("")
    gathered = Made(gather([tmp_path / "runs"], tmp_path / "new/out"))
    assert "../../runs/a/report.html" in gathered.page.links


@pytest.mark.parametrize("word", ["nowhere", "empty", "file"])
def test_word_that_is_no_run_and_holds_none_is_refused(word: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"{word}: no run directory"):
        gather([tmp_path / word], None)
    assert not (tmp_path / word / "index.html").exists()


@pytest.mark.parametrize("name", ["index.html", "runs.csv"])
def test_files_of_others_are_not_written_over(name: str, tmp_path: Path, runs: Runs) -> None:
    runs("a")
    mine = tmp_path / "runs" / name
    mine.write_text("my own")
    with pytest.raises(UsageError, match=f"{name}: .* not made by"):
        gather([tmp_path / "runs"], None)
    assert mine.read_text() == "my own"


def test_gathered_again_the_page_is_replaced(runs: Runs, made: Make) -> None:
    runs("a", 0.3)
    first = made().source
    assert made().source == first
    runs("b", 0.2)
    assert set(made().column("folder")) == {"a", "b"}


def test_page_allows_its_own_script_and_no_request(runs: Runs, made: Make) -> None:
    runs("a")
    gathered = made()
    digest = base64.b64encode(hashlib.sha256(gathered.page.script.encode()).digest()).decode()
    assert gathered.page.policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")
    assert gathered.page.tags.count("script") == 1
    assert not re.search(r"https?:|url\(|@import|src=", gathered.source)


def test_strangers_names_break_neither_page_nor_csv_nor_terminal(
    two_classes: Results, runs: Runs, made: Make
) -> None:
    plain = runs("plain", 0.4, settings={"head": {"l2": 1}})
    plain.report.write_text("")
    tags = made().page.tags
    two_classes["data"]["classes"] = [HOSTILE, "b"]
    plain.results.unlink()
    folder = HOSTILE.replace("/", "") + os.fsdecode(b"\xff")
    hostile = {
        "name": f"=\ud800{HOSTILE}",
        "weights_note": HOSTILE,
        "data": two_classes["data"],
        "headline": two_classes["headline"] | {"metric": HOSTILE},
    }
    run = runs(folder, 0.4, settings={HOSTILE: HOSTILE, "l2": f"@{HOSTILE}"}, **hostile)
    run.report.write_text("")
    runs("@second", 0.5, settings={HOSTILE: 1, "l2": [1, HOSTILE]})
    gathered = made()
    assert set(gathered.page.tags) == set(tags) | {"small", "wbr"}
    assert gathered.page.tags.count("script") == 1
    assert not {"\u202e", "\x1b"} & set(gathered.source)
    assert "\\u202e\\x1b[31m{{ 7*7 }}" in gathered.page.text
    assert not {"\u202e", "\x1b", "\n"} & set("".join(gathered.lines))
    assert {row["folder"] for row in gathered.rows} == {folder, "@second"}
    assert gathered.rows[0]["name"] == f"=\N{REPLACEMENT CHARACTER}{HOSTILE}"
    assert all(re.fullmatch(r"[\w./%~-]+", link) for link in gathered.page.links)


def test_link_is_no_scheme(runs: Runs, made: Make) -> None:
    runs("javascript:alert(1)").report.write_text("")
    assert "javascript%3Aalert%281%29/report.html" in made().page.links


def test_thousands_of_runs_are_gathered_in_seconds(tmp_path: Path, runs: Runs, made: Make) -> None:
    first = runs("0000", settings={"head": {"l2": 1}})
    for number in range(1, 1000):
        folder = tmp_path / "runs" / f"{number:04d}"
        folder.mkdir()
        os.link(first.manifest, folder / "manifest.csv")
        os.link(first.results, folder / "results.json")
        (folder / "config.yaml").write_text(f"head: {{l2: {number}}}\n")
    began = time.monotonic()
    assert len(made().rows) == 1000
    assert time.monotonic() - began < 30
