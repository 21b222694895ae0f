# SPDX-License-Identifier: Apache-2.0
"""What JARVICE runs in a container: words in, the platform's files read, results and code out.

The quick cases have stand-ins for `retrain` and mpirun; the last ones run the real ones.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.parcel import unpack

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "jobs" / "nimbix" / "launch.sh"
SECONDS = 60

STAND_IN = """#!/usr/bin/env bash
[[ $1 != --version ]] || { cat FAKE/version; exit; }
name=$(basename "$0")
printf '%s\\0' "$@" >>"FAKE/$name.words"
printf '\\n' >>"FAKE/$name.words"
env -0 >"FAKE/$name.env"
[[ ! -e FAKE/$name.does ]] || source "FAKE/$name.does"
"""


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    code: int
    output: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    @property
    def parcels(self) -> int:
        return self.output.count("=== retrain parcel ")


class Jarvice:
    """A container of a job: the platform's files, a vault, and a project of stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.data, self.fake = folder / "etc", folder / "data", folder / "fake"
        self.project, self.bin = folder / "project", folder / "project" / ".venv" / "bin"
        for one in (self.etc, self.data, self.fake, self.bin, self.project / "jobs" / "nimbix"):
            one.mkdir(parents=True)
        self.nodes("node-a", cores=2)
        (self.etc / "jobinfo.sh").write_text("JOB_NAME=2026-AB\nJOB_LABEL=try\\ out\n")
        self.account()
        self.launcher = self.project / "jobs" / "nimbix" / "launch.sh"
        shutil.copy(LAUNCHER, self.launcher)
        for name in ("__init__.py", "errors.py", "parcel.py"):
            shutil.copy(ROOT / "jobs" / name, self.project / "jobs")
        (self.project / "trainer" / "world").mkdir(parents=True)
        shutil.copy(ROOT / "trainer" / "world" / "daemon.py", self.project / "trainer" / "world")
        for name in ("retrain", "mpirun"):
            self.program(self.bin / name, STAND_IN.replace("FAKE", str(self.fake)))
        self.program(self.bin / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (self.fake / "version").write_text("mpirun (Open MPI) 5.0.11\n")

    @staticmethod
    def program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def nodes(self, *names: str, cores: int) -> None:
        (self.etc / "nodes").write_text("".join(f"{name}\n" for name in names))
        (self.etc / "cores").write_text("".join(f"{name}\n" * cores for name in names))

    def account(self, **variables: str) -> None:
        """Account variables, each of their letters behind a backslash."""
        lines = (f"{k}={''.join(chr(92) + c for c in v)}\n" for k, v in variables.items())
        (self.etc / "jobenv.sh").write_text(":\n" + "".join(lines))

    def does(self, program: str, script: str) -> None:
        (self.fake / f"{program}.does").write_text(script)

    def leaves(self, status: str, then: str = "") -> None:
        """Let the run leave results."""
        run = self.data / "runs" / "x"
        text = json.dumps({"status": status, "when": time.time_ns()})
        self.does("retrain", f"mkdir -p '{run}'; echo '{text}' >'{run}/results.json'\n{then}")

    def calls(self, program: str) -> list[list[str]]:
        path = self.fake / f"{program}.words"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split("\0")[:-1] for line in lines]

    def environment(self, program: str) -> dict[str, str]:
        text = (self.fake / f"{program}.env").read_text()
        return dict(one.split("=", 1) for one in text.split("\0")[:-1])

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        own = {"JARVICE_ETC": str(self.etc), "JARVICE_DATA": str(self.data)}
        return subprocess.Popen(
            [self.launcher, *words],
            env={**kept, **own, "PYTHONPATH": str(ROOT), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            start_new_session=True,
        )

    def launch(self, *words: str, **variables: str) -> Ended:
        """Run a job to its end, and see that it ends as every job must."""
        return finish(self.start(*words, **variables))


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a job; nothing of it may stay."""
    try:
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        with_all_its_own(process.pid)
    assert output.splitlines()[-1] == f"JOB_EXIT_CODE={process.returncode}", output
    assert not re.search(r"line \d+: ", output), output  # bash's own complaints
    return Ended(process.returncode, output)


def with_all_its_own(group: int) -> None:
    """End what is left of a job that a failed test leaves behind."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture
def jarvice(tmp_path: Path) -> Iterator[Jarvice]:
    made = Jarvice(tmp_path / "container")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    made.account(TMPDIR=str(scratch))
    yield made
    assert list(scratch.iterdir()) == []  # whatever the end was


RUN = ("photos", "--out", "runs/x")


def test_words_go_to_the_run_and_paths_lie_in_the_vault(jarvice: Jarvice) -> None:
    done = jarvice.launch("photos", "head.l2=0.01", "name=a b", "--out=runs/x", "--again")
    out = str(jarvice.data / "runs" / "x")
    words = ["--out", out, "--again", "--", "photos", "head.l2=0.01", "name=a b"]
    assert jarvice.calls("retrain") == [["run", "--ranks", "2", *words]]
    assert jarvice.environment("retrain")["PWD"] == str(jarvice.data)
    assert done.code == 0


def test_first_lines_say_what_runs_where(jarvice: Jarvice) -> None:
    job, project, nodes, command = jarvice.launch(*RUN).lines[:4]
    assert job == "Job      2026-AB, try out"
    assert project == f"Project  {jarvice.project}"
    assert nodes == "Nodes    1, and a rank for each core: node-a (2)"
    assert command.startswith(f"Command  {jarvice.bin}/retrain run --out {jarvice.data}/runs/x --")


def argv(definition: str, values: dict[str, Any]) -> list[str]:
    """The words that JARVICE makes of a job's parameters."""
    tree = json.loads((LAUNCHER.parent / definition).read_text())
    (command,) = tree["commands"].values()
    named: list[str] = []
    placed: list[str] = []
    for key, one in command["parameters"].items():
        value = values.get(key, one["value"])
        if one.get("variable") or value in ("", False):
            continue
        if one["positional"]:
            placed.append(str(value))
        else:
            named += [key] if value is True else [key, str(value)]
    return named + placed


@pytest.mark.parametrize("definition", ["AppDef.json", "AppDef.ppc64le.json"])
def test_parameters_of_the_app_become_the_same_words(jarvice: Jarvice, definition: str) -> None:
    told = {
        "config": "a folder",
        "--out": "runs/x",
        "--settings": "head.l2=0.01 'name=it'\"'\"'s $(touch x)'",
        "--again": True,
    }
    assert jarvice.launch(*argv(definition, told)).code == 0
    out = str(jarvice.data / "runs" / "x")
    words = ["--out", out, "--again", "--", "a folder", "head.l2=0.01", "name=it's $(touch x)"]
    assert jarvice.calls("retrain") == [["run", "--ranks", "2", *words]]
    defaults = argv(definition, {"config": "photos"})
    assert jarvice.launch(*defaults).code == 0
    assert jarvice.calls("retrain")[-1][4:] == [str(jarvice.data / "runs/first"), "--", "photos"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "launch.sh [--walltime SECONDS]"),
        (("photos",), "--out is missing"),
        (("photos", "--out"), "--out: wanted a value"),
        (("photos", "--out", "/tmp/x"), "not in "),
        (("photos", "--out", "runs/../../x"), "not in "),
        (("photos", "--out", "."), "not in "),
        (("photos", "--out", "link/x"), "not in "),
        (("--walltime", "1h", *RUN), "--walltime 1h: wanted seconds"),
        (("--settings", "name='a", *RUN), "has no partner"),
        (("--ranks", "2", *RUN), "--ranks: no such option"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    jarvice: Jarvice, words: tuple[str, ...], told: str
) -> None:
    (jarvice.data / "link").symlink_to("/tmp")
    done = jarvice.launch(*words)
    assert (done.code, jarvice.calls("retrain")) == (2, [])
    assert told in done.output


@pytest.mark.parametrize(("gone", "told"), [("data", "has no vault"), ("etc", "no JARVICE job")])
def test_missing_platform_ends_with_2_and_a_sentence(
    jarvice: Jarvice, gone: str, told: str, tmp_path: Path
) -> None:
    nowhere = {f"JARVICE_{gone.upper()}": str(tmp_path / "nowhere")}
    done = jarvice.launch(*RUN, TMPDIR=str(tmp_path / "tmp"), **nowhere)
    assert done.code == 2
    assert told in done.output


def test_help_ends_well(jarvice: Jarvice) -> None:
    assert jarvice.launch("--help").code == 0


@pytest.mark.parametrize(
    ("told", "words", "ranks"),
    [
        ("4", RUN, 4),
        ("0", RUN, 2),
        ("%GPUS%", RUN, 3),
        (None, RUN, 3),
        ("4", (*RUN, "run.device=cpu"), 2),
    ],
)
def test_one_rank_a_gpu_else_a_core(
    jarvice: Jarvice, told: str | None, words: tuple[str, ...], ranks: int, tmp_path: Path
) -> None:
    path = tmp_path / "driver"
    path.mkdir()
    listed = "".join(f"echo 'GPU {n}: V100 (UUID: GPU-{n})'; echo '  MIG 1g'\n" for n in range(3))
    jarvice.program(path / "nvidia-smi", f"#!/bin/sh\n{listed}")
    app = {} if told is None else {"GPUS_PER_NODE": told}
    jarvice.account(**app, TMPDIR=str(tmp_path / "tmp"))
    jarvice.launch(*words, PATH=f"{path}:{os.environ['PATH']}")
    assert jarvice.calls("retrain")[0][1:3] == ["--ranks", str(ranks)]


def test_no_more_ranks_than_are_of_use(jarvice: Jarvice) -> None:
    jarvice.nodes("JARVICE", cores=200)
    jarvice.launch(*RUN)
    assert 1 <= int(jarvice.calls("retrain")[0][2]) <= 16


def test_account_variables_reach_the_run_and_a_scheduler_below_does_not(
    jarvice: Jarvice, tmp_path: Path
) -> None:
    value = "two words; $(touch x) it's \\"
    # Names that the launcher uses itself do it no harm.
    jarvice.account(TOKEN=value, out="elsewhere", before="", TMPDIR=str(tmp_path / "tmp"))
    done = jarvice.launch(*RUN, SLURM_JOB_ID="7", PMIX_RANK="0", OMPI_COMM_WORLD_SIZE="2")
    assert done.code == 0
    found = jarvice.environment("retrain")
    assert (found["TOKEN"], found["JOB_LABEL"]) == (value, "try out")
    assert not [name for name in found if name.startswith(("SLURM_", "PMIX_", "OMPI_COMM_"))]


@pytest.mark.parametrize(
    ("version", "copies", "shared", "single"),
    [
        ("5.0.11", "", "btl_sm", {"OMPI_MCA_smsc": "^cma"}),
        ("4.1.4", "", "btl_vader", {"OMPI_MCA_btl_vader_single_copy_mechanism": "none"}),
        ("5.0.11", "true", "btl_sm", {}),
    ],
)
def test_mpi_keeps_off_small_shared_memory_and_other_processes(
    jarvice: Jarvice,
    version: str,
    copies: str,
    shared: str,
    single: dict[str, str],
    tmp_path: Path,
) -> None:
    (jarvice.fake / "version").write_text(f"mpirun (Open MPI) {version}\n")
    jarvice.launch(*RUN, JARVICE_MPI_CMA=copies, JARVICE_SSH_PORT="2222")
    found = jarvice.environment("retrain")
    for name in (shared, "osc_sm", "osc_rdma"):
        assert found[f"OMPI_MCA_{name}_backing_directory"] == str(tmp_path / "tmp")
    told = {key: value for key, value in found.items() if re.search("smsc|single_copy", key)}
    assert told == single
    assert found["PRTE_MCA_plm_ssh_args"] == found["OMPI_MCA_plm_rsh_args"] == "-p 2222"
    assert found["OMPI_MCA_pml"] == "ob1"
    assert ("OMPI_ALLOW_RUN_AS_ROOT" in found) == (os.geteuid() == 0)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 137])
def test_exit_code_is_the_runs(jarvice: Jarvice, code: int) -> None:
    jarvice.does("retrain", f"exit {code}")
    assert jarvice.launch(*RUN).code == code


LISTENS = """
trap 'echo got TERM; exit 75' TERM
touch FAKE/listens
for ((n = 0; n < 300; n++)); do sleep 0.1; done
"""


def listening(jarvice: Jarvice, program: str, script: str, *words: str) -> subprocess.Popen[str]:
    """Start a job, until its stand-in listens to signals."""
    jarvice.does(program, script.replace("FAKE", str(jarvice.fake)))
    process = jarvice.start(*words)
    until = time.monotonic() + SECONDS
    while not (jarvice.fake / "listens").exists() and time.monotonic() < until:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_request_to_end_reaches_the_run_and_its_code_is_kept(
    jarvice: Jarvice, number: signal.Signals
) -> None:
    process = listening(jarvice, "retrain", LISTENS, *RUN)
    process.send_signal(number)
    done = finish(process)
    assert done.code == 75
    assert "got TERM" in done.lines
    assert f"Stopped  it was asked to end ({number.name[3:]})" in done.lines


def test_second_request_does_not_reach_the_run(jarvice: Jarvice) -> None:
    counts = LISTENS.replace("echo got TERM; exit 75", "echo got TERM; ((++got > 1)) && exit 9")
    process = listening(jarvice, "retrain", counts.replace("300", "10"), *RUN)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    done = finish(process)
    assert done.output.count("got TERM") == 1
    assert done.code == 0  # it ended well all the same


def test_run_that_dies_of_the_request_counts_as_stopped(jarvice: Jarvice) -> None:
    process = listening(jarvice, "retrain", "touch FAKE/listens; exec sleep 30", *RUN)
    process.send_signal(signal.SIGTERM)
    assert finish(process).code == 75


def test_request_before_the_run_begins_starts_none(jarvice: Jarvice) -> None:
    slow = "touch FAKE/listens; sleep 1; exec " + f'"{sys.executable}" "$@"'
    jarvice.program(jarvice.bin / "python", "#!/bin/sh\n" + slow.replace("FAKE", str(jarvice.fake)))
    process = listening(jarvice, "retrain", "", *RUN)
    process.send_signal(signal.SIGTERM)
    assert (finish(process).code, jarvice.calls("retrain")) == (75, [])


def test_own_walltime_ends_the_run_with_75_and_its_results(jarvice: Jarvice) -> None:
    jarvice.leaves("stopped", LISTENS.replace("FAKE", str(jarvice.fake)))
    began = time.monotonic()
    done = jarvice.launch("--walltime", "2", *RUN)
    assert time.monotonic() - began < 6
    assert (done.code, done.parcels) == (75, 1)
    assert "got TERM" in done.lines
    assert "Stopped  its 2 s are nearly over" in done.lines
    assert "Go on    by the same job again" in done.lines


def test_walltime_that_is_not_reached_changes_nothing(jarvice: Jarvice) -> None:
    assert jarvice.launch("--walltime", "86400", *RUN).code == 0


def test_results_come_as_a_parcel_before_the_code(jarvice: Jarvice, tmp_path: Path) -> None:
    jarvice.leaves("complete")
    done = jarvice.launch(*RUN)
    assert (done.code, done.parcels) == (0, 1)
    assert done.lines[-2].startswith("=== end of retrain parcel")
    assert unpack(done.output, tmp_path / "home").status == "complete"


def test_results_of_another_run_are_not_this_jobs(jarvice: Jarvice) -> None:
    jarvice.leaves("complete")
    jarvice.launch(*RUN)
    jarvice.does("retrain", "exit 2")
    assert jarvice.launch(*RUN).parcels == 0
    jarvice.does("retrain", "exit 0")  # a finished run says so and stops
    assert jarvice.launch(*RUN).parcels == 1


def two_nodes(jarvice: Jarvice) -> str:
    """The stand-in's script that leaves the exit code 0 as rank 0 would."""
    jarvice.nodes("node-a", "node-b", cores=2)
    keep = f"while [[ $1 != --hostfile ]]; do shift; done; cp \"$2\" '{jarvice.fake}/hosts'\n"
    return keep + 'echo 0 >"$RETRAIN_OUTCOME"\n'


def test_many_nodes_are_reached_by_our_own_mpirun(jarvice: Jarvice, tmp_path: Path) -> None:
    jarvice.does("mpirun", two_nodes(jarvice))
    jarvice.account(TOKEN="a b", TMPDIR=str(tmp_path / "tmp"))
    done = jarvice.launch("photos", "head.l2=0.1", "--again", "--out", "runs/x")
    assert done.code == 0, done.output
    ((*words,),) = jarvice.calls("mpirun")
    assert words[:2] == ["-np", "4"]
    assert words[4:8] == ["--map-by", "slot:oversubscribe", "--bind-to", "none"]
    at = words.index("run")
    assert words[at - 1] == str(jarvice.bin / "retrain")
    out = str(jarvice.data / "runs" / "x")
    assert words[at + 1 :] == ["--out", out, "--again", "--", "photos", "head.l2=0.1"]
    handed_on = set(words[9 : at - 1 : 2])
    assert {"TOKEN", "PATH", "TMPDIR", "RETRAIN_OUTCOME", "JARVICE_DATA"} <= handed_on
    assert not [one for one in handed_on if one.startswith(("OMPI_", "SSH_")) or one == "PWD"]
    assert (jarvice.fake / "hosts").read_text() == "node-a slots=2\nnode-b slots=2\n"
    assert "Nodes    2, and a rank for each core: node-a (2) node-b (2)" in done.lines


def test_nodes_of_other_sizes_get_other_numbers_of_ranks(jarvice: Jarvice) -> None:
    jarvice.does("mpirun", two_nodes(jarvice))
    (jarvice.etc / "cores").write_text("node-a\nnode-b\nnode-b\n")
    jarvice.launch(*RUN)
    assert (jarvice.fake / "hosts").read_text() == "node-a slots=1\nnode-b slots=2\n"


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("echo 3 >$RETRAIN_OUTCOME; exit 0", 3),
        ("echo 0 >$RETRAIN_OUTCOME; exit 1", 0),
        ("exit 0", 1),  # a node was lost
        ("exit 137", 137),
    ],
)
def test_many_nodes_end_with_the_code_of_rank_0(jarvice: Jarvice, does: str, code: int) -> None:
    two_nodes(jarvice)
    jarvice.does("mpirun", does)
    assert jarvice.launch(*RUN).code == code


def test_many_nodes_are_asked_to_end_by_the_signal_that_mpirun_hands_on(jarvice: Jarvice) -> None:
    two_nodes(jarvice)
    script = LISTENS.replace("TERM", "USR2").replace("exit 75", "echo 75 >$RETRAIN_OUTCOME; exit 0")
    process = listening(jarvice, "mpirun", script, *RUN)
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.code == 75
    assert "got USR2" in done.lines


def test_request_that_reaches_every_process_does_not_end_mpirun(jarvice: Jarvice) -> None:
    two_nodes(jarvice)
    jarvice.does("mpirun", f"grep SigBlk /proc/$$/status >'{jarvice.fake}/mask'")
    jarvice.launch(*RUN)
    mask = int((jarvice.fake / "mask").read_text().split()[1], 16)
    assert all(mask & 1 << number - 1 for number in (signal.SIGTERM, signal.SIGINT))


def test_wrong_settings_are_told_once_before_any_node_starts(jarvice: Jarvice) -> None:
    two_nodes(jarvice)
    jarvice.does("retrain", "[[ $1 != check ]] || { echo 'no such key' >&2; exit 3; }")
    done = jarvice.launch(*RUN, "head.l3=1", "--again")
    assert (done.code, done.output.count("no such key"), jarvice.calls("mpirun")) == (3, 1, [])
    assert jarvice.calls("retrain") == [["check", "--quick", "--", "photos", "head.l3=1"]]


class Real(Jarvice):
    """The same with the real programs, and texts of bottlenecks in the vault."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.launcher = LAUNCHER
        if not (ROOT / ".venv" / "bin" / "retrain").exists():
            pytest.skip("no .venv here: make setup")
        rng = np.random.default_rng(0)
        for at, label in enumerate("ab"):
            (self.data / "texts" / label).mkdir(parents=True)
            for number in range(40):
                values = ",".join(f"{value:.4g}" for value in rng.normal(2.0 * at, 1.0, 8))
                (self.data / "texts" / label / f"{number}.jpg.txt").write_text(values)
        (self.data / "texts.yaml").write_text(
            "data: {bottlenecks: texts}\nevaluate: {folds: 4}\nhead: {l2: 0.1}\n"
        )


@pytest.fixture
def real(tmp_path: Path) -> Real:
    return Real(tmp_path / "container")


def results(done: Ended, home: Path) -> dict[str, Any]:
    assert done.code == 0, done.output
    assert unpack(done.output, home).status == "complete"
    return dict(json.loads((home / "results.json").read_text()))


def small_shared_memory() -> list[str]:
    """Words that start a program where /dev/shm is as small as in a container, as root can."""
    mounted = "mount -t tmpfs -o size=64k,mode=1777 tmpfs /dev/shm"
    around = ["unshare", "--mount", "sh", "-c"]
    tried = subprocess.run([*around, mounted], capture_output=True)
    return [] if tried.returncode else [*around, f'{mounted} && exec "$@"', "sh"]


def test_two_real_ranks_end_with_results_that_come_home(real: Real, tmp_path: Path) -> None:
    real.launcher = tmp_path / "launch"
    words = shlex.join([*small_shared_memory(), str(LAUNCHER)])
    real.program(real.launcher, f'#!/bin/sh\nexec {words} "$@"\n')
    done = real.launch("texts.yaml", "--out", "runs/x")
    found = results(done, tmp_path / "home")
    assert found["world"]["size"] == 2
    assert "not enough space" not in done.output  # Open MPI's words on a small /dev/shm
    again = real.launch("texts.yaml", "--out", "runs/x")
    assert (again.code, again.parcels) == (0, 1)


# Another host as far as its name tells; of this one's variables it knows none.
SSH = """#!/bin/sh
echo "$*" >>"FAKE/ssh.words"
while :; do case $1 in -p) shift 2 ;; -*) shift ;; *) break ;; esac; done
host=$1; shift
exec env -i PATH=/usr/bin:/bin HOME="$HOME" \\
  unshare --uts sh -c 'hostname "$1"; shift; eval "$*"' sh "$host" "$@"
"""


def can_rename_hosts() -> bool:
    words = ["unshare", "--uts", "hostname", "elsewhere"]
    return os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_rename_hosts(), reason="another host's name needs root")
def test_two_real_nodes_run_as_one_world(real: Real, tmp_path: Path) -> None:
    real.nodes(socket.gethostname(), "node-b", cores=1)
    path = tmp_path / "path"
    path.mkdir()
    real.program(path / "ssh", SSH.replace("FAKE", str(real.fake)))
    done = real.launch(
        "texts.yaml",
        "--out",
        "runs/x",
        PATH=f"{path}:{os.environ['PATH']}",
        JARVICE_SSH_PORT="2222",
    )
    found = results(done, tmp_path / "home")
    assert found["world"]["hosts"] == [socket.gethostname(), "node-b"]
    words = (real.fake / "ssh.words").read_text()
    assert "-p 2222 node-b" in words
    assert "trainer/world/daemon.py" in words  # nor does it end mpirun's daemon there
