# SPDX-License-Identifier: Apache-2.0
"""Where a job runs: the files that the platform puts there, and the way in."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import string
import sys
from pathlib import Path

from .box import NODES, Plan
from .orders import Order
from .site import BOX, Site

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS = "/opt/JARVICE/bin"
# As from a real sshd, what comes over ssh sees nothing else of the job's environment.
_LOGIN = ("HOME", "USER", "LOGNAME", "SHELL")


class Place:
    """A job's folder: etc, home and tmp are its own, data is the vault."""

    def __init__(self, site: Site, order: Order, number: int, name: str) -> None:
        """Lay it out."""
        self.folder = site.folder / "jobs" / str(number)
        self.log = self.folder / "log"
        self.report = self.folder / "report"
        parts = [self.folder / part for part in ("etc", "tools", "home", "tmp", "root", "nodes")]
        for part in parts:
            part.mkdir(parents=True)
        self.etc, self.tools, self.home, self.tmp, self.root, self.others = parts
        self.log.touch()
        self.data = site.vault(order.vault)
        self._site, self._order, self.user = site, order, site.job_user
        self.boxed = site.boxed
        self.nodes = self._name_nodes(number)
        self._write_etc(name)
        self._write_ssh()
        if self.boxed:
            self._write_accounts()
            self._give_away()

    def _name_nodes(self, number: int) -> list[str]:
        """Names that the box resolves; outside of one only addresses do."""
        if not self.boxed:
            return [f"127.0.0.{at + 1}" for at in range(self._order.nodes)]
        signs = string.ascii_lowercase + string.digits
        ends = ("".join(random.choices(signs, k=5)) for _ in range(self._order.nodes))
        return [f"jarvice-job-{number}-{end}" for end in ends]

    def _write_etc(self, name: str) -> None:
        order = self._order
        (self.etc / "nodes").write_text("".join(f"{node}\n" for node in self.nodes))
        cores = (f"{node}\n" * order.machine.cores for node in self.nodes)
        (self.etc / "cores").write_text("".join(cores))
        about = {
            "JOB_NAME": name,
            "JOB_LABEL": order.label or "",
            "JOB_PRIVATEIP": "127.0.0.1",
            "JOB_PUBLICIP": "",
        }
        lines = (f"{key}={shlex.quote(value)}\n" for key, value in about.items())
        (self.etc / "jobinfo.sh").write_text("".join(lines))
        set_by_app = (f"{key}={_escaped(value)}\n" for key, value in order.variables.items())
        (self.etc / "jobenv.sh").write_text(":\n" + "".join(set_by_app))
        if order.script is not None:
            (self.etc / "jobscript").write_bytes(order.script)
            (self.etc / "jobscript").chmod(0o755)

    def _write_ssh(self) -> None:
        python = Path(sys.executable).resolve()
        client = Path(__file__).with_name("ssh.py").read_text()
        (self.tools / "ssh").write_text(f"#!{python} -IS\n{client}")
        (self.tools / "ssh").chmod(0o755)

    def _write_accounts(self) -> None:
        """This machine's users, hosts and groups, and the job's."""
        user = self.user
        added = {
            "passwd": f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:/bin/bash\n",
            "group": f"{user.name}:x:{user.gid}:\n",
            "hosts": "".join(f"127.0.0.{at + 1} {node}\n" for at, node in enumerate(self.nodes)),
        }
        for name, lines in added.items():
            (self.folder / name).write_text(lines + Path("/etc", name).read_text())

    def _give_away(self) -> None:
        """Let the job's user own what is its own; a file that is already keeps its times."""
        self.others.chmod(0o700)
        for node in self.nodes[1:]:
            for part in ("home", "tmp", "shm"):
                (self.others / node / part).mkdir(parents=True)
        for space in (self.tmp, *self.others.glob("*/tmp")):
            space.chmod(0o1777)
        for top in (self.home, *self.others.glob("*/home"), self.data):
            for path in (top, *top.rglob("*")):
                if path.lstat().st_uid != self.user.uid:
                    os.chown(path, self.user.uid, self.user.gid, follow_symlinks=False)

    def _tools_path(self) -> str:
        return _TOOLS if self.boxed else str(self.tools)

    def _path(self, image: str) -> str:
        """What PATH is where the image has this one: the platform's programs come first."""
        return f"{self._tools_path()}:{image}"

    def environment(self) -> dict[str, str]:
        """All that the command sees: nothing comes from whoever runs the server."""
        user, given = self.user, self._site.environment
        environment = {
            "HOME": user.home if self.boxed else str(self.home),
            "USER": user.name,
            "LOGNAME": user.name,
            "SHELL": "/bin/bash",
            "JARVICE_ID_USER": user.name,
            "JARVICE_MPI_PROVIDER": "tcp",
            "JARVICE_MPI_CMA": "false",
            "OPENMPI_DIR": "/opt/JARVICE/openmpi",
            **given,
            "PATH": self._path(given.get("PATH", _PATH)),
        }
        if not self.boxed:
            environment["JARVICE_ETC"] = str(self.etc)
        return environment

    def way_in(self) -> list[str]:
        """The program that runs the job, after its plan was written down."""
        argv, environment = self._order.argv, self.environment()
        if not self.boxed:
            script = f"{self.etc}/jobscript"
            argv = [word.replace("/etc/JARVICE/jobscript", script) for word in argv]
        plan: Plan = {
            "root": str(self.root) if self.boxed else None,
            "binds": self._binds(),
            "shm": "50%" if "devshm" in self._order.machine.devices else "64m",
            "nodes": self.nodes,
            "argv": argv,
            "environment": environment,
            "login": {key: environment[key] for key in _LOGIN} | {"PATH": self._path(_PATH)},
            "tools": self._tools_path(),
            "uid": self.user.uid,
            "gid": self.user.gid,
            "report": str(self.report),
        }
        written = self.folder / "plan.json"
        written.write_text(json.dumps(plan))
        inner = [sys.executable, "-I", "-S", str(Path(__file__).with_name("box.py")), str(written)]
        return [*BOX, *inner] if self.boxed else inner

    def _binds(self) -> list[tuple[str, str, bool]]:
        own = {
            "/etc/JARVICE": self.etc,
            "/etc/passwd": self.folder / "passwd",
            "/etc/group": self.folder / "group",
            "/etc/hosts": self.folder / "hosts",
            "/tmp": self.tmp,
            _TOOLS: self.tools,
            NODES: self.others,
            self.user.home: self.home,
            # It may lie where only root may enter; what is made on the way to it lets all pass.
            sys.base_prefix: Path(sys.base_prefix),
        }
        image = {str(target): source.resolve() for target, source in self._site.image.items()}
        binds = [(str(source), target, False) for target, source in {**own, **image}.items()]
        binds.append((str(self.data), "/data", self._order.readonly))
        return sorted(binds, key=lambda bind: bind[1])  # what lies in another comes after it

    def clear(self) -> None:
        """Drop what does not outlive a job."""
        fresh = [self.data] if self._order.vault == "ephemeral" else []
        for folder in (self.tools, self.home, self.tmp, self.root, self.others, *fresh):
            shutil.rmtree(folder)


def _escaped(value: str) -> str:
    """As the platform writes values: a backslash before each character."""
    return "".join(f"\\{character}" for character in value)
