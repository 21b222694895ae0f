# SPDX-License-Identifier: Apache-2.0
"""The words that start ranks, and what a Slurm job must not have asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.errors import UsageError
from trainer.world import launch
from trainer.world.launchers import Place, command


@pytest.fixture(autouse=True)
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of Slurm with programs that do nothing."""
    for name in ("mpirun", "srun"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name in ("RETRAIN_LAUNCHER", "RETRAIN_MPI", "SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


def test_mpirun_is_the_launcher_where_nobody_chose() -> None:
    assert command(4, Place(2, 2))[1:3] == ["-np", "4"]


@pytest.mark.parametrize(("mpi", "option"), [("", "--mpi=pmix"), ("pmi2", "--mpi=pmi2")])
def test_srun_starts_ranks_by_host_and_ends_all_with_one(
    mpi: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_LAUNCHER", "srun")
    monkeypatch.setenv("RETRAIN_MPI", mpi)
    words = command(4, Place(2, 2))
    wanted = {option, "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--kill-on-bad-exit=1"}
    assert wanted <= set(words)
    assert "--gpu-bind=none" in words  # ranks see all GPUs of their host


def test_srun_without_a_job_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_LAUNCHER", "srun")
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(UsageError, match="no Slurm job"):
        command(2, Place(1, 2))


def test_launcher_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_LAUNCHER", "horovodrun")
    with pytest.raises(UsageError, match="wanted mpirun or srun"):
        command(2, Place(1, 2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_GPUS_PER_TASK", "1"),
        ("SLURM_GPUS_PER_TASK", "v100:1"),
        ("SLURM_TRES_PER_TASK", "cpu=2,gres/gpu=1"),
    ],
)
def test_gpus_by_task_are_refused_with_what_to_ask_for(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        launch.require_gpus_by_host()
    assert caught.value.message.startswith("--gpus-per-task=")
    assert "--gpus-per-node=N" in caught.value.todo


def test_cores_by_task_are_nothing_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_TRES_PER_TASK", "cpu=2")
    launch.require_gpus_by_host()


def test_step_of_ours_gets_all_cores_of_its_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SRUN_CPUS_PER_TASK", "SLURM_EXPORT_ENV"):
        monkeypatch.setenv(name, "1")
        assert name not in launch._environment(tmp_path / "outcome")
