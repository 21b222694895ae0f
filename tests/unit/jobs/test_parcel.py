# SPDX-License-Identifier: Apache-2.0
"""A parcel brings home what a run left, whole or not at all, out of whatever else was printed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import parcel
from jobs.errors import JobError, UsageError
from jobs.parcel import NAMES, LeftOut, pack, unpack
from made_up_runs import POOLS, find_out, leave, two_classes
from trainer.data.manifest import write_csv
from trainer.report.compare import compare
from trainer.report.gather import gather
from trainer.report.page import redraw, write_report
from trainer.rundir import RunDir

ROOT = Path(__file__).parents[3]
PREDICTIONS = ("path", "sha256", "group", "label", "source", "fold", "predicted")


def finished(folder: Path) -> RunDir:
    """A finished run, with more in it than a parcel takes along."""
    items = [(f"{n}.jpg", POOLS[n % 2], f"{n:064x}", "", "test", "") for n in range(20)]
    run = leave(folder, two_classes(), manifest=items, quarantine=[("bad.jpg", 3, "cut short")])
    find_out(run, POOLS, [name for name, *_ in items])
    rows = [(name, digest, "", label, "test", "", label) for name, label, digest, *_ in items]
    write_csv(run.predictions, PREDICTIONS, rows)
    for extra in ("model/labels.txt", "head/fit.npz", "stages/train.json", "log.txt"):
        (run.path / extra).parent.mkdir(exist_ok=True)
        (run.path / extra).write_text("of no use at home")
    write_report(run)
    run.write_complete(two_classes())
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return finished(tmp_path_factory.mktemp("vault") / "pools")


@pytest.fixture(scope="module")
def text(run: RunDir) -> str:
    return pack(run.path)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sealed(raw: bytes) -> str:
    """A parcel of any content, with the right ends."""
    seal = f"retrain parcel 1: {len(raw)} bytes, SHA-256 {hashlib.sha256(raw).hexdigest()} ==="
    body = base64.b64encode(raw).decode()
    return f"=== {seal}\n{body}\n=== end of {seal}\n"


def zipped(files: Mapping[str, str], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of what a parcel must have, and of other files."""
    about = json.dumps({"version": 1, "written": 1.0, "left_out": []})
    whole = {"parcel.json": about, "results.json": '{"status": "complete"}', **files}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        for name, content in whole.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_every_file_comes_home_as_it_was(run: RunDir, text: str, tmp_path: Path) -> None:
    done = unpack(text, tmp_path / "new" / "pools")
    there, here = contents(run.path), contents(tmp_path / "new" / "pools")
    assert done.status == "complete"
    assert done.left_out == ()
    assert set(done.came) == set(here) == set(NAMES) - {"groups.csv"}  # that run has none
    assert all(here[name] == there[name] for name in here if name != parcel.MARK)
    assert os.stat(tmp_path / "new" / "pools" / "results.json").st_mtime == pytest.approx(
        run.results.stat().st_mtime, abs=1e-3
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pools"]


def test_mark_covers_what_came_and_tells_what_was_damaged_before(tmp_path: Path) -> None:
    run = finished(tmp_path / "vault" / "pools")
    unpack(pack(run.path), tmp_path / "whole")
    assert RunDir(tmp_path / "whole").damaged() == []
    run.suspects.write_text("changed,since\n")
    unpack(pack(run.path), tmp_path / "damaged")
    assert RunDir(tmp_path / "damaged").damaged() == ["suspects.csv"]


def test_report_gather_and_compare_take_what_came_home(
    run: RunDir, text: str, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        unpack(text, tmp_path / name)
    redraw(RunDir(tmp_path / "first"))
    assert RunDir(tmp_path / "first").damaged() == []
    assert [row.run.problem for row in gather([tmp_path], None).groups[0].rows] == ["", ""]
    (compared,) = compare(tmp_path / "first", tmp_path / "second").sources
    assert (compared.counts.n, compared.difference) == (20, 0)


def test_run_that_was_stopped_comes_home_without_a_mark(tmp_path: Path) -> None:
    run = leave(tmp_path / "run", two_classes() | {"status": "stopped"})
    done = unpack(pack(run.path), tmp_path / "home")
    assert (done.status, done.came) == (
        "stopped",
        ("config.yaml", "environment.json", "results.json"),
    )
    assert not (tmp_path / "home" / "stages").exists()


def test_same_run_gives_the_same_text_in_lines_that_a_log_keeps(run: RunDir, text: str) -> None:
    assert pack(run.path) == text
    assert text.isascii()
    assert text.endswith(" ===\n")
    assert max(map(len, text.splitlines())) <= 1024
    assert parcel.MOST_TEXT / parcel.LINE < 10_000


def test_largest_files_stay_away_and_are_named(
    run: RunDir, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "MOST_TEXT", len(text) - 1)
    done = unpack(pack(run.path), tmp_path / "home")
    (lost,) = done.left_out
    assert lost == LeftOut(lost.name, (run.path / lost.name).stat().st_size)
    assert set(done.came) == set(NAMES) - {"groups.csv", lost.name}
    assert RunDir(tmp_path / "home").damaged() == []


def test_results_alone_never_stay_away(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "MOST_TEXT", 4000)
    small = pack(run.path)
    assert len(small) <= 4000
    assert "results.json" in unpack(small, tmp_path / "home").came
    monkeypatch.setattr(parcel, "MOST_TEXT", 100)
    with pytest.raises(JobError, match=r"results\.json: too large"):
        pack(run.path)


def test_file_beyond_all_bounds_is_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path / "run")
    with open(run.manifest, "r+b") as file:
        file.truncate(parcel.MOST_CONTENT + 1)
    done = unpack(pack(run.path), tmp_path / "home")
    assert done.left_out == (LeftOut("manifest.csv", parcel.MOST_CONTENT + 1),)


def test_link_is_no_part_of_a_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    run.suspects.unlink()
    run.suspects.symlink_to("/etc/passwd")
    assert "suspects.csv" not in unpack(pack(run.path), tmp_path / "home").came


def test_folder_without_results_has_no_parcel(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"results\.json is not there"):
        pack(tmp_path)


@pytest.mark.parametrize(
    "around",
    [
        "INIT[1]: begun\n{}JOB_EXIT_CODE=0\n",
        "{crlf}",
        "50 %\r100 %{}\0",
        "=== retrain parcel 1: 5 bytes, SHA-256 {zeros} ===\nAAAA\n{}",
        "{}=== retrain parcel 1: 5 bytes, SHA-256 {zeros} ===\nAAAA",
        "{}=== end of retrain parcel 1: 5 bytes, SHA-256 {zeros} ===\n",
        "{}=== retrain parcel 1: 3 bytes, SHA-256 {zeros} ===\nAAAA\n"
        "=== end of retrain parcel 1: 3 bytes, SHA-256 {zeros} ===\n",
        "{noisy}",
    ],
)
def test_parcel_is_found_whatever_is_around_it(text: str, around: str, tmp_path: Path) -> None:
    begin, *rest = text.splitlines(keepends=True)
    noisy = "".join([begin, "a line of the platform's\n\n", *rest])
    output = around.format(text, crlf=text.replace("\n", "\r\n"), zeros="0" * 64, noisy=noisy)
    assert unpack(output, tmp_path / "home").status == "complete"


def test_last_of_several_parcels_counts(run: RunDir, text: str, tmp_path: Path) -> None:
    old = leave(tmp_path / "run", two_classes() | {"status": "stopped"})
    assert unpack(pack(old.path) + text, tmp_path / "a").status == "complete"
    assert unpack(text + pack(old.path), tmp_path / "b").status == "stopped"


def damaged_in_the_middle(text: str) -> str:
    at = len(text) // 2
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[:0], "no results in it"),
        (lambda text: text[:-100], "cut off or damaged"),
        (lambda text: text[1000:], "cut off or damaged"),
        (damaged_in_the_middle, "cut off or damaged"),
        (lambda text: text.replace("parcel 1", "parcel 2"), "results in form 2"),
    ],
)
def test_what_is_not_whole_writes_nothing(
    text: str, change: Callable[[str], str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match=told) as refused:
        unpack(change(text), tmp_path / "home")
    assert refused.value.todo
    assert list(tmp_path.iterdir()) == []


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no zip",
        zipped({"../evil": ""}),
        zipped({"/etc/evil": ""}),
        zipped({"model/": ""}),
        zipped({"run.sh": ""}),
        zipped({"stages/../config.yaml": ""}),
        zipped({}, zipfile.ZIP_LZMA),
        zipped({}, zipfile.ZIP_STORED),
        zipped({"results.json": ""}),
        zipped({"results.json": "[]"}),
        zipped({"results.json": '{"status": 1}'}),
        zipped({"results.json": DEEP}),
        zipped({"parcel.json": "{}"}),
        zipped({"parcel.json": '{"version": 1, "written": -1, "left_out": []}'}),
        zipped({"parcel.json": '{"version": 1, "written": 1e99, "left_out": []}'}),
        zipped({"parcel.json": '{"version": 1, "written": 1, "left_out": [["\\u001b[2J", 1]]}'}),
        zipped({"parcel.json": '{"version": 1, "written": 1, "left_out": 1}'}),
        zipped({"stages/complete.json": '{"files": {"a": 1}}'}),
        zipped({"stages/complete.json": DEEP}),
    ],
)
def test_hostile_parcel_writes_nothing(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nothing was written"):
        unpack(sealed(raw), tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    made = io.BytesIO(zipped({}))
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.json", '{"status": "stopped"}')
    with pytest.raises(JobError, match="nothing was written"):
        unpack(sealed(made.getvalue()), tmp_path / "home")


def test_more_than_a_run_can_hold_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "MOST_CONTENT", 1 << 20)
    bomb = zipped({"manifest.csv": "0" * (2 << 20)})
    with pytest.raises(JobError, match="would be more than"):
        unpack(sealed(bomb), tmp_path / "home")
    # The same with sizes that lie, in the file's own header and in the list of all files.
    lying = bomb.replace((2 << 20).to_bytes(4, "little"), (1 << 10).to_bytes(4, "little"))
    with pytest.raises(JobError, match="nothing was written"):
        unpack(sealed(lying), tmp_path / "home")


@settings(deadline=None)  # other programs may be at work here
@given(st.integers(0, 1 << 32))
def test_changed_zip_is_refused_or_holds_known_names(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(zipped({"manifest.csv": "path,label\n" * 50}))
    for _ in range(chance.randint(1, 8)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    try:
        files, _, _ = parcel._opened(bytes(raw))
    except JobError:
        return
    assert set(files) <= set(NAMES)


def test_empty_folder_is_taken(text: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    unpack(text, tmp_path / "home")
    assert RunDir(tmp_path / "home").damaged() == []


def test_run_that_went_on_replaces_what_came_before(text: str, tmp_path: Path) -> None:
    early = leave(
        tmp_path / "vault", two_classes() | {"status": "stopped"}, groups=[("00", "a", "b", "c")]
    )
    home = tmp_path / "home"
    unpack(pack(early.path), home)
    (home / "notes.txt").write_text("my own")
    assert unpack(text, home).status == "complete"
    assert RunDir(home).damaged() == []
    assert not (home / "groups.csv").exists()  # the finished run has none
    assert (home / "notes.txt").read_text() == "my own"


@pytest.mark.parametrize("name", ["config.yaml", "notes.txt"])
def test_folder_of_something_else_is_left_alone(text: str, name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / name).write_text("name: another\n")
    with pytest.raises(UsageError, match=r"holds another run, or none"):
        unpack(text, home)
    assert set(contents(home)) == {name}


@pytest.mark.parametrize("name", parcel.MADE_HERE)
def test_folder_in_which_a_run_was_made_is_left_alone(text: str, name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    unpack(text, home)
    (home / name).mkdir()
    with pytest.raises(UsageError, match=f"it holds {name}"):
        unpack(text, home)


def test_file_in_place_of_the_folder_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(UsageError, match="is no folder"):
        unpack(text, tmp_path / "home")


def test_write_that_fails_leaves_nothing_and_is_told(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JobError, match="cannot be written: No space left") as told:
        unpack(text, tmp_path / "home")
    assert "Free space" in told.value.todo
    assert list(tmp_path.iterdir()) == []


def test_program_prints_the_parcel_and_tells_errors_as_retrain_does(
    run: RunDir, text: str, tmp_path: Path
) -> None:
    program = [sys.executable, "-m", "jobs.parcel"]
    done = subprocess.run([*program, run.path], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    failed = subprocess.run([*program, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith(f"retrain: {tmp_path}: no run directory")
