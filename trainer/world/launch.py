# SPDX-License-Identifier: Apache-2.0
"""Who started us and with what; and a world of our own, for `--ranks` and for Slurm allocations.

With `launchers.py` the only reader of launchers' and schedulers' environment variables.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from trainer.errors import DATA, DONE, FAILED, GO_ON, STOPPED, RetrainError, UsageError, told
from trainer.rundir import RunDir
from trainer.world.daemon import shield
from trainer.world.devices import allocated_gpus, visible_gpus
from trainer.world.last_start import leave_cause
from trainer.world.launchers import NOT_FOR_STEPS, Place, command, find
from trainer.world.memory import Kills, available_gib, less_memory
from trainer.world.outcome import OUTCOME, Outcome, awaited
from trainer.world.stopping import SIGNALS, of_process
from trainer.world.supervision import Supervisor

RANK_GIB = 2.0
"""Memory that a rank with TensorFlow is planned with."""
TEXT_RANK_GIB = 0.25
"""The same for a rank without: a run on bottleneck texts."""
MOST_RANKS = 16
"""Ranks a host when the user names no number."""
SESSION_BYTES = 1 << 16
"""Room that mpirun's session directory is to have at least."""
OWN = f"retrain-{os.stat('/proc/self/ns/pid').st_ino}-"
"""How our folders' names begin there: containers may share it, each with processes of its own."""
LAUNCH_AGENT = "PRTE_MCA_prte_launch_agent"
"""Open MPI 5's variable for what is started on the other hosts in place of its daemon."""
PROBE_SECONDS = 300
"""For ranks to import all they need from a busy disk, and to tell of each other."""
TERMINAL = "RETRAIN_TERMINAL"
"""Set where the user's terminal, hidden from the ranks by mpirun, can redraw a bar."""


def in_world() -> bool:
    """Whether mpirun, srun or a process of ours started this one as a rank of a world."""
    return promised_size() > 0 or awaited() is not None


def promised_size() -> int:
    """The number of ranks that the launcher started; 0 where none did.

    srun with an MPI plugin that ours does not know sets none of its variables, and gives every task
    a world of its own; only Slurm's count of the step's tasks tells. A single task without any is
    the shell of `salloc`, or of `srun --pty`: runs start their ranks from there.
    """
    size = os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ.get("PMI_SIZE")
    if size:
        return int(size)
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 0)
    return tasks if tasks > 1 or os.environ.get("PMIX_RANK") is not None else 0


def array_task() -> str:
    """The number of this task of a Slurm array; empty elsewhere."""
    return os.environ.get("SLURM_ARRAY_TASK_ID", "")


def require_gpus_by_host() -> None:
    """Refuse an allocation that ties GPUs to tasks.

    Raises:
        UsageError: It does: ranks could not reach their neighbours' GPUs.
    """
    by_task = os.environ.get("SLURM_GPUS_PER_TASK")
    if not by_task and "gpu" in os.environ.get("SLURM_TRES_PER_TASK", ""):
        by_task = "N"
    if by_task:
        raise UsageError(
            f"--gpus-per-task={by_task}: Slurm then shows each rank one GPU of its host, "
            "and NVLink peers do not reach each other.",
            "Ask for GPUs by host: --gpus-per-node=N, or --gres=gpu:N. Each rank takes its own.",
        )


def prepare_process() -> None:
    """Set what MPI, Horovod and TensorFlow read while they are loaded; before any of them."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if os.environ.get("OMPI_COMM_WORLD_SIZE"):
        _end_with_parent(signal.SIGKILL)
    outcome = awaited()
    if outcome is not None and outcome.here:
        outcome.write_stacks_when_asked()


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
    """Whether a process of ours started this one, and reads in a file how the run ended."""
    return awaited() is not None


def leave_outcome(code: int) -> int:
    """Tell the process that started the ranks how the run ended; the first word counts.

    Returns:
        The code to exit with: 0 where the caller reads the file, since mpirun answers any other
        with a page of its own.
    """
    outcome = awaited()
    if outcome is None or not outcome.here:
        return code
    try:
        outcome.leave(code)
    except OSError:
        return code  # who waited for it was killed, or its disk is full
    return DONE


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
    if a_host * each > available_gib():
        raise UsageError(
            f"--ranks {ranks}: each needs about {each:g} GiB, and there are "
            f"{available_gib():.1f} GiB here for the job.",
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
    memory = int(available_gib() // RANK_GIB) if with_tensorflow else MOST_RANKS
    cores = min(len(os.sched_getaffinity(0)), int(os.environ.get("SLURM_CPUS_ON_NODE", 1 << 20)))
    return max(1, min(cores, memory, MOST_RANKS))


def start(
    arguments: list[str],
    ranks: int,
    where: Place,
    stall_timeout: float = 600.0,
    run: RunDir | None = None,
) -> int:
    """Run `retrain` with these arguments as a world, and pass on signals.

    Args:
        arguments: Words of the command line.
        ranks: Processes; more than one are started by mpirun.
        where: On which hosts.
        stall_timeout: Seconds without a sign of life from the ranks that are too many.
        run: Its log and its next start are told what became of the ranks.
    Returns:
        The exit code that rank 0 left. Where it left none: 75 if a stop was asked for (it came
        before the ranks could note it), else 1, whatever mpirun says: it ends with 0 when a
        remote host dies.
    """
    stopping = of_process()
    _require_room()
    _remove_left()
    words = [sys.executable, "-m", "trainer", *arguments]
    alone = ranks == where.hosts == 1
    if not alone:
        words = [*command(ranks, where), *words]
    before = Kills.now()
    stopping.note_only()  # a child half started would be nobody's
    with tempfile.TemporaryDirectory(prefix=f"{OWN}{os.getpid()}-", dir=_scratch()) as folder:
        outcome = Outcome(Path(folder) / "outcome")
        child = _begin(words, outcome, alone)
        log = run.log if run else None
        here = ranks if where.hosts == 1 else None
        supervisor = Supervisor(child, here, outcome, stopping, stall_timeout, log)
        stopping.last_resort = lambda: None  # the supervisor keeps to a time of its own
        stopping.insisted = supervisor.insist
        code = supervisor.wait()
    if code is None:
        return _without_word(child.returncode, stopping.requested, before.since(), ranks, run)
    if code in (FAILED, DATA) and (killed := before.since()):
        print(told(f"{killed}.", less_memory(ranks)), file=sys.stderr)
    return code


def _require_room() -> None:
    """See that mpirun, and we, can write where we must; mpirun's page would not say why it cannot.

    Raises:
        RetrainError: It cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=_scratch()) as probe:
            probe.write(bytes(SESSION_BYTES))
    except OSError as error:
        raise RetrainError(
            f"{_scratch()}: mpirun needs {SESSION_BYTES:,} bytes there: {error.strerror}.",
            "Free space there, or set TMPDIR to another folder of this machine.",
        ) from None


def _remove_left() -> None:
    """Remove the folders of those who called mpirun here before and were killed."""
    for left in _scratch().glob(f"{OWN}*"):
        process = left.name.removeprefix(OWN).partition("-")[0]
        with suppress(FileNotFoundError):  # another one removes it too
            if left.stat().st_uid == os.geteuid() and not Path("/proc", process).exists():
                shutil.rmtree(left, ignore_errors=True)


def _scratch() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp")


def _begin(words: list[str], outcome: Outcome, alone: bool) -> subprocess.Popen[bytes]:
    """Start a rank, or mpirun, in a process group of its own: Ctrl-C reaches us, who pass it on.

    mpirun would end its ranks within a moment of a SIGTERM or SIGINT, before they could agree: it
    blocks both, and starts its ranks with neither blocked. When we are gone, a SIGHUP lets it end
    them and tidy up.
    """

    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup had it ignored
        _end_with_parent(signal.SIGKILL if alone else signal.SIGHUP)
        if not alone:
            shield()

    environment = _environment(outcome.path)
    return subprocess.Popen(words, env=environment, start_new_session=True, preexec_fn=prepare)


def _without_word(ended: int, stopping: bool, killed: str, ranks: int, run: RunDir | None) -> int:
    """The exit code where no rank left one, from what mpirun or the rank ended with.

    A rank dies of a signal that asks it to stop only before it can note it.
    """
    if stopping or ended in (STOPPED, *_by_signal(*SIGNALS)):
        print(told("stopped on request before the ranks could agree.", GO_ON), file=sys.stderr)
        return STOPPED
    ended = ended if ended >= 0 else 128 - ended
    why, todo = (f": {killed}", less_memory(ranks)) if killed else ("", GO_ON)
    message = f"the ranks ended without a result (exit code {ended}){why}."
    print(told(message, todo), file=sys.stderr)
    if run and killed:
        leave_cause(run, killed)
    return FAILED


def _by_signal(*numbers: int) -> tuple[int, ...]:
    """Exit codes of a process that a signal ended, as a shell, mpirun, and Python tell it."""
    return tuple(code for number in numbers for code in (128 + number, -number))


def _environment(outcome: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_STEPS}
    environment.update(_QUIET)
    environment.update(
        {
            OUTCOME: str(outcome),
            TERMINAL: str(int(sys.stderr.isatty())),
            "COLUMNS": str(shutil.get_terminal_size().columns),
            "PYTHONUNBUFFERED": "1",
        }
    )
    daemon = find("prted")
    if daemon and len(f"{sys.executable} {daemon}".split()) == 2:  # it is taken apart at blanks
        environment[LAUNCH_AGENT] = f"{sys.executable} -m {shield.__module__} {daemon}"
    if os.geteuid() == 0:  # containers and test machines; Open MPI asks twice
        environment["OMPI_ALLOW_RUN_AS_ROOT"] = environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return environment


def probe_world(folder: Path) -> tuple[bool, str]:
    """Let ranks tell of each other: two here, or in a job as many as a run would get.

    Args:
        folder: Where they try what a file system can.
    Returns:
        Whether they all ended well; and what rank 0 said last, or what went wrong.
    """
    in_job = bool(os.environ.get("SLURM_JOB_ID"))
    where = place(None, with_tensorflow=True) if in_job else Place(1, 2)
    environment = _environment(Path(os.devnull))
    del environment[OUTCOME]  # nobody looks for one
    try:
        words = command(where.hosts * where.ranks_a_host, where)
        child = subprocess.run(
            [*words, sys.executable, "-m", "trainer.world.probe", str(folder.absolute())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False, f"{where.hosts * where.ranks_a_host} ranks: no answer in {PROBE_SECONDS} s"
    except UsageError as error:
        return False, error.message
    return child.returncode == 0, child.stdout if child.returncode == 0 else child.stderr
