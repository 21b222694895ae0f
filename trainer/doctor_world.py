# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of a world: of two ranks here, or of all that a job of Slurm gets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import listed
from trainer.world import launch
from trainer.world.launchers import LAUNCHER

MOST_SKEW = 5.0
"""Seconds that clocks may differ: heartbeats and the ages of files are compared between hosts."""
SLOW_IMPORT = 60.0
"""Seconds; a start that takes longer is worth a copy on the hosts' own disks."""


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Attributes:
        what: The part.
        state: `ok`, `missing` (a run needs it) or `absent` (a run does without).
        detail: What was found.
        mend: The command that mends it, or empty.
    """

    what: str
    state: str
    detail: str
    mend: str = ""


def examine_world(cache: Path) -> Iterator[Finding]:
    """Start ranks as a run would, and let them tell of each other.

    Args:
        cache: Where files are to be renamed and created.
    """
    good, said = launch.probe_world(cache)
    found = _answer(said) if good else None
    if found is None:
        lines = [line for line in said.strip().splitlines() if line.strip()]
        last = lines[-1] if lines else "no answer"
        yield Finding("MPI, Horovod", "missing", last, _mend_world())
        return
    yield from read(found, cache)


def _answer(said: str) -> dict[str, Any] | None:
    """The last line that is JSON; ranks' libraries may speak around it."""
    for line in reversed(said.splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
    return None


def read(found: dict[str, Any], cache: Path) -> Iterator[Finding]:
    """Make findings of what `trainer.world.probe` printed."""
    size, horovod = found["sizes"][0]
    if found["promised"] not in (0, size):
        told = f"{found['promised']} ranks were started, and each sees a world of {size}"
        yield Finding("MPI, Horovod", "missing", told, _mend_world())
        return
    hosts = list(dict.fromkeys(found["hosts"]))
    told = f"{size} ranks on {listed(hosts)}; {found['mpi']}"
    if found["agree"]:
        yield Finding("MPI, Horovod", "ok", f"Horovod and mpi4py agree on {told}")
    else:
        told = f"Horovod sees a world of {horovod}, MPI one of {told}"
        yield Finding("MPI, Horovod", "missing", told, "make setup")
    yield _devices(found)
    yield _import(found)
    if len(hosts) > 1:
        yield _clocks(found)
    yield _files(found, cache)


def _devices(found: dict[str, Any]) -> Finding:
    broken = [word for word in found["devices"] if word.startswith("error: ")]
    if broken:
        return Finding("Devices", "missing", broken[0].removeprefix("error: "))
    pairs = [f"{host}: {word}" for host, word in zip(found["hosts"], found["devices"], strict=True)]
    return Finding("Devices", "ok", listed(list(dict.fromkeys(pairs)), 8))


def _import(found: dict[str, Any]) -> Finding:
    seconds = found["import_seconds"]
    told = f"TensorFlow and Horovod in {min(seconds):.1f} to {max(seconds):.1f} s on all ranks"
    slow = max(seconds) > SLOW_IMPORT
    return Finding("Import", "ok", told, "stage: sbcast in the site's file" if slow else "")


def _clocks(found: dict[str, Any]) -> Finding:
    skew = dict(zip(found["hosts"], found["skew_seconds"], strict=True))
    host = max(skew, key=lambda name: abs(skew[name]))
    told = f"at most {abs(skew[host]):.3f} s apart ({found['hosts'][0]}, {host})"
    bad = abs(skew[host]) > MOST_SKEW
    return Finding(
        "Clocks",
        "missing" if bad else "ok",
        told,
        f"ask the administrators of {host} to set its clock: chronyc makestep" if bad else "",
    )


def _files(found: dict[str, Any], cache: Path) -> Finding:
    mend = "export RETRAIN_CACHE=FOLDER, or cache: in the site's file: one that all hosts share"
    seen = found["seen_seconds"]
    if found["files"]:
        return Finding("Shared files", "missing", found["files"], mend)
    if found["created"] != 1:
        told = f"{cache}: {found['created']} ranks created one file each alone"
        return Finding("Shared files", "missing", told, mend)
    blind = [host for host, when in zip(found["hosts"], seen, strict=True) if when is None]
    if blind:
        told = f"{cache}: a renamed file is not seen from {listed(list(dict.fromkeys(blind)))}"
        return Finding("Shared files", "missing", told, mend)
    told = f"{cache.absolute()}: one file, one creator; a renamed one is seen in {max(seen):.1f} s"
    return Finding("Shared files", "ok", told)


def _mend_world() -> str:
    if os.environ.get(LAUNCHER) == "srun":
        return "srun --mpi=list shows what Slurm knows; or launcher: mpirun in the site's file"
    return "make setup"
