# SPDX-License-Identifier: Apache-2.0
"""An empty folder to submit from, Slurm's programs on PATH, and the command in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests' folders are no packages

from fake_slurm import Answer, FakeSlurm, Retrain
from jobs import follow
from trainer.cli import main


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Slurm's programs, first on PATH, and a folder beside them to be in."""
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{fake.bin}:{os.environ['PATH']}")
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "RETRAIN_")):
            monkeypatch.delenv(name)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(follow, "SHORTEST", 0.05)
    monkeypatch.setattr(follow, "_FILE_INTERVAL", 0.02)
    return fake


@pytest.fixture
def retrain(slurm: FakeSlurm, capfd: pytest.CaptureFixture[str]) -> Retrain:
    """Runs the command in this process."""

    def call(*words: str) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, *capfd.readouterr())

    return call


@pytest.fixture
def texts(slurm: FakeSlurm) -> Path:
    """A folder a class with bottleneck texts, as `retrain run` takes them, in this folder."""
    folder = Path("texts")
    for at, name in enumerate(("house", "pool")):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            values = ",".join(str(at * 2.0 + (number * 7 + k * 3) % 5 / 5) for k in range(4))
            (folder / name / f"{number}.jpg_inception_v3.txt").write_text(values)
    return folder


@pytest.fixture
def config(texts: Path) -> str:
    """A configuration for them."""
    Path("try out.yaml").write_text(f"data: {{bottlenecks: {texts}}}\n")
    return "try out.yaml"
