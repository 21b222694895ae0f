# SPDX-License-Identifier: Apache-2.0
"""What has become of a job: one word out of what the run left and what the scheduler says.

For a job that has ended, `results.json` outranks the scheduler: mpirun ends with 0 when a host is
lost, and then Slurm shows COMPLETED for a run that died.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jobs import errors

QUEUED, RUNNING = "queued", "running"
DONE, STOPPED, FAILED, CANCELLED = "done", "stopped", "failed", "cancelled"
UNKNOWN = "unknown"

COMPLETE = "complete"
"""The status in `results.json` that alone means success."""

SLURM: Mapping[str, str] = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED"), QUEUED),
    **dict.fromkeys(("RUNNING", "COMPLETING", "SUSPENDED"), RUNNING),
    "COMPLETED": DONE,
    **dict.fromkeys(("TIMEOUT", "PREEMPTED"), STOPPED),
    **dict.fromkeys(("FAILED", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"), FAILED),
    "CANCELLED": CANCELLED,
}
"""What Slurm's words mean as long as the run itself says nothing."""

_PLAIN = {
    "TIMEOUT": "the time limit ended it",
    "PREEMPTED": "another job took its place",
    "OUT_OF_MEMORY": "it wanted more memory than it had asked for",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node did not start",
    "DEADLINE": "its deadline passed",
    "CANCELLED": "it was cancelled",
    "SUSPENDED": "it is suspended",
    "COMPLETING": "it is ending",
    "CONFIGURING": "its nodes are being made ready",
}


@dataclass(frozen=True)
class Seen:
    """A job as its scheduler tells it. Times are seconds since 1970."""

    word: str
    """The scheduler's own, such as PENDING."""
    means: str
    """One of the states above, as that word alone would have it."""
    reason: str = ""
    """Why it waits or ended, in plain words."""
    code: int | None = None
    """What the job script ended with; negative: the signal that ended it."""
    restarts: int = 0
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    by_run: bool = False
    """Whether the run itself told its code, which is then sure, as results.json is."""

    @property
    def is_over(self) -> bool:
        """Whether the scheduler has nothing more to do with it."""
        return self.means in (DONE, STOPPED, FAILED, CANCELLED)


@dataclass(frozen=True)
class Left:
    """What a run left in its directory and its log."""

    status: str = ""
    """Of `results.json`; empty where there is none that can be read."""
    earlier: bool = False
    """Whether `results.json` is older than the job, which has not written one."""
    ending: str = ""
    """`stopped` or `failed` by the log's last lines; empty where they say nothing of an end."""
    message: str = ""
    """The run's own words about its end."""


@dataclass(frozen=True)
class Verdict:
    """What has become of a job."""

    state: str
    why: str = ""
    """In plain words; empty where the state says all."""
    over: bool = True
    """Whether it will stay so: a stopped job that was queued again goes on by itself."""
    code: int = errors.FAILED
    """What `wait` ends with."""


def judge(left: Left, seen: Seen | None) -> Verdict:
    """Put together what the run left and what the scheduler says.

    Args:
        left: The run's word.
        seen: The scheduler's; None where it has forgotten the job.
    """
    if seen is None:
        return _of_forgotten(left)
    if seen.by_run:
        return _by_own_word(left, seen)
    if seen.is_over:
        return _of_ended(left, seen)
    if seen.means == QUEUED:
        return _of_waiting(left, seen)
    if seen.means == RUNNING:
        return Verdict(RUNNING, _PLAIN.get(seen.word, ""), over=False)
    return Verdict(UNKNOWN, f"the scheduler says {seen.word}", over=False)


def _of_waiting(left: Left, seen: Seen) -> Verdict:
    why = seen.reason or _PLAIN.get(seen.word, "")
    if left.status == STOPPED and not left.earlier:
        return Verdict(STOPPED, f"goes on by itself; {why or 'waits'}", False, errors.STOPPED)
    if seen.restarts:
        why = f"start {seen.restarts + 1}; {why}" if why else f"start {seen.restarts + 1}"
    return Verdict(QUEUED, why, over=False)


def _by_own_word(left: Left, seen: Seen) -> Verdict:
    """Of a job whose run told how it ended."""
    if seen.code == errors.DONE:
        return Verdict(DONE, code=errors.DONE)
    if seen.code == errors.STOPPED:
        why = left.message or seen.reason or "it was asked to stop"
        return Verdict(STOPPED, why, code=errors.STOPPED)
    return Verdict(FAILED, _why_failed(left, seen), code=_code(seen))


def _of_ended(left: Left, seen: Seen) -> Verdict:
    """Of a job that its scheduler says has ended."""
    if left.earlier:
        # Run again, a complete run says so and ends well; else the old word is not this job's.
        kept = left.status == COMPLETE and seen.means == DONE
        left = replace(left, status=COMPLETE if kept else "")
    told = _by_results(left, seen)
    if told:
        return told
    if seen.means == DONE:
        found = f"says {left.status}" if left.status else "is not there"
        return Verdict(FAILED, left.message or f"{seen.word}, but results.json {found}")
    if seen.means == STOPPED or seen.code == errors.STOPPED:
        why = _PLAIN.get(seen.word) or seen.reason or left.message or "it was asked to stop"
        return Verdict(STOPPED, why, code=errors.STOPPED)
    if seen.means == CANCELLED and left.status:
        return Verdict(STOPPED, "it was cancelled while it ran", code=errors.STOPPED)
    if seen.means == CANCELLED:
        return Verdict(CANCELLED, "" if seen.started is None else "before the run began")
    return Verdict(FAILED, _why_failed(left, seen), code=_code(seen))


def _by_results(left: Left, seen: Seen | None) -> Verdict | None:
    """By what `results.json` says of the end; None where it tells of none."""
    if left.status == COMPLETE:
        return Verdict(DONE, code=errors.DONE)
    if left.status == STOPPED:
        why = (seen and _PLAIN.get(seen.word)) or left.message
        return Verdict(STOPPED, why or "it was asked to stop", code=errors.STOPPED)
    if left.status == FAILED:
        why = _why_failed(left, seen) if seen else left.message
        return Verdict(FAILED, why, code=_code(seen) if seen else errors.FAILED)
    return None


def _of_forgotten(left: Left) -> Verdict:
    """Of a job that no longer is in the scheduler's books, and so has ended."""
    if left.earlier and (left.ending or left.status != COMPLETE):
        left = replace(left, status="")
    told = _by_results(left, None)
    if told:
        return told
    if left.ending == STOPPED:
        return Verdict(STOPPED, left.message, code=errors.STOPPED)
    if left.ending == FAILED or left.status:
        return Verdict(FAILED, left.message or f"results.json still says {left.status}")
    return Verdict(UNKNOWN, "the scheduler has forgotten it, and it left no results.json")


def _why_failed(left: Left, seen: Seen) -> str:
    if left.message:
        return left.message
    if seen.word in _PLAIN:
        return _PLAIN[seen.word]
    if seen.reason or not seen.code:
        return seen.reason
    return f"signal {-seen.code} ended it" if seen.code < 0 else f"exit code {seen.code}"


def _code(seen: Seen) -> int:
    """The run's exit code where it is one of retrain's, else 1."""
    return seen.code if seen.code in (errors.USAGE, errors.DATA) else errors.FAILED
