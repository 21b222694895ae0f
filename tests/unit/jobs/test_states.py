# SPDX-License-Identifier: Apache-2.0
"""The design's table of states, line by line."""

from __future__ import annotations

import pytest

from jobs.states import SLURM, UNKNOWN, Left, Seen, judge


def seen(word: str, code: int | None = None, reason: str = "", restarts: int = 0) -> Seen:
    return Seen(word, SLURM.get(word, UNKNOWN), reason, code, restarts)


@pytest.mark.parametrize(
    ("status", "word", "code", "state", "over", "ends"),
    [
        ("", "PENDING", None, "queued", False, 1),
        ("", "CONFIGURING", None, "queued", False, 1),
        ("", "REQUEUED", None, "queued", False, 1),
        ("running", "RUNNING", None, "running", False, 1),
        ("running", "COMPLETING", None, "running", False, 1),
        ("running", "SUSPENDED", None, "running", False, 1),
        ("complete", "RUNNING", None, "running", False, 1),
        ("complete", "COMPLETED", 0, "done", True, 0),
        ("complete", "FAILED", 1, "done", True, 0),
        ("complete", "NODE_FAIL", 1, "done", True, 0),
        ("complete", "CANCELLED", 0, "done", True, 0),
        ("stopped", "PENDING", None, "stopped", False, 75),
        ("stopped", "FAILED", 75, "stopped", True, 75),
        ("stopped", "TIMEOUT", 0, "stopped", True, 75),
        ("stopped", "PREEMPTED", 0, "stopped", True, 75),
        ("stopped", "CANCELLED", 75, "stopped", True, 75),
        ("stopped", "COMPLETED", 0, "stopped", True, 75),
        ("", "FAILED", 75, "stopped", True, 75),
        ("failed", "FAILED", 3, "failed", True, 3),
        ("failed", "COMPLETED", 0, "failed", True, 1),
        ("", "FAILED", 2, "failed", True, 2),
        ("", "FAILED", 1, "failed", True, 1),
        ("", "FAILED", 137, "failed", True, 1),
        ("running", "OUT_OF_MEMORY", 0, "failed", True, 1),
        ("running", "NODE_FAIL", 0, "failed", True, 1),
        ("", "BOOT_FAIL", 0, "failed", True, 1),
        ("running", "DEADLINE", 0, "failed", True, 1),
        ("running", "COMPLETED", 0, "failed", True, 1),
        ("", "COMPLETED", 0, "failed", True, 1),
        ("", "CANCELLED", 0, "cancelled", True, 1),
        ("running", "CANCELLED", 0, "stopped", True, 75),
        ("", "WONDERING", None, "unknown", False, 1),
    ],
)
def test_table(status: str, word: str, code: int | None, state: str, over: bool, ends: int) -> None:
    verdict = judge(Left(status), seen(word, code))
    assert (verdict.state, verdict.over, verdict.code) == (state, over, ends)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (Left("complete"), "done"),
        (Left("complete", earlier=True), "done"),
        (Left("complete", earlier=True, ending="failed"), "failed"),
        (Left("stopped"), "stopped"),
        (Left("stopped", earlier=True), "unknown"),
        (Left("failed"), "failed"),
        (Left("running"), "failed"),
        (Left(ending="stopped"), "stopped"),
        (Left(ending="failed"), "failed"),
        (Left(), "unknown"),
    ],
)
def test_forgotten_job_is_judged_by_what_it_left(left: Left, state: str) -> None:
    verdict = judge(left, None)
    assert (verdict.state, verdict.over) == (state, True)


@pytest.mark.parametrize(
    ("status", "word", "code", "state"),
    [
        ("complete", "COMPLETED", 0, "done"),  # run again, a complete run says so
        ("complete", "FAILED", 2, "failed"),  # with other settings it refuses
        ("stopped", "CANCELLED", 0, "cancelled"),
        ("stopped", "PENDING", None, "queued"),
        ("stopped", "COMPLETED", 0, "failed"),
    ],
)
def test_results_of_an_earlier_job_are_not_this_ones(
    status: str, word: str, code: int | None, state: str
) -> None:
    assert judge(Left(status, earlier=True), seen(word, code)).state == state


def test_runs_own_words_say_why() -> None:
    left = Left("failed", message="photos: no images.")
    assert judge(left, seen("FAILED", 3)).why == "photos: no images."


def test_start_after_a_requeue_is_counted() -> None:
    verdict = judge(Left("running"), seen("PENDING", reason="waits", restarts=1))
    assert (verdict.state, verdict.why) == ("queued", "start 2; waits")
