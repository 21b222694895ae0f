# SPDX-License-Identifier: Apache-2.0
"""What every scheduler can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from jobs.spec import Spec
from jobs.states import Seen


class Scheduler(Protocol):
    """A place that runs jobs."""

    name: str
    """As in `--on`."""

    def cluster(self) -> str:
        """The name of the cluster that one is on, after which a site may be named; or nothing."""

    def command(self, spec: Spec) -> list[str]:
        """What `submit` would run, for `--dry-run`."""

    def variables(self, spec: Spec) -> dict[str, str]:
        """The environment that belongs to that command, beside what is set already."""

    def submit(self, spec: Spec) -> str:
        """Hand a job over.

        Returns:
            The scheduler's number for it.
        Raises:
            JobError: It was refused; nothing runs.
        """

    def log_of(self, spec: Spec, job: str) -> Path:
        """Where the messages of a job will be."""

    def look(self, jobs: Sequence[str]) -> dict[str, Seen]:
        """Ask for many jobs at once; those that the scheduler has forgotten are left out.

        Raises:
            NoAnswer: It could not be asked.
        """

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ask jobs to end; a run that is asked so keeps its work.

        Raises:
            JobError: It was refused.
        """
