# SPDX-License-Identifier: Apache-2.0
"""What JARVICE is to run, out of the words of `retrain submit`, and as its API wants it.

What the run reads and writes lies in the job's vault, which it sees as /data; a configuration that
lies here goes along as settings, so that every node has it.
"""

from __future__ import annotations

import base64
import os
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import UsageError, shown
from jobs.jarvice_words import Machine
from jobs.sites import read_yaml
from jobs.spec import is_images, require_settings, run_name

VAULT = "/data"
LAUNCHER = "/opt/retrain/jobs/nimbix/launch.sh"
"""In the image; the app's command `retrain` is the same."""
COMMAND = "retrain"
GEOMETRY = "1904x841"
"""Of a desktop, which a batch job has none of; every known client sends one."""
_SOURCES = ("data.images", "data.bottlenecks")
_PLACES = (*_SOURCES, "backbone.weights", "run.cache")
_WEIGHTS = ("imagenet", "random")
_WALLTIME = re.compile(r"(\d{1,4}):([0-5]?\d):([0-5]?\d)")


@dataclass(frozen=True)
class Order:
    """One job."""

    source: str
    """Of `retrain run`, in the vault."""
    settings: tuple[str, ...]
    """`key=value` words, those of the configuration among them."""
    name: str
    out: Path
    """Where the results come home to; absolute."""
    place: str
    """The run directory in the vault."""
    folder: Path
    """Where it was submitted from."""
    walltime: int
    """Seconds."""
    nodes: int
    vault: str
    image: str
    """A container image; or else `app`."""
    app: str
    """An app's ID."""
    again: bool

    @property
    def endpoint(self) -> str:
        """Which of the API's two ways in it takes."""
        return "batch" if self.image else "submit"

    def body(self, machine: Machine) -> dict[str, Any]:
        """The request, but for user, key and label."""
        common: dict[str, Any] = {
            "machine": {"type": machine.type, "nodes": self.nodes},
            "vault": {"name": self.vault, "readonly": False, "force": False},
        }
        if self.image:
            return common | {"container": {"image": self.image, "jobscript": self._script(machine)}}
        return common | {"app": self.app, "staging": False, "checkedout": False} | self._command()

    def _script(self, machine: Machine) -> str:
        """A script in base64; the machine's type tells the GPUs, since an image may hide them."""
        again = ["--again"] if self.again else []
        words = ["--walltime", str(self.walltime), self.source, *self.settings, "--out", self.place]
        lines = [
            "#!/bin/bash",
            f"export GPUS_PER_NODE={machine.gpus}",
            f"exec {LAUNCHER} {shlex.join([*words, *again])}",
        ]
        return base64.b64encode("".join(f"{line}\n" for line in lines).encode()).decode("ascii")

    def _command(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "config": self.source,
            "--out": self.place,
            "--settings": shlex.join(self.settings),
            "--walltime": self.walltime,
            "--again": self.again,
        }
        application = {"command": COMMAND, "geometry": GEOMETRY, "parameters": parameters}
        return {"application": {**application, "walltime": clock(self.walltime)}}


def make(
    source: str,
    overrides: Sequence[str],
    walltime: str,
    out: str = "",
    nodes: int | None = None,
    vault: str = "",
    image: str = "",
    app: str = "",
    again: bool = False,
) -> Order:
    """Check the words, and find what the run is called and where everything lies.

    Raises:
        UsageError: A word is not what it should be, or a path does not lie in the vault.
    """
    if bool(image) == bool(app):
        raise UsageError(
            "--image, --app: wanted one of them.",
            "--image names a container image with retrain in it, --app an app of this account.",
        )
    seconds = _seconds(walltime)
    require_settings(overrides)
    found, settings = _in_vault(source, overrides)
    for key, value in _given(settings).items():
        _require_place(key, value)
    name = _name(source, overrides)
    place, home = _places(out, name)
    return Order(
        source=found,
        settings=(*settings, *([] if "name" in _given(settings) else [f"name={name}"])),
        name=name,
        out=home,
        place=place,
        folder=Path.cwd(),
        walltime=seconds,
        nodes=nodes or 1,
        vault=vault or "persistent",
        image=image,
        app=app,
        again=again,
    )


def _seconds(walltime: str) -> int:
    found = _WALLTIME.fullmatch(walltime)
    if not found or walltime.strip("0:") == "":
        raise UsageError(
            f"--walltime{' ' + shown(walltime, 30) if walltime else ''}: wanted HH:MM:SS.",
            "For example 02:00:00: then the run keeps its work and ends.",
        )
    hours, minutes, seconds = map(int, found.groups())
    return (hours * 60 + minutes) * 60 + seconds


def clock(seconds: int) -> str:
    """Seconds as HH:MM:SS."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _in_vault(source: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """The source as the job gets it, and all settings.

    Raises:
        UsageError: It is neither in the vault nor a configuration that lies here.
    """
    if is_in_vault(source):
        return source, list(overrides)
    path = Path(source)
    if is_images(path):
        raise UsageError(
            f"{shown(source)}: lies here, and the job sees the vault alone.",
            f"Put it into the vault and name it as the job sees it: {VAULT}/{shown(path.name)}",
        )
    settings = [*_flat(read_yaml(path)), *overrides]
    given = _given(settings)
    last = [key for key in given if key in _SOURCES and given[key] not in ("null", "~", "")]
    if not last:
        raise UsageError(
            f"{shown(source)}: names no data.", f"For example data.images={VAULT}/photos"
        )
    return given[last[-1]], settings


def is_in_vault(path: str) -> bool:
    """Whether the job would find it below /data, whatever dots and slashes it has."""
    return f"{posixpath.normpath(path)}/".startswith(f"{VAULT}/")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A configuration as `key=value` words; what is null is as if it were not there."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{key}.")
        elif value is not None:
            taken_as_it_stands = key in (*_PLACES, "name")
            yield f"{key}={value if taken_as_it_stands else _yaml(value)}"


def _yaml(value: object) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def _given(settings: Sequence[str]) -> dict[str, str]:
    """The values by key, the last one said last."""
    found: dict[str, str] = {}
    for word in settings:
        key, _, value = word.partition("=")
        found.pop(key, None)
        found[key] = value
    return found


def _require_place(key: str, value: str) -> None:
    """See that a path is one that the job can find.

    Raises:
        UsageError: It lies elsewhere.
    """
    named = key == "backbone.weights" and value in _WEIGHTS
    if key not in _PLACES or named or value in ("", "null", "~") or is_in_vault(value):
        return
    raise UsageError(
        f"{key}: {shown(value)} does not lie in the vault, and the job sees nothing else.",
        f"Put it there and name it as the job sees it: {key}={VAULT}/{shown(Path(value).name)}",
    )


def _name(source: str, overrides: Sequence[str]) -> str:
    if not is_in_vault(source):
        return run_name(source, overrides)
    given = _given(overrides).get("name", "")
    return run_name(source, overrides) if given else Path(source).stem


def _places(out: str, name: str) -> tuple[str, Path]:
    """The run directory in the vault, and the one at home.

    Raises:
        UsageError: It would lie elsewhere in the container, where nothing stays.
    """
    if is_in_vault(out) and posixpath.normpath(out) != VAULT:
        place = posixpath.normpath(out)
        return place, Path.cwd() / "runs" / posixpath.basename(place)
    inner = posixpath.normpath(out) if out else f"runs/{name}"
    if inner.startswith(("/", "..")) or inner == ".":
        raise UsageError(
            f"--out {shown(out)}: wanted a folder below this one, or in {VAULT}.",
            f"--out runs/first is {VAULT}/runs/first in the vault, and comes home to runs/first.",
        )
    return f"{VAULT}/{inner}", Path(os.path.abspath(inner))
