# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, one run at a time, and what the final mark is worth."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from trainer import rundir
from trainer.errors import DATA, FAILED, USAGE, DataError, RetrainError, UsageError
from trainer.rundir import MADE, RunDir, write_bytes, write_folder, write_json, write_text

ROOT = Path(__file__).parents[2]
RESULTS = {"schema": 1, "status": "complete", "share": 0.1}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run directory that is there and empty."""
    run = RunDir(tmp_path / "pools")
    run.create()
    run.stages.mkdir()
    return run


@pytest.fixture
def complete(run: RunDir) -> RunDir:
    """The same after a run."""
    write_text(run.config, "name: pools\n")
    write_text(run.report, "<p>")
    (run.model / "variables").mkdir(parents=True)
    write_bytes(run.model / "variables" / "data", b"\0\1")
    run.write_complete(RESULTS)
    return run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Writing


def test_written_file_holds_just_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"the first, longer content")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == {"a"}


def test_json_is_ascii_and_keeps_every_digit(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"path": "caf\udce9 ä", "share": 0.1 + 0.2})
    assert json.loads((tmp_path / "a").read_bytes().decode("ascii")) == {
        "path": "caf\udce9 ä",
        "share": 0.1 + 0.2,
    }


def test_number_that_json_lacks_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"loss": float("nan")})
    assert not names(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_with_path_and_bytes_and_leaves_the_old_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RetrainError) as caught:
        write_bytes(path, b"x" * 1234)
    assert caught.value.exit_code == FAILED
    assert (
        caught.value.message == f"{path}: cannot be written (1,234 bytes): {os.strerror(number)}."
    )
    assert "start the same command again" in caught.value.todo
    assert names(tmp_path) == {"results.json"}
    assert path.read_bytes() == b"old"


def test_file_in_a_folder_that_is_gone_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a"
    with pytest.raises(RetrainError) as caught:
        write_text(path, "x")
    assert str(path) in caught.value.message


def test_written_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, lambda folder: write_text(folder / "a", "old"))
    write_folder(path, lambda folder: write_text(folder / "b", "new"))
    assert names(path) == {"b"}
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), ValueError("a bug")])
def test_folder_that_cannot_be_filled_leaves_the_old_one(error: Exception, tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, lambda folder: write_text(folder / "a", "old"))

    def fill(folder: Path) -> None:
        write_text(folder / "b", "new")
        raise error

    with pytest.raises((RetrainError, ValueError)):
        write_folder(path, fill)
    assert names(path) == {"a"}
    assert names(tmp_path) == {"model"}


def test_folder_that_cannot_be_made_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "model"
    with pytest.raises(RetrainError) as caught:
        write_folder(path, lambda folder: write_text(folder / "a", "x"))
    assert str(path) in caught.value.message


# The folder


def test_creating_makes_the_folder_and_nothing_in_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "a" / "b")
    run.create()
    assert run.path.is_dir()
    assert not names(run.path)


@pytest.mark.parametrize("path", [Path("/proc/retrain"), Path(__file__), Path(__file__) / "x"])
def test_folder_that_cannot_be_written_is_wrong_usage(path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        RunDir(path).create()
    assert caught.value.exit_code == USAGE
    assert caught.value.message.startswith(f"--out {path}: cannot be written: ")
    assert caught.value.todo


@pytest.mark.parametrize("left", [[], ["log.txt"], ["lock"], [".config.yaml.n1.7.tmp"]])
def test_what_a_run_was_killed_over_is_not_foreign(run: RunDir, left: list[str]) -> None:
    for name in left:
        (run.path / name).touch()
    assert not run.foreign()


def test_files_without_a_configuration_are_foreign(run: RunDir) -> None:
    (run.path / "thesis.tex").touch()
    assert run.foreign()


def test_files_beside_a_configuration_are_not_foreign(complete: RunDir) -> None:
    (complete.path / "notes.txt").touch()
    assert not complete.foreign()


def test_clearing_leaves_other_files_and_the_settings(complete: RunDir) -> None:
    for name in MADE:
        if not (complete.path / name).exists():
            (complete.path / name).touch()
    kept = {"config.yaml", "log.txt", "lock", "notes.txt"}
    for name in kept:
        (complete.path / name).touch()
    complete.clear()
    assert names(complete.path) == kept


def test_clearing_that_is_cut_short_leaves_a_run_that_is_not_complete(
    complete: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (complete.path / "notes.txt").touch()
    removed: list[str] = []
    remove = rundir.remove

    def remove_and_look(path: Path) -> None:
        remove(path)
        removed.append(path.name)
        assert not complete.foreign()
        assert complete.status() == ""

    monkeypatch.setattr(rundir, "remove", remove_and_look)
    complete.clear()
    assert set(removed) == set(MADE) - {"config.yaml"}


def test_temporary_files_of_killed_runs_areremoved(complete: RunDir) -> None:
    (complete.path / ".report.html.n1.7.tmp").touch()
    (complete.path / ".lock.0123456789abcdef.tmp").touch()
    (complete.path / ".write-test.n1.7.tmp").touch()
    (complete.stages / ".plan.json.n1.7.tmp").touch()
    (complete.path / ".model.n1.7.tmp" / "variables").mkdir(parents=True)
    (complete.path / ".model.n1.7.tmp" / ".x.tmp").touch()
    before = {path for path in complete.path.rglob("*") if ".tmp" not in str(path)}
    complete.clean()
    assert set(complete.path.rglob("*")) == before


def test_cleaning_leaves_what_runs_do_not_make_and_what_links_lead_to(
    complete: RunDir, tmp_path: Path
) -> None:
    mine = complete.path / "mine" / ".a.b.tmp"
    kept = [tmp_path / ".a.b.tmp", complete.path / ".notes.x.tmp", mine]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (complete.path / "events").symlink_to(tmp_path)
    (complete.path / ".model.n1.7.tmp").symlink_to(tmp_path)
    complete.clean()
    assert all(path.exists() for path in kept)
    assert not (complete.path / ".model.n1.7.tmp").is_symlink()


@pytest.mark.parametrize("work", ["clear", "clean"])
def test_what_cannot_beremoved_is_told_with_its_path(
    work: str, complete: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (complete.stages / ".plan.json.n1.7.tmp").touch()

    def refuse(path: object, **options: object) -> None:
        raise OSError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(RetrainError, match=r": cannot be removed: Permission denied") as caught:
        getattr(complete, work)()
    assert caught.value.message.startswith(f"{complete.path}/")
    assert caught.value.exit_code == FAILED


# Results


def test_status_is_empty_where_no_run_was(run: RunDir) -> None:
    assert run.status() == ""


def test_older_schema_is_read(run: RunDir) -> None:
    write_json(run.results, {"schema": 0, "status": "complete"})
    assert run.read_results() == {"schema": 0, "status": "complete"}


def test_newer_schema_is_refused_with_both_numbers(run: RunDir) -> None:
    write_json(run.results, {"schema": 2, "status": "complete"})
    with pytest.raises(DataError, match="schema 2; this version reads up to 1") as caught:
        run.read_results()
    assert caught.value.exit_code == DATA


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\xff"])
def test_broken_results_are_told_with_their_path(run: RunDir, text: str) -> None:
    run.results.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        run.read_results()
    assert caught.value.message.startswith(f"{run.results}: cannot be read")


@pytest.mark.parametrize("path", [Path("gone"), Path(__file__)])
def test_what_is_no_run_directory_is_told(path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        RunDir(path).read_results()
    assert caught.value.message == f"{path}: no run directory: results.json is not there."
    assert "runs/NAME" in caught.value.todo


# The final mark


def test_complete_run_is_undamaged(complete: RunDir) -> None:
    assert not complete.damaged()
    assert complete.read_results() == RESULTS


def test_final_mark_covers_every_file_but_what_grows(complete: RunDir) -> None:
    for name in ("log.txt", "lock", "events/scalars", "events"):
        path = complete.path / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.touch()
    complete.write_complete(RESULTS)
    marked = json.loads(complete.complete.read_text())["files"]
    assert set(marked) == {"config.yaml", "report.html", "results.json", "model/variables/data"}
    assert not complete.damaged()


@pytest.mark.parametrize("name", ["config.yaml", "model/variables/data", "results.json"])
def test_changed_file_is_found(complete: RunDir, name: str) -> None:
    with open(complete.path / name, "ab") as file:
        file.write(b" ")
    assert complete.damaged() == [name]


@pytest.mark.parametrize("name", ["report.html", "model/variables/data", "results.json"])
def test_missing_file_is_found(complete: RunDir, name: str) -> None:
    (complete.path / name).unlink()
    assert complete.damaged() == [name]


def test_file_that_came_later_damages_nothing(complete: RunDir) -> None:
    (complete.path / "notes.txt").touch()
    assert not complete.damaged()


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"files": null}'])
def test_run_without_its_mark_is_damaged(complete: RunDir, text: str | None) -> None:
    complete.complete.unlink()
    if text is not None:
        complete.complete.write_text(text)
    assert complete.damaged() == ["complete.json"]


def test_mark_is_set_before_the_results_turn_complete(
    complete: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(rundir, "write_text", lambda path, _: written.append(path.name))
    complete.write_complete(RESULTS)
    assert written == ["complete.json", "results.json"]
