# SPDX-License-Identifier: Apache-2.0
"""The main job by `sbatch slurm/retrain.sh` over two hosts: its results, its stop, its failure."""

from __future__ import annotations

import csv
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from host import wait_until
from lab import CTL, Job, Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "retrain.sh"
OURS = {"PYTHONPATH": str(ROOT)}
"""Jobs run the code of this clone, whichever one their environment was made for."""
QUICK = ("backbone.name=mobilenet_v2", "backbone.layer=block_5_add")
SLOW = ("backbone.precision=float32", "evaluate.folds=0")
"""Settings with which 120 pictures a class take longer than the first line of progress, 5 s."""
EACH = 120
RANDOM = "backbone.weights=random"
HOSTILE = "our \"photos\" $(touch x) 'of' plots; touch x"


@dataclass(frozen=True)
class Run:
    """A run directory that a job or a command left."""

    job: Job
    out: Path

    @property
    def results(self) -> dict[str, Any]:
        """What `results.json` says; empty where there is none."""
        path = self.out / "results.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def probabilities(self) -> dict[tuple[str, str], list[float]]:
        """Every row's probabilities, by path and source."""
        with open(self.out / "predictions.csv", encoding="utf-8", newline="") as file:
            return {
                (row["path"], row["source"]): [
                    float(value) for key, value in row.items() if key.startswith("p:")
                ]
                for row in csv.DictReader(file)
            }


def draw(folder: Path, each: int) -> None:
    """Draw two classes of small JPEGs: noise, its upper or its left half bright."""
    random = np.random.default_rng(0)
    for name, bright in (("left", np.s_[:, :32]), ("upper", np.s_[:32])):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 156, (64, 64, 3), dtype=np.uint8)
            pixels[bright] += 100
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")


def submit(lab: Lab, images: Path, *words: str, **env: str) -> int:
    """`sbatch` the job on both hosts from the folder that holds the images."""
    given = {**OURS, **env}
    return lab.submit(["--nodes=2", SCRIPT, images.name, RANDOM, *words], images.parent, given)


@pytest.fixture(scope="module")
def photos(lab: Lab) -> Path:
    """Forty images in a folder whose name would do harm as code."""
    folder = lab.shared / "quick" / HOSTILE
    draw(folder, each=20)
    return folder


@pytest.fixture(scope="module")
def two_hosts(lab: Lab, photos: Path) -> Run:
    """The job on both hosts, with nothing in the cache."""
    options = ["run.cache=the cache", *QUICK, "name=a 'b' $(touch x)", "--out", "two hosts"]
    return Run(lab.finish(submit(lab, photos, *options)), photos.parent / "two hosts")


@pytest.fixture(scope="module")
def again(lab: Lab, photos: Path, two_hosts: Run) -> Run:
    """The same after the first, with the run directory that is the default."""
    job = lab.finish(submit(lab, photos, "run.cache=the cache", *QUICK))
    return Run(job, photos.parent / "runs" / photos.name)


@pytest.fixture(scope="module")
def one_rank(lab: Lab, photos: Path) -> Run:
    """The same by one rank on one host, without Slurm and with a cache of its own."""
    retrain = [str(ROOT / ".venv/bin/retrain"), "run", photos.name, RANDOM, *QUICK, "--ranks", "1"]
    own = ["run.cache=another cache", "--out", "one rank"]
    done = lab.run("n1", [*retrain, *own], photos.parent, OURS, timeout=120)
    return Run(Job(0, "", done.returncode, done.stderr), photos.parent / "one rank")


def test_job_on_two_hosts_completes_on_both(two_hosts: Run) -> None:
    assert (two_hosts.job.state, two_hosts.job.exit_code) == ("COMPLETED", 0), two_hosts.job.output
    world = two_hosts.results["world"]
    assert two_hosts.results["status"] == "complete"
    assert (world["size"], sorted(world["hosts"])) == (2, ["n1", "n2"])


def test_both_hosts_compute_bottlenecks(two_hosts: Run) -> None:
    images = {rank["host"]: rank["images"] for rank in two_hosts.results["world"]["ranks"]}
    assert (sum(images.values()), min(images.values()) > 0) == (40, True), images


def test_two_hosts_split_as_one_rank_does(two_hosts: Run, one_rank: Run) -> None:
    assert (two_hosts.out / "manifest.csv").read_bytes() == (
        one_rank.out / "manifest.csv"
    ).read_bytes()


def test_two_hosts_predict_as_one_rank_does(two_hosts: Run, one_rank: Run) -> None:
    here, there = one_rank.probabilities(), two_hosts.probabilities()
    assert here.keys() == there.keys()
    np.testing.assert_allclose(
        [there[key] for key in here], [here[key] for key in here], rtol=0, atol=1e-6
    )


def test_second_run_computes_no_bottleneck(again: Run) -> None:
    assert again.job.state == "COMPLETED", again.job.output
    counts = again.results["bottlenecks"]
    assert (counts["computed"], counts["reused"]) == (0, 40)


def test_hostile_names_are_used_and_never_run(two_hosts: Run, photos: Path) -> None:
    assert two_hosts.results["name"] == "a 'b' $(touch x)"
    config = (two_hosts.out / "config.yaml").read_text()
    assert "$(touch x)" in config
    assert list(photos.parent.rglob("x")) == []


def test_run_directory_is_below_the_folder_of_submission_by_default(again: Run) -> None:
    assert again.results["status"] == "complete", again.job.output


@pytest.fixture(scope="module")
def by_srun(lab: Lab, photos: Path) -> Run:
    """The job on both hosts as a site wants it whose ranks srun starts, with an empty cache."""
    site = photos.parent / "a site.yaml"
    site.write_text("launcher: srun\nmpi: pmix\ncache: $STORE/of srun\n")
    site.with_suffix(".sh").write_text(f"export STORE={shlex.quote(str(photos.parent))}\n")
    words = ["--site", site.name, photos.name, RANDOM, *QUICK, "--out=srun"]
    number = lab.submit(["--nodes=2", SCRIPT, *words], photos.parent, OURS)
    return Run(lab.finish(number), photos.parent / "srun")


def test_srun_over_two_hosts_predicts_as_mpirun_does(by_srun: Run, two_hosts: Run) -> None:
    assert (by_srun.job.state, by_srun.job.exit_code) == ("COMPLETED", 0), by_srun.job.output
    assert sorted(by_srun.results["world"]["hosts"]) == ["n1", "n2"]
    assert by_srun.results["bottlenecks"]["computed"] == 40
    predictions = [(run.out / "predictions.csv").read_bytes() for run in (by_srun, two_hosts)]
    assert predictions[0] == predictions[1]


def test_cache_of_the_site_is_used(by_srun: Run, photos: Path) -> None:
    assert (photos.parent / "of srun").is_dir(), by_srun.job.output


def test_worlds_of_one_are_an_error_at_start(lab: Lab, photos: Path) -> None:
    wrong = {"RETRAIN_LAUNCHER": "srun", "RETRAIN_MPI": "pmi2"}
    job = lab.finish(submit(lab, photos, *QUICK, "--out", "pmi2", **wrong))
    assert job.exit_code == 2, job.output
    assert "2 ranks were started, and each sees a world of 1." in job.output
    assert not (photos.parent / "pmi2" / "results.json").exists()


def test_gpus_by_task_are_refused(lab: Lab, photos: Path) -> None:
    by_task = {"SLURM_GPUS_PER_TASK": "1"}
    job = lab.finish(submit(lab, photos, *QUICK, "--out", "gpus", **by_task))
    assert (job.exit_code, "--gpus-per-node=N" in job.output) == (2, True), job.output


def test_tasks_of_an_array_have_directories_of_their_own(lab: Lab) -> None:
    place = lab.shared / "array"
    random = np.random.default_rng(0)
    for label in "ab":
        (place / "texts" / label).mkdir(parents=True)
        for number in range(30):
            text = ",".join(map(str, random.normal(label == "b", 1, 8).round(3)))
            (place / "texts" / label / f"{number}.jpg.txt").write_text(text)
    (place / "ours.yaml").write_text("data: {bottlenecks: texts}\nevaluate: {folds: 0}\n")
    number = lab.submit(["--array=2,7", SCRIPT, "ours.yaml", "run.seed=%a"], place, OURS)
    outputs = [lab.finish(f"{number}_{task}").output for task in (2, 7)]
    for task in (2, 7):
        results = json.loads((place / "runs" / f"ours-{task}" / "results.json").read_text())
        assert results["status"] == "complete", outputs
        assert f"seed: {task}\n" in (place / "runs" / f"ours-{task}" / "config.yaml").read_text()


def test_doctor_in_a_job_tells_of_all_its_hosts(lab: Lab, photos: Path) -> None:
    site = photos.parent / "doctor.yaml"
    site.write_text("launcher: srun\n")
    command = [ROOT / ".venv/bin/python", "-m", "trainer", "doctor", "--site", site]
    wrap = f"--wrap={shlex.join(map(str, command))}"
    number = lab.submit(["--nodes=2", wrap], photos.parent, OURS)
    job = lab.finish(number)
    said = ["agree on 2 ranks on n1, n2", "Devices      n1: cpu, n2: cpu", "s apart (n1, "]
    said += ["Import ", "one file, one creator"]
    assert ([part for part in said if part not in job.output], job.exit_code) == ([], 0), job.output


@pytest.fixture(scope="module")
def plenty(lab: Lab) -> Path:
    """Enough images to be interrupted among them."""
    folder = lab.shared / "slow" / "plenty"
    draw(folder, EACH)
    return folder


def begun(lab: Lab, plenty: Path, out: str) -> int:
    """A job that computes bottlenecks, none of which it found."""
    number = submit(lab, plenty, *SLOW, "--out", out, f"run.cache={out} cache")
    lab.wait_for_text(number, f" of {2 * EACH}, ")
    return number


def test_job_whose_time_is_up_is_requeued_and_completes_with_what_it_kept(
    lab: Lab, plenty: Path
) -> None:
    number = begun(lab, plenty, "paused")
    lab.run(CTL, ["scancel", "--signal=USR2", "--batch", str(number)])
    run = Run(lab.finish(number), plenty.parent / "paused")
    assert (run.job.state, run.job.restarts) == ("COMPLETED", 1), run.job.output
    assert run.results["status"] == "complete"
    counts = run.results["bottlenecks"]
    assert counts["computed"] + counts["reused"] == 2 * EACH
    assert min(counts["computed"], counts["reused"]) > 0


def processes(lab: Lab) -> str:
    """Those of a run, on both hosts."""
    pattern = ["pgrep", "-af", "retrain run|-m trainer|prte"]
    return "".join(lab.run(host, pattern, check=False).stdout for host in ("n1", "n2"))


def test_cancelled_job_has_stopped_within_10_s_and_leaves_no_process(
    lab: Lab, plenty: Path
) -> None:
    number = begun(lab, plenty, "cancelled")
    began = time.monotonic()
    lab.run(CTL, ["scancel", str(number)])
    run = Run(lab.finish(number, timeout=60), plenty.parent / "cancelled")
    took = time.monotonic() - began
    assert (run.job.state, run.results["status"]) == ("CANCELLED", "stopped"), run.job.output
    assert took < 20, run.job.output  # 10 s where nothing else runs
    wait_until(lambda: not processes(lab), 5, "all processes to end", lambda: processes(lab))


def test_job_whose_other_host_lost_power_fails_and_is_not_complete(
    make_lab: Callable[[], Lab],
) -> None:
    with make_lab() as lab:
        images = lab.shared / "plenty"
        draw(images, EACH)
        number = submit(lab, images, *SLOW, "--out", "dead")
        lab.wait_for_text(number, f" of {2 * EACH}, ")
        lab.power_off("n2")
        run = Run(lab.finish(number, timeout=120), lab.shared / "dead")
        assert run.job.state == "FAILED", run.job.output
        assert run.job.exit_code == 1, run.job.output
        assert run.results.get("status") != "complete"
