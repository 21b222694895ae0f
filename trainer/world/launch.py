# SPDX-License-Identifier: Apache-2.0
"""Who started us and with what; and mpirun, for `--ranks` and for Slurm allocations.

The only reader of launchers' and schedulers' environment variables.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from trainer.errors import FAILED, STOPPED, UsageError
from trainer.world.devices import allocated_gpus, visible_gpus
from trainer.world.stopping import ECHO_SECONDS, SIGNALS

RANK_GIB = 2.0
"""Memory that a rank with TensorFlow is planned with."""
TEXT_RANK_GIB = 0.25
"""The same for a rank without: a run on bottleneck texts."""
MOST_RANKS = 16
"""Ranks a host when the user names no number."""
OUTCOME = "RETRAIN_OUTCOME"
"""Names the file in which rank 0 leaves the exit code for the process that called mpirun."""
TERMINAL = "RETRAIN_TERMINAL"
"""Set where the user's terminal, hidden from the ranks by mpirun, can redraw a bar."""


@dataclass(frozen=True)
class Place:
    """Where a run starts its ranks: this machine, or the hosts of a Slurm allocation."""

    hosts: int
    ranks_a_host: int


def in_world() -> bool:
    """Whether mpirun or srun started this process as one rank of a world."""
    return promised_size() > 0


def promised_size() -> int:
    """The number of ranks that the launcher started; 0 where none did.

    A batch script of Slurm has a step of its own without srun: SLURM_STEP_NUM_TASKS counts only
    beside SLURM_STEPID, and only where the task is not that batch step.
    """
    size = os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ.get("PMI_SIZE")
    if size:
        return int(size)
    if os.environ.get("PMIX_RANK") is not None and os.environ.get("SLURM_STEP_NUM_TASKS"):
        return int(os.environ["SLURM_STEP_NUM_TASKS"])
    return 0


def prepare_process() -> None:
    """Set what MPI, Horovod and TensorFlow read while they are loaded; before any of them."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if os.environ.get("OMPI_COMM_WORLD_SIZE"):
        _end_with_parent(signal.SIGKILL)


_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "HOROVOD_STALL_CHECK_DISABLE": "1",  # ranks wait for one another's last batch: no stall
    "OMPI_MCA_mpi_yield_when_idle": "1",
}


def _end_with_parent(number: int) -> None:
    """Let the kernel signal this process when the one that started it is gone (Linux prctl)."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, number)


def given_cores() -> frozenset[int]:
    """The cores that this host's ranks may share.

    mpirun binds the ranks of small worlds to one core each; what the job was given is what
    mpirun's own daemon, the parent of each rank, may use.
    """
    if os.environ.get("OMPI_COMM_WORLD_SIZE"):
        try:
            return frozenset(os.sched_getaffinity(os.getppid()))
        except OSError:
            pass  # the daemon lives in another PID namespace: take what this rank was given
    return frozenset(os.sched_getaffinity(0))


def own_cores(given: frozenset[int], local_rank: int, local_size: int) -> tuple[int, ...]:
    """A rank's share of its host's cores: a group of its own, or one core shared with others."""
    cores = sorted(given)
    if local_size >= len(cores):
        return (cores[local_rank % len(cores)],)
    first = local_rank * len(cores) // local_size
    return tuple(cores[first : (local_rank + 1) * len(cores) // local_size])


def pin(cores: tuple[int, ...]) -> None:
    """Keep this process, and the threads it will start, on its own cores."""
    os.sched_setaffinity(0, cores)


def terminal_beyond_mpirun() -> bool | None:
    """Whether the user sits at a terminal behind mpirun; None where mpirun was the user's own."""
    word = os.environ.get(TERMINAL)
    return None if word is None else word == "1"


def outcome_is_left() -> bool:
    """Whether a process of ours called mpirun, and reads in a file how the run ended."""
    return OUTCOME in os.environ


def leave_outcome(code: int) -> int:
    """Tell the process that called mpirun how the run ended.

    Returns:
        The code to exit with: 0 where the caller reads the file, since mpirun answers any other
        with a page of its own.
    """
    if not outcome_is_left():
        return code
    Path(os.environ[OUTCOME]).write_text(str(code), encoding="ascii")
    return 0


def place(ranks: int | None, with_tensorflow: bool, with_gpus: bool = True) -> Place:
    """How many ranks to start, and on how many hosts.

    Args:
        ranks: What the user asked for, on all hosts together; None picks.
        with_tensorflow: Whether each rank will hold TensorFlow.
        with_gpus: Whether it may use a GPU.
    Raises:
        UsageError: More ranks than memory allows.
    """
    hosts = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if ranks is None:
        return Place(hosts, (with_gpus and _gpus()) or _ranks_by_cores(with_tensorflow))
    if ranks < 1:
        raise UsageError(f"--ranks {ranks}: wanted at least 1.", "Leave it out to use all cores.")
    a_host = -(-ranks // hosts)
    each = RANK_GIB if with_tensorflow else TEXT_RANK_GIB
    if a_host * each > _memory_gib():
        raise UsageError(
            f"--ranks {ranks}: each needs about {each:g} GiB, and this machine has "
            f"{_memory_gib():.0f} GiB.",
            f"Leave --ranks out for {_ranks_by_cores(with_tensorflow)}, the best number here.",
        )
    return Place(min(hosts, ranks), a_host)


def _gpus() -> int:
    """GPUs of this host for the job; where the driver shows none, the ranks will say why."""
    return len(visible_gpus()) or allocated_gpus()


def _ranks_by_cores(with_tensorflow: bool) -> int:
    tasks = os.environ.get("SLURM_NTASKS_PER_NODE", "")
    if tasks.isdigit():
        return int(tasks)
    memory = int(_memory_gib() // RANK_GIB) if with_tensorflow else MOST_RANKS
    cores = min(len(os.sched_getaffinity(0)), int(os.environ.get("SLURM_CPUS_ON_NODE", 1 << 20)))
    return max(1, min(cores, memory, MOST_RANKS))


def _memory_gib() -> float:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, int(limit) / 2**30)


def start(arguments: list[str], ranks: int, where: Place) -> int:
    """Run `retrain` with these arguments as a world under mpirun, and pass on signals.

    Returns:
        The exit code that rank 0 left. Where it left none: 75 if a stop was asked for (it came
        before the ranks could note it), else 1, whatever mpirun says: it ends with 0 when a
        remote host dies.
    """
    relay = _Relay()
    with tempfile.TemporaryDirectory(prefix="retrain-") as folder:
        outcome = Path(folder) / "outcome"
        child = subprocess.Popen(
            [*_mpirun(ranks, where), sys.executable, "-m", "trainer", *arguments],
            env=_environment(outcome),
            start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on as SIGUSR2
            preexec_fn=lambda: _end_with_parent(signal.SIGTERM),
        )
        relay.serve(child)
        ended = child.wait()
        if outcome.exists():
            return int(outcome.read_text(encoding="ascii"))
    if relay.asked:
        print(
            "retrain: stopped on request before the ranks could agree.\n"
            "  Start the same command again; it goes on with what was kept.",
            file=sys.stderr,
        )
        return STOPPED
    print(
        f"retrain: the ranks ended without a result (mpirun: {ended}).\n"
        "  Start the same command again; it goes on with what was kept.",
        file=sys.stderr,
    )
    return FAILED


class _Relay:
    """Passes the first request to stop to all ranks, as the SIGUSR2 that mpirun forwards.

    A later one ends them at once; what comes within two seconds is an echo of the first.
    """

    def __init__(self) -> None:
        self.asked = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def serve(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        if self.asked:
            child.send_signal(signal.SIGUSR2)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = self.asked and now - self.asked > ECHO_SECONDS
        self.asked = self.asked or now
        if self._child and again:
            os.killpg(self._child.pid, signal.SIGKILL)
        elif self._child and self.asked == now:
            self._child.send_signal(signal.SIGUSR2)


def _mpirun(ranks: int, where: Place) -> list[str]:
    folders = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)])
    mpirun = shutil.which("mpirun", path=folders)
    if not mpirun:
        raise UsageError(
            f"mpirun: not in {sys.prefix}/bin nor on PATH.", "make setup, or --ranks 1 without it."
        )
    return [
        mpirun,
        "-np", str(ranks),
        "--map-by", f"ppr:{where.ranks_a_host}:node:oversubscribe",
        "--bind-to", "none",  # ranks share their host's cores themselves
    ]  # fmt: skip


def _environment(outcome: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment.pop("SLURM_EXPORT_ENV", None)  # with NONE, mpirun's own srun would lose its words
    environment.update(_QUIET)
    environment.update(
        {
            OUTCOME: str(outcome),
            TERMINAL: str(int(sys.stderr.isatty())),
            "COLUMNS": str(shutil.get_terminal_size().columns),
            "PYTHONUNBUFFERED": "1",
        }
    )
    if os.geteuid() == 0:  # containers and test machines; Open MPI asks twice
        environment["OMPI_ALLOW_RUN_AS_ROOT"] = environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return environment


def try_world(program: str) -> int:
    """Run a Python program on two ranks of this machine, and give mpirun's exit code."""
    command = [*_mpirun(2, Place(1, 2)), sys.executable, "-c", program]
    return subprocess.run(command, env=_environment(Path(os.devnull)), timeout=100).returncode
