# SPDX-License-Identifier: Apache-2.0
"""The recomputation finds nothing in a right run, and whatever is wrong in a spoilt one."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "recompute"))

from findings import Broken, Findings
from recompute_run import make_run, make_source, seal
from whole import recompute


@pytest.fixture(scope="module")
def source_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small bottlenecks."""
    root = tmp_path_factory.mktemp("source")
    make_source(root)
    return root


@pytest.fixture(scope="module")
def pristine(source_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on it in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("pristine")
    make_run(folder, source_folder)
    return folder


def disagreements(folder: Path, source: Path | None, refit: bool = False) -> list[str]:
    """What the program finds, one line each."""
    findings = Findings()
    try:
        recompute(findings, folder, source, refit)
    except Broken as broken:
        findings.found.append(broken.finding)
    return [str(finding) for finding in findings.found]


@pytest.fixture
def run(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the run to spoil."""
    folder = tmp_path / "run"
    (folder / "stages").mkdir(parents=True)
    for path in pristine.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(pristine)).write_bytes(path.read_bytes())
    return folder


def in_table(name: str, change: Callable[[list[list[str]]], object]) -> Callable[[Path], None]:
    """Spoil the records of a CSV; the header is record 0."""

    def spoil(folder: Path) -> None:
        with (folder / name).open(newline="") as file:
            records = list(csv.reader(file))
        change(records)
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(records)

    return spoil


def in_results(*keys: str | int, value: object) -> Callable[[Path], None]:
    """Spoil one value of results.json."""
    return in_document("results.json", *keys, value=value)


def in_findings(*keys: str | int, value: object) -> Callable[[Path], None]:
    """Spoil one value of analysis.json."""
    return in_document("analysis.json", *keys, value=value)


def in_document(name: str, *keys: str | int, value: object) -> Callable[[Path], None]:
    """Spoil one value of a JSON file."""

    def spoil(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        holder = document
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        (folder / name).write_text(json.dumps(document))

    return spoil


def swap(column: int, value: str) -> Callable[[list[list[str]]], object]:
    """Overwrite a field of the last record."""
    return lambda records: records[-1].__setitem__(column, value)


def test_nothing_is_found_in_a_right_run(pristine: Path, source_folder: Path) -> None:
    assert disagreements(pristine, source_folder, refit=True) == []


def test_the_manifest_serves_where_the_source_is_gone(pristine: Path) -> None:
    assert disagreements(pristine, None) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (in_table("manifest.csv", lambda r: r.pop()), "manifest.csv: rows of"),
        (in_table("manifest.csv", swap(2, "0" * 64)), "manifest.csv: sha256 of"),
        (in_table("manifest.csv", swap(3, "other")), "manifest.csv: group of"),
        (in_table("manifest.csv", swap(5, "test")), "manifest.csv: moved of"),
        (in_table("quarantine.csv", lambda r: r.pop()), "quarantine.csv: rows of"),
        (in_table("quarantine.csv", swap(1, "5")), "quarantine.csv: bytes of"),
        (in_table("groups.csv", swap(3, "alone")), "groups.csv: a unit"),
        (in_table("predictions.csv", lambda r: r.pop()), "predictions.csv: oof rows of"),
        (in_table("predictions.csv", swap(5, "0")), "predictions.csv: path, group, label, fold"),
        (in_table("predictions.csv", swap(6, "0.5")), "predictions.csv: l2 of"),
        (in_table("predictions.csv", swap(-1, "0.99")), "predictions.csv: sum of"),
        (in_table("predictions.csv", swap(-1, "none")), "found \"'none'\""),
        (in_table("suspects.csv", swap(3, "0.999")), "suspects.csv: p_label of"),
        (in_table("suspects.csv", swap(7, "2")), "suspects.csv: flagged of"),
        (in_table("suspects.csv", lambda r: r.pop()), "suspects.csv: rows"),
        (in_findings("calibration", "temperature", "value", value=9.0), "temperature"),
        (in_findings("abstaining", "wishes", 0, "coverage", value=0.01), "abstaining at 0.9"),
        (in_findings("suspects", "flagged", value=99), "analysis.json: suspects"),
        (in_results("data", "duplicates", value=2), "data.duplicates"),
        (in_results("data", "split", "test", value=0), "data.split"),
        (in_results("test", "accuracy", value=0.123), "test.accuracy"),
        (in_results("test", "interval95", 0, value=0.1), "test.interval95[0]"),
        (in_results("validation", "log_loss", value=0.1), "validation.log_loss"),
        (in_results("cross_validation", "ece", value=0.1), "cross_validation.ece"),
        (in_results("cross_validation", "macro_f1", value=0.1), "cross_validation.macro_f1"),
        (in_results("cross_validation", "confusion", 1, 1, value=0), ".confusion[1][1]"),
        (in_results("cross_validation", "folds", 2, "n", value=1), ".folds[2].n"),
        (in_results("headline", "source", value="test"), "headline.source"),
        (in_results("before", "accuracy", value=0.4), "before.accuracy"),
        (in_results("world", "ranks", 0, "images", value=3), "sum of world.ranks' images"),
        (in_results("status", value="stopped"), "status 'stopped'"),
        (in_results("head", value={}), "head without"),
        (lambda folder: (folder / "groups.csv").unlink(), "no such file"),
    ],
)
def test_one_spoilt_value_is_told(
    run: Path, source_folder: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(run)
    if (run / "groups.csv").exists():
        seal(run)
    assert told in "\n".join(disagreements(run, source_folder))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (in_results("head", "l2", value=5.0), "results.json: head.l2"),
        (in_results("head", "loss", value=0.1), "results.json: head.loss"),
        (in_results("head", "gradient_norm", value=1e-6), "results.json: head.gradient_norm"),
        (in_results("cross_validation", "folds", 1, "l2", value=0.5), ".folds[1].l2"),
        (
            in_table("predictions.csv", lambda r: (swap(-1, "0.6")(r), swap(-2, "0.4")(r))),
            "predictions.csv: probabilities of oof",
        ),
    ],
)
def test_what_only_a_new_fit_can_tell_is_told(
    run: Path, source_folder: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(run)
    assert told in "\n".join(disagreements(run, source_folder, refit=True))


def test_a_changed_or_unlisted_file_is_told_by_the_final_mark(run: Path) -> None:
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "\n")
    (run / "extra.txt").write_text("")
    (run / "log.txt").write_text("")
    told = disagreements(run, None)
    assert [line.split(": found")[0] for line in told] == [
        "stages/complete.json: entry for 'extra.txt'",
        "stages/complete.json: SHA-256 of config.yaml",
    ]


def test_exit_code_is_0_for_a_right_run_1_for_a_wrong_one_2_for_wrong_usage(run: Path) -> None:
    command = [sys.executable, str(Path(__file__).parents[1] / "recompute")]
    assert subprocess.run([*command, str(run)], capture_output=True).returncode == 0
    (run / "extra.txt").write_text("")
    assert subprocess.run([*command, str(run)], capture_output=True).returncode == 1
    assert subprocess.run([*command, str(run / "no")], capture_output=True).returncode == 2
