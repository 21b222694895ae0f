# SPDX-License-Identifier: Apache-2.0
"""`python -m trainer.world.probe FOLDER`: what a world is like, told by its ranks; for the doctor.

Started by a launcher on every rank. The last line of rank 0's output is JSON, with one entry a rank
where there is a list.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpi4py import MPI

PINGS = 20
SEEN_SECONDS = 20.0
"""For a renamed file to be seen from all hosts."""


def main(folder: Path) -> None:
    """Take part in the world that was started, and print what it is like; Collective."""
    started = time.monotonic()
    import horovod.tensorflow as hvd
    from mpi4py import MPI

    imported = time.monotonic() - started
    comm = MPI.COMM_WORLD
    hvd.init()
    found = {
        "mpi": MPI.Get_library_version().split(",")[0].strip(),
        "promised": _promised(),
        "sizes": comm.allgather([comm.size, hvd.size()]),
        "agree": all(comm.allgather((hvd.rank(), hvd.size()) == (comm.rank, comm.size))),
        "hosts": comm.allgather(socket.gethostname()),
        "devices": comm.allgather(_device(comm)),
        "import_seconds": comm.allgather(imported),
        "skew_seconds": _skew(comm),
        **_files(comm, folder),
    }
    if comm.rank == 0:
        print(json.dumps(found), flush=True)
    comm.Barrier()


def _promised() -> int:
    from trainer.world.launch import promised_size

    return promised_size()


def _device(comm: MPI.Comm) -> str:
    """This rank's device, or why it has none."""
    from trainer.errors import UsageError
    from trainer.world.devices import own_device

    hosts = comm.allgather(socket.gethostname())
    mine = [rank for rank, host in enumerate(hosts) if host == hosts[comm.rank]]
    try:
        device = own_device("auto", mine.index(comm.rank), len(mine))
    except UsageError as error:
        return f"error: {error.message} {error.todo}"
    return device.kind if device.ordinal is None else f"{device.kind} ({device.place})"


def _skew(comm: MPI.Comm) -> list[float]:
    """How far each rank's clock is ahead of rank 0's, in seconds.

    Of many questions the one that came back fastest counts: half its way is the error.
    """
    skew = [0.0]
    for rank in range(1, comm.size):
        best = (float("inf"), 0.0)
        for _ in range(PINGS):
            if comm.rank == 0:
                asked = time.time()
                comm.send(None, rank)
                there = comm.recv(source=rank)
                took = time.time() - asked
                best = min(best, (took, there - asked - took / 2))
            elif comm.rank == rank:
                comm.recv(source=0)
                comm.send(time.time(), 0)
        skew.append(best[1])
    return skew


def _files(comm: MPI.Comm, folder: Path) -> dict[str, Any]:
    """Whether one file can be created by one rank only, and when all see a renamed one."""
    place, why = None, ""
    if comm.rank == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            place = tempfile.mkdtemp(prefix=".doctor-", dir=folder)
        except OSError as error:
            why = f"{folder}: {error.strerror}"
    place, why = comm.bcast((place, why))
    if place is None:
        return {"files": why, "created": 0, "seen_seconds": []}
    comm.Barrier()
    created = sum(comm.allgather(_create(Path(place, "one"))))
    if comm.rank == 0:
        Path(place, "a").write_text("whole", encoding="ascii")
        os.replace(Path(place, "a"), Path(place, "b"))
    comm.Barrier()
    seen = comm.allgather(_see(Path(place, "b")))
    if comm.rank == 0:
        for path in Path(place).iterdir():
            path.unlink()
        Path(place).rmdir()
    return {"files": "", "created": created, "seen_seconds": seen}


def _create(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except OSError:
        return False
    return True


def _see(path: Path) -> float | None:
    """Seconds until a file is there, whole; None where it did not come."""
    began = time.monotonic()
    while time.monotonic() - began < SEEN_SECONDS:
        try:
            if path.read_text(encoding="ascii") == "whole":
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.05)
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
