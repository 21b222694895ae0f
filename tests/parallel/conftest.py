# SPDX-License-Identifier: Apache-2.0
"""Worlds are started as children with a time limit, and judged by what they left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worlds import QUICK, SECONDS, Finished, Job, draw, environment, retrain_command


@pytest.fixture(scope="session")
def retrain() -> Callable[..., Finished]:
    """Run the command to its end."""

    def run(*words: object, **extra: str) -> Finished:
        return subprocess.run(
            retrain_command(*words),
            env=environment(**extra),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    return run


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., Finished]:
    """Run a Python program on some ranks, `world` and `np` at hand in it."""

    def run(
        ranks: int, program: str, *options: str, check: bool = True, stall: float = 600
    ) -> Finished:
        script = tmp_path / "program.py"
        script.write_text(
            "import time, numpy as np\n"
            "from pathlib import Path\n"
            "from trainer.world.comm import connect\n"
            "from trainer.world.stopping import Stopping\n"
            "stopping = Stopping()\n"
            "stopping.install()\n"
            f"world = connect(stopping, {stall}, Path(__file__).with_name('log.txt'))\n" + program
        )
        mpirun = Path(sys.prefix) / "bin" / "mpirun"
        many = ["--oversubscribe", "--bind-to", "none"] if ranks > 1 else []
        done = subprocess.run(
            [mpirun, "-np", str(ranks), *many, *options, sys.executable, script],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 readable pictures in two classes, a copy among them, and one that is cut short."""
    folder = draw(tmp_path_factory.mktemp("data") / "lakes & roofs", 16)
    whole = (folder / "lake" / "03.jpg").read_bytes()
    (folder / "lake" / "03 copy.jpg").write_bytes(whole)
    (folder / "lake" / "short.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def jobs(
    tmp_path_factory: pytest.TempPathFactory, pictures: Path, retrain: Callable[..., Finished]
) -> Callable[[int], Job]:
    """The job on so many ranks, each with a cache of its own, run once a session."""
    base = tmp_path_factory.mktemp("runs")
    made: dict[int, Job] = {}

    def job(ranks: int) -> Job:
        if ranks not in made:
            out = base / f"{ranks} ranks"
            words = (*QUICK, f"run.cache={base / f'cache{ranks}'}", "--ranks", ranks, "--out", out)
            done = retrain("run", pictures, *words)
            assert done.returncode == 0, done.stderr
            made[ranks] = Job(out, done.stdout, done.stderr)
        return made[ranks]

    return job
