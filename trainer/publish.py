# SPDX-License-Identifier: Apache-2.0
"""What a run leaves for people: tables, the saved model, the report, and last the final mark."""

from __future__ import annotations

from trainer.analysis.evaluate import Evaluation, write_predictions
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.features import backbone
from trainer.features.bottlenecks import Features
from trainer.head.cross_validate import Fitted
from trainer.head.export import About, save_model
from trainer.progress import Progress
from trainer.record import Record, Results, write_environment
from trainer.report.page import write_report
from trainer.report.verdict import verdict
from trainer.rundir import RunDir
from trainer.world.comm import World


def publish(
    run: RunDir,
    config: Config,
    world: World,
    dataset: Dataset,
    features: Features,
    fitted: Fitted,
    evaluation: Evaluation,
    record: Record,
    progress: Progress,
) -> Results:
    """Write everything but the lock and the log; on rank 0 alone.

    Returns:
        The results, complete.
    Raises:
        RetrainError: The disk is full, or another write failed.
    """
    with record.stage("model"):
        progress.say("Saving the model")
        about = About(
            name=config.name,
            classes=dataset.classes,
            features=features.reader.features,
            images=features.network is not None,
            weights_note=record.weights_note or "",
            batch_size=backbone.batch_size(config.backbone, features.shares[0].device),
        )
        accuracy = verdict(record.results())
        save_model(run.model, fitted.final, about, features.network, accuracy)
    with record.stage("report"):
        dataset.write(run)
        write_predictions(run, dataset, evaluation.predictions)
        write_environment(run, world, features.shares)
        record.write()
        write_report(run)
    return record.complete()
