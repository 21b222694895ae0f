# SPDX-License-Identifier: Apache-2.0
"""What the emulated service offers and to whom: all that is not its jobs."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .answers import MISSING, NOT_FOUND, Refused
from .command import App
from .faults import Faults
from .machines import MACHINES, Machine

USER = "alice"
KEY = "d0-not-sh0w-th1s-key"
BOX = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
VAULTS = ("ephemeral", "persistent", "drop.jarvice.com")


@functools.cache
def can_box() -> bool:
    """Whether jobs can have namespaces of their own: as root, and not in every container."""
    if os.geteuid() != 0 or shutil.which(BOX[0]) is None:
        return False
    return subprocess.run([*BOX, "--mount-proc", "true"], capture_output=True).returncode == 0


@dataclass(frozen=True)
class JobUser:
    """Whom jobs run as, where they run in a box."""

    name: str = "nimbix"
    uid: int = 505
    gid: int = 505

    @property
    def home(self) -> str:
        """As the job sees it."""
        return f"/home/{self.name}"


@dataclass
class Site:
    """Settings, which a test may also change later.

    `image` has what jobs find at which path, as of their container; `environment` what the image
    sets; `delay` is a job's time in the queue and `moment` how long faults called late last, in
    seconds. Jobs that are not `boxed` run in this machine's file system, as the server's user.
    """

    folder: Path
    apps: Sequence[App] = (App("shell"),)
    machines: Sequence[Machine] = MACHINES
    vaults: Sequence[str] = VAULTS
    image: Mapping[Path, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    job_user: JobUser = JobUser()
    delay: float = 0.0
    moment: float = 2.0
    boxed: bool = field(default_factory=can_box)
    user: str = USER
    key: str = KEY
    faults: Faults = field(default_factory=Faults)
    url: str = ""

    def check_user(self, given: Mapping[str, str], refusal: str = "Unauthorized") -> None:
        """Let the account's owner pass.

        Raises:
            Refused: 400 where something is missing, 401 where it is wrong.
        """
        if not given.get("username") or not given.get("apikey"):
            raise Refused(400, MISSING)
        if (given["username"], given["apikey"]) != (self.user, self.key):
            raise Refused(401, refusal)

    def account_signs(self) -> dict[str, str]:
        """What an owner's app may learn of the account."""
        return {"%APIURL%": self.url, "%APIUSER%": self.user, "%APIKEY%": self.key}

    def vault(self, name: str) -> Path:
        """A vault's folder, or a fresh one for the vault that is."""
        vaults = self.folder / "vaults"
        vaults.mkdir(parents=True, exist_ok=True)
        if name == "ephemeral":
            return Path(tempfile.mkdtemp(prefix="ephemeral-", dir=vaults))
        kept = vaults / name
        kept.mkdir(exist_ok=True)
        return kept

    def listing(self, name: str, path: str, order: str) -> list[tuple[str, int, int]]:
        """Name, size and time of what lies in a vault's folder.

        Raises:
            Refused: there is no such vault or folder.
        """
        if name not in self.vaults or name == "ephemeral":
            raise Refused(404, NOT_FOUND)
        top = self.vault(name).resolve()
        folder = (top / path.lstrip("/")).resolve()
        if not folder.is_relative_to(top) or not folder.is_dir():
            raise Refused(404, NOT_FOUND)
        rows: list[tuple[str, int, int]] = []
        for entry in folder.iterdir():
            about = entry.stat()
            shown = entry.name + "/" * entry.is_dir()
            rows.append((shown, about.st_size, int(about.st_mtime)))
        column = {"n": 0, "s": 1, "m": 2}.get(order, 0)
        return sorted(rows, key=lambda row: row[column])
