# SPDX-License-Identifier: Apache-2.0
"""The job: from a folder of labelled images to a head, and a number that a stranger can trust."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from trainer.analysis.evaluate import evaluate
from trainer.config import Config, cache_folder
from trainer.data.dataset import deal_dataset, require_dealable
from trainer.data.plan import make_plan
from trainer.errors import RetrainError, Stopped
from trainer.features.bottlenecks import find_bottlenecks
from trainer.head.kept import Keeper
from trainer.head.train import FITTED, score_test, train
from trainer.lock import hold
from trainer.progress import Progress
from trainer.publish import publish
from trainer.record import Record, Results
from trainer.resume import is_done, open_directory, require_same_data
from trainer.rundir import RunDir
from trainer.stages import bottlenecks_inputs, head_inputs, key_of
from trainer.world.comm import World


def fit(
    config: Config,
    verify: bool,
    world: World,
    run: RunDir,
    cache: Path,
    record: Record,
    progress: Progress,
) -> Results:
    """Retrain a head on the configured images; a stopped run goes on where it ended; Collective."""
    with record.stage("plan"):
        plan = make_plan(config.data, cache, verify, world, progress)
        world.on_root(lambda: require_same_data(run, plan, config))
        if world.on_root(lambda: is_done(run)):
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
    return world.on_root(
        lambda: publish(
            run, config, world, dataset, features, fits, fitted, evaluation, record, progress
        )
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
            cache = cache_folder(config, out.parent)
            return fit(config, verify, world, run, cache, record, progress)
        except RetrainError as error:
            status = "stopped" if isinstance(error, Stopped) else "failed"
            if world.rank == 0 and not finished:
                record.write(status)
                progress.note(f"{status}: {error.message}")
            raise


def _enter(
    run: RunDir, config: Config, again: bool, held: ExitStack, record: Record, progress: Progress
) -> bool:
    """Take the lock, see that the directory fits, and log into it; on rank 0.

    Returns:
        Whether the run is done already; then its results stay as they are, whatever comes.
    """
    run.create()
    held.enter_context(hold(run))
    open_directory(run, config, again, progress.say)
    held.enter_context(progress.logging_to(run.log))
    progress.say(record.opening())
    finished = is_done(run)
    if not finished:
        record.write()
    return finished
