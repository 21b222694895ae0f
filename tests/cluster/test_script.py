# SPDX-License-Identifier: Apache-2.0
"""slurm/retrain.sh alone, under a real sbatch: what it finds, hands on, says and answers.

The clone and its `retrain` are stand-ins here; test_slurm.py runs the real job.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from host import SYSTEM_PATH, wait_until
from lab import Job, Lab
from limited_memory import limited

pytestmark = pytest.mark.cluster
SCRIPT = Path(__file__).parents[2] / "slurm" / "retrain.sh"
RETRAIN = """#!/usr/bin/env bash
printf '%s\\0' "$@" >arguments
stop() {{
  echo "asked to stop by $1"
  sleep {commit}
  echo '{further}' >"$RETRAIN_PROGRESS"
  echo kept
  exit 75
}}
trap 'stop USR2' USR2
trap 'stop TERM' TERM
echo "{name} begins, exports ${{SLURM_EXPORT_ENV-all}}"
for ((tenths = 0; tenths < {tenths}; tenths++)); do
  ((${{SLURM_RESTART_COUNT:-0}} < {starts})) || break
  sleep 0.1
done
exit {code}
"""
HOSTILE = ["a b", "$(touch x)", "`touch x`", "'", 'say "hi"', "*", "two\nlines", "-x", "; touch x"]
numbers = itertools.count()


def put_retrain(
    path: Path,
    name: str = "retrain",
    tenths: int = 0,
    code: int = 0,
    further: str = "yes",
    commit: float = 0,
    starts: int = 1,
) -> None:
    """Write a stand-in that keeps its arguments, waits so long and ends with `code`.

    Args:
        path: The program.
        name: What it calls itself.
        tenths: Of a second that it waits.
        code: What it ends with, unless it is asked to stop.
        further: What it then says of its progress.
        commit: Seconds that it then takes.
        starts: How many times it waits; when it is started again after that, it is done at once.
    """
    path.parent.mkdir(parents=True)
    values = {"name": name, "tenths": tenths, "code": code, "starts": starts}
    path.write_text(RETRAIN.format(**values, further=further, commit=commit))
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
    told = [part in done.stdout for part in ("sbatch ", "report.html", "scancel JOB")]
    assert (done.returncode, all(told), done.stderr) == (0, True, "")


def test_nothing_to_do_by_hand_teaches_and_ends_with_2() -> None:
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, "sbatch " in done.stderr) == (2, True)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 2)])
def test_help_under_sbatch_is_the_same(lab: Lab, place: Path, words: list[str], code: int) -> None:
    job = lab.finish(lab.submit([SCRIPT, *words], place))
    assert (job.exit_code, "scancel JOB" in job.output) == (code, True)


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
    first = job.output.splitlines()[:4]
    assert first[0].split() == ["Job", str(job.id), "on", "n[1-2]"]
    assert first[1].split() == ["Start", "1"]
    assert first[2].split(maxsplit=1) == ["Project", str(clone)]
    assert first[3].endswith("/.venv/bin/retrain run a\\ b k=v")


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


def begin(lab: Lab, clone: Path, elsewhere: Path, *options: str, **env: str) -> int:
    """Submit the script, and wait until its stand-in runs."""
    number = lab.submit([*options, clone / "slurm" / "retrain.sh", "a b"], elsewhere, env)
    lab.wait_for_text(number, "begins")
    return number


def send(lab: Lab, number: int | str, name: str) -> None:
    """Send a signal to the job script alone; USR2 is what Slurm sends before the time limit."""
    lab.run("ctl", ["scancel", f"--signal={name}", "--batch", str(number)])


def stays(lab: Lab, job: Job) -> bool:
    """Whether a job that has ended is not queued again: Slurm does so at once, or never."""
    time.sleep(0.5)
    later = lab.job(job.id)
    return (later.state, later.restarts) == (job.state, 0)


def test_end_of_the_time_limit_is_announced_and_the_job_goes_on_after_it(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=1200)
    # 120 s before the end is at once in a job of one minute, but Slurm looks every 30 s only, and
    # on a busy machine late.
    number = begin(lab, clone, elsewhere, "--time=1")
    job = lab.finish(number, timeout=150)
    assert (job.state, job.exit_code, job.restarts) == ("COMPLETED", 0, 1), job.output
    said = [
        "Start    1\n",
        "asked to stop by USR2",
        "start 2 of at most 21",
        "Start    2 after a req",
    ]
    places = [job.output.find(part) for part in said]
    assert -1 < places[0] < places[1] < places[2] < places[3], job.output


def test_job_is_requeued_at_most_so_often_and_then_ends_with_75(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600, starts=9)
    number = begin(lab, clone, elsewhere, RETRAIN_REQUEUES="1")
    send(lab, number, "USR2")
    lab.wait_for_text(number, "Start    2")
    wait_until(lambda: lab.job(number).output.count("begins") == 2, 30, "the second start")
    send(lab, number, "USR2")
    job = lab.finish(number)
    assert (job.state, job.exit_code, job.restarts) == ("FAILED", 75, 1), job.output
    assert "not queued again: RETRAIN_REQUEUES=1 allows no more" in job.output


@pytest.mark.parametrize(
    ("further", "why"), [("no", "brought it no further"), ("", "further is not known")]
)
def test_job_without_progress_is_not_requeued(
    lab: Lab, clone: Path, elsewhere: Path, further: str, why: str
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600, further=further)
    number = begin(lab, clone, elsewhere)
    send(lab, number, "USR2")
    job = lab.finish(number)
    assert (job.state, job.exit_code, stays(lab, job)) == ("FAILED", 75, True), job.output
    last = job.output.splitlines()[-2:]
    assert why in last[0]
    assert last[1] == f"Go on    by the same sbatch command again, from {elsewhere}"


def test_cancelled_job_keeps_its_work_and_stays_cancelled(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600, commit=1)
    number = begin(lab, clone, elsewhere)
    lab.run("ctl", ["scancel", str(number)])
    job = lab.finish(number)
    assert (job.state, stays(lab, job)) == ("CANCELLED", True), job.output
    said = ["asked to stop by TERM", "kept\n", "not queued again: it was asked to end (TERM)"]
    assert [part for part in said if part not in job.output] == [], job.output


@pytest.mark.parametrize(("first", "second"), [("USR2", "TERM"), ("TERM", "USR2")])
def test_request_to_end_counts_whatever_else_comes(
    lab: Lab, clone: Path, elsewhere: Path, first: str, second: str
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600, commit=1.5)
    number = begin(lab, clone, elsewhere)
    send(lab, number, first)
    lab.wait_for_text(number, "asked to stop")
    send(lab, number, second)
    job = lab.finish(number)
    assert (job.state, job.exit_code, stays(lab, job)) == ("FAILED", 75, True), job.output
    assert "kept\nStopped  not queued again: it was asked to end (TERM)" in job.output


def test_job_that_is_cancelled_while_it_is_paused_is_not_requeued(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600, commit=1.5)
    number = begin(lab, clone, elsewhere)
    send(lab, number, "USR2")
    lab.wait_for_text(number, "asked to stop")
    lab.run("ctl", ["scancel", str(number)])
    job = lab.finish(number)
    assert (job.state, stays(lab, job)) == ("CANCELLED", True), job.output


def test_requeue_that_slurm_refuses_is_told(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600)
    number = begin(lab, clone, elsewhere, "--no-requeue")
    send(lab, number, "USR2")
    job = lab.finish(number)
    assert (job.state, job.exit_code) == ("FAILED", 75), job.output
    assert f"not queued again: scontrol requeue {number} did not succeed" in job.output


def test_task_of_an_array_requeues_itself_alone(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=60)
    number = lab.submit(["--array=0-1", clone / "slurm" / "retrain.sh", "y"], elsewhere)
    first, last = f"{number}_0", f"{number}_1"  # Slurm gives the last task the array's own number
    for task in (first, last):
        lab.wait_for_text(task, "begins")
    send(lab, last, "USR2")
    ended = [lab.finish(task) for task in (first, last)]
    assert [(job.state, job.restarts) for job in ended] == [("COMPLETED", 0), ("COMPLETED", 1)]


def by_hand(clone: Path, elsewhere: Path) -> subprocess.Popen[str]:
    """Start the script without Slurm, with the terminal's Ctrl-C in force, once it has begun."""
    begun = subprocess.Popen(
        ["bash", clone / "slurm" / "retrain.sh", "y"],
        cwd=elsewhere,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": SYSTEM_PATH, "TMPDIR": str(elsewhere)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert begun.stdout is not None
    while "begins" not in (line := begun.stdout.readline()):
        assert line, "it ended"
    return begun


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR2"])
def test_stop_by_hand_ends_with_75_and_leaves_nothing(
    clone: Path, elsewhere: Path, name: str
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", tenths=600)
    begun = by_hand(clone, elsewhere)
    os.kill(begun.pid, signal.Signals[name])
    said, _ = begun.communicate(timeout=30)
    assert (begun.returncode, "kept" in said) == (75, True), said
    assert f"Go on    by the same command again, from {elsewhere}\n" in said
    assert os.listdir(elsewhere) == ["arguments"]


def test_run_that_a_request_meets_before_it_listens_has_stopped(
    clone: Path, elsewhere: Path
) -> None:
    retrain = clone / ".venv" / "bin" / "retrain"
    put_retrain(retrain)
    retrain.write_text("#!/usr/bin/env bash\necho begins\nexec sleep 60\n")
    begun = by_hand(clone, elsewhere)
    os.kill(begun.pid, signal.SIGUSR2)
    said, _ = begun.communicate(timeout=30)
    assert (begun.returncode, "Stopped  not queued again" in said) == (75, True), said


def test_run_that_was_killed_for_want_of_memory_is_told_as_such(
    clone: Path, elsewhere: Path
) -> None:
    retrain = clone / ".venv" / "bin" / "retrain"
    put_retrain(retrain)
    retrain.write_text("#!/usr/bin/env bash\nexec tail /dev/zero\n")  # a line without an end
    script = clone / "slurm" / "retrain.sh"
    with limited(50) as group:
        enter = f'echo $$ >{group}/cgroup.procs && exec bash "$0" y'
        begun = subprocess.run(
            ["bash", "-c", enter, script],
            cwd=elsewhere,
            env={"PATH": SYSTEM_PATH},
            capture_output=True,
            text=True,
        )
    assert (begun.returncode, "Killed   the kernel ended" in begun.stdout) == (137, True), begun


def test_run_that_was_killed_otherwise_is_not_told_so(clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", code=137)
    done = subprocess.run(
        ["bash", clone / "slurm" / "retrain.sh", "y"],
        cwd=elsewhere,
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Killed" in done.stdout) == (137, False), done


def test_number_of_requeues_that_is_none_is_told(clone: Path) -> None:
    done = subprocess.run(
        ["bash", clone / "slurm" / "retrain.sh", "y"],
        env={"PATH": SYSTEM_PATH, "RETRAIN_REQUEUES": "many"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "RETRAIN_REQUEUES=many" in done.stderr) == (2, True)


# Arrays and sites


def test_task_stands_for_a_percent_a_in_values_and_in_the_configurations_name(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain")
    words = ["conf-%a.yaml", "run.seed=%a", "name=a%ab", "--out", "x%a"]
    number = lab.submit(["--array=7", clone / "slurm" / "retrain.sh", *words], elsewhere)
    job = lab.finish(f"{number}_7")
    kept = (elsewhere / "arguments").read_text().split("\0")[:-1]
    assert kept == ["run", "conf-7.yaml", "run.seed=7", "name=a%ab", "--out", "x%a"], job.output


SITED = """#!/usr/bin/env bash
if [[ $1 == site ]]; then
  PYTHONPATH={root} exec {python} -m trainer "$@"
fi
echo "launcher $RETRAIN_LAUNCHER, mpi ${{RETRAIN_MPI-none}}, cache ${{RETRAIN_CACHE-none}}, $WHERE"
echo "from $0, cores ${{SRUN_CPUS_PER_TASK-none}}"
"""


def put_sited(path: Path) -> None:
    """Write a stand-in that tells what the site made of its environment."""
    root = SCRIPT.parents[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SITED.format(root=root, python=root / ".venv" / "bin" / "python"))
    path.chmod(0o755)


def put_site(folder: Path, name: str, keys: str, shell: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(keys)
    if shell:
        (folder / f"{name}.sh").write_text(shell)


MY_SITE = "launcher: srun\ncache: $STORE/cache\npartition: main\nsbatch: [--comment=ours]\n"
MY_SHELL = "export WHERE=$nowhere'set by the site' STORE=/the/store\nfalse || true\n"


@pytest.mark.parametrize("by", ["option", "variable", "cluster"])
def test_site_is_chosen_and_its_shell_sets_variables(
    lab: Lab, clone: Path, elsewhere: Path, by: str
) -> None:
    put_sited(clone / ".venv" / "bin" / "retrain")
    name = "lab" if by == "cluster" else "ours"
    put_site(clone / "configs" / "sites", name, MY_SITE, MY_SHELL)
    words = ["--site", "ours"] if by == "option" else []
    env = {"RETRAIN_SITE": "ours"} if by == "variable" else {}
    number = lab.submit(["-c1", clone / "slurm" / "retrain.sh", *words, "y"], elsewhere, env)
    job = lab.finish(number)
    said = "launcher srun, mpi pmix, cache /the/store/cache, set by the site\n"
    assert (job.state, said in job.output) == ("COMPLETED", True), job.output
    assert f"Site     {clone}/configs/sites/{name}.yaml (srun)\n" in job.output
    assert "cores 1\n" in job.output


def test_site_file_of_ones_own_gives_options_to_sbatch(lab: Lab, clone: Path, place: Path) -> None:
    put_sited(clone / ".venv" / "bin" / "retrain")
    put_site(place / "my sites", "own", MY_SITE, MY_SHELL)
    own = str(place / "my sites" / "own.yaml")
    asked = lab.run("ctl", [clone / ".venv" / "bin" / "retrain", "site", own, "--options"])
    options = asked.stdout.split()
    assert options == ["--partition=main", "--comment=ours"]
    number = lab.submit([*options, clone / "slurm" / "retrain.sh", f"--site={own}", "y"], place)
    shown = lab.run("ctl", ["scontrol", "show", "job", "-o", str(number)]).stdout
    job = lab.finish(number)
    assert ("Partition=main" in shown, "Comment=ours" in shown) == (True, True)
    assert "set by the site" in job.output, job.output


@pytest.mark.parametrize(
    ("name", "keys", "told"),
    [
        ("nosuch", "", "site nosuch: no file"),
        ("odd", "launchr: srun\n", "launchr: unknown key.\n  Did you mean launcher?"),
    ],
)
def test_site_that_is_wrong_is_told_before_the_run(
    lab: Lab, clone: Path, elsewhere: Path, name: str, keys: str, told: str
) -> None:
    put_sited(clone / ".venv" / "bin" / "retrain")
    put_site(clone / "configs" / "sites", "odd", keys)
    job = lab.finish(lab.submit([clone / "slurm" / "retrain.sh", "--site", name, "y"], elsewhere))
    assert (job.exit_code, told in job.output) == (2, True), job.output


def test_python_of_the_site_is_taken(lab: Lab, clone: Path, elsewhere: Path) -> None:
    put_retrain(clone / ".venv" / "bin" / "retrain", "the clone's own")
    put_sited(elsewhere / "other env" / "bin" / "retrain")
    wanted = f"python: {{venv: {elsewhere}/other env}}\n"
    put_site(clone / "configs" / "sites", "ours", wanted)
    script = clone / "slurm" / "retrain.sh"
    job = lab.finish(lab.submit([script, "--site", "ours", "y"], elsewhere))
    assert f"from {elsewhere}/other env/bin/retrain" in job.output, job.output


def staged(clone: Path, venv: Path, stage: str) -> list[str | Path]:
    """Words for a job on two hosts which lists its environment's folder on each of them."""
    put_sited(venv / "bin" / "retrain")
    (venv / "pyvenv.cfg").touch()
    python = venv / "bin" / "python"
    python.write_text('#!/bin/bash\n[[ $2 == site ]] || srun ls -d "${0%/bin/python}"\nbash "$@"\n')
    python.chmod(0o755)
    site = f"python: {{venv: {venv}}}\nstage: {stage}\nscratch: /tmp\n"
    put_site(clone / "configs" / "sites", "ours", site)
    return ["-N2", clone / "slurm" / "retrain.sh", "--site", "ours", "y"]


@pytest.mark.parametrize("stage", ["sbcast", "squashfs"])
def test_environment_is_copied_to_every_hosts_own_disk_and_removed(
    lab: Lab, clone: Path, elsewhere: Path, stage: str
) -> None:
    job = lab.finish(lab.submit(staged(clone, elsewhere / "env", stage), elsewhere))
    place = f"/tmp/retrain-{job.id}-0"
    assert job.output.count(f"{place}\n") == 2, job.output
    assert f"from {place}/bin/retrain" in job.output
    left = [lab.run(host, ["ls", "/tmp"]).stdout for host in ("n1", "n2")]
    assert not any("retrain-" in names for names in left), left


def test_squashed_environment_is_packed_again_only_once_it_has_changed(
    lab: Lab, clone: Path, elsewhere: Path
) -> None:
    venv = elsewhere / "env"
    words = staged(clone, venv, "squashfs")
    packed = [f"Packing  {venv} into" in lab.finish(lab.submit(words, elsewhere)).output]
    packed.append(f"Packing  {venv} into" in lab.finish(lab.submit(words, elsewhere)).output)
    (venv / "bin" / "new").touch()
    packed.append(f"Packing  {venv} into" in lab.finish(lab.submit(words, elsewhere)).output)
    assert packed == [True, False, True]
    assert sorted(path.name for path in elsewhere.glob("env*")) == ["env", "env.sqsh"]


CONDA = """conda() {
  [[ $1 == activate ]] && export CONDA_PREFIX=$BASE/envs/$2
}
"""


@pytest.mark.parametrize(("name", "code"), [("our env", 0), ("nosuch", 2)])
def test_conda_environment_of_the_site_is_entered(
    lab: Lab, clone: Path, elsewhere: Path, name: str, code: int
) -> None:
    base = elsewhere / "conda"
    put_sited(base / "envs" / "our env" / "bin" / "retrain")
    (base / "etc" / "profile.d").mkdir(parents=True)
    (base / "etc" / "profile.d" / "conda.sh").write_text(CONDA)
    program = base / "bin" / "conda"
    program.parent.mkdir()
    program.write_text('#!/bin/bash\n[[ $* == "info --base" ]] && echo "$BASE"\n')
    program.chmod(0o755)
    shell = f'export BASE="{base}"\nPATH=$PATH:$BASE/bin\n'
    put_site(clone / "configs" / "sites", "ours", f"python: {{conda: {name}}}  # ours\n", shell)
    script = clone / "slurm" / "retrain.sh"
    job = lab.finish(lab.submit([script, "--site", "ours", "y"], elsewhere))
    entered = f"from {base}/envs/our env/bin/retrain" in job.output
    assert (job.exit_code, entered) == (code, code == 0), job.output


APPTAINER = """#!/usr/bin/env bash
while [[ $1 != *.sif ]]; do shift; done
shift 2
exec "$IN_IMAGE" "$@"
"""


@pytest.mark.parametrize(("launcher", "code"), [("srun", 0), ("mpirun", 2)])
def test_image_on_two_hosts_is_started_by_srun_alone(
    lab: Lab, clone: Path, elsewhere: Path, launcher: str, code: int
) -> None:
    put_sited(elsewhere / "retrain in image")
    (elsewhere / "apptainer").write_text(APPTAINER)
    (elsewhere / "apptainer").chmod(0o755)
    (elsewhere / "our.sif").touch()
    keys = f"python: {{apptainer: {elsewhere}/our.sif}}\nlauncher: {launcher}\n"
    shell = f'PATH=$PATH:"{elsewhere}"\nexport IN_IMAGE="{elsewhere}/retrain in image"\n'
    put_site(clone / "configs" / "sites", "ours", keys, shell)
    script = clone / "slurm" / "retrain.sh"
    job = lab.finish(lab.submit(["-N2", script, "--site=ours", "y"], elsewhere))
    ranks = job.output.count("launcher srun, mpi pmix, ")
    assert (job.exit_code, ranks) == (code, 0 if code else 2), job.output
