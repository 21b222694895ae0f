# SPDX-License-Identifier: Apache-2.0
"""A real Slurm over several hosts, made of namespaces on this machine.

Every host (`ctl`, `n1`, `n2` ...) has its own processes, network, name, boot id, /tmp and
/dev/shm; the file system, the users, the kernel and the clock are shared. `ctl` is the login host
and the controller; its network namespace holds the bridge, so that this machine's own network is
left as it is. A host lives inside one process that dies with the process that made the lab;
what a killed test leaves is its folder, and the next lab removes that.

Needs root and the Debian packages that `missing` names.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host import SYSTEM_PATH, Host, LabError, wait_until
from statedir import StateDir

CTL = "ctl"
USER, USER_ID = "ann", 61_001
"""A user of the hosts who is not root."""
BUSY = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")


@dataclass(frozen=True)
class Job:
    """A job as Slurm and its output tell it."""

    id: int | str
    state: str
    """Slurm's word, such as COMPLETED."""
    exit_code: int
    """What the batch script ended with."""
    output: str
    """Its output file; empty where there is none yet."""
    restarts: int = 0
    """How often Slurm started it again."""


class Lab:
    """A cluster for a `with` block: `ctl` and as many compute hosts as asked.

    To be made in the main thread: the hosts die with the thread that started them.
    """

    def __init__(
        self,
        hosts: int = 2,
        cpus: int = 1,
        shared: Sequence[Path] = (),
        settings: str = "",
        accounting: bool = False,
    ) -> None:
        """Describe it; nothing is started yet.

        Args:
            hosts: Compute hosts.
            cpus: Cores of each; hosts share cores where this machine has too few.
            shared: Folders that the hosts must see although they may be below /tmp or /root.
            settings: More lines for slurm.conf.
            accounting: Whether Slurm keeps its jobs in a database, for sacct.
        """
        self._settings = settings
        self._accounting = accounting
        self._names = [f"n{number}" for number in range(1, hosts + 1)]
        self._cpus = cpus
        self._visible = shared
        self._hosts: dict[str, Host] = {}

    def __enter__(self) -> Lab:
        """Start it and wait until all hosts serve."""
        self._folder = StateDir()
        self.state = self._folder.path
        self.shared = self.state / "shared"
        self.home = self.state / "home"
        try:
            self._write_files()
            self._start()
            wait_until(self._all_idle, 30, "all hosts to register")
        except BaseException as error:
            logs = self.logs()
            self.__exit__()
            if isinstance(error, LabError):
                raise LabError(f"{error}\n{logs}") from None
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Power everything off and remove the lab's folder."""
        for name in list(self._hosts):
            self.power_off(name)
        self._folder.remove()

    def _write_files(self) -> None:
        for folder in ("etc/slurm", "run", "log", "shared", "home"):
            (self.state / folder).mkdir(parents=True)
        for open_to_all in (self.shared, self.home):
            open_to_all.chmod(0o1777)
        etc = self.state / "etc"
        values = {"hosts": len(self._names), "cpus": self._cpus}
        storage = "slurmdbd" if self._accounting else "none"
        conf = _filled("slurm.conf", state=self.state, accounting=storage, **values)
        (etc / "slurm" / "slurm.conf").write_text(f"{conf}{self._settings}\n")
        if self._accounting:
            (etc / "slurm" / "slurmdbd.conf").write_text(_filled("slurmdbd.conf", state=self.state))
            (etc / "slurm" / "slurmdbd.conf").chmod(0o600)
        member = f"{USER}:x:{USER_ID}:"
        for name, line in (
            ("passwd", f"{member}{USER_ID}::{self.home}:/bin/bash"),
            ("group", member),
        ):
            known = Path("/etc", name).read_text().rstrip()
            (etc / name).write_text(f"{known}\n{line}\n")
        hosts = [f"{address} {name}\n" for name, address in self._addresses().items()]
        (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(hosts))
        (etc / "munge.key").write_bytes(os.urandom(128))
        (etc / "munge.key").chmod(0o400)

    def _addresses(self) -> dict[str, str]:
        nodes = {name: f"10.213.77.{11 + at}" for at, name in enumerate(self._names)}
        return {CTL: "10.213.77.1", **nodes}

    def _cores(self, name: str) -> list[int]:
        """The cores of a host; `ctl` may use all."""
        ours = sorted(os.sched_getaffinity(0))
        if name == CTL:
            return ours
        first = self._names.index(name) * self._cpus
        return [ours[core % len(ours)] for core in range(first, first + self._cpus)]

    def _start(self) -> None:
        for name, address in self._addresses().items():
            cores = self._cores(name)
            self._hosts[name] = Host(name, address, cores, self.state, self._visible)
            if name != CTL:
                self._hosts[CTL].connect(self._hosts[name])

    def _all_idle(self) -> bool:
        # Slurm calls hosts idle that never registered; only those that did have a start time.
        nodes = self.run(CTL, ["scontrol", "show", "nodes", "-o"], check=False).stdout.splitlines()
        up = [
            line for line in nodes if "State=IDLE " in line and "SlurmdStartTime=None" not in line
        ]
        return len(up) == len(self._names)

    def run(
        self,
        host: str,
        argv: Sequence[str | Path],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
        user: str = "root",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, in an environment of its own, and wait for it.

        Args:
            host: Where: `ctl`, `n1` ...
            argv: Program and arguments.
            cwd: Working folder; by default the lab's `shared`.
            env: Variables beside PATH, HOME (the lab's `home`) and LANG.
            timeout: Seconds after which it is given up.
            check: Whether an exit code other than 0 is an error.
            user: Whose it is.

        Raises:
            LabError: The command failed, with what it said.
        """
        variables = {"PATH": SYSTEM_PATH, "HOME": str(self.home), "LANG": "C.UTF-8", **(env or {})}
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        words = [*become, *map(str, argv)]
        command = self._hosts[host].enter(words, cwd or self.shared)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=variables,
        )
        if check and done.returncode:
            raise LabError(f"{host}: {list(argv)} ended with {done.returncode}: {done.stderr}")
        return done

    def submit(
        self,
        words: Sequence[str | Path],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """`sbatch` with these words on `ctl`; returns the job's number."""
        return int(self.run(CTL, ["sbatch", "--parsable", *words], cwd, env).stdout)

    def job(self, number: int | str) -> Job:
        """A job, or a task of an array such as 5_1, as it stands now."""
        shown = self.run(CTL, ["scontrol", "show", "job", "-o", str(number)]).stdout
        found = re.search(r" StdOut=(.*) Power=", shown)
        output = Path(found[1]) if found else Path()
        text = output.read_text(errors="replace") if output.is_file() else ""
        return Job(
            number,
            _field(shown, "JobState"),
            int(_field(shown, "ExitCode").split(":")[0]),
            text,
            int(_field(shown, "Restarts")),
        )

    def finish(self, number: int | str, timeout: float = 300) -> Job:
        """Wait for a job's end.

        Raises:
            LabError: It has not ended in time; with its output.
        """
        wait_until(
            lambda: self.job(number).state not in BUSY,
            timeout,
            f"job {number} to end",
            lambda: self.job(number).output,
        )
        return self.job(number)

    def wait_for_text(self, number: int | str, text: str, timeout: float = 180) -> None:
        """Wait until a job's output holds a text.

        Raises:
            LabError: It did not say so in time, or ended without; with its output.
        """

        def said() -> bool:
            job = self.job(number)
            if job.state not in BUSY and text not in job.output:
                raise LabError(f"job {number} ended without {text!r}: {job.output}")
            return text in job.output

        wait_until(said, timeout, f"{text!r}", lambda: self.job(number).output)

    def power_off(self, host: str) -> None:
        """Cut a host's power: all its processes and its network are gone at once."""
        self._hosts.pop(host).power_off()

    def cut_cable(self, host: str) -> None:
        """Pull a host's network cable: it runs on, unheard."""
        self.run(CTL, ["ip", "link", "set", host, "down"])

    def logs(self) -> str:
        """The ends of all daemons' logs, for a failure's message."""
        logs = sorted((self.state / "log").glob("*.log"))
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs
        )


def _filled(name: str, **values: object) -> str:
    """A file beside this one, its braces filled in."""
    return Path(__file__).with_name(name).read_text().format(**values)


def _field(shown: str, key: str) -> str:
    found = re.search(rf"\b{key}=(\S+)", shown)
    if not found:
        raise LabError(f"scontrol show job tells no {key}: {shown}")
    return found[1]
