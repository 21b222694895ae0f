# SPDX-License-Identifier: Apache-2.0
"""Two hosts of a real Slurm: a rank or slurmd killed, power or cable lost, a requeue; and again."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import judge
import moments
import processes
from bad import Bad, Impossible, require
from cases import Case
from child import ROOT
from trial import END_SECONDS, Trial

sys.path.append(str(ROOT / "tests" / "cluster"))

from host import LabError, missing
from lab import BUSY, CTL, Lab

SCRIPT = ROOT / "slurm" / "retrain.sh"
LOOK_SECONDS = 0.5
STALL_SECONDS = 20
HOST_LOST_SECONDS = 120.0
REQUEUE = "requeue"
FAULTS = ("rank", "ranks", "power off n2", "power off n1", "cable of n2", "slurmd of n2", REQUEUE)


_LEFT = {"power off n1": "n2"} | dict.fromkeys(
    ("power off n2", "cable of n2", "slurmd of n2"), "n1"
)
"""The host that goes on alone, where one is lost."""


class Batch:
    """A job of the lab, to be watched as a start on this machine is."""

    def __init__(self, lab: Lab, folder: Path, words: list[str | Path]) -> None:
        """Submit it."""
        self.folder = folder
        self.lab = lab
        variables = {
            processes.MARK: str(folder),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(ROOT),  # this tree, wherever the installed command comes from
        }
        self.number = lab.submit(words, folder, variables)
        self.begun = time.monotonic()
        self._next_look = 0.0
        self._state = BUSY[0]

    def told(self) -> str:
        """Its output so far."""
        found = sorted(self.folder.glob(f"*-{self.number}.out"))
        return found[0].read_text(errors="replace") if found else ""

    def ended(self) -> bool:
        """Whether Slurm calls it over; asked twice a second."""
        if time.monotonic() >= self._next_look:
            self._state = self.lab.job(self.number).state
            self._next_look = time.monotonic() + LOOK_SECONDS
        return self._state not in BUSY


def two_hosts(trial: Trial) -> None:
    """One fault on two hosts; then the same run on what is left of them."""
    lack = missing()
    if lack:
        raise Impossible(lack)
    case = trial.choose(slow=2, images=1)
    fault = FAULTS[trial.seed % len(FAULTS)]
    seen = [ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    try:
        with Lab(hosts=2, shared=[*seen, trial.cases.folder, trial.folder]) as lab:
            _disturb(trial, lab, case, fault)
            _finish(trial, lab, case, fault)
    except LabError as error:
        raise Bad(str(error)[-600:]) from None


def _words(trial: Trial, case: Case, *sbatch: str) -> list[str | Path]:
    run = (*case.words, f"run.stall_timeout={STALL_SECONDS}", f"run.cache={trial.cache}")
    return [*sbatch, SCRIPT, case.source, *run, "--out", trial.run]


def _disturb(trial: Trial, lab: Lab, case: Case, fault: str) -> None:
    """Strike at some moment; the job ends, and only a complete run lets it end well."""
    moment = moments.draw(trial.random, case, 2)
    again = "--requeue" if fault == REQUEUE else "--no-requeue"
    batch = Batch(lab, trial.folder, _words(trial, case, "--nodes=2", again))
    if moment.wait(batch, END_SECONDS):
        trial.note(f"{fault} {moment.name}")
        _strike(trial, lab, batch, fault)
        trial.struck += 1
    else:
        trial.note(f"over before {moment.name}")
    job = lab.finish(batch.number, HOST_LOST_SECONDS * trial.patience)
    trial.note(f"{job.state} {job.exit_code}")
    status = judge.read(trial.run / "results.json").get("status")
    well = job.state == "COMPLETED"
    require(not well or status == "complete", f"COMPLETED, but results.json says {status}")
    left = processes.wait_until_gone(trial.folder, 3 * STALL_SECONDS * trial.patience)
    require(not left, f"processes left after the job: {processes.describe(left)}")


def _strike(trial: Trial, lab: Lab, batch: Batch, fault: str) -> None:
    found = processes.ranks(processes.find(trial.folder))
    if fault == "rank":
        processes.send(trial.random.sample(found, min(1, len(found))), signal.SIGKILL)
    elif fault == "ranks":
        processes.send(found, signal.SIGKILL)
    elif fault.startswith("power off"):
        lab.power_off(fault[-2:])
    elif fault == "slurmd of n2":
        lab.run("n2", ["pkill", "-KILL", "-x", "slurmd"])
    elif fault == REQUEUE:
        lab.run(CTL, ["scontrol", "requeue", str(batch.number)])
    else:
        lab.cut_cable("n2")


def _finish(trial: Trial, lab: Lab, case: Case, fault: str) -> None:
    """Go on, on the host that is left or on both; no commit is lost."""
    had = judge.committed(trial.cache, case)
    done = judge.read(trial.run / "results.json").get("status") == "complete"
    left = _LEFT.get(fault)
    where = ["--nodes=1", f"--nodelist={left}"] if left else ["--nodes=2"]
    batch = Batch(lab, trial.folder, _words(trial, case, *where, "--no-requeue"))
    job = lab.finish(batch.number, END_SECONDS * trial.patience)
    require(job.state == "COMPLETED", f"the rerun is {job.state}: {job.output[-400:]}")
    trial.check(case)
    if not done:
        trial.count(case, len(had))
