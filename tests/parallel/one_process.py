# SPDX-License-Identifier: Apache-2.0
"""Many starts of the job by one rank in one process: a process of its own takes a second each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from worlds import environment

BEGINNING = """
import io, json, random, shutil, sys
from pathlib import Path
from trainer import publish
from trainer.config_file import load
from trainer.errors import RetrainError, Stopped
from trainer.fit import run_job
from trainer.head.kept import Keeper
from trainer.progress import Progress
from trainer.rundir import RunDir
from trainer.world.comm import connect
from trainer.world.stopping import Stopping

config, folder = load(sys.argv[1], []), Path(sys.argv[2])
stopping = Stopping()
world = connect(stopping)


def run(name):
    # The results, and what was said.
    said = io.StringIO()
    results = run_job(config, folder / name, False, False, world, Progress(said))
    return results, said.getvalue()

"""


def run_program(program: str, config: Path, folder: Path, *words: str, code: int = 0) -> list[Any]:
    """Run a program that begins so, and ends with this exit code.

    Returns:
        The lines of JSON that it prints.
    """
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + program, str(config), str(folder), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
