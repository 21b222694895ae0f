# SPDX-License-Identifier: Apache-2.0
"""Slurm, by its own programs: sbatch, squeue, sacct where accounting is on, scancel.

Words go to them as lists: no shell reads them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from jobs.errors import JobError, NoAnswer, UsageError, shown
from jobs.journal import Entry
from jobs.scheduler import Handed
from jobs.sites import PROJECT, SITE
from jobs.slurm_words import SACCT_FIELDS, SQUEUE_FIELDS, TIMES, chosen, from_sacct, from_squeue
from jobs.spec import Spec
from jobs.states import Seen

SCRIPT = "retrain.sh"
_PATIENCE = 60
"""Seconds that a program of Slurm has; a busy slurmctld takes many of them."""
_AT_ONCE = 500
"""Jobs in one call: their numbers must fit a command line, and slurmctld answers others too."""
_NO_ACCOUNTING = "accounting storage is disabled"
_FILTERS = ("SQUEUE_", "SACCT_")
"""Variables by which users have other columns and fewer jobs shown."""


class Slurm:
    """The Slurm of this login node."""

    name = "slurm"
    longest = 30.0
    late = 0.0
    requeues = True

    def command(self, spec: Spec) -> list[str]:
        """The call of sbatch that hands the job over.

        Raises:
            UsageError: The folder has a name that Slurm does not take.
        """
        if not str(spec.folder).isprintable() or "\\" in str(spec.folder):
            raise UsageError(
                f"{shown(str(spec.folder))}: Slurm cannot write a log there, for the sign in it.",
                "Submit from a folder without backslashes and control characters in its path.",
            )
        log = str(spec.folder).replace("%", "%%") + "/retrain-%j.out"
        options = ["--parsable", f"--output={log}", *self.options(spec)]
        return ["sbatch", *options, str(script()), *spec.words]

    def cluster(self) -> str:
        """As scontrol tells it; empty where it does not answer."""
        found = re.search(r"^ClusterName\s*=\s*(\S+)", self.settings(), re.MULTILINE)
        return found[1] if found else ""

    def variables(self, spec: Spec) -> dict[str, str]:
        """What sbatch hands on to the job script."""
        return {SITE: str(spec.site.file)} if spec.site.file else {}

    def submit(self, spec: Spec) -> Handed:
        """`sbatch`."""
        return Handed(self.sbatch(self.command(spec), spec))

    def options(self, spec: Spec) -> list[str]:
        """What sbatch is told of a job's size and place."""
        return [f"--job-name={_job_name(spec.name)}", *_sizes(spec)]

    def settings(self) -> str:
        """What `scontrol show config` tells; empty where it does not answer."""
        with suppress(JobError):
            return _call(["scontrol", "show", "config"]).stdout
        return ""

    def sbatch(self, words: list[str], spec: Spec) -> str:
        """Call it in the environment that a job's script needs; returns the job's number.

        Raises:
            JobError: It refused.
        """
        environment = {**os.environ, "PATH": _path(), **self.variables(spec)}
        done = _call(words, environment)
        # With clusters that know each other, it is NUMBER;CLUSTER.
        job = done.stdout.strip().split("\n")[-1].split(";")[0]
        if done.returncode or not job.isdigit():
            said = _said(done)
            wrong = re.search("invalid|unrecognized", said, re.IGNORECASE)
            kind = UsageError if wrong else JobError
            raise kind(f"sbatch did not take the job: {said}", "Nothing was submitted.")
        return job

    def log_of(self, spec: Spec, job: str) -> Path:
        """As `command` has it."""
        return spec.folder / f"retrain-{job}.out"

    def look(self, jobs: Sequence[str]) -> dict[str, Seen]:
        """Ask squeue for all of them, and sacct for those that squeue no longer knows."""
        found: dict[str, Seen] = {}
        for first in range(0, len(jobs), _AT_ONCE):
            some = jobs[first : first + _AT_ONCE]
            known = chosen(some, from_squeue(_ask_squeue(some)))
            rest = [job for job in some if job not in known]
            found |= known
            if rest:
                found |= chosen(rest, from_sacct(_ask_sacct(rest)))
        return found

    def cancel(self, jobs: Sequence[str]) -> None:
        """`scancel`: TERM for the run, which keeps its work, and the end for what does not go."""
        done = _call(["scancel", *jobs])
        if done.returncode:
            raise JobError(f"scancel {' '.join(jobs)}: {_said(done)}")

    def bring_log(self, entry: Entry) -> None:
        """It is here: the disk is shared."""

    def bring_home(self, entry: Entry) -> list[str]:
        """They are here, likewise."""
        return []


def script() -> Path:
    """The job script: of the clone, else of the installation.

    Raises:
        JobError: It is in neither.
    """
    places = [PROJECT / "slurm" / SCRIPT]
    # By name alone: this package imports nothing of the other.
    found = find_spec("trainer.slurm") if find_spec("trainer") else None
    if found:
        places += [Path(place) / SCRIPT for place in found.submodule_search_locations or ()]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise JobError(f"{places[0]}: is not there.", "Install retrain again: its job script is lost.")


def _sizes(spec: Spec) -> list[str]:
    """How large and where: what the user says goes last, and wins."""
    site = spec.site
    options = [f"--partition={site.partition}"] if site.partition else []
    options += [f"--account={site.account}"] if site.account else []
    options += site.options
    gpus = site.gpus if spec.gpus is None else spec.gpus
    if gpus:
        kind = f"{site.gpu_type}:" if site.gpu_type else ""
        options.append(f"--gres=gpu:{kind}{gpus}" if site.gres else f"--gpus-per-node={kind}{gpus}")
    options += [f"--nodes={spec.nodes}"] if spec.nodes else []
    options += [f"--time={spec.time}"] if spec.time else []
    return [*options, *spec.options]


def _job_name(name: str) -> str:
    """A run's name for squeue's lists; Slurm takes any, but others' programs read those lists."""
    return re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII)[:64]


def _path() -> str:
    """PATH, on which the job script finds the `retrain` that belongs to this Python."""
    ours, path = Path(sys.executable).parent, os.environ.get("PATH", "")
    return os.pathsep.join([str(ours), path]) if (ours / "retrain").is_file() else path


def _ask_squeue(jobs: Sequence[str]) -> str:
    # -r: one line a task. Asked by arrays: squeue refuses a single task that it does not know.
    numbers = ",".join(dict.fromkeys(job.split("_")[0] for job in jobs))
    done = _call(["squeue", "-h", "-r", "-t", "all", "-j", numbers, "-O", SQUEUE_FIELDS])
    if done.returncode and "Invalid job id" not in done.stderr:
        raise NoAnswer(f"squeue: {_said(done)}", "The jobs run on all the same; ask again later.")
    return done.stdout


def _ask_sacct(jobs: Sequence[str]) -> str:
    numbers = ",".join(jobs)
    done = _call(["sacct", "-X", "-P", "-n", "-j", numbers, "-o", SACCT_FIELDS], optional=True)
    if done.returncode and done.returncode != _MISSING and _NO_ACCOUNTING not in done.stderr:
        raise NoAnswer(f"sacct: {_said(done)}", "The jobs run on all the same; ask again later.")
    return done.stdout


_MISSING = 127


def _call(
    argv: list[str], environment: dict[str, str] | None = None, optional: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a program of Slurm.

    Args:
        argv: Its words.
        environment: All its variables; by default ours, without those that change what is shown.
        optional: Whether it may be missing; then its exit code is 127, as a shell's.
    Raises:
        UsageError: There is no such program.
        NoAnswer: It took too long.
    """
    ours = {key: text for key, text in os.environ.items() if not key.startswith(_FILTERS)}
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            env=environment or {**ours, **TIMES},
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{argv[0]}: Slurm has not answered for {_PATIENCE} s.") from None
    except OSError as error:
        if optional:
            return subprocess.CompletedProcess(argv, _MISSING, "", "")
        raise UsageError(
            f"{argv[0]}: cannot be run: {error.strerror}.",
            "Call it on a login node of the cluster; perhaps `module load slurm` comes first.",
        ) from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """A program's last word, on one line."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    lines = [line.removeprefix(f"{done.args[0]}: error: ") for line in lines]
    return shown(" ".join(lines[-2:])) or f"exit code {done.returncode}"
