# SPDX-License-Identifier: Apache-2.0
"""Whether a run directory may be gone on with: same settings, same data, nothing of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trainer.config import Config, Data
from trainer.config_file import load
from trainer.data.images import Listing, SourceFile
from trainer.data.plan import Plan, assemble
from trainer.data.source import Source
from trainer.errors import USAGE, DataError, UsageError, told
from trainer.resume import is_done, open_directory, require_same_data
from trainer.rundir import RunDir, write_json, write_text


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "pools")
    run.create()
    return run


@pytest.fixture
def complete(run: RunDir) -> RunDir:
    open_directory(run, settings(), again=False)
    run.write_complete({"schema": 1, "status": "complete"})
    return run


def settings(*overrides: str) -> Config:
    source = Path("photos.yaml").absolute()
    return load(str(source), list(overrides))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos.yaml").write_text("data: {images: photos}\n", encoding="utf-8")


def planned(*contents: bytes) -> Plan:
    files = [SourceFile(f"a/{number}", "a", 1) for number in range(len(contents))]
    listing = Listing(["a"], files, [], outside=0)
    source = Source(Path("photos"), "data.images", "folder")
    return assemble(source, listing, [content.ljust(32) for content in contents])


def refusal(run: RunDir, *overrides: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_directory(run, settings(*overrides), again=False)
    assert caught.value.exit_code == USAGE
    assert told(caught.value.message, caught.value.todo).count("\n") < 3
    return caught.value


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The directory


def test_new_directory_gets_the_resolved_configuration(run: RunDir) -> None:
    open_directory(run, settings("head.l2=0.5"), again=False)
    written = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    assert written["head"]["l2"] == 0.5
    assert names(run.path) == {"config.yaml", "head", "stages"}


def test_folder_of_somebody_else_is_refused_and_left_as_it_is(run: RunDir) -> None:
    (run.path / "thesis.tex").write_text("x")
    error = refusal(run)
    assert error.message == f"--out {run.path}: holds files, but no run."
    assert "--out" in error.todo
    assert names(run.path) == {"thesis.tex"}


def test_folder_of_somebody_else_is_refused_also_to_begin_anew(run: RunDir) -> None:
    (run.path / "model").mkdir()
    (run.path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError):
        open_directory(run, settings(), again=True)
    assert names(run.path) == {"model", "thesis.tex"}


def test_run_that_was_killed_before_its_first_file_goes_on(run: RunDir) -> None:
    (run.path / ".config.yaml.n1.7.tmp").write_text("na")
    (run.path / "log.txt").write_text("x")
    open_directory(run, settings(), again=False)
    assert names(run.path) == {"config.yaml", "head", "stages", "log.txt"}


# Settings


def test_same_settings_are_gone_on_with(complete: RunDir) -> None:
    open_directory(complete, settings(), again=False)
    assert complete.status() == "complete"


def test_other_settings_are_refused_with_keys_both_values_and_the_ways_out(
    complete: RunDir,
) -> None:
    error = refusal(complete, "head.l2=0.5", "data.exclude=[b]", "name=Dächer 2")
    assert error.message == (
        f"{complete.path}: made with other settings: data.exclude was [], now [b]; "
        "head.l2 was auto, now 0.5; name was photos, now Dächer 2."
    )
    assert "--out" in error.todo
    assert "--again" in error.todo
    assert complete.status() == "complete"


def test_other_folder_of_images_is_refused(complete: RunDir) -> None:
    assert "data.images was " in refusal(complete, "data.images=roofs").message


@pytest.mark.parametrize("word", ["run.cache=elsewhere", "run.stall_timeout=60"])
def test_settings_that_change_no_result_may_differ(complete: RunDir, word: str) -> None:
    open_directory(complete, settings(word), again=False)


def test_key_that_the_older_version_lacked_is_told(complete: RunDir) -> None:
    old = yaml.safe_load(complete.config.read_text(encoding="utf-8"))
    del old["run"]["seed"]
    write_text(complete.config, yaml.safe_dump(old))
    complete.stage("settings").unlink()
    assert "run.seed was null, now 0" in refusal(complete).message


SPOILT = [b"", b"- a", b"a: [", b"\xff\xfe", b"text", b"head: {l2: 0.3}\n"]


@pytest.mark.parametrize("content", SPOILT)
def test_configuration_that_was_damaged_is_written_again(complete: RunDir, content: bytes) -> None:
    before = complete.config.read_bytes()
    complete.config.write_bytes(content)
    said: list[str] = []
    open_directory(complete, settings(), again=False, say=said.append)
    assert complete.config.read_bytes() == before
    assert str(complete.config) in said[0]


@pytest.mark.parametrize("content", SPOILT[:-1])
def test_damaged_configuration_of_a_run_with_other_settings_is_told(
    complete: RunDir, content: bytes
) -> None:
    complete.config.write_bytes(content)
    error = refusal(complete, "head.l2=0.5")
    assert error.message == f"{complete.config}: no configuration any more."
    assert "--again" in error.todo


def test_beginning_anew_takes_other_settings_and_keeps_other_files(complete: RunDir) -> None:
    (complete.path / "notes.txt").touch()
    open_directory(complete, settings("head.l2=0.5"), again=True)
    assert names(complete.path) == {"config.yaml", "head", "stages", "notes.txt"}
    assert names(complete.stages) == {"settings.json"}
    refusal(complete)


def test_settings_of_a_failed_run_bind_nobody(run: RunDir) -> None:
    open_directory(run, settings("backbone.weights=typo.h5"), again=False)
    write_json(run.results, {"schema": 1, "status": "failed"})
    open_directory(run, settings(), again=False)
    assert "imagenet" in run.config.read_text(encoding="utf-8")
    assert names(run.path) == {"config.yaml", "head", "stages"}


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_settings_of_a_run_that_can_go_on_bind(run: RunDir, status: str) -> None:
    open_directory(run, settings("head.l2=0.5"), again=False)
    write_json(run.results, {"schema": 1, "status": status})
    refusal(run)


# Data


CONFIG = Config(data=Data(images="photos"))


def test_same_data_is_gone_on_with(complete: RunDir) -> None:
    require_same_data(complete, planned(b"x", b"y"), CONFIG)
    require_same_data(complete, planned(b"x", b"y"), CONFIG)


@pytest.mark.parametrize("contents", [(b"x", b"z"), (b"x",), (b"x", b"y", b"z"), (b"y", b"x")])
def test_other_data_is_refused_with_both_counts_and_the_ways_out(
    complete: RunDir, contents: tuple[bytes, ...]
) -> None:
    require_same_data(complete, planned(b"x", b"y"), CONFIG)
    with pytest.raises(UsageError) as caught:
        require_same_data(complete, planned(*contents), CONFIG)
    assert "data.images had 2 files" in caught.value.message
    assert f"now {len(contents)} (" in caught.value.message
    assert "--again" in caught.value.todo


# Done


def test_complete_and_undamaged_run_is_done(complete: RunDir) -> None:
    assert is_done(complete)


def test_new_directory_is_not_done(run: RunDir) -> None:
    assert not is_done(run)


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_run_that_did_not_end_well_is_not_done(run: RunDir, status: str) -> None:
    open_directory(run, settings(), again=False)
    write_json(run.results, {"schema": 1, "status": status})
    assert not is_done(run)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_complete_run_with_broken_results_is_made_anew(complete: RunDir, content: bytes) -> None:
    complete.results.write_bytes(content)
    assert not is_done(complete)


def test_complete_run_that_lost_a_file_is_not_done(complete: RunDir) -> None:
    complete.config.unlink()
    assert not is_done(complete)


def test_run_of_a_newer_version_is_refused_not_overwritten(complete: RunDir) -> None:
    complete.write_complete({"schema": 2, "status": "complete"})
    with pytest.raises(DataError, match="schema 2"):
        is_done(complete)
