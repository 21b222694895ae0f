# SPDX-License-Identifier: Apache-2.0
"""One run at a time holds a run directory."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainer import lock as lock_module
from trainer.errors import USAGE, RetrainError, UsageError
from trainer.lock import hold
from trainer.rundir import RunDir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run directory that is there and empty."""
    run = RunDir(tmp_path / "pools")
    run.create()
    run.stages.mkdir()
    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats that are old soon."""
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock_module, "OLD_HEARTBEAT_SECONDS", 0.3)


@pytest.fixture
def holder(run: RunDir) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the directory."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from trainer.lock import hold; from trainer.rundir import RunDir\n"
        "with hold(RunDir(Path(sys.argv[1]))): print(flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, run.path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert child.stdout
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def grow_old(lock: Path, seconds: float = 3600) -> None:
    os.utime(lock, (time.time() - seconds,) * 2)


def left_by(run: RunDir, **changes: object) -> None:
    """A lock with an old heartbeat that nobody removed."""
    owner = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": "1", "job": "", "since": ""}
    run.lock.write_text(json.dumps({**owner, **changes}))
    grow_old(run.lock)


def refusal(run: RunDir) -> UsageError:
    with pytest.raises(UsageError) as caught, hold(run):
        pass
    assert caught.value.exit_code == USAGE
    return caught.value


@pytest.mark.parametrize("error", [None, ValueError])
def test_lock_goes_with_its_holder(run: RunDir, error: type[Exception] | None) -> None:
    try:
        with hold(run):
            assert run.lock.exists()
            if error:
                raise error
    except ValueError:
        pass
    assert not {path.name for path in run.path.iterdir()} - {"stages"}


def test_second_run_is_refused_with_host_process_job_and_time(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with hold(run):
        since = json.loads(run.lock.read_text())["since"]
        error = refusal(run)
        assert error.message == (
            f"{run.path}: held by a run on {socket.gethostname()} "
            f"(process {os.getpid()}, job 4711) since {since}."
        )
        assert f"remove {run.lock}" in error.todo
        assert run.lock.exists()


def test_lock_of_another_live_process_is_refused_even_with_an_old_heartbeat(
    run: RunDir, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    grow_old(run.lock)
    assert f"process {holder.pid}" in refusal(run).message


@pytest.mark.parametrize("waited_for", [True, False])
def test_lock_of_a_killed_process_is_taken_over_once_its_heartbeat_is_old(
    waited_for: bool, run: RunDir, holder: subprocess.Popen[bytes], quick: None
) -> None:
    holder.kill()
    if waited_for:
        holder.wait()
    else:
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    os.utime(run.lock)
    with hold(run):
        owner = json.loads(run.lock.read_text())
        assert owner["pid"] == os.getpid()


def test_heartbeat_of_a_dead_process_is_waited_for(run: RunDir, quick: None) -> None:
    left_by(run)
    os.utime(run.lock)
    started = time.monotonic()
    with hold(run):
        assert time.monotonic() - started > 0.25


def test_lock_whose_process_cannot_be_seen_but_beats_is_refused(run: RunDir, quick: None) -> None:
    left_by(run)
    over = threading.Event()
    beat = threading.Thread(target=lock_module._beat, args=(run.lock, over))
    os.utime(run.lock)
    beat.start()
    try:
        assert refusal(run)
    finally:
        over.set()
        beat.join()


def test_lock_of_an_ended_process_whose_number_is_used_again_is_taken_over(run: RunDir) -> None:
    left_by(run, pid=os.getpid())
    with hold(run):
        pass


def test_lock_of_another_host_is_refused_however_old(run: RunDir) -> None:
    left_by(run, host="elsewhere")
    assert "held by a run on elsewhere" in refusal(run).message


def test_lock_of_the_same_job_on_another_host_is_taken_over(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by(run, host="elsewhere", job="4711")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with hold(run):
        pass


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a squeue that does this first on PATH."""

    def install(body: str) -> None:
        program = tmp_path / "bin" / "squeue"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return install


@pytest.mark.parametrize(
    "body",
    [
        '[ "$*" = "--noheader --jobs 4711 --format %T" ]',
        "echo Invalid job id specified >&2; exit 1",
    ],
)
def test_lock_of_a_job_that_slurm_has_ended_is_taken_over(
    run: RunDir, squeue: Callable[[str], None], body: str
) -> None:
    squeue(body)
    left_by(run, host="elsewhere", job="4711")
    with hold(run):
        pass


@pytest.mark.parametrize("body", ["echo RUNNING", "echo cannot connect >&2; exit 1"])
def test_lock_of_a_job_that_may_still_run_is_refused(
    run: RunDir, squeue: Callable[[str], None], body: str
) -> None:
    squeue(body)
    left_by(run, host="elsewhere", job="4711")
    assert "job 4711" in refusal(run).message


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_lock_that_was_cut_off_is_refused_with_its_path(run: RunDir, text: str) -> None:
    run.lock.write_text(text)
    grow_old(run.lock)
    error = refusal(run)
    assert "an unknown host" in error.message
    assert f"remove {run.lock}" in error.todo


def test_lock_that_cannot_be_written_is_told_and_removed(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", fail)
    with pytest.raises(RetrainError, match="No space left"), hold(run):
        pass
    assert not run.lock.exists()


def test_heartbeat_goes_on_while_the_lock_is_held(run: RunDir, quick: None) -> None:
    with hold(run):
        grow_old(run.lock)
        deadline = time.monotonic() + 5
        while time.time() - run.lock.stat().st_mtime > 60:
            assert time.monotonic() < deadline
            time.sleep(0.02)
