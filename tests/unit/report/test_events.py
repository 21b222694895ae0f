# SPDX-License-Identifier: Apache-2.0
"""Scalars, read back by TensorBoard's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from trainer.errors import DataError
from trainer.report.events import write_events
from trainer.rundir import RunDir

Leave = Callable[..., RunDir]
Results = dict[str, Any]
ROOT = Path(__file__).parents[3]


def read_back(run: RunDir) -> EventAccumulator:
    events = EventAccumulator(str(run.path / "events"))
    events.Reload()
    return events


def points(events: EventAccumulator, tag: str) -> list[tuple[int, Any]]:
    return [(point.step, pytest.approx(point.value)) for point in events.Scalars(tag)]


def test_every_scored_source_and_every_stage_has_its_scalars(
    leave: Leave, two_classes: Results
) -> None:
    run = leave(two_classes)
    write_events(run)
    events = read_back(run)
    assert points(events, "test/accuracy") == [(0, two_classes["test"]["accuracy"])]
    assert points(events, "cross_validation/log_loss") == [(0, 0.3714)]
    assert points(events, "seconds/train") == [(0, 2.8)]
    tags = set(events.Tags()["scalars"])
    figures = "accuracy log_loss macro_recall macro_f1".split()
    sources = "test validation cross_validation".split()
    assert {f"{source}/{figure}" for source in sources for figure in figures} < tags
    assert not any(tag.startswith("head/") for tag in tags)


def test_the_analysis_gives_curves_of_the_path_and_the_fit(
    leave: Leave, two_classes: Results
) -> None:
    run = leave(two_classes)
    path = [{"l2": 10.0, "log_loss": 0.5, "accuracy": 0.75}, {"l2": 1.0, "log_loss": 0.25}]
    fit = [{"iteration": 0, "loss": 0.69}, {"iteration": 3, "loss": 0.5, "gradient_norm": None}]
    (run.path / "analysis.json").write_text(json.dumps({"head": {"path": path, "fit": fit}}))
    write_events(run)
    events = read_back(run)
    assert points(events, "head/path/l2") == [(0, 10.0), (1, 1.0)]
    assert points(events, "head/path/log_loss") == [(0, 0.5), (1, 0.25)]
    assert points(events, "head/path/accuracy") == [(0, 0.75)]
    assert points(events, "head/fit/loss") == [(0, 0.69), (3, 0.5)]
    assert "head/fit/gradient_norm" not in events.Tags()["scalars"]


@pytest.mark.parametrize("analysis", [{}, {"head": None}, {"head": {"path": None}}])
def test_an_analysis_without_curves_is_none_the_worse(
    leave: Leave, two_classes: Results, analysis: Results
) -> None:
    run = leave(two_classes)
    (run.path / "analysis.json").write_text(json.dumps(analysis))
    write_events(run)
    assert points(read_back(run), "test/accuracy") == [(0, two_classes["test"]["accuracy"])]


def test_written_again_they_are_not_there_twice(leave: Leave, two_classes: Results) -> None:
    run = leave(two_classes)
    write_events(run)
    (run.path / "events" / "events.out.tfevents.1.old").write_bytes(b"")
    write_events(run)
    assert len(list((run.path / "events").iterdir())) == 1
    assert len(read_back(run).Scalars("test/accuracy")) == 1


def test_the_settings_stand_in_the_table_of_runs(leave: Leave, two_classes: Results) -> None:
    run = leave(two_classes)
    write_events(run)
    content = read_back(run).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["backbone.name"].string_value == "inception_v3"
    assert settings["head.l2"].number_value == 0.0316227766
    assert "data.near_duplicates" not in settings


def test_a_run_that_has_only_begun_leaves_what_there_is(leave: Leave, begun: Results) -> None:
    run = leave(begun)
    write_events(run)
    assert read_back(run).Tags()["scalars"] == []


def test_no_file_of_events_names_the_host(
    leave: Leave, two_classes: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "secret-host")
    run = leave(two_classes)
    write_events(run)
    [file] = (run.path / "events").iterdir()
    assert "secret-host" not in file.name
    assert b"secret-host" not in file.read_bytes()


def test_a_broken_analysis_is_named(leave: Leave, two_classes: Results) -> None:
    run = leave(two_classes)
    (run.path / "analysis.json").write_text("{")
    with pytest.raises(DataError, match=r"analysis\.json: cannot be read"):
        write_events(run)


def test_tensorflow_is_not_loaded(leave: Leave, two_classes: Results) -> None:
    run = leave(two_classes)
    program = (
        "import sys; from pathlib import Path; from trainer.report.events import write_events; "
        "from trainer.rundir import RunDir; write_events(RunDir(Path(sys.argv[1]))); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(run.path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
