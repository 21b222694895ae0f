# SPDX-License-Identifier: Apache-2.0
"""`retrain submit`, `status`, `logs`, `wait`, `cancel` on a real Slurm, without accounting."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from host import SYSTEM_PATH, wait_until
from lab import CTL, Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"
ENV = {"PYTHONPATH": str(ROOT)}
HOSTILE = "our 'texts' $(touch x); touch x \"50%j\""
QUICK = ("head.l2=0.01", "evaluate.folds=0")
PAUSED = """#!/usr/bin/env bash
[[ $1 != site ]] || exit 0
leave() {
  echo "{\\"status\\": \\"$1\\"}" >runs/texts/new && mv runs/texts/new runs/texts/results.json
}
trap 'leave stopped; echo yes >"$RETRAIN_PROGRESS"; kill %1; exit 75' USR2
if [[ -e runs/texts/results.json ]]; then leave complete; exit; fi
sleep 61.5 &
touch runs/texts/begun
wait
"""
"""A stand-in that stops when it is asked to, and is done when it is started again."""
Done = subprocess.CompletedProcess[str]


def fill(folder: Path, each: int = 20) -> None:
    """A folder a class with bottleneck texts that can be told apart."""
    random = np.random.default_rng(0)
    for at, name in enumerate(("house", "pool")):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            values = ",".join(f"{x:.4f}" for x in random.normal(at, 1, 8))
            (folder / name / f"{number}.jpg_inception_v3.txt").write_text(values)


class LoginNode:
    """The command on `ctl`, in a folder whose name would do harm as code."""

    def __init__(self, lab: Lab, folder: Path, user: str = "root") -> None:
        self.lab, self.folder, self.user = lab, folder, user

    def retrain(self, *words: str, **env: str) -> Done:
        command = [str(PYTHON), "-m", "trainer", *words]
        given = {**ENV, **env}
        return self.lab.run(CTL, command, self.folder, given, 200, False, self.user)

    def submit(self, *words: str, **env: str) -> str:
        done = self.retrain("submit", "texts", *self.texts, "--on", "slurm", *words, **env)
        assert done.returncode == 0, done
        return done.stdout.split()[1]

    @property
    def texts(self) -> tuple[str, ...]:
        return (f"data.bottlenecks={self.folder / 'texts'}", *QUICK)

    def is_idle(self, host: str) -> bool:
        """Whether no process of a stand-in is left on a host."""
        return self.lab.run(host, ["pgrep", "-f", "sleep 61.5"], check=False).returncode == 1

    def state(self, job: str) -> str:
        shown = self.retrain("status", job).stdout.splitlines()
        return next(line for line in shown if line.startswith(f"{job} ")).split()[2]


@pytest.fixture
def node(lab: Lab, tmp_path: Path) -> LoginNode:
    folder = lab.shared / tmp_path.name / HOSTILE
    fill(folder / "texts")
    return LoginNode(lab, folder)


@pytest.fixture
def stand_in(node: LoginNode) -> dict[str, str]:
    """The environment in which the job script runs another `retrain`: it waits a minute."""
    home = node.folder / "home"
    (home / "slurm").mkdir(parents=True)
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / "slurm" / "retrain.sh").touch()
    program = home / ".venv" / "bin" / "retrain"
    program.write_text(
        "#!/usr/bin/env bash\n[[ $1 != site ]] || exit 0\n"
        "trap 'kill %1; echo kept; exit 75' TERM\necho begins\n"
        "sleep 61.5 &\nwait\n"
    )
    program.chmod(0o755)
    return {"RETRAIN_HOME": str(home)}


def test_submit_wait_over_two_hosts_ends_with_a_whole_result(node: LoginNode) -> None:
    out = "runs/it's; touch x"
    options = ["--nodes", "2", "--out", out, "--wait"]
    done = node.retrain("submit", "texts", *node.texts, "--on", "slurm", *options)
    job = done.stdout.split()[1]
    log = (node.folder / f"retrain-{job}.out").read_text()
    assert done.returncode == 0, (done, log)
    results = json.loads((node.folder / out / "results.json").read_text())
    assert results["status"] == "complete"
    assert (results["world"]["size"], sorted(results["world"]["hosts"])) == (2, ["n1", "n2"])
    assert node.state(job) == "done"
    assert list(node.folder.rglob("x")) == []
    assert node.retrain("wait", job).returncode == 0
    assert node.retrain("logs", job).stdout == log


def test_run_that_fails_ends_waiting_with_its_code(node: LoginNode) -> None:
    # Half of its data is gone when it starts: check has seen them.
    job = node.submit("--sbatch=--begin=now+2")
    assert node.state(job) == "queued"
    shutil.rmtree(node.folder / "texts" / "pool")
    done = node.retrain("wait", job)
    assert (done.returncode, "failed: " in done.stderr) == (3, True), done


def test_states_from_the_queue_to_the_end_and_logs_live(
    node: LoginNode, stand_in: dict[str, str]
) -> None:
    job = node.submit("--sbatch=--hold", **stand_in)
    assert node.state(job) == "queued"
    assert "held: scontrol release" in node.retrain("status").stdout
    command = node.lab._hosts[CTL].enter(
        [str(PYTHON), "-m", "trainer", "logs", "-f", job], node.folder
    )
    env = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", **ENV}
    live = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert live.stdout is not None
    try:
        time.sleep(1)
        node.lab.run(CTL, ["scontrol", "release", job])
        lines = iter(live.stdout.readline, "")
        assert any("begins" in line for line in lines)
        assert node.state(job) == "running"
        assert node.retrain("cancel", job).returncode == 0
        assert "kept" in live.communicate(timeout=60)[0]
    finally:
        live.kill()
    assert live.returncode == 0
    assert node.retrain("wait", job).returncode in (1, 75)
    assert node.state(job) == "cancelled"
    for host in ("n1", "n2"):
        wait_until(lambda on=host: node.is_idle(on), 10, f"{host} to be rid of it")  # type: ignore[misc]


def test_paused_job_goes_on_by_itself_and_is_waited_for(
    node: LoginNode, stand_in: dict[str, str]
) -> None:
    run = node.folder / "runs" / "texts"
    program = Path(stand_in["RETRAIN_HOME"]) / ".venv" / "bin" / "retrain"
    program.write_text(PAUSED)
    run.mkdir(parents=True)
    job = node.submit(**stand_in)
    wait_until(lambda: (run / "begun").exists(), 30, "the run to begin")
    node.lab.run(CTL, ["scancel", "--signal=USR2", "--batch", job])
    wait_until(lambda: (run / "results.json").exists(), 30, "the run to stop")
    wait_until(lambda: node.state(job) == "stopped", 30, "the job to be queued again")
    assert "goes on by itself" in node.retrain("status", job).stdout
    done = node.retrain("wait", job)
    assert (done.returncode, node.state(job)) == (0, "done"), done


def test_completed_without_a_whole_result_is_failed(
    node: LoginNode, stand_in: dict[str, str]
) -> None:
    program = Path(stand_in["RETRAIN_HOME"]) / ".venv" / "bin" / "retrain"
    program.write_text("#!/bin/sh\nexit 0\n")
    job = node.submit(**stand_in)
    done = node.retrain("wait", job)
    assert (done.returncode, "COMPLETED, but results.json" in done.stderr) == (1, True), done
    assert node.state(job) == "failed"


def test_job_that_slurm_has_forgotten_is_judged_by_what_it_left(node: LoginNode) -> None:
    job = node.submit("--sbatch=--hold")
    node.retrain("cancel", job)
    path = node.folder / "runs" / ".retrain-jobs" / f"slurm-{job}.json"
    tree = json.loads(path.read_text())
    gone = path.with_name("slurm-99999.json")
    gone.write_text(json.dumps({**tree, "job": "99999"}))
    assert (node.state("99999"), node.state(job)) == ("unknown", "cancelled")
    run = node.folder / "runs" / "texts"
    run.mkdir(parents=True)
    (run / "results.json").write_text('{"status": "complete"}')
    assert node.state("99999") == "done"


def test_tasks_of_an_array_are_told_apart_in_one_call(node: LoginNode) -> None:
    program = node.folder / "task.sh"
    program.write_text("#!/bin/sh\nexit $((SLURM_ARRAY_TASK_ID * 3))\n")
    number = node.lab.submit(["--array=0-2%2", "--output=/dev/null", program], node.folder)
    for task in range(2):
        node.lab.finish(f"{number}_{task}")
    words = [str(number), *(f"{number}_{task}" for task in range(2)), "99999"]
    look = "import sys; from jobs.slurm import Slurm\n"
    look += "for job, seen in Slurm().look(sys.argv[1:]).items(): print(job, seen.means, seen.code)"
    shown = node.lab.run(CTL, [PYTHON, "-c", look, *words], node.folder, ENV).stdout.splitlines()
    assert shown[1:] == [f"{number}_0 done 0", f"{number}_1 failed 3"]
    assert shown[0].split()[0] == str(number)


def test_request_that_slurm_refuses_is_told(node: LoginNode) -> None:
    done = node.retrain("submit", "texts", *node.texts, "--on", "slurm", "--sbatch=-pnowhere")
    assert (done.returncode, "nvalid partition" in done.stderr) == (2, True), done
    assert "No jobs" in node.retrain("status").stdout
