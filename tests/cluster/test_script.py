# SPDX-License-Identifier: Apache-2.0
"""slurm/retrain.sh alone, under a real sbatch: what it finds, hands on, says and becomes.

The clone and its `retrain` are stand-ins here; test_slurm.py runs the real job.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from host import SYSTEM_PATH
from lab import Lab

pytestmark = pytest.mark.cluster
SCRIPT = Path(__file__).parents[2] / "slurm" / "retrain.sh"
RETRAIN = """#!/usr/bin/env bash
printf '%s\\0' "$@" >arguments
trap 'echo asked to stop; exit 75' USR2
echo "{name} begins, exports ${{SLURM_EXPORT_ENV-all}}"
for ((tenths = 0; tenths < {tenths}; tenths++)); do sleep 0.1; done
exit {code}
"""
HOSTILE = ["a b", "$(touch x)", "`touch x`", "'", 'say "hi"', "*", "two\nlines", "-x", "; touch x"]
numbers = itertools.count()


def put_retrain(path: Path, name: str = "retrain", tenths: int = 0, code: int = 0) -> None:
    """Write a stand-in that keeps its arguments, waits so long and ends with `code`."""
    path.parent.mkdir(parents=True)
    path.write_text(RETRAIN.format(name=name, tenths=tenths, code=code))
    path.chmod(0o755)


@pytest.fixture
def place(lab: Lab) -> Path:
    """A new folder that all hosts see."""
    folder = lab.shared / f"place-{next(numbers)}"
    folder.mkdir()
    return folder


@pytest.fixture
def clone(place: Path) -> Path:
    """A stand-in for a clone, its path not a friendly one, with no `retrain` yet."""
    folder = place / "our $(touch x) 'clone' slurm"
    (folder / "slurm").mkdir(parents=True)
    shutil.copy(SCRIPT, folder / "slurm")
    return folder


@pytest.fixture
def elsewhere(place: Path) -> Path:
    """A folder to submit from that is no part of the clone."""
    folder = place / "else where"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_by_hand_teaches_and_ends_with_0(word: str) -> None:
    done = subprocess.run(["bash", SCRIPT, word], capture_output=True, text=True)
    told = [part in done.stdout for part in ("sbatch ", "report.html", "scancel --signal=USR2")]
    assert (done.returncode, all(told), done.stderr) == (0, True, "")


def test_nothing_to_do_by_hand_teaches_and_ends_with_2() -> None:
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, "sbatch " in done.stderr) == (2, True)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 2)])
def test_help_under_sbatch_is_the_same(lab: Lab, place: Path, words: list[str], code: int) -> None:
    job = lab.finish(lab.submit([SCRIPT, *words], place))
    assert (job.exit_code, "scancel --signal=USR2" in job.output) == (code, True)


def test_hostile_names_stay_arguments(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain")
    job = lab.finish(lab.submit([clone / "slurm" / "retrain.sh", *HOSTILE], elsewhere))
    assert job.state == "COMPLETED", job.output
    kept = (elsewhere / "arguments").read_text().split("\0")
    assert (kept[:-1], list(elsewhere.glob("x"))) == (["run", *HOSTILE], [])


@pytest.mark.parametrize(
    "words", [["y"], ["WorkDir=/slurm/retrain.sh", "Command=/slurm/retrain.sh"]]
)
def test_project_is_found_from_the_spool_copy(
    lab: Lab, clone: Path, elsewhere: Path, words: list[str]
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", "the clone's own")
    job = lab.finish(lab.submit([clone / "slurm" / "retrain.sh", *words], elsewhere))
    assert "the clone's own begins" in job.output, job.output


def test_first_lines_say_what_runs_where(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain")
    job = lab.finish(lab.submit(["-N2", clone / "slurm" / "retrain.sh", "a b", "k=v"], elsewhere))
    first = job.output.splitlines()[:3]
    assert first[0].split() == ["Job", str(job.id), "on", "n[1-2]"]
    assert first[1].split(maxsplit=1) == ["Project", str(clone)]
    assert first[2].endswith("/.venv/bin/retrain run a\\ b k=v")


def test_project_of_a_script_from_standard_input_is_sought_upwards(lab: Lab, clone: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", "the clone's own")
    below = clone / "data" / "photos"
    below.mkdir(parents=True)
    sbatch = "sbatch --parsable /dev/stdin y <../../slurm/retrain.sh"
    job = lab.finish(int(lab.run("ctl", ["bash", "-c", sbatch], below).stdout))
    assert "the clone's own begins" in job.output, job.output


def test_retrain_home_goes_before_the_scripts_own_place(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", "the clone's own")
    other = elsewhere / "other"
    (other / "slurm").mkdir(parents=True)
    shutil.copy(SCRIPT, other / "slurm")
    put_retrain(other / ".venv" / "bin" / "retrain", "the other")
    script = clone / "slurm" / "retrain.sh"
    job = lab.finish(lab.submit([script, "y"], elsewhere, {"RETRAIN_HOME": str(other)}))
    assert "the other begins" in job.output, job.output


def test_project_not_found_is_told_in_three_lines(lab: Lab, elsewhere: Path) -> None:
    sbatch = ["bash", "-c", 'sbatch --parsable /dev/stdin y <"$0"', str(SCRIPT)]
    job = lab.finish(int(lab.run("ctl", sbatch, elsewhere).stdout))
    assert (job.exit_code, len(job.output.splitlines())) == (2, 3), job.output
    assert "RETRAIN_HOME" in job.output


def test_retrain_home_without_a_project_is_told(lab: Lab, clone: Path, elsewhere: Path) -> None:
    script = clone / "slurm" / "retrain.sh"
    job = lab.finish(lab.submit([script, "y"], elsewhere, {"RETRAIN_HOME": str(elsewhere)}))
    assert (job.exit_code, f"RETRAIN_HOME {elsewhere}: " in job.output) == (2, True), job.output


def test_project_without_an_environment_takes_retrain_from_path(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(elsewhere / "bin" / "retrain", "the one on PATH")
    path = {"PATH": f"{elsewhere}/bin:{SYSTEM_PATH}"}
    job = lab.finish(lab.submit([clone / "slurm" / "retrain.sh", "y"], elsewhere, path))
    assert "the one on PATH begins" in job.output, job.output


def test_no_retrain_anywhere_is_told_with_make_setup(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    job = lab.finish(lab.submit([clone / "slurm" / "retrain.sh", "y"], elsewhere))
    assert (job.exit_code, "make setup" in job.output) == (2, True), job.output


@pytest.mark.parametrize("export", ["NONE", "HOME"])
def test_limited_export_is_not_handed_on_to_mpiruns_own_srun(
    lab: Lab, clone: Path, elsewhere: Path, export: str
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain")
    script = clone / "slurm" / "retrain.sh"
    job = lab.finish(lab.submit([f"--export={export}", script, "y"], elsewhere))
    assert "retrain begins, exports all" in job.output, job.output


def test_exit_code_of_retrain_is_the_jobs(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", code=3)
    job = lab.finish(lab.submit([clone / "slurm" / "retrain.sh", "y"], elsewhere))
    assert (job.state, job.exit_code) == ("FAILED", 3)


def test_request_to_stop_reaches_retrain_itself(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=300)
    number = lab.submit([clone / "slurm" / "retrain.sh", "y"], elsewhere)
    lab.wait_for_text(number, "begins")
    lab.run("ctl", ["scancel", "--signal=USR2", "--batch", str(number)])
    job = lab.finish(number)
    assert (job.exit_code, "asked to stop" in job.output) == (75, True), job.output


def test_end_of_the_time_limit_is_announced_by_the_same_request(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600)
    # 120 s before the end is at once in a job of one minute: Slurm looks every 30 s.
    number = lab.submit(["--time=1", clone / "slurm" / "retrain.sh", "y"], elsewhere)
    assert lab.finish(number, timeout=50).exit_code == 75
