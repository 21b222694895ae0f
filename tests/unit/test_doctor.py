# SPDX-License-Identifier: Apache-2.0
"""What is told of a machine's parts, and which of them a run cannot do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import doctor


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, in an empty folder."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bin"


def test_machine_without_slurm_can_do_runs() -> None:
    assert doctor._slurm().state == "absent"


def test_slurm_is_told_with_its_version(path: Path) -> None:
    program(path, "sbatch", "echo slurm 22.05.8")
    assert doctor._slurm() == doctor.Finding("Slurm", "ok", "slurm 22.05.8")


def test_slurm_without_a_cluster_is_told_in_one_line_and_stops_no_run(path: Path) -> None:
    program(path, "sbatch", "echo no controller >&2; echo more >&2; exit 1")
    found = doctor._slurm()
    assert found.state == "absent"
    assert found.detail == f"{path / 'sbatch'} reaches no cluster: no controller"


def test_cache_that_cannot_be_made_is_missing_and_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RETRAIN_CACHE", str(tmp_path / "file" / "cache"))
    found = doctor._cache()
    assert found.state == "missing"
    assert found.mend == "export RETRAIN_CACHE=FOLDER"


def test_cache_on_a_sound_file_system_is_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_CACHE", str(tmp_path / "cache"))
    assert doctor._cache().state == "ok"
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("absent", 0), ("missing", 1)])
def test_exit_code_says_whether_a_run_can_be_done(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for look in ("_python", "_cores", "_tensorflow", "_world", "_weights", "_cache", "_slurm"):
        finding = doctor.Finding(look, "ok" if look != "_world" else state, "found", "mend it")
        monkeypatch.setattr(doctor, look, lambda finding=finding: finding)
    assert doctor.examine() == code
    assert "-> mend it" in capsys.readouterr().out
