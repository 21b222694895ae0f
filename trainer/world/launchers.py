# SPDX-License-Identifier: Apache-2.0
"""The commands that start a world's ranks: mpirun, or Slurm's srun where a site wants that.

RETRAIN_LAUNCHER (mpirun, srun) and RETRAIN_MPI (pmix, pmi2) choose; slurm/retrain.sh sets them from
the site's file.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import UsageError

LAUNCHER = "RETRAIN_LAUNCHER"
MPI = "RETRAIN_MPI"
NOT_FOR_STEPS = ("SLURM_EXPORT_ENV", "SRUN_CPUS_PER_TASK")
"""Variables of a batch script that would keep a step of ours from its words, or its host's cores:
a number of cores a task makes Slurm give a step no more than that number for each of its tasks, and
the one task of a step of mpirun's is its daemon. Ranks share all cores of their host themselves."""


@dataclass(frozen=True)
class Place:
    """Where a run starts its ranks: this machine, or the hosts of a Slurm allocation."""

    hosts: int
    ranks_a_host: int


def command(ranks: int, where: Place) -> list[str]:
    """The words before those of a rank.

    Raises:
        UsageError: There is no such launcher, or it has no allocation to start ranks in.
    """
    chosen = os.environ.get(LAUNCHER) or "mpirun"
    if chosen == "mpirun":
        return _mpirun(ranks, where)
    if chosen == "srun":
        return _srun(ranks, where)
    raise UsageError(
        f"{LAUNCHER}={chosen}: wanted mpirun or srun.", "Set one of them, or unset it."
    )


def find(program: str) -> str | None:
    """A program of Open MPI: our own, else the one on PATH."""
    folders = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)])
    return shutil.which(program, path=folders)


def _mpirun(ranks: int, where: Place) -> list[str]:
    mpirun = find("mpirun")
    if not mpirun:
        raise UsageError(
            f"mpirun: not in {sys.prefix}/bin nor on PATH.", "make setup, or --ranks 1 without it."
        )
    return [
        mpirun,
        "-np", str(ranks),
        "--map-by", f"ppr:{where.ranks_a_host}:node:oversubscribe",
        "--bind-to", "none",  # ranks share their host's cores themselves
    ]  # fmt: skip


def _srun(ranks: int, where: Place) -> list[str]:
    """A step over the job's hosts.

    Rank 0 comes onto the first of them, where the batch script is and looks for its outcome.
    """
    if not os.environ.get("SLURM_JOB_ID"):
        raise UsageError(
            f"{LAUNCHER}=srun: this is no Slurm job.", f"Submit it by sbatch, or unset {LAUNCHER}."
        )
    srun = shutil.which("srun")
    if not srun:
        raise UsageError("srun: not on PATH.", f"Load Slurm's module, or unset {LAUNCHER}.")
    return [
        srun,
        f"--mpi={os.environ.get(MPI) or 'pmix'}",
        "--kill-on-bad-exit=1",
        f"--nodes={where.hosts}",
        f"--ntasks={ranks}",
        f"--ntasks-per-node={where.ranks_a_host}",
        "--distribution=block",
        "--overcommit",  # more ranks than tasks were asked for
        "--cpu-bind=quiet,none",  # ranks share their host's cores themselves
        "--gpu-bind=none",  # and see all its GPUs: peers reach each other, each takes its own
        "--export=ALL",
        "--input=none",
        "--unbuffered",
    ]
