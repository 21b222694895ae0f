# SPDX-License-Identifier: Apache-2.0
"""The memory that a job may take on this host, and whether processes were killed for want of it.

Linux counts the processes that it kills for each control group: in version 2 with those of the
groups below it (memory.events), in version 1 without (memory.oom_control), and for the whole
machine in /proc/vmstat. A group goes with its job: what came of an earlier one, Slurm may know.

Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst in Linux,
JOB STATE CODES in squeue(1).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.world.slurm_words import answer

ROOT = Path("/")
GIB = 2**30


@dataclass(frozen=True)
class _Version:
    """Where a version of control groups keeps what, relative to ROOT."""

    mount: str
    kills: str
    limit: str


_V1 = _Version("sys/fs/cgroup/memory", "memory.oom_control", "memory.limit_in_bytes")
_V2 = _Version("sys/fs/cgroup", "memory.events", "memory.max")


def _groups() -> Iterator[tuple[Path, _Version]]:
    """The control groups that this process is in, the innermost first.

    A container may see the path of its group but not the group, which then is its root.
    """
    for line in _text("proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version = _V1 if controllers else _V2
        mount = ROOT / version.mount
        own = mount / path.strip("/")
        yield from ((folder, version) for folder in (own, *own.parents) if mount in folder.parents)
        yield mount, version


def _text(path: Path | str) -> str:
    """A small file's text, relative to ROOT; empty where there is none."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except OSError:
        return ""


def machine_gib() -> float:
    """The memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def available_gib() -> float:
    """What this job may take of it: by its control groups, and by what Slurm gave it."""
    limits = [_text(folder / version.limit) for folder, version in _groups()]
    given = [int(limit) / GIB for limit in limits if limit.strip().isdigit()]
    return min([machine_gib(), *given, *_given_by_slurm()])


def _given_by_slurm() -> Iterator[float]:
    """GiB a host; Slurm tells MiB, and 0 for all there is."""
    cores = int(os.environ.get("SLURM_CPUS_ON_NODE", "0"))
    for name, times in (("SLURM_MEM_PER_NODE", 1), ("SLURM_MEM_PER_CPU", cores)):
        if given := int(os.environ.get(name, "0")) * times:
            yield given / 1024


@dataclass(frozen=True)
class Kills:
    """How many processes were killed for want of memory, up to some moment.

    Attributes:
        host: Where.
        boot: The host's boot, since which it counts.
        job: The Slurm job; empty where there is none.
        group: The control group; another one of the same name has another inode.
        in_group: How many of it; None where the kernel does not tell.
        on_host: How many of all; None likewise.
    """

    host: str
    boot: str
    job: str
    group: str
    in_group: int | None
    on_host: int | None

    @staticmethod
    def now() -> Kills:
        """Ask the kernel."""
        group, count = _kills_in_group()
        return Kills(
            socket.gethostname(),
            _text("proc/sys/kernel/random/boot_id").strip(),
            os.environ.get("SLURM_JOB_ID", ""),
            group,
            count,
            _counter(_text("proc/vmstat")),
        )

    @staticmethod
    def of(fields: dict[str, Any]) -> Kills:
        """Make one of what a file says.

        Raises:
            TypeError, ValueError: It is none.
        """
        count = Kills(**fields)
        if not re.fullmatch("[0-9]*", count.job):  # it becomes a word of commands
            raise ValueError(count.job)
        for number in (count.in_group, count.on_host):
            if not isinstance(number, int | None):
                raise TypeError(number)
        return count

    def since(self) -> str:
        """Whether and what was killed since this moment, as a clause; empty where nothing was."""
        now = Kills.now()
        here = (self.host, self.boot) == (now.host, now.boot)
        if here and self.group == now.group and _grew(self.in_group, now.in_group):
            return f"the kernel killed a process of the job for want of memory ({_limits()})"
        if self.job and _slurm_saw_one(self.job):
            return f"a process of job {self.job} was killed for want of memory"
        # The kernel counts for the group too what it kills when the whole machine has no more.
        unknown = self.in_group is None or self.group != now.group
        if here and unknown and _grew(self.on_host, now.on_host):
            return (
                f"the kernel killed a process on {now.host}, perhaps of the job, for want of "
                f"memory ({_limits()})"
            )
        return ""


def _kills_in_group() -> tuple[str, int | None]:
    """The innermost control group whose kills are told, and their number."""
    for folder, version in _groups():
        count = _counter(_text(folder / version.kills))
        if count is not None:
            return f"{folder} {folder.stat().st_ino}", count
    return "", None


def _counter(text: str) -> int | None:
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _grew(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and now > before


def _limits() -> str:
    allowed, there = available_gib(), machine_gib()
    machine = f"the machine has {there:.1f} GiB"
    return machine if allowed == there else f"the job may take {allowed:.1f} GiB, {machine}"


def _slurm_saw_one(job: str) -> bool:
    """Whether Slurm says of a job, or a step of it, that it ran out of memory."""
    shown = answer("sacct", "--noheader", "--parsable2", "--jobs", job, "--format", "State")
    shown = shown or answer("scontrol", "show", "job", "--oneliner", job)  # no accounting here
    return re.search(r"(^| JobState=)OUT_OF_ME", shown, re.MULTILINE) is not None


def less_memory(ranks: int) -> str:
    """What can be done where so many ranks had too little memory."""
    slurm = bool(os.environ.get("SLURM_JOB_ID"))
    more = "ask for more memory (sbatch --mem=...)" if slurm else "take a machine with more memory"
    fewer = f"Start fewer ranks (--ranks {ranks // 2}), or {more}" if ranks > 1 else more
    return f"{fewer[0].upper()}{fewer[1:]}; the same command then goes on."
