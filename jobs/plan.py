# SPDX-License-Identifier: Apache-2.0
"""What a sweep runs and where: `sweep.json` in its folder, which each array task reads.

A plan only ever grows. A sweep that is submitted again finds its directories, so that its runs go
on; new values are added behind the old ones, whose numbers and directories stay. Another
configuration, or other settings beside the sweep's, are refused: the runs would not be comparable.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import JobError, UsageError
from jobs.files import results_status, write_whole
from jobs.sweep import Settings

PLAN = "sweep.json"
LOGS = "logs"
SCHEMA = 1


@dataclass(frozen=True)
class Task:
    """One run."""

    settings: Settings
    """What it varies, and what it is given beside."""
    directory: str
    """Its run directory, below the plan's folder."""
    options: tuple[str, ...] = ()
    """What sbatch is told for it, such as `--nodes=2`."""
    arguments: tuple[str, ...] = ()
    """What `retrain run` is told beside settings, such as `--ranks 2`."""


@dataclass(frozen=True)
class Plan:
    """Many runs of one configuration."""

    folder: Path
    """Where everything lies; absolute."""
    start_in: Path
    """The folder that relative paths in the settings start from."""
    config: str
    """What `retrain run` is given: a copy of the configuration in `folder`, or the data."""
    words: tuple[str, ...]
    """Settings of all runs, `key=value`."""
    tasks: tuple[Task, ...]
    """By number: those of earlier submits first."""
    chosen: tuple[int, ...]
    """The numbers that this submit asked for."""
    text: str = ""
    """What is in the configuration; empty where it is none."""
    known: int = 0
    """How many of the tasks the file held when it was read."""

    @property
    def path(self) -> Path:
        """The plan's file."""
        return self.folder / PLAN

    def directory(self, number: int) -> Path:
        """A task's run directory."""
        return self.folder / self.tasks[number].directory

    def log(self, job: str) -> Path:
        """Where the messages of an array's task are, given its number at Slurm, such as 12_3."""
        return self.folder / LOGS / f"{job}.out"

    def settings(self, number: int) -> list[str]:
        """A task's words for `retrain check` and `retrain run`, without the configuration."""
        varied = [f"{key}={value}" for key, value in self.tasks[number].settings.items()]
        return [*self.words, *varied]

    def status(self, number: int) -> str:
        """What a task's `results.json` says; empty where there is none, or none that is whole."""
        return results_status(self.directory(number) / "results.json")

    def open_numbers(self) -> list[int]:
        """The chosen tasks that are not complete: what is to be submitted."""
        return [number for number in self.chosen if self.status(number) != "complete"]

    def save(self) -> None:
        """Write the plan, and the copy of the configuration that all its runs read.

        Raises:
            JobError: They cannot be written, or another submit was faster.
        """
        there = read_plan(self.folder)
        if (there.tasks if there else ()) != self.tasks[: self.known]:
            raise self._overtaken()
        fresh = there is None
        try:
            (self.folder / LOGS).mkdir(parents=True, exist_ok=True)
            if self.text and fresh:
                write_whole(Path(self.config), self.text)
            content = {
                "schema": SCHEMA,
                "start_in": str(self.start_in),
                "config": self.config,
                "words": list(self.words),
                "tasks": [vars(task) for task in self.tasks],
            }
            write_whole(self.path, json.dumps(content, indent=1) + "\n", fresh)
        except FileExistsError:
            raise self._overtaken() from None
        except OSError as error:
            raise UsageError(
                f"{error.filename or self.folder}: cannot be written: {error.strerror}.",
                "Choose a folder that you may write to.",
            ) from None

    def _overtaken(self) -> JobError:
        return JobError(f"{self.path}: another submit has just written it.", "Submit again.")


def read_plan(folder: Path) -> Plan | None:
    """The plan in a folder, all its tasks chosen; None where there is none.

    Raises:
        UsageError: It cannot be read.
    """
    path = folder / PLAN
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content["schema"] > SCHEMA:
            raise UsageError(
                f"{path}: schema {content['schema']}; this version reads up to {SCHEMA}.",
                "Use the version that wrote it, or a newer one.",
            )
        tasks = tuple(
            Task(
                task["settings"],
                task["directory"],
                tuple(task["options"]),
                tuple(task["arguments"]),
            )
            for task in content["tasks"]
        )
        return Plan(
            Path(os.path.abspath(folder)),
            Path(content["start_in"]),
            content["config"],
            tuple(content["words"]),
            tasks,
            tuple(range(len(tasks))),
            known=len(tasks),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: cannot be read: {type(error).__name__}.",
            "Give another name, or remove it: runs that are done stay done.",
        ) from None
