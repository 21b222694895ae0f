# SPDX-License-Identifier: Apache-2.0
"""What every scheduler can be asked: to take a job, and about those that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from jobs.journal import Entry
from jobs.states import Seen


class Wanted(Protocol):
    """What is written down of a job, whatever else its scheduler wants to know of it."""

    @property
    def name(self) -> str:
        """The run's."""

    @property
    def out(self) -> Path:
        """The run directory here; absolute."""

    @property
    def folder(self) -> Path:
        """Where it was submitted from."""


@dataclass(frozen=True)
class Handed:
    """A job that a scheduler has taken."""

    job: str
    """Its number."""
    alias: str = ""
    """Its other name there, where it has one."""


Job = TypeVar("Job", bound=Wanted, contravariant=True)


class Takes(Protocol[Job]):
    """A place to which jobs of a kind are handed over."""

    @property
    def name(self) -> str:
        """As in `--on`."""

    def command(self, job: Job, /) -> list[str]:
        """What hands it over, to be written down."""

    def submit(self, job: Job, /) -> Handed:
        """Hand a job over.

        Raises:
            JobError: It was refused; nothing runs.
        """

    def log_of(self, job: Job, number: str, /) -> Path:
        """Where the messages of a job will be."""


class Scheduler(Protocol):
    """A place that runs jobs."""

    @property
    def name(self) -> str:
        """As in `--on`."""

    @property
    def longest(self) -> float:
        """Seconds between two questions at most."""

    @property
    def late(self) -> float:
        """Seconds for which a job that it has taken may not be known to it."""

    @property
    def requeues(self) -> bool:
        """Whether a job that has ended may start again."""

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

    def bring_log(self, entry: Entry) -> None:
        """Bring the job's log here up to what it has written.

        Raises:
            NoAnswer: It cannot be had now.
        """

    def bring_home(self, entry: Entry) -> list[str]:
        """Bring the results of a job that has ended here, out of its log.

        Returns:
            What did not come, in lines.
        Raises:
            JobError: There are none.
        """
