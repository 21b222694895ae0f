# SPDX-License-Identifier: Apache-2.0
"""One run at a time holds a run directory."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from trainer import lock as lock_module
from trainer import lock_owner
from trainer.errors import FAILED, USAGE, RetrainError, UsageError
from trainer.lock import hold as hold_telling
from trainer.progress import Progress
from trainer.rundir import RunDir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run directory that is there and empty."""
    run = RunDir(tmp_path / "pools")
    run.create()
    run.stages.mkdir()
    return run


HOLD = (
    "import sys, time; from pathlib import Path\n"
    "from trainer.lock import hold; from trainer.progress import Progress\n"
    "from trainer.rundir import RunDir\n"
    "with hold(RunDir(Path(sys.argv[1])), Progress()): print(flush=True); time.sleep(60)"
)
"""Holds a directory, and says when."""


def hold(run: RunDir) -> AbstractContextManager[None]:
    return hold_telling(run, Progress())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats that stand still soon."""
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    for name in ("LOCAL_WATCH_SECONDS", "WATCH_SECONDS", "BEAT_WATCH_SECONDS"):
        monkeypatch.setattr(lock_module, name, 0.3)


@pytest.fixture
def holder(run: RunDir) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the directory."""
    child = start_holder(run)
    assert child.stdout
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def start_holder(run: RunDir) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, run.path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def grow_old(lock: Path, seconds: float = 3600) -> None:
    os.utime(lock, (time.time() - seconds,) * 2)


def left_by(run: RunDir, **changes: object) -> None:
    """A lock that nobody removed."""
    owner = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": "1", "job": "", "since": ""}
    run.lock.write_text(json.dumps({**owner, **changes}))


def refusal(run: RunDir) -> UsageError:
    with pytest.raises(UsageError) as caught, hold(run):
        pass
    assert caught.value.exit_code == USAGE
    return caught.value


def beaten_elsewhere(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lock's heartbeat be seen to go on."""
    clock = iter(range(1, 1 << 30))
    look = lock_module._Sight.of

    def touch_and_look(lock: Path) -> object:
        os.utime(lock, (next(clock),) * 2)
        return look(lock)

    monkeypatch.setattr(lock_module._Sight, "of", touch_and_look)


def left_over(run: RunDir) -> set[str]:
    return {path.name for path in run.path.iterdir()} - {"stages"}


# Taking it, and letting it go


@pytest.mark.parametrize("error", [None, ValueError])
def test_lock_goes_with_its_holder(run: RunDir, error: type[Exception] | None) -> None:
    try:
        with hold(run):
            assert left_over(run) == {"lock"}
            if error:
                raise error
    except ValueError:
        pass
    assert not left_over(run)


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
        assert left_over(run) == {"lock"}


@pytest.mark.parametrize("answer", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_system_without_hard_links_has_locks_too(
    answer: int, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "link", refuse)
    with hold(run):
        assert left_over(run) == {"lock"}
        assert f"process {os.getpid()}" in refusal(run).message
    assert not left_over(run)


def test_link_whose_answer_was_lost_is_known_as_ours(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_and_lose(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link_and_lose)
    with hold(run):
        pass


def test_temporary_file_that_a_holder_cleaned_away_is_made_again(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    tries: list[Path] = []

    def clean_first(source: Path, target: Path) -> None:
        if not tries:
            run.clean()
        tries.append(source)
        link(source, target)

    monkeypatch.setattr(os, "link", clean_first)
    with hold(run):
        assert len(tries) == 2
        assert left_over(run) == {"lock"}


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_lock_that_cannot_be_written_is_told_with_its_bytes_and_leaves_nothing(
    call: str, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(RetrainError, match=r"lock: .* bytes\): No space left") as caught, hold(run):
        pass
    assert caught.value.exit_code == FAILED
    assert not left_over(run)


def test_lock_that_cannot_be_removed_hides_no_other_error(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    held = hold(run)
    held.__enter__()
    monkeypatch.setattr(Path, "unlink", refuse)
    assert not held.__exit__(ValueError, ValueError("the real one"), None)


def test_heartbeat_that_hangs_with_its_file_system_does_not_keep_the_run(
    run: RunDir, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 0.1)
    alive, hanging, over = threading.Event(), threading.Event(), threading.Event()

    def hang(lock: Path) -> None:
        hanging.set()
        alive.wait(60)
        over.set()

    monkeypatch.setattr(os, "utime", hang)
    with hold(run):
        assert hanging.wait(60)
    assert not over.is_set()
    alive.set()


def test_heartbeat_goes_on_while_the_lock_is_held(run: RunDir, quick: None) -> None:
    with hold(run):
        grow_old(run.lock)
        deadline = time.monotonic() + 60
        while time.time() - run.lock.stat().st_mtime > 60:
            assert time.monotonic() < deadline
            time.sleep(0.02)


# A lock that is lost


def test_removed_lock_is_put_back(run: RunDir, quick: None) -> None:
    with hold(run):
        content = run.lock.read_bytes()
        run.lock.unlink()
        deadline = time.monotonic() + 60
        while not run.lock.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert run.lock.read_bytes() == content
    assert not left_over(run)


def test_run_whose_lock_another_has_ends_and_leaves_it_to_the_other(
    run: RunDir, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    run.lock.unlink()
    with hold(run):
        holder.send_signal(signal.SIGCONT)
        _, told = holder.communicate(timeout=60)
        assert holder.returncode == FAILED
        assert (
            f"now held by a run on {socket.gethostname()} (process {os.getpid()}".encode() in told
        )
        assert json.loads(run.lock.read_text())["pid"] == os.getpid()


def test_lock_of_another_is_left_at_the_end(run: RunDir) -> None:
    with hold(run):
        left_by(run, host="elsewhere")
    assert json.loads(run.lock.read_text())["host"] == "elsewhere"


# A lock that was left


def test_lock_of_another_live_process_is_refused_even_without_a_heartbeat(
    run: RunDir, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    grow_old(run.lock)
    assert f"process {holder.pid}" in refusal(run).message


@pytest.mark.parametrize("waited_for", [True, False])
@pytest.mark.parametrize("clock_ahead", [-3600, 0, 3600])
def test_lock_of_a_killed_process_is_taken_over_whatever_the_clocks_say(
    clock_ahead: float, waited_for: bool, run: RunDir, holder: subprocess.Popen[bytes], quick: None
) -> None:
    holder.kill()
    if waited_for:
        holder.wait()
    else:
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    grow_old(run.lock, -clock_ahead)
    stream = io.StringIO()
    with hold_telling(run, Progress(stream)):
        assert json.loads(run.lock.read_text())["pid"] == os.getpid()
        assert left_over(run) == {"lock"}
    assert f"process {holder.pid}" in stream.getvalue()
    assert "taken over" in stream.getvalue()


def test_lock_whose_process_cannot_be_seen_but_beats_is_refused(
    run: RunDir, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by(run)
    beaten_elsewhere(run, monkeypatch)
    assert f"process {2**22 + 1}" in refusal(run).message


def test_lock_of_an_ended_process_whose_number_is_used_again_is_taken_over(
    run: RunDir, quick: None
) -> None:
    left_by(run, pid=os.getpid())
    with hold(run):
        pass


def test_lock_from_before_this_host_was_started_anew_is_taken_over(
    run: RunDir, quick: None
) -> None:
    left_by(run, boot="another", pid=os.getpid(), started=lock_owner._started(os.getpid()))
    with hold(run):
        pass


def test_lock_from_another_pid_namespace_is_refused_though_it_has_no_such_process(
    run: RunDir,
) -> None:
    left_by(run, namespace="pid:[1]")
    assert f"process {2**22 + 1}" in refusal(run).message


def test_lock_of_another_host_is_refused_however_old(run: RunDir) -> None:
    left_by(run, host="elsewhere")
    grow_old(run.lock)
    assert "held by a run on elsewhere" in refusal(run).message


@pytest.mark.parametrize(("restarts", "taken"), [("1", True), ("", False)])
def test_lock_of_the_same_job_on_another_host_is_taken_over_once_slurm_has_restarted_it(
    restarts: str, taken: bool, run: RunDir, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by(run, host="elsewhere", job="4711")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    if taken:
        with hold(run):
            pass
    else:
        assert "job 4711" in refusal(run).message


@pytest.mark.parametrize("beats", [False, True])
def test_lock_of_an_earlier_job_in_the_cloud_is_judged_by_its_heartbeat_alone(
    beats: bool, run: RunDir, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by(run, host="jarvice-job-7-abcde", cloud="20260102-AAAAA-retrain")
    assert "job 20260102-AAAAA-retrain" in refusal(run).message  # from outside of the cloud
    monkeypatch.setenv(lock_owner.CLOUD_JOB, "20260103-BBBBB-retrain")
    if beats:
        beaten_elsewhere(run, monkeypatch)
        assert "job 20260102-AAAAA-retrain" in refusal(run).message
    else:
        with hold(run):
            assert json.loads(run.lock.read_text())["cloud"] == "20260103-BBBBB-retrain"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1e999}', '{"host": "", "pid": 1}'])
def test_damaged_lock_is_taken_over_when_nothing_beats(text: str, run: RunDir, quick: None) -> None:
    run.lock.write_text(text)
    stream = io.StringIO()
    with hold_telling(run, Progress(stream)):
        pass
    assert f"{run.lock}: damaged; watching" in stream.getvalue()


def test_damaged_lock_that_beats_is_refused_with_its_path(
    run: RunDir, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.lock.write_text("{")
    beaten_elsewhere(run, monkeypatch)
    error = refusal(run)
    assert "an unknown host" in error.message
    assert f"remove {run.lock}" in error.todo


def test_of_many_starts_on_a_left_lock_one_runs_and_the_others_name_it(run: RunDir) -> None:
    left_by(run)
    starts = [start_holder(run) for _ in range(8)]
    refused: list[subprocess.Popen[bytes]] = []
    try:
        deadline = time.monotonic() + 60
        while len(refused) < 7:
            assert time.monotonic() < deadline
            refused = [start for start in starts if start.poll() is not None]
            time.sleep(0.05)
        (winner,) = (start for start in starts if start.poll() is None)
        told = f"held by a run on {socket.gethostname()} (process {winner.pid}".encode()
        assert all(told in start.communicate()[1] for start in refused)
        assert left_over(run) == {"lock"}
    finally:
        for start in starts:
            start.kill()
            start.communicate()


def test_new_lock_of_another_start_is_not_taken_for_the_left_one(run: RunDir) -> None:
    left_by(run)
    seen = lock_module._Sight.of(run.lock)
    assert seen
    run.lock.unlink()
    with hold(run):
        lock_module._remove_stale(run.lock, seen, b"mine", Progress())
        assert run.lock.exists()


def test_start_that_was_killed_while_it_took_over_is_overcome(
    run: RunDir, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 0.1)
    left_by(run)
    content = run.lock.read_bytes()
    seen = lock_module._Sight.of(run.lock)
    assert seen
    (run.path / f".lock.{seen.mark}.tmp").write_bytes(content)
    with hold(run):
        run.clean()
        assert left_over(run) == {"lock"}


# Slurm's word


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
    run: RunDir, squeue: Callable[[str], None], quick: None, body: str
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
