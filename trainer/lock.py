# SPDX-License-Identifier: Apache-2.0
"""The lock of a run directory: created exclusively, with a heartbeat; no flock, for NFS's sake."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.rundir import RunDir, write_error

HEARTBEAT_SECONDS = 2.0
OLD_HEARTBEAT_SECONDS = 10.0


@contextmanager
def hold(run: RunDir) -> Iterator[None]:
    """Hold the run directory: one run at a time, by a file that was created exclusively.

    Raises:
        UsageError: Another run holds it; says host, process, job and since when.
    """
    _take(run)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(run.lock, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with suppress(FileNotFoundError):
            run.lock.unlink()


def _take(run: RunDir) -> None:
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    while True:
        try:
            descriptor = os.open(run.lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _wait_until_stale(run.lock)
            continue
        except OSError as error:
            raise write_error(run.lock, None, error) from None
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(owner, file)
        except OSError as error:
            run.lock.unlink()
            raise write_error(run.lock, None, error) from None
        return


def _wait_until_stale(lock: Path) -> None:
    """Remove a lock whose process is gone and heartbeat old; else say who holds it."""
    try:
        owner = _owner(lock)
        gone = _gone(owner)
        patience = time.monotonic() + OLD_HEARTBEAT_SECONDS + HEARTBEAT_SECONDS
        while gone and _age(lock) < OLD_HEARTBEAT_SECONDS and time.monotonic() < patience:
            time.sleep(0.2)
        if not gone or _age(lock) < OLD_HEARTBEAT_SECONDS:
            raise UsageError(
                f"{lock.parent}: held by a run on {owner.get('host', 'an unknown host')} "
                f"(process {owner.get('pid')}, job {owner.get('job') or 'none'}) "
                f"since {owner.get('since')}.",
                f"Wait for it or stop it; if it is surely gone, remove {lock}.",
            )
        lock.unlink()
    except FileNotFoundError:
        return


def _owner(lock: Path) -> dict[str, Any]:
    """Who holds a lock; nobody known where its writer was cut off."""
    try:
        return dict(json.loads(lock.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}


def _age(lock: Path) -> float:
    return time.time() - lock.stat().st_mtime


def _gone(owner: dict[str, Any]) -> bool:
    """Whether the lock's process surely runs no more."""
    if owner.get("host") != socket.gethostname():
        return _job_gone(str(owner.get("job", "")))
    try:
        os.kill(int(owner["pid"]), 0)
        return _started(int(owner["pid"])) != str(owner["started"])
    except PermissionError:
        return False
    except (OSError, KeyError, TypeError, ValueError):
        return True


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; another one of the same number began later.

    Empty for a process that was killed and that nobody has waited for.
    Source: proc_pid_stat(5), fields 3 and 22; the name before them may hold blanks and brackets.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _job_gone(job: str) -> bool:
    """Whether another host's Slurm job is over; without a job, or without Slurm, nobody knows."""
    if not job:
        return False
    if job == os.environ.get("SLURM_JOB_ID"):
        return True  # started anew: Slurm requeues a job only when its old run is over
    try:
        answer = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, "--format", "%T"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    if answer.returncode:
        return "Invalid job id" in answer.stderr
    return not answer.stdout.strip()


def _beat(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(lock)
