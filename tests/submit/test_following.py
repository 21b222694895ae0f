# SPDX-License-Identifier: Apache-2.0
"""`retrain status`, `logs`, `wait`, `cancel` and `pull`, with what Slurm and the run say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fake_slurm import FakeSlurm, Retrain, leave
from jobs.journal import FOLDER, Entry, Journal, mark

ROOT = Path(__file__).parents[2]


def put(job: str, name: str = "pools", before: bool = False) -> Path:
    """Write a job down as `submit` does; returns its run directory."""
    here = Path.cwd()
    run = here / "runs" / name
    kept = mark(run / "results.json") if before else None
    log = here / f"retrain-{job}.out"
    command = ("sbatch", "retrain.sh")
    Journal().write(Entry(job, "slurm", name, run, log, here, command, time.time() - 60, kept))
    return run


def test_status_asks_once_for_all_jobs(retrain: Retrain, slurm: FakeSlurm) -> None:
    runs = [put(str(job), f"run{job}") for job in range(1, 5)]
    leave(runs[2], "complete")
    slurm.queue("1 PENDING Resources", "2 RUNNING", "3 COMPLETED", "4 COMPLETED")
    done = retrain("status")
    assert done.code == 0, done
    shown = {line.split()[0]: line.split()[2] for line in done.out.splitlines() if "runs/" in line}
    assert shown == {"1": "queued", "2": "running", "3": "done", "4": "failed"}
    assert "waits for free nodes (Resources)" in done.out
    assert "COMPLETED, but results.json is not there" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    (call,) = slurm.calls("squeue")
    assert call[call.index("-j") + 1] == "1,2,3,4"


def test_accounting_tells_what_squeue_has_forgotten(retrain: Retrain, slurm: FakeSlurm) -> None:
    put("5")
    put("6", "other")
    slurm.queue("6 RUNNING")
    slurm.forget("sacct")
    times = "1795895665|1795895666|1795895700"
    slurm.answers("sacct", f"5|CANCELLED by 1000|0:0|{times}\n5_[0-3]|PENDING|0:0|||\n")
    done = retrain("status", "5", "6")
    assert "cancelled" in done.out
    assert slurm.calls("sacct")[0][-3:-2] == ["5"]


def test_array_has_a_state_a_task(retrain: Retrain, slurm: FakeSlurm) -> None:
    for task in range(3):
        put(f"9_{task}", f"sweep{task}")
    leave(Path("runs/sweep0"), "complete")
    slurm.queue("9_0 COMPLETED", "9_1 FAILED None 768", "9_2 PENDING JobArrayTaskLimit")
    done = retrain("status", "9")
    states = [line.split()[2] for line in done.out.splitlines() if "runs/" in line]
    assert states == ["done", "failed", "queued"]


def test_forgotten_job_is_judged_by_what_it_left(retrain: Retrain, slurm: FakeSlurm) -> None:
    leave(put("1", "whole"), "complete")
    leave(put("2", "paused"), "stopped")
    leave(put("3", "dead"), "running")
    put("4", "nothing")
    put("5", "told")
    Path("retrain-5.out").write_text("Start    1\nretrain: photos: no images.\n  Give others.\n")
    slurm.answers("squeue", err="slurm_load_jobs error: Invalid job id specified\n", code=1)
    done = retrain("status")
    states = {line.split()[1]: line.split()[2] for line in done.out.splitlines() if "runs/" in line}
    wanted = ["done", "stopped", "failed", "unknown", "failed"]
    assert list(states.values()) == wanted, done.out
    assert "photos: no images." in done.out
    assert retrain("wait", "4").code == 1


def test_done_job_is_not_asked_for_again(retrain: Retrain, slurm: FakeSlurm) -> None:
    leave(put("1"), "complete")
    slurm.queue("1 COMPLETED")
    assert [retrain("status").out.split()[8] for _ in range(2)] == ["done", "done"]
    assert len(slurm.calls("squeue")) == 1


def test_requeued_job_is_stopped_and_waited_for(retrain: Retrain, slurm: FakeSlurm) -> None:
    run = put("1")
    leave(run, "stopped")
    slurm.queue("1 PENDING BeginTime 0 1")
    shown = retrain("status").out
    assert ("stopped" in shown, "goes on by itself" in shown) == (True, True)

    def finish() -> None:
        leave(run, "complete")
        slurm.queue("1 COMPLETED")

    later = threading.Timer(0.5, finish)
    later.start()
    done = retrain("wait", "1")
    later.join()
    assert (done.code, str(run / "report.html") in done.out) == (0, True), done


def test_silence_of_slurm_does_not_end_waiting(retrain: Retrain, slurm: FakeSlurm) -> None:
    leave(put("1"), "complete")
    for _ in range(2):
        slurm.answers("squeue", err="slurm_load_jobs error: Unable to contact slurm\n", code=1)
    slurm.answers("squeue", "1|COMPLETED|None|0|0|1|2|3|\n")
    done = retrain("wait", "1")
    assert (done.code, done.err.count("asked again until it answers")) == (0, 1), done
    assert len(slurm.calls("squeue")) == 3


def test_silence_of_slurm_ends_status_with_1(retrain: Retrain, slurm: FakeSlurm) -> None:
    put("1")
    slurm.answers("squeue", err="slurm_load_jobs error: Unable to contact slurm\n", code=1)
    done = retrain("status")
    assert (done.code, "Unable to contact" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("1 FAILED None 768", 3),
        ("1 FAILED None 512", 2),
        ("1 FAILED None 19200", 75),
        ("1 FAILED None 9", 1),
        ("1 TIMEOUT TimeLimit", 75),
        ("1 CANCELLED", 1),
    ],
)
def test_wait_ends_with_the_runs_code(
    retrain: Retrain, slurm: FakeSlurm, row: str, code: int
) -> None:
    put("1")
    slurm.queue(row)
    assert retrain("wait", "1").code == code


def test_users_own_columns_of_squeue_do_not_matter(
    retrain: Retrain, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("1")
    monkeypatch.setenv("SQUEUE_FORMAT", "%u")
    env = slurm.folder / "env"
    (slurm.folder / "answers" / "squeue.1").write_text(f"env >'{env}'\n")
    retrain("status")
    assert "SQUEUE_" not in env.read_text()
    assert "SLURM_TIME_FORMAT=%s" in env.read_text()


def test_logs_follow_a_file_that_is_not_there_yet(retrain: Retrain, slurm: FakeSlurm) -> None:
    leave(put("1"), "complete")
    slurm.queue("1 PENDING Priority")

    def write() -> None:
        with open("retrain-1.out", "w") as log:
            for line in ("one\n", "two\n"):
                log.write(line)
                log.flush()
                time.sleep(0.2)
            slurm.queue("1 COMPLETED")
            log.write("three\n")

    later = threading.Timer(0.3, write)
    later.start()
    done = retrain("logs", "-f", "1")
    later.join()
    assert (done.code, done.out) == (0, "one\ntwo\nthree\n")
    assert "queued: other jobs go first" in done.err


def test_logs_of_a_job_that_has_written_none_are_told(retrain: Retrain, slurm: FakeSlurm) -> None:
    put("1")
    done = retrain("logs", "1")
    assert (done.code, "is not there yet" in done.err) == (2, True)


@pytest.mark.parametrize("words", [["wait", "1"], ["logs", "-f", "1"]])
def test_ctrl_c_leaves_the_job_alone_and_says_so(slurm: FakeSlurm, words: list[str]) -> None:
    put("1")
    slurm.queue("1 RUNNING")
    Path("retrain-1.out").write_text("begins\n")
    begun = subprocess.Popen(
        [sys.executable, "-m", "trainer", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not slurm.calls("squeue"):
        time.sleep(0.05)
    time.sleep(0.3)
    begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=20)
    assert (begun.returncode, "retrain cancel 1" in err) == (130, True), err
    assert ("the job goes on" in err, slurm.calls("scancel")) == (True, [])


def test_cancel_asks_for_what_has_not_ended(retrain: Retrain, slurm: FakeSlurm) -> None:
    put("1", "a")
    leave(put("2", "b"), "complete")
    slurm.queue("1 RUNNING", "2 COMPLETED")
    done = retrain("cancel", "1", "runs/b")
    assert (done.code, slurm.calls("scancel")) == (0, [["1"]])
    assert "Job 2  has ended: done" in done.out


def test_pull_tells_where_the_results_lie(retrain: Retrain, slurm: FakeSlurm) -> None:
    run = put("1")
    leave(run, "complete")
    slurm.queue("1 COMPLETED")
    assert retrain("pull", "1").out == f"{run}\n"
    put("2", "none")
    assert retrain("pull", "2").code == 2


def test_job_that_was_not_submitted_from_here_is_told(retrain: Retrain, slurm: FakeSlurm) -> None:
    done = retrain("cancel", "77")
    assert (done.code, "77: no such job" in done.err, slurm.calls("scancel")) == (2, True, [])


def test_damaged_and_hostile_entries_are_passed_over(retrain: Retrain, slurm: FakeSlurm) -> None:
    put("1")
    whole = (FOLDER / "slurm-1.json").read_text()
    (FOLDER / "slurm-2.json").write_text(whole[:50])
    (FOLDER / "slurm-3.json").write_text(whole.replace('"job": "1"', '"job": "--user=root"'))
    (FOLDER / "slurm-4.json").write_text("[]")
    slurm.queue("1 RUNNING")
    done = retrain("status")
    assert (done.code, len(done.out.splitlines())) == (0, 2), done
