# SPDX-License-Identifier: Apache-2.0
"""Who started this process, its cores, how many ranks a run gets, and how one by mpirun ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import FAILED, STOPPED, USAGE, RetrainError, UsageError, told
from trainer.world import launch, stopping, supervision
from trainer.world.launch import own_cores, place, promised_size
from trainer.world.launchers import Place
from trainer.world.outcome import OUTCOME
from trainer.world.stopping import SIGNALS

LAUNCHERS = ("OMPI_", "PMI", "SLURM_", "CUDA_", "RETRAIN_")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher or scheduler of the outside, and a machine of 64 GiB without GPUs."""
    for name in list(os.environ):
        if name.startswith(LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(launch, "available_gib", lambda: 64.0)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives this process so many cores."""

    def give(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))

    return give


# Who started us


@pytest.mark.parametrize(
    ("variables", "size"),
    [
        ({}, 0),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, 4),  # mpirun
        ({"OMPI_COMM_WORLD_SIZE": "1"}, 1),
        ({"PMI_SIZE": "3"}, 3),  # srun --mpi=pmi2
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "8"}, 8),  # srun --mpi=pmix
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7"}, 0),  # a batch script
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "7"}, 2),  # srun --mpi=none
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, 0),
        ({"PMIX_RANK": "0"}, 0),
    ],
)
def test_size_is_what_the_launcher_promised(
    variables: dict[str, str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert promised_size() == size
    assert launch.in_world() == (size > 0)


# Cores


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 7, 8])
@pytest.mark.parametrize("count", [8, 11])
def test_ranks_share_all_cores_of_their_host_and_none_twice(count: int, ranks: int) -> None:
    given = frozenset(range(3, 3 + count))
    shares = [own_cores(given, rank, ranks) for rank in range(ranks)]
    assert sorted(core for share in shares for core in share) == sorted(given)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_one_rank_has_all_cores() -> None:
    assert own_cores(frozenset({0, 2, 5}), 0, 1) == (0, 2, 5)


def test_more_ranks_than_cores_take_turns_on_them() -> None:
    assert [own_cores(frozenset({4, 6}), rank, 5) for rank in range(5)] == [
        (4,), (6,), (4,), (6,), (4,)
    ]  # fmt: skip


def test_cores_under_mpirun_are_those_of_its_daemon_not_the_one_it_binds_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_process = {0: {1}, os.getppid(): {0, 1, 2, 3}}
    monkeypatch.setattr(os, "sched_getaffinity", by_process.__getitem__)
    assert launch.given_cores() == {1}
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert launch.given_cores() == {0, 1, 2, 3}


def test_cores_are_this_rank_s_where_the_daemon_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(process: int) -> set[int]:
        if process:
            raise ProcessLookupError
        return {1}

    monkeypatch.setattr(os, "sched_getaffinity", ask)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert launch.given_cores() == {1}


# How many ranks


@pytest.mark.parametrize(("count", "ranks"), [(1, 1), (6, 6), (16, 16), (128, 16)])
def test_one_rank_a_core_up_to_sixteen(
    count: int, ranks: int, cores: Callable[[int], None]
) -> None:
    cores(count)
    assert place(None, with_tensorflow=True) == Place(1, ranks)


@pytest.mark.parametrize(("gib", "ranks"), [(1.0, 1), (5.0, 2), (64.0, 8)])
def test_memory_limits_the_ranks_that_hold_tensorflow(
    gib: float, ranks: int, cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(8)
    monkeypatch.setattr(launch, "available_gib", lambda: gib)
    assert place(None, with_tensorflow=True).ranks_a_host == ranks
    assert place(None, with_tensorflow=False).ranks_a_host == 8


THREE_GPUS = "\n".join(f"GPU;8;0;1073741824;0000:0{bus}:00.0;{bus}" for bus in range(3))


@pytest.mark.parametrize(
    ("variables", "ranks"),
    [
        ({"FAKE_GPUS": THREE_GPUS}, 3),
        ({"FAKE_GPUS": THREE_GPUS, "CUDA_VISIBLE_DEVICES": "2"}, 1),
        ({"FAKE_GPUS": THREE_GPUS, "CUDA_VISIBLE_DEVICES": "1,2,7"}, 2),  # there is no 7
        ({"FAKE_GPUS": THREE_GPUS, "CUDA_VISIBLE_DEVICES": ""}, 6),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 2),  # given and not shown: the ranks will say so
    ],
)
def test_one_rank_a_gpu_that_the_driver_shows_else_a_core(
    variables: dict[str, str], ranks: int, ask: Callable[..., Any]
) -> None:
    told = ask(
        "[launch.place(None, True, with_gpus).ranks_a_host for with_gpus in (True, False)]",
        "import os\nfrom trainer.world import launch\n"
        "launch.available_gib = lambda: 64.0\nos.sched_getaffinity = lambda _: set(range(6))",
        **variables,
    )
    assert told.value == [ranks, 6]


@pytest.mark.parametrize(
    ("variables", "ranks", "expected"),
    [
        ({"SLURM_JOB_NUM_NODES": "3"}, None, Place(3, 8)),
        ({"SLURM_JOB_NUM_NODES": "3", "SLURM_NTASKS_PER_NODE": "2"}, None, Place(3, 2)),
        ({"SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "4"}, None, Place(2, 4)),
        ({"SLURM_JOB_NUM_NODES": "3"}, 6, Place(3, 2)),
        ({"SLURM_JOB_NUM_NODES": "3"}, 7, Place(3, 3)),
        ({"SLURM_JOB_NUM_NODES": "3"}, 2, Place(2, 1)),
        ({}, 5, Place(1, 5)),
    ],
)
def test_ranks_are_spread_over_the_hosts_of_an_allocation(
    variables: dict[str, str],
    ranks: int | None,
    expected: Place,
    cores: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cores(8)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place(ranks, with_tensorflow=True) == expected


def test_more_ranks_than_cores_are_allowed(cores: Callable[[int], None]) -> None:
    cores(2)
    assert place(12, with_tensorflow=True) == Place(1, 12)


@pytest.mark.parametrize("with_tensorflow", [True, False])
def test_more_ranks_than_memory_holds_are_refused_with_the_best_number(
    with_tensorflow: bool, cores: Callable[[int], None]
) -> None:
    cores(2)
    with pytest.raises(UsageError) as caught:
        place(999, with_tensorflow)
    assert caught.value.exit_code == USAGE
    assert caught.value.message.startswith("--ranks 999: each needs ")
    assert "there are 64.0 GiB here" in caught.value.message
    assert caught.value.todo == "Leave --ranks out for 2, the best number here."


@pytest.mark.parametrize("ranks", [0, -1])
def test_fewer_ranks_than_one_are_refused(ranks: int) -> None:
    with pytest.raises(UsageError, match=f"--ranks {ranks}: wanted at least 1"):
        place(ranks, with_tensorflow=False)


# Under mpirun


@pytest.fixture
def mpirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Puts an mpirun that does this in place of the environment's; gives the folder it runs in."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def install(body: str) -> Path:
        program = tmp_path / "bin" / "mpirun"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nFOLDER=${{RETRAIN_OUTCOME%/*}}\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    monkeypatch.setattr(stopping, "_of_process", None)  # none that an earlier test asked to stop
    yield install
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ended", [0, 14])
@pytest.mark.parametrize("code", [0, 1, 2, 3, 75])
def test_code_is_the_one_that_rank_0_left_whatever_mpirun_says(
    code: int, ended: int, mpirun: Callable[[str], Path]
) -> None:
    mpirun(f'printf {code} > "$RETRAIN_OUTCOME"; exit {ended}')
    assert launch.start(["run"], 2, Place(1, 2)) == code


@pytest.mark.parametrize("ended", [0, 137])
def test_ranks_that_left_no_code_have_failed(
    ended: int, mpirun: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    mpirun(f"exit {ended}")
    assert launch.start(["run"], 2, Place(1, 2)) == FAILED
    assert f"without a result (exit code {ended})" in capfd.readouterr().err


def test_arguments_reach_the_ranks_as_they_are(mpirun: Callable[[str], Path]) -> None:
    folder = mpirun('for word; do printf "%s\\0" "$word"; done > words')
    hostile = [
        "run",
        "--out=a b",
        "--",
        "-x",
        "$(touch no) 'q' \"d\" \\",
        "line\nbreak",
        "caf\udce9",
    ]
    launch.start(hostile, 6, Place(2, 3))
    words = os.fsdecode((folder / "words").read_bytes()).split("\0")[:-1]
    where = ["--map-by", "ppr:3:node:oversubscribe", "--bind-to", "none"]
    assert words == ["-np", "6", *where, sys.executable, "-m", "trainer", *hostile]


def test_ranks_know_of_the_terminal_that_mpirun_hides(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mpirun('echo "$RETRAIN_TERMINAL $COLUMNS" > told')
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    launch.start([], 2, Place(1, 2))
    assert (folder / "told").read_text() == "1 40\n"


@pytest.mark.parametrize(("word", "terminal"), [(None, None), ("1", True), ("0", False)])
def test_terminal_is_what_the_caller_of_mpirun_said(
    word: str | None, terminal: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if word is not None:
        monkeypatch.setenv(launch.TERMINAL, word)
    assert launch.terminal_beyond_mpirun() is terminal


@pytest.mark.parametrize("name", ["TERM", "INT", "USR2"])
def test_request_to_stop_reaches_the_ranks_as_sigusr2(
    name: str, mpirun: Callable[[str], Path]
) -> None:
    folder = mpirun(
        "touch $FOLDER/alive\n"
        "trap 'echo asked > asked; printf 75 > \"$RETRAIN_OUTCOME\"; exit 1' USR2\n"
        f"kill -{name} $PPID\nwhile :; do sleep 0.02; done"
    )
    assert launch.start(["run"], 2, Place(1, 2)) == STOPPED
    assert (folder / "asked").exists()


def test_stop_before_the_ranks_could_note_it_is_a_stop(
    mpirun: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    mpirun("kill -TERM $PPID; exec sleep 30")
    assert launch.start(["run"], 2, Place(1, 2)) == STOPPED
    assert "stopped on request" in capfd.readouterr().err


def test_stop_under_nohup_is_no_slower(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        mpirun("kill -TERM $PPID; exec sleep 30")
        started = time.monotonic()
        assert launch.start(["run"], 2, Place(1, 2)) == STOPPED
        assert time.monotonic() - started < 5
    finally:
        signal.signal(signal.SIGHUP, before)


def test_echo_of_a_request_is_passed_on_once(mpirun: Callable[[str], Path]) -> None:
    folder = mpirun(
        "touch $FOLDER/alive; trap 'echo x >> asked' USR2; kill -TERM $PPID; sleep 0.1\n"
        "kill -INT $PPID; until [ -e asked ]; do sleep 0.02; done; sleep 0.7; sleep 0.1"
    )
    launch.start(["run"], 2, Place(1, 2))
    assert (folder / "asked").read_text() == "x\n"


def test_second_request_ends_the_ranks_at_once(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "ECHO_SECONDS", 0.05)
    body = "trap '' USR2; kill -TERM $PPID; sleep 0.2; kill -TERM $PPID; sleep 30"
    mpirun(f"touch $FOLDER/alive; {body}")
    started = time.monotonic()
    assert launch.start(["run"], 2, Place(1, 2)) == STOPPED
    assert time.monotonic() - started < 10


def test_request_that_only_mpirun_got_stops_the_ranks(mpirun: Callable[[str], Path]) -> None:
    program = (  # the shell itself would unblock what mpirun blocks
        "import os, signal, time; open(os.environ['FOLDER'] + '/alive', 'w')\n"
        "signal.signal(signal.SIGUSR2, lambda *_: os._exit(bool(open('asked', 'w'))))\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
    )
    folder = mpirun(f'export FOLDER; exec {sys.executable} -c "{program}"')
    assert launch.start(["run"], 2, Place(1, 2)) == STOPPED
    assert (folder / "asked").exists()


def test_mpirun_that_has_no_ranks_yet_is_ended(mpirun: Callable[[str], Path]) -> None:
    folder = mpirun("trap 'echo asked > asked' USR2; kill -TERM $PPID; sleep 30; echo x > done")
    assert launch.start(["run"], 2, Place(1, 2)) == STOPPED
    assert list(folder.iterdir()) == [folder / "bin"]


@pytest.mark.parametrize("ended", [STOPPED, 130, 140, 143])
def test_rank_that_stopped_before_there_was_a_world_stops_the_run(
    ended: int, mpirun: Callable[[str], Path]
) -> None:
    mpirun(f"exit {ended}")
    assert launch.start(["run"], 2, Place(1, 2)) == STOPPED


def test_ranks_that_said_how_they_ended_and_stay_are_killed(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "END_SECONDS", 0.2)
    mpirun('printf 3 > "$RETRAIN_OUTCOME"; sleep 60; sleep 60')
    assert launch.start(["run"], 2, Place(1, 2)) == 3


def test_mpirun_that_stays_without_ranks_is_ended(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "END_SECONDS", 0.2)
    mpirun("OMPI_COMM_WORLD_RANK=0 sleep 0.7; sleep 60")
    assert launch.start(["run"], 2, Place(1, 2)) == FAILED


def test_ranks_that_give_no_sign_of_life_are_killed_and_named(
    mpirun: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(supervision, "LATER_SECONDS", 0.0)
    mpirun("touch $FOLDER/alive; OMPI_COMM_WORLD_RANK=3 sleep 60")
    assert launch.start(["run"], 2, Place(1, 2), stall_timeout=0.6) == FAILED
    told = capfd.readouterr().err
    assert f"rank 3 on {os.uname().nodename}: no sign of life for" in told
    assert "run.stall_timeout" in told


def test_missing_mpirun_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mpirun: Callable[[str], Path]
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        launch.start(["run"], 2, Place(1, 2))
    assert "make setup" in told(caught.value.message, caught.value.todo)


@pytest.mark.parametrize("behind", [True, False])
def test_rank_leaves_its_code_for_the_caller_of_mpirun(
    behind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if behind:
        monkeypatch.setenv(OUTCOME, str(tmp_path / "outcome"))
    assert launch.leave_outcome(3) == (0 if behind else 3)
    assert [path.read_text() for path in tmp_path.iterdir()] == (["3"] if behind else [])


def test_rank_whose_caller_is_gone_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OUTCOME, "/proc/4194305/fd/3")
    assert launch.leave_outcome(3) == 3


def test_folder_that_mpirun_cannot_write_to_is_told_before_it_is_started(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mpirun("touch started")
    monkeypatch.setenv("TMPDIR", "/proc")
    with pytest.raises(RetrainError, match="/proc: mpirun needs 65,536 bytes there") as caught:
        launch.start(["run"], 2, Place(1, 2))
    assert caught.value.exit_code == FAILED
    assert "set TMPDIR" in caught.value.todo
    assert not (folder / "started").exists()


def test_what_a_killed_launcher_left_is_removed_by_the_next_one(
    mpirun: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = mpirun('printf 0 > "$RETRAIN_OUTCOME"') / "temporary"
    monkeypatch.setenv("TMPDIR", str(temporary))
    space = os.stat("/proc/self/ns/pid").st_ino
    names = [
        f"retrain-{space}-4194305-x",
        f"retrain-{space}-{os.getpid()}-x",
        "retrain-7-4194305-x",
    ]
    for name in names:
        (temporary / name).mkdir(parents=True)
    assert launch.start(["run"], 2, Place(1, 2)) == 0
    assert {path.name for path in temporary.iterdir()} == set(names[1:])
