# SPDX-License-Identifier: Apache-2.0
"""Who holds a lock, and whether that process surely runs no more."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

CLOUD_JOB = "RETRAIN_JARVICE_JOB"
"""The job's name, which its launcher sets: each has hosts of its own, and none sees the others."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock, as it tells of itself.

    Attributes:
        host: Its host's name.
        boot: What tells one start of that machine's kernel from all others; empty if not known.
        namespace: The PID namespace in which the next two count.
        pid: Its number.
        started: When it began, in ticks since boot.
        job: The Slurm job, or empty.
        restart: How often Slurm had started that job again, or empty.
        cloud: The JARVICE job, or empty.
        since: Local time, for people.
        nonce: Makes each lock another.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    job: str
    restart: str
    cloud: str
    since: str
    nonce: str

    @staticmethod
    def myself() -> Owner:
        """This process, from now on."""
        return Owner(
            host=socket.gethostname(),
            boot=_boot(),
            namespace=_namespace(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            job=os.environ.get("SLURM_JOB_ID", ""),
            restart=os.environ.get("SLURM_RESTART_COUNT", ""),
            cloud=os.environ.get(CLOUD_JOB, ""),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
            nonce=secrets.token_hex(8),
        )

    def encode(self) -> bytes:
        """As it stands in the lock: one line of JSON."""
        return (json.dumps(asdict(self)) + "\n").encode("ascii")

    @staticmethod
    def decode(content: bytes) -> Owner | None:
        """Read it back; None where a lock was cut off or changed.

        What other versions do not tell is empty.
        """
        try:
            told = dict(json.loads(content))
            texts = {name: str(told.get(name, "")) for name in _TEXTS}
            pid = int(told["pid"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None
        return Owner(pid=pid, **texts) if texts["host"] and 0 < pid < 1 << 31 else None

    def __str__(self) -> str:
        """For a sentence: host, process, job and since when."""
        return (
            f"a run on {self.host} (process {self.pid}, job {self.job or self.cloud or 'none'}) "
            f"since {self.since}"
        )

    @property
    def on_this_machine(self) -> bool:
        """Whether its number means a process that could be seen from here."""
        return (
            self.host == socket.gethostname()
            and self.boot in ("", _boot())
            and self.namespace in ("", _namespace())
        )

    def is_gone(self) -> bool:
        """Whether it surely runs no more."""
        if self.on_this_machine:
            return not _lives(self.pid, self.started)
        if self.host == socket.gethostname() and self.boot not in ("", _boot()):
            return True  # this host has been started anew since
        return _job_gone(self.job, self.restart)

    def may_be_gone(self) -> bool:
        """Whether nobody here can know that but by its heartbeat: it is of another JARVICE job."""
        here = os.environ.get(CLOUD_JOB, "")
        return bool(self.cloud and here and self.cloud != here)


def left_behind(lock: Path) -> Owner | None:
    """Who holds a lock in name only: it surely runs no more; None where it runs, or who knows."""
    try:
        owner = Owner.decode(lock.read_bytes()) if lock.is_file() else None
    except OSError:
        return None
    return owner if owner and owner.is_gone() else None


_TEXTS = [field.name for field in fields(Owner) if field.name != "pid"]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _lives(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
        return _started(pid) == started
    except PermissionError:
        return True  # another user's; /proc may hide it from us
    except OSError:
        return False


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; another one of the same number began later.

    Empty for a process that was killed and that nobody has waited for.
    Source: proc_pid_stat(5), fields 3 and 22; the name before them may hold blanks and brackets.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    after_name = text.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else after_name[19]


def _job_gone(job: str, restart: str) -> bool:
    """Whether another host's Slurm job is over; without a job, or without Slurm, nobody knows."""
    if not job:
        return False
    if job == os.environ.get("SLURM_JOB_ID"):
        # Slurm starts a job anew only when its old run is over.
        return restart != os.environ.get("SLURM_RESTART_COUNT", "")
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
