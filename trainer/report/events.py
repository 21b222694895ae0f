# SPDX-License-Identifier: Apache-2.0
"""A run's figures for TensorBoard, so that `tensorboard --logdir runs` compares runs.

Drawn from `results.json` and, where it is there, `analysis.json`. No TensorFlow: TensorBoard has
its record format and its messages in packages of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

from trainer.rundir import RunDir, write_folder, write_into

Results = dict[str, Any]

SOURCES = ("test", "validation", "cross_validation")
FIGURES = ("accuracy", "log_loss", "macro_recall", "macro_f1")
CHOSEN = {
    "backbone": "name weights layer precision",
    "head": "solver l2",
    "data": "images",
}
"""What stands in TensorBoard's table of runs beside the figures."""

_VERSION = "brain.Event:2"
_SESSION = "_hparams_/session_start_info"
"""The tag under which TensorBoard looks for the settings of a run."""
_EMPTY = {"dtype": 1, "tensor_shape": {"dim": [{"size": 0}]}}
"""A tensor of no float32: the settings are in its description."""


class Point(NamedTuple):
    """One number of one curve; a figure of the whole run is a curve of one point."""

    tag: str
    step: int
    value: float


def write_events(run: RunDir) -> None:
    """Write `events/` anew, whole or not at all, so that no point is there twice.

    Args:
        run: A run directory with `results.json`; parts that it lacks leave their points out.
    Raises:
        DataError: The results or the analysis are broken, or a newer version wrote them.
        RetrainError: The folder cannot be written.
    """
    results, analysis = run.read_results(), run.read_analysis()
    points = [*_figures(results), *_seconds(results), *_curves(analysis.get("head") or {})]
    now = time.time()
    content = _packed(points, _settings(results), now)
    # TensorBoard takes any file for one of events whose name holds "tfevents". By the time in it,
    # one that is open sees that a run was done again. A host's name, as usual there, would travel
    # with a run directory that is given away.
    name, folder = f"events.out.tfevents.{now:.0f}.retrain", run.path / "events"

    write_folder(folder, lambda made: write_into(made, folder, name, content))


def _figures(results: Results) -> Iterator[Point]:
    """What each scored source reached: `test/accuracy` and the like, at step 0."""
    for source in SOURCES:
        figures = results.get(source) or {}
        for key in FIGURES:
            if figures.get(key) is not None:
                yield Point(f"{source}/{key}", 0, figures[key])


def _seconds(results: Results) -> Iterator[Point]:
    for stage, seconds in sorted((results.get("seconds") or {}).items()):
        if seconds is not None:
            yield Point(f"seconds/{stage}", 0, seconds)


def _curves(head: Results) -> Iterator[Point]:
    """The L2 path, a step a strength in the order tried, and the last fit, a step an iteration."""
    for step, tried in enumerate(head.get("path") or []):
        yield from _of_step("head/path", step, tried, "l2 log_loss accuracy")
    for state in head.get("fit") or []:
        yield from _of_step("head/fit", state["iteration"], state, "loss gradient_norm")


def _of_step(curve: str, step: int, row: Results, keys: str) -> Iterator[Point]:
    for key in keys.split():
        if row.get(key) is not None:
            yield Point(f"{curve}/{key}", step, row[key])


def _settings(results: Results) -> Results:
    """What was chosen, by dotted key; text, or a number."""
    return {
        f"{section}.{key}": value
        for section, keys in CHOSEN.items()
        for key in keys.split()
        if (value := (results.get(section) or {}).get(key)) is not None
    }


def _packed(points: list[Point], settings: Results, now: float) -> bytes:
    """The content of a file of events.

    Args:
        points: In the order in which they shall stand there.
        settings: Text and numbers, by name.
        now: The wall time of all of them, seconds since 1970.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.summary.writer.record_writer import RecordWriter

    session = HParamsPluginData()
    session.session_start_info.start_time_secs = now
    for key, value in settings.items():
        kind = "string_value" if isinstance(value, str) else "number_value"
        setattr(session.session_start_info.hparams[key], kind, value)
    metadata = {
        "plugin_data": {
            "plugin_name": "hparams",
            "content": session.SerializeToString(deterministic=True),
        }
    }
    values = [(0, Summary.Value(tag=_SESSION, metadata=metadata, tensor=_EMPTY))]
    values += [
        (point.step, Summary.Value(tag=point.tag, simple_value=point.value)) for point in points
    ]
    events = [Event(wall_time=now, file_version=_VERSION)]
    events += [
        Event(wall_time=now, step=step, summary=Summary(value=[value])) for step, value in values
    ]
    file = BytesIO()
    records = RecordWriter(file)
    for event in events:
        records.write(event.SerializeToString(deterministic=True))
    return file.getvalue()
