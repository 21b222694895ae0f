# SPDX-License-Identifier: Apache-2.0
"""Jobs of a user who is not root, on three hosts whose Slurm soon forgets and keeps accounts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from conftest import MakeLab
from host import wait_until
from lab import CTL, USER, USER_ID, Lab
from test_submit import ENV, HOSTILE, PYTHON, Done, LoginNode, fill

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
LOOK = """
import sys
from jobs.slurm import Slurm
for job, seen in Slurm().look(sys.argv[1:]).items():
    print(job, seen.word, seen.means, seen.code)
"""
REQUEUED = '[ -n "$SLURM_RESTART_COUNT" ] || { scontrol requeue $SLURM_JOB_ID; sleep 60; }'


@pytest.fixture(scope="module")
def accounted(make_lab: MakeLab) -> Iterator[Lab]:
    """Three hosts; a job that is over is known to the accounts alone after some seconds."""
    with make_lab(hosts=3, accounting=True, settings="MinJobAge=2") as lab:
        yield lab


@pytest.fixture(scope="module")
def node(accounted: Lab) -> LoginNode:
    """The user's command line, in a folder of the user's."""
    folder = accounted.shared / HOSTILE
    accounted.run(CTL, ["mkdir", folder], user=USER)
    fill(folder / "texts")
    return LoginNode(accounted, folder, USER)


def forgotten(lab: Lab, job: str) -> bool:
    """Whether squeue knows it no more."""
    shown = lab.run(CTL, ["squeue", "-h", "-t", "all", "-j", job], check=False)
    return not shown.stdout.strip()


def wait_until_forgotten(lab: Lab, *jobs: str) -> None:
    for job in jobs:
        wait_until(partial(forgotten, lab, job), 60, f"squeue to forget job {job}")


def test_run_over_three_hosts_is_the_users_and_equals_that_of_one_rank(node: LoginNode) -> None:
    done = node.retrain("submit", "texts", *node.texts, "--on", "slurm", "--nodes", "3", "--wait")
    assert done.returncode == 0, (done, *node.folder.glob("*.out"))
    three = node.folder / "runs" / "texts"
    results = json.loads((three / "results.json").read_text())
    assert (results["status"], results["world"]["hosts"]) == ("complete", ["n1", "n2", "n3"])
    assert {path.stat().st_uid for path in three.rglob("*")} == {USER_ID}
    alone = node.retrain("run", "texts", *node.texts, "--ranks", "1", "--out", "alone")
    assert alone.returncode == 0, alone
    for name in ("manifest.csv", "predictions.csv"):
        assert (three / name).read_bytes() == (node.folder / "alone" / name).read_bytes()


def test_jobs_that_squeue_has_forgotten_are_told_by_the_accounts(node: LoginNode) -> None:
    lab = node.lab

    def sbatch(script: str, *options: str) -> str:
        words = ["sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}"]
        return lab.run(CTL, words, node.folder, user=USER).stdout.strip()

    requeued = sbatch(REQUEUED, "--requeue")
    late = sbatch("sleep 60", "--time=1")
    done, wrong, held = sbatch("true"), sbatch("exit 3"), sbatch("true", "--hold")
    array = sbatch("exit $((SLURM_ARRAY_TASK_ID * 3))", "--array=0-1")
    lab.run(CTL, ["scancel", held], user=USER)
    wait_until(lambda: lab.job(late).state == "RUNNING", 60, "the long job to begin")
    lab.run(CTL, ["scontrol", "update", f"jobid={late}", "EndTime=now+2"])
    wait_until_forgotten(lab, done, wrong, held, array, late, requeued)
    words = [done, wrong, held, f"{array}_0", f"{array}_1", late, requeued]
    shown = lab.run(CTL, [PYTHON, "-c", LOOK, *words], node.folder, ENV, user=USER).stdout
    found = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert found == {
        done: "COMPLETED done 0",
        wrong: "FAILED failed 3",
        held: "CANCELLED cancelled 0",
        f"{array}_0": "COMPLETED done 0",
        f"{array}_1": "FAILED failed 3",
        late: "TIMEOUT stopped 0",
        requeued: "COMPLETED done 0",
    }


def told(node: LoginNode, job: str) -> Done:
    wait_until_forgotten(node.lab, job)
    return node.retrain("wait", job)


def test_forgotten_run_that_failed_is_told_with_its_code(node: LoginNode) -> None:
    job = node.submit("--out", "fails", "--sbatch=--begin=now+2")
    shutil.move(node.folder / "texts" / "pool", node.folder / "aside")
    try:
        node.retrain("wait", job)
        done = told(node, job)
    finally:
        shutil.move(node.folder / "aside", node.folder / "texts" / "pool")
    assert (done.returncode, node.state(job)) == (3, "failed"), done


def test_job_that_completed_for_the_accounts_without_a_result_is_failed(node: LoginNode) -> None:
    job = node.submit("--out", "nothing", "--sbatch=--hold")
    path = Path(node.folder, "runs", ".retrain-jobs", f"slurm-{job}.json")
    wrap = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=true"]
    other = node.lab.run(CTL, wrap, node.folder, user=USER).stdout.strip()
    tree = {**json.loads(path.read_text()), "job": other}
    path.with_name(f"slurm-{other}.json").write_text(json.dumps(tree))
    node.retrain("cancel", job)
    done = told(node, other)
    assert (done.returncode, "COMPLETED, but results.json" in done.stderr) == (1, True), done
