# SPDX-License-Identifier: Apache-2.0
"""A stage is passed over only where nothing changed; what a stop kept is compared with the last."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import trainer
from trainer import stages
from trainer.progress import Progress
from trainer.rundir import RunDir
from trainer.stop_note import note_stop

INPUTS = {"items": "abc", "head": {"l2": 0.1}}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run whose stage `model` has left two files."""
    run = RunDir(tmp_path / "run")
    run.stages.mkdir(parents=True)
    (run.model / "variables").mkdir(parents=True)
    (run.model / "head").write_bytes(b"head")
    (run.model / "variables" / "index").write_bytes(b"index")
    stages.finish(run, "model", INPUTS, [run.model])
    return run


def passes(run: RunDir, **other: object) -> bool:
    return stages.unchanged(run, "model", {**INPUTS, **other}, [run.model])


def test_stage_is_passed_over_where_nothing_changed(run: RunDir) -> None:
    assert passes(run)


def test_stage_is_not_passed_over_with_other_inputs(run: RunDir) -> None:
    assert not passes(run, items="other")
    assert not passes(run, head={"l2": 0.2})
    assert not passes(run, views=[])


def test_stage_is_not_passed_over_by_another_version(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "__version__", "99")
    assert not passes(run)


@pytest.mark.parametrize("name", ["head", "variables/index"])
def test_stage_is_not_passed_over_where_a_file_changed_or_is_gone(name: str, run: RunDir) -> None:
    (run.model / name).write_bytes(b"other")
    assert not passes(run)
    (run.model / name).unlink()
    assert not passes(run)


def test_stage_is_not_passed_over_where_a_file_came_to_its_folder(run: RunDir) -> None:
    (run.model / "stranger").touch()
    assert not passes(run)


def test_record_of_which_any_bit_flipped_is_none(run: RunDir) -> None:
    path = run.stage("model")
    content = path.read_bytes()
    before = stages.read(run, "model")
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert stages.read(run, "model") in (None, before)  # a blank's flip may change nothing
    path.write_bytes(content)
    assert before


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"null", b"{}", b'{"sha256": 1}', b"\xff"])
def test_damaged_record_is_removed_and_told(content: bytes, run: RunDir) -> None:
    run.stage("plan").write_bytes(content)
    assert stages.drop_damaged(run) == [run.stage("plan")]
    assert not run.stage("plan").exists()
    assert passes(run)


# Stops


def stop(run: RunDir, **kept: int) -> str:
    """The answer of one stop, with so much of each kind kept."""
    progress = Progress()
    progress.kept |= {kind: partial(int, count) for kind, count in kept.items()}
    note_stop(run, progress)
    return (run.path / "answer").read_text()


@pytest.fixture
def answering(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("RETRAIN_PROGRESS", str(run.path / "answer"))
    return run


def test_first_stop_is_progress_and_the_same_again_is_none(answering: RunDir) -> None:
    assert stop(answering, files=9) == "yes\n"
    assert stop(answering, files=9) == "no\n"


def test_more_of_any_kind_is_progress(answering: RunDir) -> None:
    stop(answering, files=9, bottlenecks=3)
    assert stop(answering, files=9, bottlenecks=4) == "yes\n"
    assert stop(answering, files=9, bottlenecks=4, passes=1) == "yes\n"


def test_finished_stage_is_progress(answering: RunDir) -> None:
    stop(answering)
    stages.finish(answering, "plan", {})
    assert stop(answering) == "yes\n"
    assert stop(answering) == "no\n"


def test_stop_before_anything_is_known_counts_what_was_known_before(answering: RunDir) -> None:
    stop(answering, bottlenecks=5)
    assert stop(answering) == "no\n"
    assert stop(answering, bottlenecks=5) == "no\n"
    record = stages.read(answering, stages.STOPPED)
    assert record == {"kept": {"bottlenecks": 5, "stages": 1}, "more": False}


def test_without_being_asked_the_answer_stands_in_the_run_alone(run: RunDir) -> None:
    note_stop(run, Progress())
    record = stages.read(run, stages.STOPPED)
    assert record is not None
    assert record["more"] is True
