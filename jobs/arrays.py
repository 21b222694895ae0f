# SPDX-License-Identifier: Apache-2.0
"""From a plan to sbatch: arrays of jobs, which wait for which, and the job that gathers.

The first task of each backbone goes ahead alone, and the others follow when it has ended, however
it has: runs that start together find the same gaps in the bottleneck cache, and each would fill
all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import UsageError
from jobs.plan import LOGS, Plan

DEFAULT_ARRAY_SIZE = 1001
"""Slurm's MaxArraySize where its configuration names none."""
TASK = Path(__file__).resolve().with_name("task.py")
"""What slurm/retrain.sh runs to find a task's words."""
_RUN_SCALING = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('jobs.scaling_report', run_name='__main__', alter_sys=True)"
)
"""`python -m` would first look in the folder that the job runs in, which may be anybody's."""
_NO_EXTRACTION = ("data.split", "data.max_bad", "data.bottlenecks")
"""Parts of `data` that leave the bottlenecks as they are."""


@dataclass(frozen=True)
class Submission:
    """One call of sbatch."""

    options: tuple[str, ...]
    command: tuple[str, ...]
    """The script and its arguments; or `--wrap` with its shell line."""
    numbers: tuple[int, ...]
    """The plan's tasks in it, in the order of its indices; none in the job that gathers."""
    indices: tuple[int, ...] = ()
    """Their indices in the array."""
    after: tuple[int, ...] = ()
    """Which of the submissions before it must have ended."""

    def words(self, ids: Sequence[str]) -> list[str]:
        """The call, given the ids that the submissions before it got."""
        named = ":".join(ids[at] for at in self.after)
        waits = [f"--dependency=afterany:{named}"] if named else []
        return ["sbatch", "--parsable", *self.options, *waits, *self.command]

    def jobs(self, job: str) -> dict[int, str]:
        """Slurm's number of each task, such as 12_3, given that of the array."""
        pairs = zip(self.numbers, self.indices, strict=True)
        return {number: f"{job}_{index}" for number, index in pairs}


def array_commands(
    plan: Plan,
    script: Path,
    options: Sequence[str] = (),
    *,
    numbers: Sequence[int] | None = None,
    limit: int | None = None,
    array_size: int = DEFAULT_ARRAY_SIZE,
    extracts: bool = True,
) -> list[Submission]:
    """The arrays of a plan, in the order in which they are to be submitted.

    Args:
        plan: What to run; saved before the first call.
        script: The clone's slurm/retrain.sh.
        options: Of sbatch, for every task; a task's own come after them.
        numbers: The tasks; by default those that are chosen and not complete.
        limit: How many run at a time at most. One array then waits for the one before.
        array_size: The site's MaxArraySize.
        extracts: Whether the runs look at images, and do not read bottlenecks from text files.
    Raises:
        UsageError: The limit is none, or the site has no arrays.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: wanted 1 or more.")
    if array_size < 2:
        raise UsageError(
            f"MaxArraySize is {array_size} here: this Slurm takes no arrays of jobs.",
            "Ask who runs it to raise MaxArraySize.",
        )
    numbers = plan.open_numbers() if numbers is None else numbers
    first = set(_leaders(plan, numbers)) if extracts else set(numbers)
    calls: list[Submission] = []
    ahead: tuple[int, ...] = ()
    for wave in ([n for n in numbers if n in first], [n for n in numbers if n not in first]):
        begun = len(calls)
        for chunk in _chunks(plan, wave, array_size):
            after = (len(calls) - 1,) if limit and calls else ahead
            calls.append(_array(plan, chunk, script, options, limit, array_size, after))
        ahead = tuple(range(begun, len(calls)))
    return calls


def gather_command(
    plan: Plan,
    retrain: Sequence[str | Path],
    calls: Sequence[Submission],
    options: Sequence[str] = (),
    setup: Path | None = None,
) -> Submission:
    """The job that gathers when all arrays have ended, also where tasks failed.

    Args:
        plan: The sweep.
        retrain: The command on a compute node, such as the clone's .venv/bin/retrain.
        calls: The arrays.
        options: Of sbatch, such as partition and account; it needs one core for a minute.
        setup: What a Bash sources before, such as configs/sites/NAME.sh.
    """
    words = [*map(str, retrain), "gather", str(plan.folder)]
    return closing_command(plan, "gather", words, calls, options, setup)


def scaling_command(
    plan: Plan,
    python: Sequence[str | Path],
    calls: Sequence[Submission],
    options: Sequence[str] = (),
    setup: Path | None = None,
) -> Submission:
    """The job that makes the scaling table and its plot; arguments as of `gather_command`.

    Args:
        python: The Python on a compute node that has `jobs` and Matplotlib.
    """
    words = [*map(str, python), "-I", "-c", _RUN_SCALING, str(TASK.parents[1]), str(plan.folder)]
    return closing_command(plan, "scaling", words, calls, options, setup)


def closing_command(
    plan: Plan,
    name: str,
    words: Sequence[str],
    calls: Sequence[Submission],
    options: Sequence[str] = (),
    setup: Path | None = None,
) -> Submission:
    """A job that runs a command once all arrays have ended, however they have."""
    if setup:
        words = ["bash", "-c", '. "$1" && shift && exec "$@"', name, str(setup), *words]
    log = f"{_pattern(plan.folder / LOGS)}/{name}-%j.out"
    own = (f"--job-name=retrain-{name}", f"--output={log}", f"--chdir={plan.start_in}")
    line = f"--wrap=exec {shlex.join(words)}"
    return Submission((*options, *own), (line,), (), after=tuple(range(len(calls))))


def array_size(shown: str) -> int:
    """MaxArraySize in what `scontrol show config` wrote; Slurm's default where it is not told."""
    for line in shown.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdigit():
            return int(value)
    return DEFAULT_ARRAY_SIZE


def index_list(indices: Sequence[int]) -> str:
    """Rising numbers as sbatch's --array takes them: 0-3,7."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _leaders(plan: Plan, numbers: Sequence[int]) -> list[int]:
    """The first task of each group that shares its bottlenecks."""
    groups: dict[tuple[tuple[str, str], ...], int] = {}
    for number in numbers:
        settings = plan.tasks[number].settings.items()
        key = tuple(sorted(item for item in settings if _decides_bottlenecks(item[0])))
        groups.setdefault(key, number)
    return list(groups.values())


def _decides_bottlenecks(key: str) -> bool:
    if any(key == part or key.startswith(f"{part}.") for part in _NO_EXTRACTION):
        return False
    return key.split(".")[0] in ("data", "backbone") or key in ("run", "run.cache", "run.device")


def _chunks(plan: Plan, numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    """Tasks that fit into one array: the same options, and indices below the site's limit."""
    chunks: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for number in sorted(numbers):
        chunks.setdefault((plan.tasks[number].options, number // size), []).append(number)
    yield from chunks.values()


def _array(
    plan: Plan,
    chunk: Sequence[int],
    script: Path,
    options: Sequence[str],
    limit: int | None,
    size: int,
    after: tuple[int, ...],
) -> Submission:
    offset = chunk[0] // size * size
    indices = tuple(number - offset for number in chunk)
    spread = f"%{limit}" if limit else ""
    own = (
        f"--array={index_list(indices)}{spread}",
        f"--output={_pattern(plan.folder / LOGS)}/%A_%a.out",
        f"--chdir={plan.start_in}",
    )
    command = (str(script), "--task", str(TASK), str(plan.path), str(offset))
    every = (*options, *plan.tasks[chunk[0]].options, *own)
    return Submission(every, command, tuple(chunk), indices, after)


def _pattern(path: Path) -> str:
    """A path for sbatch's --output, in which % stands for itself."""
    return str(path).replace("%", "%%")
