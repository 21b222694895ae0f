# SPDX-License-Identifier: Apache-2.0
"""What Slurm prints, as values and in plain words. Pure; after squeue(1) and sacct(1)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from jobs.states import QUEUED, RUNNING, SLURM, UNKNOWN, Seen

SQUEUE_FIELDS = (
    "JobArrayID:40|,State:30|,Reason:200|,exit_code:20|,RestartCnt:12|,"
    "SubmitTime:30|,StartTime:30|,EndTime:30|"
)
"""For `squeue -O`. None holds what a user chose: a job's name could hold anything."""
SACCT_FIELDS = "JobID,State,ExitCode,Submit,Start,End"
TIMES = {"SLURM_TIME_FORMAT": "%s"}
"""The environment in which Slurm prints times as seconds since 1970."""

_PLAIN_REASONS = {
    "AssocGrpBillingMinutes": "the account has used up its budget",
    "AssocGrpCPUMinutesLimit": "the account has used up its CPU time",
    "AssocGrpGRES": "the account's other jobs hold all GPUs that it may have",
    "AssocGrpJobsLimit": "the account has as many jobs as it may",
    "AssocMaxJobsLimit": "you have as many jobs as you may",
    "BadConstraints": "no node is as it wants them: it will never start",
    "BeginTime": "its start time has not come; after a requeue Slurm waits a while",
    "Cleaning": "Slurm is clearing up after its last start",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed: it will never start",
    "InvalidAccount": "there is no such account: it will never start",
    "InvalidQOS": "there is no such QOS: it will never start",
    "JobArrayTaskLimit": "other tasks of its array go first",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held: scontrol release lets it go",
    "JobLaunchFailure": "Slurm could not start it: a node, or the log's folder there",
    "Licenses": "waits for a licence",
    "MaxMemPerLimit": "wants more memory than a job may have: it will never start",
    "NodeDown": "a node that it wants is down",
    "NonZeroExitCode": "",
    "None": "",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "wants more nodes than its partition has or allows: it will never start",
    "PartitionTimeLimit": "wants more time than its partition allows: it will never start",
    "Priority": "other jobs go first",
    "QOSMaxCpuPerUserLimit": "your other jobs hold all cores that you may have",
    "QOSMaxGRESPerUser": "your other jobs hold all GPUs that you may have",
    "QOSMaxJobsPerUserLimit": "you have as many jobs running as you may",
    "QOSMaxSubmitJobPerUserLimit": "you have as many jobs in the queue as you may",
    "QOSMaxWallDurationPerJobLimit": "wants more time than its QOS allows: it will never start",
    "ReqNodeNotAvail": "nodes that it wants are down, reserved or in use",
    "Reservation": "waits for its reservation",
    "Resources": "waits for free nodes",
    "TimeLimit": "the time limit ended it",
}
_ID = re.compile(r"(\d+)(?:_(\d+))?")


def plain_reason(reason: str) -> str:
    """Slurm's reason in plain words, with its own behind where there is something to look up."""
    word = re.split(r"[,(\s]", reason.strip("() "), maxsplit=1)[0]
    if word in _PLAIN_REASONS:
        plain = _PLAIN_REASONS[word]
        return f"{plain} ({reason})" if plain else ""
    return f"Slurm says {reason}" if word else ""


def from_squeue(text: str) -> dict[str, Seen]:
    """What `squeue -O SQUEUE_FIELDS` printed, by job number or `JOB_TASK`."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 8 or not _ID.fullmatch(cells[0]):
            continue
        job, word, reason, status, restarts, *times = cells
        code = _from_wait_status(status)
        found[job] = _seen(word, plain_reason(reason), code, _whole(restarts) or 0, times)
    return found


def from_sacct(text: str) -> dict[str, Seen]:
    """What `sacct -X -P -n -o SACCT_FIELDS` printed; of a requeued job its last start."""
    found = {}
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) != 6 or not _ID.fullmatch(cells[0]):
            continue
        job, word, code, *times = cells
        found[job] = _seen(word.split()[0].rstrip("+"), "", _from_pair(code), 0, times)
    return found


def _seen(word: str, reason: str, code: int | None, restarts: int, times: list[str]) -> Seen:
    means = SLURM.get(word, UNKNOWN)
    submitted, started, ended = (_seconds(time) for time in times[:3])
    if means == QUEUED:
        return Seen(word, means, reason, None, restarts, submitted)
    if means == RUNNING:
        return Seen(word, means, "", None, restarts, submitted, started)  # its end is a guess yet
    return Seen(word, means, reason, code, restarts, submitted, started, ended)


def chosen(jobs: Iterable[str], found: Mapping[str, Seen]) -> dict[str, Seen]:
    """The answers for these jobs; an array without a task's number stands for all its tasks."""
    answers = {}
    for job in jobs:
        tasks = [seen for key, seen in found.items() if key.split("_")[0] == job]
        if job in found:
            answers[job] = found[job]
        elif tasks:
            answers[job] = _of_all(tasks)
    return answers


def _of_all(tasks: list[Seen]) -> Seen:
    """One answer for an array: what still goes on, else what went wrong, else that all is done."""
    going = [seen for seen in tasks if not seen.is_over]
    running = [seen for seen in going if seen.means == RUNNING]
    wrong = [seen for seen in tasks if seen.is_over and seen.word != "COMPLETED"]
    return (running or going or wrong or tasks)[0]


def _from_wait_status(text: str) -> int | None:
    """An exit code out of wait(2)'s number, as squeue gives it; negative for a signal."""
    status = _whole(text)
    if status is None:
        return None
    try:
        return os.waitstatus_to_exitcode(status)
    except ValueError:
        return None


def _from_pair(text: str) -> int | None:
    """An exit code out of CODE:SIGNAL, as sacct gives it."""
    code, _, signal = text.partition(":")
    return -int(signal) if signal.isdigit() and int(signal) else _whole(code)


def _whole(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _seconds(text: str) -> float | None:
    """Seconds since 1970; a Slurm that knows no SLURM_TIME_FORMAT=%s gives ISO 8601."""
    if text.isdigit():
        return float(text)
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None
