# SPDX-License-Identifier: Apache-2.0
"""What commands of Slurm say; nothing where there is no Slurm, or it does not answer."""

from __future__ import annotations

import os
import subprocess

UNKNOWN = 2**32 - 2
"""What Slurm prints for a number that it does not know (NO_VAL)."""
SECONDS = 10.0
"""To wait for an answer of Slurm, which may be down."""


def answer(*command: str) -> str:
    """What a command of Slurm prints; nothing where it is not there, fails, or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def consumed_joules() -> int | None:
    """The energy of this job's steps so far; None outside of Slurm, or where it does not measure.

    Source: Slurm's manual page of sstat, ConsumedEnergyRaw.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    words = ("--noheader", "--parsable2", "--allsteps", "--jobs", job)
    told = answer("sstat", *words, "--format", "ConsumedEnergyRaw")
    steps = [int(line) for line in told.split() if line.isdigit()]
    return sum(step for step in steps if step < UNKNOWN) or None
