# SPDX-License-Identifier: Apache-2.0
"""How much memory a job may take, and what is known of processes killed for want of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from limited_memory import limited
from trainer.errors import FAILED
from trainer.world import memory, slurm_words
from trainer.world.memory import GIB, Kills, available_gib, less_memory, machine_gib

V1 = "sys/fs/cgroup/memory"
V2 = "sys/fs/cgroup"
ROOT = Path(__file__).parents[3]
Files = Callable[..., None]


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job of the outside."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Writes what a kernel would tell: files by their paths; a machine of 64 GiB."""
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    monkeypatch.setattr(memory, "machine_gib", lambda: 64.0)

    def tell(**files: object) -> None:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(content))

    tell(**{"proc/sys/kernel/random/boot_id": "first boot\n"})
    return tell


def in_group(version: str, kills: int, path: str = "/job") -> dict[str, object]:
    """What a kernel tells of a group of either version; the other group is not about memory."""
    if version == V1:
        table = f"9:name=systemd:/x\n4:cpu,memory:{path}\n0::/x\n"
        told = f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"
        return {"proc/self/cgroup": table, f"{V1}{path}/memory.oom_control": told}
    told = f"low 0\nhigh 0\nmax 7\noom 3\noom_kill {kills}\noom_group_kill 9\n"
    return {"proc/self/cgroup": f"0::{path}\n", f"{V2}{path}/memory.events": told}


# How much


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        ({}, 64),
        ({f"{V2}/a/b/memory.max": 3 * GIB, "proc/self/cgroup": "0::/a/b\n"}, 3),
        ({f"{V2}/a/memory.max": 3 * GIB, "proc/self/cgroup": "0::/a/b\n"}, 3),  # the one around
        ({f"{V2}/a/memory.max": "max\n", "proc/self/cgroup": "0::/a\n"}, 64),
        ({f"{V1}/a/memory.limit_in_bytes": GIB, "proc/self/cgroup": "4:memory:/a\n0::/\n"}, 1),
        ({f"{V1}/memory.limit_in_bytes": GIB, "proc/self/cgroup": "4:memory:/docker/1\n"}, 1),
        ({f"{V1}/memory.limit_in_bytes": 2**63 - 4096, "proc/self/cgroup": "4:memory:/\n"}, 64),
        ({f"{V2}/memory.max": 2 * GIB, "proc/self/cgroup": "0::/../../elsewhere\n"}, 2),
        ({f"{V2}/other/memory.max": GIB, "proc/self/cgroup": "0::/a\n"}, 64),
    ],
)
def test_memory_is_what_the_control_groups_leave(
    files: dict[str, object], gib: float, kernel: Files
) -> None:
    kernel(**files)
    assert available_gib() == gib


@pytest.mark.parametrize(
    ("variables", "gib"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, 4),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "6"}, 6),
        ({"SLURM_MEM_PER_NODE": "0"}, 64),
        ({"SLURM_MEM_PER_NODE": "99999999"}, 64),
    ],
)
def test_memory_is_what_slurm_gave(
    variables: dict[str, str], gib: float, kernel: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert available_gib() == gib


def test_memory_of_this_very_machine_is_found() -> None:
    assert 0 < available_gib() <= machine_gib()


# What was killed


@pytest.mark.parametrize("version", [V1, V2])
def test_kill_in_our_own_group_is_told_with_the_limits(version: str, kernel: Files) -> None:
    limit = {V1: "memory.limit_in_bytes", V2: "memory.max"}[version]
    kernel(**in_group(version, 2), **{f"{version}/job/{limit}": 3 * GIB})
    before = Kills.now()
    assert before.since() == ""
    kernel(**in_group(version, 3))
    assert before.since() == (
        "the kernel killed a process of the job for want of memory (the job may take 3.0 GiB, "
        "the machine has 64.0 GiB)"
    )


@pytest.mark.parametrize(
    "other",
    [{"boot": "another"}, {"host": "another"}, {"group": "another", "on_host": None}],
)
def test_count_of_another_boot_host_or_group_is_not_compared(
    other: dict[str, Any], kernel: Files
) -> None:
    kernel(**in_group(V2, 5))
    before = replace(Kills.now(), in_group=1)
    assert before.since() != ""
    assert replace(before, **other).since() == ""


def test_group_made_anew_under_the_same_name_is_another(kernel: Files, tmp_path: Path) -> None:
    kernel(**in_group(V2, 5))
    before = replace(Kills.now(), in_group=1)
    (tmp_path / V2 / "job").rename(tmp_path / "gone")
    kernel(**in_group(V2, 5))
    assert before.since() == ""


@pytest.mark.parametrize("group", [{}, in_group(V2, 9)])
def test_kill_of_anybody_on_the_machine_may_be_ours_where_no_group_tells(
    group: dict[str, object], kernel: Files
) -> None:
    kernel(**{"proc/vmstat": "pgfault 5\noom_kill 1\n"}, **group)
    before = replace(Kills.now(), group="a group that is gone")
    kernel(**{"proc/vmstat": "pgfault 6\noom_kill 2\n"})
    assert "perhaps of the job, for want of memory (the machine has 64.0 GiB)" in before.since()


def test_kill_of_others_on_the_machine_is_none_of_ours_where_our_group_tells(
    kernel: Files,
) -> None:
    kernel(**in_group(V2, 0), **{"proc/vmstat": "oom_kill 1\n"})
    before = Kills.now()
    kernel(**{"proc/vmstat": "oom_kill 2\n"})
    assert before.since() == ""


SAYS = {
    "sacct knows": ("printf 'OUT_OF_MEMORY\\nCANCELLED by 7\\n'", "exit 9"),
    "sacct knows of a step": ("printf 'FAILED\\nOUT_OF_MEMORY\\n'", "exit 9"),
    "no accounting": ("exit 1", "echo 'JobId=7 JobName=x JobState=OUT_OF_MEMORY Reason=None'"),
    "no answer": ("exec sleep 60", "echo 'JobId=7 JobName=x JobState=OUT_OF_MEMORY Reason=None'"),
}
SAYS_NOT = {
    "it failed": ("echo FAILED", "exit 9"),
    "forgotten": ("exit 1", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"),
    "another word": ("exit 1", "echo 'JobId=7 JobName=OUT_OF_MEMORY JobState=FAILED'"),
}


@pytest.mark.parametrize("says", [*SAYS, *SAYS_NOT])
def test_slurm_is_asked_for_the_end_of_a_job_that_is_gone(
    says: str, kernel: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in zip(("sacct", "scontrol"), {**SAYS, **SAYS_NOT}[says], strict=True):
        (tmp_path / name).write_text(f'#!/bin/sh\ncase "$*" in *7*) {body};; esac\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm_words, "SECONDS", 0.5)
    told = "a process of job 7 was killed for want of memory"
    assert replace(Kills.now(), job="7").since() == (told if says in SAYS else "")


def test_without_slurm_nobody_knows_of_a_job(
    kernel: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert replace(Kills.now(), job="7").since() == ""


@pytest.mark.parametrize(
    "fields",
    [{"job": "7; touch x"}, {"job": 7}, {"in_group": "3"}, {"on_host": 1.5}, {"more": 1}],
)
def test_damaged_count_is_no_count(fields: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Kills.of({**asdict(Kills.now()), **fields})


@pytest.mark.parametrize(
    ("ranks", "job", "told"),
    [
        (4, "", "Start fewer ranks (--ranks 2), or take a machine with more memory; the same "),
        (3, "7", "Start fewer ranks (--ranks 1), or ask for more memory (sbatch --mem=...); the "),
        (1, "7", "Ask for more memory (sbatch --mem=...); the same command then goes on."),
    ],
)
def test_way_out_is_fewer_ranks_or_more_memory(
    ranks: int, job: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", job)
    assert less_memory(ranks).startswith(told)


# The real kernel

HUNGRY = """
import os, sys
from pathlib import Path
group, prefix = map(Path, sys.argv[1:])
(group / "cgroup.procs").write_text(str(os.getpid()))
sys.prefix = str(prefix)
from trainer.world.launch import Place, start
sys.exit(start(["run"], 4, Place(1, 4)))
"""
"""Starts, in a control group, ranks by an mpirun of ours."""


@pytest.mark.parametrize("left", ["", 'printf 1 > "$RETRAIN_OUTCOME"; '])
def test_launcher_says_that_the_kernel_killed_a_rank(left: str, tmp_path: Path) -> None:
    mpirun = tmp_path / "bin" / "mpirun"
    mpirun.parent.mkdir()
    mpirun.write_text(f"#!/bin/sh\n{left}tail /dev/zero\n")  # reads a line that has no end
    mpirun.chmod(0o755)
    with limited(300) as group:
        done = subprocess.run(
            [sys.executable, "-c", HUNGRY, group, tmp_path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
    assert done.returncode == FAILED, done.stderr
    assert "the kernel killed a process of the job for want of memory (the job may take " in (
        done.stderr
    )
    assert "0.3 GiB" in done.stderr
    assert "--ranks 2" in done.stderr
