# SPDX-License-Identifier: Apache-2.0
"""What a run leaves for people: tables, the saved model, the report, and last the final mark."""

from __future__ import annotations

from dataclasses import asdict

from trainer.analysis.evaluate import Evaluation, write_predictions
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.features.backbone import batch_size
from trainer.features.bottlenecks import Features
from trainer.head.export import About, save_model
from trainer.head.fitted import Fitted
from trainer.progress import Progress
from trainer.record import Record, Results, write_environment
from trainer.report.page import write_report
from trainer.report.verdict import verdict
from trainer.rundir import RunDir
from trainer.stages import Inputs, unchanged
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
    record: Record,
    progress: Progress,
) -> Results:
    """Write everything but the lock and the log; on rank 0 alone.

    Args:
        run: Where to.
        config: As resolved.
        world: For environment.json.
        dataset, features, fitted, evaluation: What the stages before gave.
        fits: What decided the fits.
        record: Has the results.
        progress: Told what is done.
    Returns:
        The results, complete.
    Raises:
        RetrainError: The disk is full, or another write failed.
    """
    about, accuracy = _about(config, dataset, features, record), verdict(record.results())
    made_from = {**fits, "about": asdict(about), "accuracy": accuracy}
    with record.stage("model", lambda: made_from, [run.model]):
        if unchanged(run, "model", made_from, [run.model]):
            progress.say("The model was saved by an earlier start")
        else:
            progress.say("Saving the model")
            save_model(run.model, fitted.final, about, features.network, accuracy)
    with record.stage("report"):
        dataset.write(run)
        write_predictions(run, dataset, evaluation.predictions)
        write_environment(run, world, features.shares)
        record.write()
        write_report(run)
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
