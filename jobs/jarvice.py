# SPDX-License-Identifier: Apache-2.0
"""The JARVICE API: what it can be asked, what may be asked again, and what its errors mean.

A submission has no key by which the API would know it again. It carries a label of its own, by
which it is looked for where no answer tells whether it arrived; it is never just sent again.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jobs.errors import JobError
from jobs.jarvice_account import Account
from jobs.jarvice_errors import LATE, MISSING, TOO_MANY, at, error_of, is_own, object_in, strange
from jobs.jarvice_http import USUAL, Answer, Limits, Outcome, Silence, Wire, read_json
from jobs.jarvice_words import label_of, whole

_TRIES = 5
_BUSY = (502, 503, 504)
_TAIL = 10_000
"""Lines: some installations keep no more, and take 0 for 100."""


@dataclass(frozen=True)
class Submitted:
    """A job as JARVICE has recorded it."""

    name: str
    number: int
    label: str
    """Ours, which `jobs` tells and no other job has."""


class Jarvice:
    """The API for one account.

    All methods raise JobError where JARVICE refuses, UsageError where that lies in what it was
    told, and NoAnswer where another time may do.
    """

    def __init__(self, account: Account, limits: Limits = USUAL) -> None:
        """Make ready; nothing is sent yet.

        Raises:
            UsageError: The environment's certificates or proxies cannot be used.
        """
        self._account, self._limits = account, limits
        self._wire = Wire(account, limits)

    def __enter__(self) -> Jarvice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wire.close()

    def submit(self, body: Mapping[str, object]) -> Submitted:
        """Run a command of an app.

        Args:
            body: As the API wants it, without `user` and `job_label`.
        """
        return self._hand_over("submit", body)

    def batch(self, body: Mapping[str, object]) -> Submitted:
        """Run a script in an image, likewise."""
        return self._hand_over("batch", body)

    def status(self, number: int) -> dict[str, Any] | None:
        """How a job stands; None where there is none of that number (yet, or any more)."""
        answer = self._asked("status", number=number)
        if answer is None:
            return None
        entry = self._tree("status", answer).get(str(number))
        if not isinstance(entry, dict):
            raise strange(self._account, "status", f"job {number}")
        return entry

    def jobs(self, completed: bool = False) -> dict[str, Any]:
        """The account's jobs by number: those queued and running, or those that have ended."""
        fields = {"completed": True} if completed else {}
        return self._tree("jobs", self._told("jobs", **fields))

    def tail(self, number: int) -> str | None:
        """The last lines of a job's output while it runs; None where it does not."""
        answer = self._asked("tail", number=number, lines=_TAIL)
        return answer.text if answer else None

    def output(self, number: int) -> str | None:
        """All output of a job that has ended; None before, and for a few seconds after."""
        answer = self._asked("output", number=number, lines=0)
        return answer.text if answer else None

    def shutdown(self, number: int) -> bool:
        """Ask a running job to end; False where it does not run: still queued, or ended."""
        return self._asked("shutdown", number=number) is not None

    def terminate(self, number: int) -> bool:
        """End a job at once, queued or running; False where it has ended already."""
        return self._asked("terminate", number=number) is not None

    def machines(self) -> dict[str, Any]:
        """The machine types by name."""
        return self._tree("machines", self._told("machines"))

    def apps(self) -> dict[str, Any]:
        """The apps by ID, in the current form: without `version` the API leaves those out."""
        return self._tree("apps", self._told("apps", version=2))

    def appdef(self, app: str) -> dict[str, Any]:
        """The AppDef of an app by its ID."""
        return self._tree("appdef", self._told("appdef", name=app))

    def queues(self) -> list[str]:
        """The names of the queues."""
        names = read_json(self._told("queues").text)
        if not isinstance(names, list):
            raise strange(self._account, "queues", "a list of names")
        return [str(name) for name in names]

    def find_by_label(self, label: str) -> Submitted | None:
        """The job of that label; None where there surely is none.

        Raises:
            JobError: It was not found, and cannot be: JARVICE lists jobs without their labels.
        """
        blind = False
        # Those that go on first: one that ends between the two questions is in the second list.
        for completed in (False, True):
            for number, entry in self.jobs(completed).items():
                found = label_of(entry)
                blind = blind or found is None
                if found != label:
                    continue
                job = _submitted({"number": number, "name": entry.get("job_name")}, label)
                if job is None:
                    raise strange(self._account, "jobs", "job numbers")
                return job
        if blind:
            raise JobError(f"{at(self._account, 'jobs')}: jobs are listed without their labels.")
        return None

    def _hand_over(self, endpoint: str, body: Mapping[str, object]) -> Submitted:
        label = f"retrain-{uuid.uuid4().hex}"
        fields = {**body, "job_label": label}
        why = ""
        for _ in range(2):
            found = self._sent(endpoint, fields, label)
            if isinstance(found, Submitted):
                return found
            why = found.message
        raise JobError(
            f"{why} It was sent twice, and no job with the label {label} has appeared.",
            "Most likely nothing runs; look for that label in the portal before you submit again.",
        )

    def _sent(
        self, endpoint: str, fields: Mapping[str, object], label: str
    ) -> Submitted | JobError:
        """The job, or why there surely is none yet although the request may have arrived.

        Raises:
            JobError: It was refused or did not get there, or what became of it cannot be known.
        """
        outcome = self._repeated(
            lambda: self._wire.post(endpoint, fields, as_json=True), _surely_not_sent
        )
        job = _recorded(outcome, label)
        if job:
            return job
        error = error_of(self._account, endpoint, outcome)
        if not _perhaps_recorded(outcome):
            raise error
        return self._look_up(label, error) or error

    def _look_up(self, label: str, cause: JobError) -> Submitted | None:
        """Look for a job that may have been recorded, until it is there or surely is not.

        Raises:
            JobError: That cannot be known.
        """
        until, pause = time.monotonic() + self._limits.look_up, self._limits.pause
        while True:
            late, doubt = time.monotonic() >= until, ""
            try:
                job = self.find_by_label(label)
                if job:
                    return job
            except JobError as error:
                doubt = error.message
            left = until - time.monotonic()
            if late and not doubt:
                return None
            if doubt and left <= 0:
                break
            time.sleep(max(0.0, min(pause, left)))
            pause *= 2
        raise JobError(
            f"{cause.message} Whether a job was recorded is not known: {doubt}",
            f"Before you submit it again, look in the portal for a job with the label {label}.",
        )

    def _told(self, endpoint: str, **fields: object) -> Answer:
        """The answer to what can be asked again."""
        outcome = self._repeated(lambda: self._wire.post(endpoint, fields), _may_repeat)
        if isinstance(outcome, Answer) and outcome.is_good:
            return outcome
        raise error_of(self._account, endpoint, outcome)

    def _asked(self, endpoint: str, **fields: object) -> Answer | None:
        """The same of one job; None where it is not there or not in that state."""
        outcome = self._repeated(lambda: self._wire.post(endpoint, fields), _may_repeat)
        if isinstance(outcome, Answer):
            if outcome.is_good:
                return outcome
            if outcome.code == MISSING and is_own(outcome):
                return None
        raise error_of(self._account, endpoint, outcome)

    def _repeated(self, ask: Callable[[], Outcome], may: Callable[[Outcome], bool]) -> Outcome:
        until = time.monotonic() + self._limits.patience
        for tries in range(_TRIES - 1):
            outcome = ask()
            pause = self._pause(tries, outcome)
            if not may(outcome) or time.monotonic() + pause > until:
                return outcome
            time.sleep(pause)
        return ask()

    def _pause(self, tries: int, outcome: Outcome) -> float:
        """Seconds before the next try, partly by chance: not all that wait may come at once."""
        own: float = self._limits.pause * 2**tries * random.uniform(0.5, 1.0)
        wanted = outcome.wait if isinstance(outcome, Answer) else None
        return min(max(own, wanted or 0.0), self._limits.longest_pause)

    def _tree(self, endpoint: str, answer: Answer) -> dict[str, Any]:
        found = object_in(self._account, endpoint, answer)
        if isinstance(found, JobError):
            raise found
        return found


def _recorded(outcome: Outcome, label: str) -> Submitted | None:
    """The job that an answer tells; None where it tells none."""
    tree = read_json(outcome.text) if isinstance(outcome, Answer) and outcome.is_good else None
    return _submitted(tree, label) if isinstance(tree, dict) else None


def _submitted(tree: Mapping[str, object], label: str) -> Submitted | None:
    number = whole(tree.get("number"))
    return Submitted(str(tree.get("name") or ""), number, label) if number else None


def _may_repeat(outcome: Outcome) -> bool:
    """Whether what changes nothing twice is worth another try."""
    if isinstance(outcome, Silence):
        return outcome.may_pass
    return outcome.code in _BUSY or (outcome.code == TOO_MANY and outcome.wait is not None)


def _surely_not_sent(outcome: Outcome) -> bool:
    return isinstance(outcome, Silence) and outcome.may_pass and not outcome.was_sent


def _perhaps_recorded(outcome: Outcome) -> bool:
    """Whether a job may be there although no answer told of it."""
    if isinstance(outcome, Silence):
        return outcome.was_sent
    return outcome.code >= 500 or outcome.code == LATE or 200 <= outcome.code < 300
