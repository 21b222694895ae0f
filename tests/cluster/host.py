# SPDX-License-Identifier: Apache-2.0
"""One host of the lab: a process that holds its namespaces, and dies with the test's process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGES = (
    "slurm-wlm slurm-wlm-basic-plugins slurmdbd mariadb-server munge libpmix-dev iproute2 procps "
    "squashfs-tools"
)
PROGRAMS = (
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "mariadbd",
    "mksquashfs",
    "munged",
    "sbatch",
    "ip",
    "unshare",
    "nsenter",
    "setpriv",
    "taskset",
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """The lab could not be made, or did not do in time what was asked."""


def missing() -> str:
    """What this machine lacks for a lab, in one line; empty where nothing is missing."""
    programs = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_PATH) is None]
    if programs:
        return f"no {', '.join(programs)} here: apt-get install {PACKAGES}"
    return "" if os.geteuid() == 0 else "making hosts out of namespaces needs root"


def wait_until(
    check: Callable[[], bool], timeout: float, what: str, more: Callable[[], str] = str
) -> None:
    """Ask again and again until the answer is yes.

    Args:
        check: The question.
        timeout: Seconds to wait at most.
        what: What is waited for, for the message.
        more: Gives what else the message should hold.

    Raises:
        LabError: It never was.
    """
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            raise LabError(f"waited {timeout:g} s in vain for {what}. {more()}")
        time.sleep(0.1)


class Host:
    """A machine with its own processes, network, name, boot id, /tmp and /dev/shm."""

    def __init__(
        self, name: str, address: str, cores: Sequence[int], state: Path, shared: Sequence[Path]
    ) -> None:
        """Power it on; returns when it has its own face, before its network is connected.

        Args:
            name: The host's name.
            address: Its IPv4 address.
            cores: The cores of this machine that its processes may use.
            state: The lab's folder.
            shared: Folders that it must see although they may be below /tmp.

        Raises:
            LabError: The namespaces cannot be made; with what was said.
        """
        self.name = name
        for folder in ("new", "spool", "state", "cgroup"):
            (state / "node" / name / folder).mkdir(parents=True)
        log = state / "log" / f"{name}.log"
        script = str(Path(__file__).with_name("host.sh"))
        self._on_its_cores = ["taskset", "-c", ",".join(map(str, cores))]
        self._outer = _start(
            [*self._on_its_cores, "bash", script, name, address, str(state), *map(str, shared)], log
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != b"ready\n":
            self.power_off()
            raise LabError(f"host {name} cannot be made: {log.read_text(errors='replace')}")
        self._first = _only_child(self._outer.pid)

    def enter(self, argv: Sequence[str], cwd: Path = Path("/")) -> list[str]:
        """The command that runs `argv` inside this host."""
        into = ["nsenter", "-t", str(self._first), "-n", "-u", "-i", "-m", "-p", "--"]
        return [*self._on_its_cores, *into, "env", "-C", str(cwd), *argv]

    def connect(self, other: Host) -> None:
        """Lay a cable from this host's bridge to the other's eth0; the other then starts."""
        # Only its network is entered: so `ip` knows the other host by the id that we know.
        link = ["nsenter", "-t", str(self._first), "-n", "--", "ip", "link"]
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(other._first)]
        subprocess.run([*link, "add", other.name, *peer], check=True)
        subprocess.run([*link, "set", other.name, "master", "br0", "up"], check=True)
        assert other._outer.stdin is not None
        other._outer.stdin.write(b"connected\n")
        other._outer.stdin.close()

    def power_off(self) -> None:
        """End all its processes at once; returns when they are gone."""
        # The first process of a PID namespace ends only after all the others, so that waiting
        # for it is waiting for all; the outer process would go alone.
        os.kill(_only_child(self._outer.pid) or self._outer.pid, signal.SIGKILL)
        self._outer.wait()


def _start(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start host.sh in new namespaces."""
    # setpriv: killed when this process is; unshare: takes the namespaces along.
    tied = ["setpriv", "--pdeathsig", "KILL", "unshare", "-n", "-u", "-i", "-m", "-p", "-f"]
    tied += ["--mount-proc", "--kill-child=KILL", "--"]
    with open(log, "wb") as stderr:
        return subprocess.Popen(
            [*tied, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={"PATH": SYSTEM_PATH},
            start_new_session=True,  # Ctrl-C is for the test, which then powers off in order
        )


def _only_child(pid: int) -> int:
    """The child's process id as seen here; 0 where there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0
