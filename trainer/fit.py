# SPDX-License-Identifier: Apache-2.0
"""The job: from a folder of labelled images to a head, and a number that a stranger can trust."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

from trainer.analyse import Analysis
from trainer.analysis.evaluate import evaluate
from trainer.cache_use import CacheUse
from trainer.config import Config, cache_folder
from trainer.data.dataset import deal_dataset, require_dealable
from trainer.data.plan import make_plan
from trainer.errors import DataError, RetrainError, Stopped
from trainer.features.bottlenecks import find_bottlenecks
from trainer.head.kept import Keeper
from trainer.head.train import FITTED, score_test, train
from trainer.lock import hold
from trainer.progress import Progress
from trainer.publish import publish
from trainer.record import Record, Results
from trainer.resume import (
    OtherData,
    begin_again,
    is_done,
    let_data_go,
    open_directory,
    require_same_data,
)
from trainer.rundir import RunDir
from trainer.stages import bottlenecks_inputs, head_inputs, key_of
from trainer.stop_note import note_stop
from trainer.world.comm import World
from trainer.world.last_start import noting


def fit(
    config: Config,
    verify: bool,
    world: World,
    run: RunDir,
    cache: CacheUse,
    finished: bool,
    record: Record,
    progress: Progress,
) -> Results:
    """Retrain a head on the configured images; a stopped run goes on where it ended; Collective."""
    with record.stage("plan"):
        plan = make_plan(config.data, cache, verify, world, progress)
        require_same_data(run, plan, config, world)
        if finished:
            progress.say(f"{run.path} is done, with these settings and this data.")
            return world.on_root(run.read_results)
        world.on_root(lambda: require_dealable(plan, config))
    with record.stage("bottlenecks", lambda: bottlenecks_inputs(plan, features)):
        features = find_bottlenecks(plan, config, cache, world, progress)
    with record.stage("split", lambda: {"items": dataset.fingerprint()}):
        dataset = world.on_root(
            lambda: deal_dataset(plan, features.unreadable, features.hashes, config)
        )
    fits = world.on_root(lambda: head_inputs(dataset, features, config))
    with record.stage("head", lambda: fits, [run.head / FITTED]):
        keeper = Keeper(run.head, key_of(fits), world, progress)
        fitted = train(dataset, features.reader, config, keeper, world, progress)
    with record.stage("evaluation", lambda: {**fits, "seed": config.run.seed}):
        test = score_test(dataset, features.reader, fitted.final, world)
        evaluation = evaluate(dataset, fitted, test, config)
    record.add_findings(dataset, features, fitted, evaluation, config)
    analysis = Analysis(
        run, plan, config, dataset, features, fitted, evaluation, keeper, world, progress
    )
    with record.stage("analysis", lambda: analysis.inputs(fits), analysis.files):
        neighbours = analysis.made(fits)
    return publish(
        run,
        config,
        world,
        dataset,
        features,
        fits,
        fitted,
        evaluation,
        neighbours,
        record,
        progress,
    )


def run_job(
    config: Config, out: Path, again: bool, verify: bool, world: World, progress: Progress
) -> Results:
    """Hold the run directory and do the job in it, or tell there why it ended; Collective."""
    run = RunDir(out)
    record = Record(config, world, run, progress)
    with ExitStack() as held:
        finished = world.on_root(lambda: _enter(run, config, again, held, record, progress))
        try:
            cache = CacheUse(cache_folder(config, out.parent), out)
            world.on_root(cache.clean)
            return fit(config, verify, world, run, cache, finished, record, progress)
        except RetrainError as error:
            if world.rank == 0 and not finished:
                _leave(run, record, error, progress)
            raise


def _enter(
    run: RunDir, config: Config, again: bool, held: ExitStack, record: Record, progress: Progress
) -> bool:
    """Take the lock, see that the directory fits, and log into it; on rank 0.

    Returns:
        Whether the run is done already; then its results stay as they are, whatever comes.
    """
    run.create()
    held.enter_context(hold(run, progress))
    open_directory(run, config, again, progress.say)
    held.enter_context(progress.logging_to(run.log))
    progress.say(record.opening())
    held.enter_context(noting(run, progress.say))
    finished = is_done(run)
    if not finished:
        begin_again(run, progress.say)
        record.write()
    return finished


def _leave(run: RunDir, record: Record, error: RetrainError, progress: Progress) -> None:
    """Tell in the directory why the run ended, and what the next start may count on; on rank 0."""
    status = "stopped" if isinstance(error, (Stopped, OtherData)) else "failed"
    with suppress(RetrainError):  # on a full disk, the first error is the one to tell
        progress.note(f"{status}: {error.message}")
        record.write(status)
        if isinstance(error, Stopped):
            note_stop(run, progress)
    if isinstance(error, DataError):
        let_data_go(run)
