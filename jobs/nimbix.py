# SPDX-License-Identifier: Apache-2.0
"""Nimbix, by the JARVICE API: jobs in a cloud, whose vault and messages are there and not here."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import parcel
from jobs.errors import JobError, NoAnswer
from jobs.files import write_whole
from jobs.jarvice import Jarvice
from jobs.jarvice_account import read_account
from jobs.jarvice_words import (
    Machine,
    cheapest,
    choose,
    exit_code,
    machines_of,
    seen_of,
    with_marker,
    without_init,
)
from jobs.journal import Entry
from jobs.left import ending_of
from jobs.nimbix_order import Order
from jobs.scheduler import Handed
from jobs.states import RUNNING, Seen

_OUTPUT_SECONDS = 30.0
"""After its end a job's output may not be there yet for a few seconds; inferred."""
_END_SECONDS = 20.0
"""For a job to end that was asked to; JARVICE gives it 3 s by default."""
_ASK_SECONDS = 2.0
_OVERLAP = 2000
"""Characters by which the new part of a running job's messages is recognised."""


class Nimbix:
    """The JARVICE of the account in the environment."""

    name = "nimbix"
    longest = 10.0
    late = 60.0
    requeues = False

    def __init__(self, machine: str = "") -> None:
        """Make ready to ask.

        Args:
            machine: The type that jobs are submitted to; else the cheapest that serves.
        Raises:
            UsageError: There is no account.
        """
        self._api = Jarvice(read_account())
        self._wanted = machine
        self._machine: Machine | None = None
        self._outputs: dict[int, str] = {}

    def machine(self, order: Order) -> Machine:
        """What an order runs on.

        Raises:
            UsageError: There is no such type, or not for so many nodes.
        """
        if self._machine is None:
            machines = machines_of(self._api.machines())
            arch = self._arch(order.app) if order.app else ""
            name = self._wanted or cheapest(machines, order.nodes, arch)
            self._machine = choose(machines, name, order.nodes)
        return self._machine

    def _arch(self, app: str) -> str:
        """The architecture of an app's image; empty where it is not told."""
        entry = self._api.apps().get(app)
        return str(entry.get("arch") or "") if isinstance(entry, dict) else ""

    def command(self, order: Order) -> list[str]:
        """The request, without user and key."""
        body = order.body(self.machine(order))
        return ["POST", f"/jarvice/{order.endpoint}", json.dumps(body, indent=1)]

    def submit(self, order: Order) -> Handed:
        """Hand it over; found again by its label where no answer came."""
        body = order.body(self.machine(order))
        job = self._api.batch(body) if order.image else self._api.submit(body)
        return Handed(str(job.number), job.name)

    def log_of(self, order: Order, job: str) -> Path:
        """Where `bring_log` puts a job's messages."""
        return order.folder / f"retrain-{job}.out"

    def look(self, jobs: Sequence[str]) -> dict[str, Seen]:
        """Ask for all of them at once; an ended one also for its own last word."""
        entries = self._entries(jobs)
        return {job: self._seen(job, entries[job]) for job in jobs if job in entries}

    def _entries(self, jobs: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if len(jobs) > 1:
            found = self._api.jobs()
            if not found.keys() >= set(jobs):
                found |= self._api.jobs(completed=True)
        for job in set(jobs) - found.keys():
            if entry := self._api.status(int(job)):
                found[job] = entry
        return found

    def _seen(self, job: str, entry: object) -> Seen:
        seen = seen_of(entry)
        if not (seen.is_over or seen.ended):
            return seen
        output = self._output(int(job))
        if output is None:
            ended_just_now = seen.ended and abs(time.time() - seen.ended) < _OUTPUT_SECONDS
            if ended_just_now:
                return replace(seen, word="COMPLETING", means=RUNNING, ended=None)
            return with_marker(seen, None)
        told = with_marker(seen, exit_code(output))
        message = ending_of(output)[1]
        return replace(told, reason=message or told.reason)

    def _output(self, number: int) -> str | None:
        """All output of a job that has ended, asked for once when it is there to its last line."""
        if number in self._outputs:
            return self._outputs[number]
        output = self._api.output(number)
        if output is not None and exit_code(output) is not None:
            self._outputs[number] = output
        return output

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ask for an end; what does not run yet, or does not go, is ended at once."""
        asked = [job for job in jobs if self._api.shutdown(int(job))]
        until = time.monotonic() + _END_SECONDS
        while (left := [job for job in asked if self._goes_on(job)]) and time.monotonic() < until:
            time.sleep(_ASK_SECONDS)
        for job in jobs:
            if job not in asked or job in left:
                self._api.terminate(int(job))

    def _goes_on(self, job: str) -> bool:
        entry = self._api.status(int(job))
        return entry is not None and not seen_of(entry).is_over

    def bring_log(self, entry: Entry) -> None:
        """Add to the job's log here what it has written since."""
        number = int(entry.job)
        told = self._output(number)
        if told is None:
            told = self._api.tail(number)
        if told is not None:
            write_log(entry.log, parcel.without(without_init(told)))

    def bring_home(self, entry: Entry) -> list[str]:
        """Make a run directory of what the job printed.

        Returns:
            What did not come, in lines.
        Raises:
            JobError: There are no results in its output, or they cannot be written.
        """
        output = self._output(int(entry.job))
        if output is None:
            raise JobError(
                f"job {entry.job}: JARVICE has no output of it, yet or any more.",
                "Its results lie in its vault all the same.",
            )
        unpacked = parcel.unpack(output, entry.run)
        return [f"Left out  {one.name}: {one.bytes:,} bytes" for one in unpacked.left_out]


def write_log(path: Path, text: str) -> None:
    """Bring a log up to what is known of it now, whole or its last lines, adding where that serves.

    Raises:
        NoAnswer: It cannot be written.
    """
    try:
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        known = before if text.startswith(before) else before[-_OVERLAP:]
        at = text.rfind(known)
        if not before or at < 0:
            write_whole(path, text)
        elif new := text[at + len(known) :]:
            with open(path, "a", encoding="utf-8") as file:
                file.write(new)
    except OSError as error:
        raise NoAnswer(f"{path}: cannot be written: {error.strerror}.") from None
