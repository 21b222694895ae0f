# SPDX-License-Identifier: Apache-2.0
"""Whether a run directory may be gone on with: same settings, same data, nothing of strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer import stages
from trainer.config import Config, Data
from trainer.config_file import load
from trainer.data.images import Listing, SourceFile
from trainer.data.plan import Plan, assemble
from trainer.data.source import Source
from trainer.errors import USAGE, DataError, UsageError, told
from trainer.resume import (
    OtherData,
    begin_again,
    is_done,
    let_data_go,
    open_directory,
    require_same_data,
)
from trainer.rundir import RunDir, write_json, write_text
from trainer.world.comm import World


class Alone(World):
    """A world of one, as far as the data's check needs it."""

    def __init__(self) -> None:
        pass

    def on_root(self, work: Callable[[], Any]) -> Any:
        return work()


def unheard(text: str) -> None:
    """For what is said by the way."""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "pools")
    run.create()
    return run


@pytest.fixture
def complete(run: RunDir) -> RunDir:
    open_directory(run, settings(), again=False, say=unheard)
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
        open_directory(run, settings(*overrides), again=False, say=unheard)
    assert caught.value.exit_code == USAGE
    assert told(caught.value.message, caught.value.todo).count("\n") < 3
    return caught.value


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The directory


def test_new_directory_gets_the_resolved_configuration(run: RunDir) -> None:
    open_directory(run, settings("head.l2=0.5"), again=False, say=unheard)
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
        open_directory(run, settings(), again=True, say=unheard)
    assert names(run.path) == {"model", "thesis.tex"}


def test_run_that_was_killed_before_its_first_file_goes_on(run: RunDir) -> None:
    (run.path / ".config.yaml.n1.7.tmp").write_text("na")
    (run.path / "log.txt").write_text("x")
    open_directory(run, settings(), again=False, say=unheard)
    assert names(run.path) == {"config.yaml", "head", "stages", "log.txt"}


# Settings


def test_same_settings_are_gone_on_with(complete: RunDir) -> None:
    open_directory(complete, settings(), again=False, say=unheard)
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
    open_directory(complete, settings(word), again=False, say=unheard)


def test_key_that_the_older_version_lacked_is_told(complete: RunDir) -> None:
    old = yaml.safe_load(complete.config.read_text(encoding="utf-8"))
    del old["run"]["seed"]
    write_text(complete.config, yaml.safe_dump(old))
    complete.stage("settings").unlink()  # else config.yaml is not asked
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


def test_configuration_that_was_edited_in_place_binds_nothing(complete: RunDir) -> None:
    edited = complete.config.read_text(encoding="utf-8").replace("l2: auto", "l2: 0.5")
    complete.config.write_text(edited, encoding="utf-8")
    assert "head.l2 was auto, now 0.5" in refusal(complete, "head.l2=0.5").message
    assert "l2: 0.5" in complete.config.read_text(encoding="utf-8")


def test_damaged_record_of_the_settings_is_named_and_written_again(complete: RunDir) -> None:
    record = complete.stage("settings")
    before = record.read_bytes()
    record.write_bytes(before.replace(b"auto", b"buto", 1))
    said: list[str] = []
    open_directory(complete, settings(), again=False, say=said.append)
    assert said == [f"{record}: damaged; its stage is done again"]
    assert record.read_bytes() == before


@pytest.mark.parametrize("content", SPOILT[:-1])
def test_configuration_and_record_both_damaged_are_told(complete: RunDir, content: bytes) -> None:
    complete.config.write_bytes(content)
    complete.stage("settings").write_bytes(b"{")
    error = refusal(complete)
    assert error.message == f"{complete.config}: no configuration any more."
    assert "--again" in error.todo


def test_beginning_anew_takes_other_settings_and_keeps_other_files(complete: RunDir) -> None:
    (complete.path / "notes.txt").touch()
    open_directory(complete, settings("head.l2=0.5"), again=True, say=unheard)
    assert names(complete.path) == {"config.yaml", "head", "stages", "notes.txt"}
    assert names(complete.stages) == {"settings.json"}
    refusal(complete)


def test_failed_run_that_has_fits_to_go_on_with_keeps_them_and_its_settings(run: RunDir) -> None:
    open_directory(run, settings(), again=False, say=unheard)
    (run.head / "fitted").touch()
    write_json(run.results, {"schema": 1, "status": "failed"})
    open_directory(run, settings(), again=False, say=unheard)
    assert (run.head / "fitted").exists()
    assert "head.l2" in refusal(run, "head.l2=0.5").message


def test_settings_of_a_failed_run_bind_nobody(run: RunDir) -> None:
    open_directory(run, settings("backbone.weights=typo.h5"), again=False, say=unheard)
    write_json(run.results, {"schema": 1, "status": "failed"})
    open_directory(run, settings(), again=False, say=unheard)
    assert "imagenet" in run.config.read_text(encoding="utf-8")
    assert names(run.path) == {"config.yaml", "head", "stages"}


def test_failed_run_with_the_same_settings_keeps_its_records(run: RunDir) -> None:
    open_directory(run, settings(), again=False, say=unheard)
    stages.finish(run, "plan", {})
    write_json(run.results, {"schema": 1, "status": "failed"})
    open_directory(run, settings(), again=False, say=unheard)
    assert stages.read(run, "plan")


def test_fits_of_a_failed_run_are_kept_and_bind(run: RunDir) -> None:
    open_directory(run, settings(), again=False, say=unheard)
    (run.head / "checkpoint").touch()
    write_json(run.results, {"schema": 1, "status": "failed"})
    open_directory(run, settings(), again=False, say=unheard)
    assert names(run.head) == {"checkpoint"}
    refusal(run, "head.l2=0.5")


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_settings_of_a_run_that_can_go_on_bind(run: RunDir, status: str) -> None:
    open_directory(run, settings("head.l2=0.5"), again=False, say=unheard)
    write_json(run.results, {"schema": 1, "status": status})
    refusal(run)


# Data


CONFIG = Config(data=Data(images="photos"))


def note(run: RunDir, *contents: bytes) -> None:
    require_same_data(run, planned(*contents), CONFIG, Alone())


def test_same_data_is_gone_on_with(complete: RunDir) -> None:
    note(complete, b"x", b"y")
    note(complete, b"x", b"y")


@pytest.mark.parametrize("contents", [(b"x", b"z"), (b"x",), (b"x", b"y", b"z"), (b"y", b"x")])
def test_other_data_is_refused_with_both_counts_and_the_ways_out(
    complete: RunDir, contents: tuple[bytes, ...]
) -> None:
    note(complete, b"x", b"y")
    with pytest.raises(OtherData) as caught:
        note(complete, *contents)
    assert caught.value.exit_code == USAGE
    assert "data.images had 2 files" in caught.value.message
    assert f"now {len(contents)} (" in caught.value.message
    assert "--again" in caught.value.todo


def test_damaged_record_of_the_data_refuses_nothing(complete: RunDir) -> None:
    note(complete, b"x")
    record = complete.stage("plan")
    digit = record.read_bytes().index(b'"data": "') + 9
    record.write_bytes(flipped(record.read_bytes(), digit))
    open_directory(complete, settings(), again=False, say=unheard)
    note(complete, b"x")


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_data_that_a_run_failed_over_binds_nobody(complete: RunDir) -> None:
    note(complete, b"x")
    let_data_go(complete)
    note(complete, b"y")


# Done


def test_complete_and_undamaged_run_is_done(complete: RunDir) -> None:
    assert is_done(complete)


def test_new_directory_is_not_done(run: RunDir) -> None:
    assert not is_done(run)


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_run_that_did_not_end_well_is_not_done(run: RunDir, status: str) -> None:
    open_directory(run, settings(), again=False, say=unheard)
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


def test_what_is_made_anew_of_a_finished_run_is_told(complete: RunDir) -> None:
    complete.config.unlink()
    said: list[str] = []
    begin_again(complete, said.append)
    (told,) = said
    assert told == f"{complete.path}: not as it was when it was finished, made anew: config.yaml"
    assert not complete.complete.exists()


def test_changed_file_of_a_run_that_was_not_finished_is_told(run: RunDir) -> None:
    run.stages.mkdir()
    write_text(run.manifest, "path")
    stages.finish(run, "tables", {}, [run.manifest])
    run.manifest.unlink()
    said: list[str] = []
    begin_again(run, said.append)
    assert said == [f"{run.manifest}: changed since its stage was done; made anew"]


def test_nothing_is_told_of_a_run_that_was_never_finished(run: RunDir) -> None:
    begin_again(run, pytest.fail)
