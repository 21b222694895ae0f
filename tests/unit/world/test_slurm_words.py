# SPDX-License-Identifier: Apache-2.0
"""What Slurm's commands say, by a program that stands for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.world.slurm_words import answer, consumed_joules


@pytest.fixture
def sstat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program sstat on PATH, in a job; it prints a file."""
    program = tmp_path / "sstat"
    program.write_text(f"#!/bin/sh\ncat '{tmp_path}/told'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return tmp_path / "told"


def test_energy_is_that_of_all_steps(sstat: Path) -> None:
    sstat.write_text("1200\n34\n")
    assert consumed_joules() == 1234


@pytest.mark.parametrize("told", ["0\n", "", "4294967294\n", "no such job\n"])
def test_energy_that_was_not_measured_is_none(told: str, sstat: Path) -> None:
    sstat.write_text(told)
    assert consumed_joules() is None


def test_nobody_is_asked_outside_of_a_job(sstat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sstat.write_text("1200\n")
    monkeypatch.delenv("SLURM_JOB_ID")
    assert consumed_joules() is None


def test_command_that_is_not_there_or_fails_says_nothing(sstat: Path) -> None:
    assert answer("no-such-command") == ""
    assert answer("sstat") == ""  # there is no file to print
