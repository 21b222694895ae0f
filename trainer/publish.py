# SPDX-License-Identifier: Apache-2.0
"""What a run leaves for people: tables, the saved model, the report, and last the final mark."""

from __future__ import annotations

from dataclasses import asdict

from trainer.analysis.evaluate import Evaluation, write_predictions
from trainer.analysis.neighbours import Neighbours
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.features.backbone import batch_size
from trainer.features.bottlenecks import Features
from trainer.head.export import About, save_model
from trainer.head.fitted import Fitted
from trainer.progress import Progress
from trainer.record import Record, Results, write_environment
from trainer.report.card import model_card
from trainer.report.events import write_events
from trainer.report.page import write_report
from trainer.rundir import RunDir, remove
from trainer.stages import STOPPED, Inputs, unchanged
from trainer.world.comm import World

TEXTS_AT_ONCE = 64


def publish(
    run: RunDir,
    config: Config,
    world: World,
    dataset: Dataset,
    features: Features,
    fits: Inputs,
    fitted: Fitted,
    evaluation: Evaluation,
    neighbours: Neighbours,
    record: Record,
    progress: Progress,
) -> Results:
    """Write everything but the lock and the log; Collective.

    Args:
        run: Where to.
        config: As resolved.
        world: Rank 0 of it writes.
        dataset, features, fitted, evaluation: What the stages before gave.
        fits: What decided the fits.
        neighbours: The items that the model keeps.
        record: Has the results.
        progress: Told what is done.
    Returns:
        The results, complete.
    Raises:
        RetrainError: The disk is full, or another write failed.
        Stopped: Some rank was asked to stop before the final mark was begun.
    """
    about = _about(config, dataset, features, record)
    card = model_card(record.results(), about, features.network)
    made_from = {**fits, "about": asdict(about), "card": card}

    with record.stage("model", lambda: made_from, [run.model]):
        if world.on_root(lambda: unchanged(run, "model", made_from, [run.model])):
            progress.say("Model: done before, passed over")
        else:
            progress.say("Saving the model")
            world.on_root(
                lambda: save_model(
                    run.model,
                    fitted.final,
                    about,
                    features.network,
                    neighbours.to_arrays(),
                    card,
                )
            )
    world.agree()
    tables = [run.manifest, run.quarantine, run.groups, run.predictions, run.environment]
    with record.stage("tables", lambda: made_from, tables):
        world.on_root(lambda: _write_tables(run, world, dataset, features, evaluation))
    world.agree()
    with record.stage("report", lambda: made_from):
        world.on_root(lambda: _write_page(run, record))
    world.agree()
    return world.on_root(lambda: _complete(run, record))


def _write_tables(
    run: RunDir, world: World, dataset: Dataset, features: Features, evaluation: Evaluation
) -> None:
    dataset.write(run)
    write_predictions(run, dataset, evaluation.predictions)
    write_environment(run, world, features.shares)


def _write_page(run: RunDir, record: Record) -> None:
    """The page may be drawn again at any time: it is no part of the stage's record."""
    record.measure_energy()
    record.write()
    write_report(run)
    write_events(run)


def _complete(run: RunDir, record: Record) -> Results:
    remove(run.stage(STOPPED))
    return record.complete()


def _about(config: Config, dataset: Dataset, features: Features, record: Record) -> About:
    return About(
        name=config.name,
        classes=dataset.classes,
        features=features.reader.features,
        backbone=features.network.network.name if features.network else "",
        weights_note=record.weights_note or "",
        batch_size=_batch_size(features, config),
    )


def _batch_size(features: Features, config: Config) -> int:
    """Files that `predict` takes at a time: the batch that the network's bits were made with."""
    if features.network is None:
        return TEXTS_AT_ONCE
    return batch_size(config.backbone, features.network.device)
