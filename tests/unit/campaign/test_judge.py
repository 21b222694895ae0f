# SPDX-License-Identifier: Apache-2.0
"""The campaign's judge finds what it is there to find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import judge
from bad import Bad
from cases import Case

RESULTS: dict[str, Any] = {
    "status": "complete",
    "warnings": ["small"],
    "test": {"accuracy": 0.75, "confusion": [[3, 1], [0, 0]]},
    "head": {"l2": 0.1, "iterations": 40, "seconds": 1.5},
    "bottlenecks": {"computed": 2},
    "backbone": {"fingerprint": "f" * 64},
}
FINDINGS = {"suspects": {"flagged": 3}, "head": {"path": [0.5], "fit": [{"loss": 0.7}]}}
DIGEST = b"\x07" * 32


@pytest.fixture
def case(tmp_path: Path) -> Case:
    run, cache = tmp_path / "reference", tmp_path / "reference cache"
    (run / "model").mkdir(parents=True)
    for name in judge.TABLES:
        (run / name).write_text("path\na.jpg\n")
    (run / "predictions.csv").write_text("path,predicted,p:a\na.jpg,a,0.75\nb.jpg,a,0.5\n")
    (run / "results.json").write_text(json.dumps(RESULTS))
    (run / "analysis.json").write_text(json.dumps(FINDINGS))
    np.savez(run / "model" / "head.npz", W=np.eye(2), b=np.zeros(2))
    np.savez(run / "model" / "neighbours.npz", table=np.eye(2, dtype=np.int8))
    (cache / "sources" / "0").mkdir(parents=True)
    (cache / "sources" / "0" / "1-host-2.index1").write_bytes(b"index")
    return Case("made up", tmp_path, (), run, cache, images=True)


@pytest.fixture
def run(case: Case, tmp_path: Path) -> Path:
    return Path(shutil.copytree(case.reference, tmp_path / "run"))


def change_results(run: Path, **sections: Any) -> None:
    (run / "results.json").write_text(json.dumps({**RESULTS, **sections}))


def change_rows(run: Path, before: str, after: str) -> None:
    path = run / "predictions.csv"
    path.write_text(path.read_text().replace(before, after))


def test_other_finding_is_found(case: Case, run: Path) -> None:
    (run / "analysis.json").write_text(json.dumps({**FINDINGS, "suspects": {"flagged": 4}}))
    with pytest.raises(Bad, match=r"suspects\.flagged"):
        judge.same_result(run, case)


def test_way_of_the_final_fit_may_differ(case: Case, run: Path) -> None:
    (run / "analysis.json").write_text(json.dumps({**FINDINGS, "head": {"path": [0.5], "fit": []}}))
    judge.same_result(run, case)


def test_same_result_is_passed(case: Case, run: Path) -> None:
    judge.same_result(run, case)
    judge.same_files(run, case)


def test_times_counts_and_last_digits_may_differ(case: Case, run: Path) -> None:
    change_results(
        run, bottlenecks={"computed": 0}, head={"l2": 0.1, "iterations": 41, "seconds": 9.0}
    )
    change_rows(run, "0.75", "0.7500003")
    judge.same_result(run, case)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"test": {"accuracy": 0.76, "confusion": [[3, 1], [0, 0]]}}, "test.accuracy"),
        ({"test": {"accuracy": 0.75, "confusion": [[3, 1]]}}, "test.confusion"),
        ({"head": {"l2": 0.2}}, "head.l2"),
        ({"warnings": []}, "other warnings"),
        ({"status": "running"}, "says running"),
    ],
)
def test_other_figure_is_found(case: Case, run: Path, sections: dict[str, Any], named: str) -> None:
    change_results(run, **sections)
    with pytest.raises(Bad, match=named):
        judge.same_result(run, case)


@pytest.mark.parametrize(("before", "after"), [("0.75", "0.76"), ("jpg,a,0.5", "jpg,b,0.5")])
def test_other_prediction_is_found(case: Case, run: Path, before: str, after: str) -> None:
    change_rows(run, before, after)
    with pytest.raises(Bad, match="wrong result"):
        judge.same_result(run, case)


def test_other_head_is_found(case: Case, run: Path) -> None:
    np.savez(run / "model" / "head.npz", W=2 * np.eye(2), b=np.zeros(2))
    with pytest.raises(Bad, match="W in"):
        judge.same_result(run, case)


def test_half_written_results_are_found(case: Case, run: Path) -> None:
    (run / "results.json").write_text("{")
    with pytest.raises(Bad, match="half-written"):
        judge.same_result(run, case)


def test_files_that_lie_about_or_lack_are_found(case: Case, run: Path) -> None:
    (run / "lock").touch()
    with pytest.raises(Bad, match=r"stray.*lock"):
        judge.same_files(run, case)
    (run / "lock").rename(run / "predictions.csv")
    (run / "manifest.csv").unlink()
    with pytest.raises(Bad, match=r"not there.*manifest"):
        judge.same_files(run, case)


@pytest.mark.parametrize("name", [".1-host-2.index1", "3-host-4.index1.tmp", "core"])
def test_stray_file_in_the_cache_is_found(case: Case, tmp_path: Path, name: str) -> None:
    cache = Path(shutil.copytree(case.cache, tmp_path / "cache"))
    (cache / "sources" / "0" / "5-host-6.index1").touch()
    judge.no_strays(cache, case)
    (cache / "sources" / "0" / name).touch()
    with pytest.raises(Bad, match="stray files in the cache"):
        judge.no_strays(cache, case)


def test_commits_are_the_pictures_named_in_visible_shards(case: Case, tmp_path: Path) -> None:
    case.__dict__["digests"] = frozenset({DIGEST, b"\x08" * 32})
    folder = tmp_path / "cache" / "bottlenecks" / case.fingerprint
    folder.mkdir(parents=True)
    (folder / ".a.shard2.host.1.tmp").write_bytes(b"x" + DIGEST)
    assert judge.committed(tmp_path / "cache", case) == frozenset()
    (folder / "a.shard2").write_bytes(b"x" + DIGEST + b"y")
    assert judge.committed(tmp_path / "cache", case) == {DIGEST}
