# SPDX-License-Identifier: Apache-2.0
"""What a start tells of the one before, when that was killed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from trainer.errors import Stopped
from trainer.rundir import RunDir, write_json
from trainer.world.last_start import leave_cause, noting
from trainer.world.memory import Kills

NOW = Kills("host", "boot", "", "group", 1, 1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run directory on a host whose kernel has killed one process so far."""
    monkeypatch.setattr(Kills, "now", lambda: NOW)
    return RunDir(tmp_path)


def start(run: RunDir) -> list[str]:
    """Start and end in order; gives what was said."""
    said: list[str] = []
    with noting(run, said.append):
        assert Kills.of(json.loads(run.last_start.read_text())) == NOW
    return said


def test_start_that_ends_in_order_leaves_nothing(run: RunDir) -> None:
    assert start(run) == []
    with suppress(Stopped), noting(run, print):
        raise Stopped("asked to")
    assert list(run.path.iterdir()) == []


def test_killed_start_is_told_where_the_kernel_killed_since(run: RunDir) -> None:
    write_json(run.last_start, asdict(replace(NOW, in_group=0)))  # as the killed start left it
    (said,) = start(run)
    assert said.startswith("Warning: the last start was cut off: the kernel killed a process of")
    assert start(run) == []


def test_cause_that_the_launcher_found_is_told_by_the_next_start(run: RunDir) -> None:
    write_json(run.last_start, asdict(NOW))
    leave_cause(run, "the kernel did it")
    (said,) = start(run)
    assert "cut off: the kernel did it; fewer ranks" in said


def test_cause_is_not_left_in_a_run_that_ended_in_order(run: RunDir) -> None:
    leave_cause(run, "the kernel did it")
    assert not run.last_start.exists()


def test_start_that_was_killed_otherwise_is_not_told(run: RunDir) -> None:
    write_json(run.last_start, asdict(NOW))
    assert start(run) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff\xfe", b"null"])
def test_damaged_note_is_passed_over(run: RunDir, content: bytes) -> None:
    run.last_start.write_bytes(content)
    assert start(run) == []


def test_note_is_no_part_of_a_finished_run(run: RunDir) -> None:
    with noting(run, print):
        assert run.marked_files() == {}
        assert not run.foreign()
