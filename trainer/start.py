# SPDX-License-Identifier: Apache-2.0
"""From `retrain run` to a world of ranks: join the one we were started in, or start one."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.config import Config, Data
from trainer.data.source import list_enough
from trainer.errors import DONE, FAILED, STOPPED, RetrainError, UsageError, told
from trainer.progress import Progress, to_stderr
from trainer.rundir import RunDir, write_error
from trainer.world import launch
from trainer.world.comm import World, connect
from trainer.world.stopping import end_at_once, of_process

ROOT_FIRST_SECONDS = 0.5
"""For rank 0 to leave its word before mpirun sees any rank end."""


def start(
    config: Config,
    source: str,
    overrides: list[str],
    ranks: int | None,
    out: Path | None,
    again: bool,
    verify: bool = False,
) -> int:
    """Run the job in this process's world, or start one and wait for it.

    Args:
        config: As resolved from the next two.
        source: The configuration file or folder, as given.
        overrides: `key=value` words, as given.
        ranks: Processes to start; None picks.
        out: The run directory; None picks: named after the configuration and the array's task.
        again: Forget what is in it.
        verify: Hash files again that seem unchanged.
    Returns:
        The exit code.
    """
    launch.require_gpus_by_host()
    out = out or Path("runs") / "-".join(filter(None, (config.name, launch.array_task())))
    _require_apart(out, config.data)
    if launch.in_world():
        return join(config, out, again, verify)
    run = RunDir(out)
    with of_process().at_once():
        list_enough(config.data)  # what a listing shows is told before any rank is started
        tensorflow = config.data.images is not None
        where = launch.place(ranks, tensorflow, tensorflow and config.run.device == "auto")
        run.create()
    total = ranks or where.hosts * where.ranks_a_host
    flags = [*(["--again"] if again else []), *(["--verify"] if verify else [])]
    words = ["run", f"--out={out}", *flags, "--", source, *overrides]
    return launch.start(words, total, where, config.run.stall_timeout, run)


def _require_apart(out: Path, data: Data) -> None:
    source = os.path.realpath(data.source)
    if os.path.commonpath([source, os.path.realpath(out)]) == source:
        raise UsageError(
            f"--out {out}: lies in {data.source_key} {source}, where folders are classes.",
            "Give a folder elsewhere with --out.",
        )


def join(config: Config, out: Path, again: bool, verify: bool) -> int:
    """Do this rank's part of the job; Collective.

    Returns:
        The exit code for this process.
    """
    stopping = of_process()
    try:
        world = connect(stopping, config.run.stall_timeout, RunDir(out).log)
    except UsageError as error:
        launch.leave_outcome(error.exit_code)  # there is no rank 0 yet that could
        raise
    stopping.unwinding = world.rank == 0  # it holds what is to be tidied up
    stopping.last_resort = lambda: _stop_now(world)
    progress = to_stderr(launch.terminal_beyond_mpirun()) if world.rank == 0 else Progress()
    with ending_all(world):
        code = _work(config, out, again, verify, world, progress)
    world.part()
    stopping.rest()
    return launch.leave_outcome(code) if world.rank == 0 else _follow(code)


def _stop_now(world: World) -> None:
    """End this rank, stopped, though its main thread does not come back; rank 0 first."""
    if world.rank == 0:
        launch.leave_outcome(STOPPED)
        end_at_once()
    time.sleep(ROOT_FIRST_SECONDS)
    os._exit(STOPPED)


def _follow(code: int) -> int:
    """The exit code of the other ranks: 0 where rank 0 left the real one in a file."""
    return DONE if launch.outcome_is_left() else code


def _work(
    config: Config, out: Path, again: bool, verify: bool, world: World, progress: Progress
) -> int:
    """The job; an error that all ranks raise together is told by rank 0 alone."""
    from trainer.fit import run_job
    from trainer.report.verdict import last_lines

    if world.crowded:
        progress.say(f"Warning: {world.local_size} ranks share {len(launch.given_cores())} cores")
    try:
        results = run_job(config, out, again, verify, world, progress)
    except RetrainError as error:
        if not error.agreed:
            raise
        if world.rank == 0:
            with suppress(OSError):  # where standard error cannot be written, the code must do
                print(told(error.message, error.todo), file=sys.stderr, flush=True)
        return error.exit_code
    if world.rank == 0:
        text = "\n".join(last_lines(results, out))
        try:
            print(text, flush=True)
        except OSError as error:
            sys.stdout = None  # or Python would try again at its end
            raise write_error(Path("standard output"), len(text), error) from None
    return DONE


@contextmanager
def ending_all(world: World) -> Iterator[None]:
    """End all ranks when this one fails alone, before any waits for it."""
    try:
        yield
    except BaseException as error:
        _end_all(world, error)
        raise


def _end_all(world: World, error: BaseException) -> None:
    """Tell what happened on this rank alone, and where."""
    where = f"rank {world.rank} on {world.host}: "
    if isinstance(error, RetrainError):
        text, code = told(where + error.message, error.todo), error.exit_code
    else:
        text, code = told(f"{where}{type(error).__name__}: {error}", ""), FAILED
    with suppress(OSError):  # where standard error cannot be written, the code must do
        if not isinstance(error, RetrainError):
            traceback.print_exception(type(error), error, error.__traceback__)
        print(text, file=sys.stderr, flush=True)
    launch.leave_outcome(code)
    if world.size > 1:
        world.abort(code)
    sys.exit(code)
