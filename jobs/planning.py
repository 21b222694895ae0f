# SPDX-License-Identifier: Apache-2.0
"""From a configuration and `--sweep` to a plan: a new one, or the folder's, with what is new."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.changes import changed_settings, was_now
from jobs.errors import UsageError
from jobs.plan import LOGS, PLAN, Plan, Task, read_plan
from jobs.spec import is_images
from jobs.sweep import NAMES, combinations, directory_name, parse_sweep, same_value


def plan_sweep(
    config: str, words: Sequence[str], sweep: Sequence[str], folder: Path, start_in: Path
) -> Plan:
    """Make the plan of a sweep, or find the one that is there; nothing is written.

    Args:
        config: A configuration, or a folder or file of data, as `retrain run` takes it.
        words: `key=value` for all runs.
        sweep: The words of `--sweep`.
        folder: Where the runs go, such as runs/NAME.
        start_in: The folder that relative paths start from, and that the jobs run in.
    Raises:
        UsageError: The sweep is none, or the folder belongs to something else or to a sweep with
            other settings; with what differs.
    """
    axes = parse_sweep(words=sweep)
    for word in words:
        key = word.partition("=")[0]
        if any(axis.key == key for axis in axes):
            raise UsageError(f"{key}: both varied by --sweep and set.", "Leave one of them out.")
    wanted = [Task(settings, "") for settings in combinations(axes)]
    return plan_tasks(config, words, wanted, folder, start_in)


def plan_tasks(
    config: str, words: Sequence[str], wanted: Sequence[Task], folder: Path, start_in: Path
) -> Plan:
    """As `plan_sweep`, of tasks; those without a directory get a name after their settings."""
    folder, start_in = _absolute(folder, start_in), Path(os.path.abspath(start_in))
    _require_usable(folder)
    given, text = _source(config, folder, start_in)
    plan = Plan(folder, start_in, given, tuple(words), (), (), text)
    before = read_plan(folder)
    if before:
        _require_same(before, plan)
        plan = replace(before, text=text)
    return _with_tasks(plan, wanted)


def _with_tasks(plan: Plan, wanted: Sequence[Task]) -> Plan:
    """Add what is new, and choose what is wanted."""
    tasks = list(plan.tasks)
    numbers = {_meaning(task): number for number, task in enumerate(tasks)}
    chosen = []
    for task in wanted:
        number = numbers.setdefault(_meaning(task), len(tasks))
        if number == len(tasks):
            name = task.directory or directory_name(number, task.settings)
            tasks.append(replace(task, directory=name))
        chosen.append(number)
    return replace(plan, tasks=tuple(tasks), chosen=tuple(chosen))


def _meaning(task: Task) -> str:
    """What tells tasks apart: the order of the keys does not, nor does how a value is written."""
    settings = {
        key: value if key in NAMES else same_value(value) for key, value in task.settings.items()
    }
    return json.dumps([sorted(settings.items()), task.options, task.arguments])


def _absolute(folder: Path, start_in: Path) -> Path:
    return Path(os.path.abspath(start_in / folder))


def _require_usable(folder: Path) -> None:
    if "\\" in str(folder) or not str(folder).isprintable():
        raise UsageError(
            f"{str(folder)!r}: Slurm takes no such folder for a job's output.",
            "Choose a name without backslashes and control characters.",
        )
    if any((folder / name).exists() for name in ("results.json", "stages")):
        raise UsageError(
            f"{folder}: holds a single run.", "Give the sweep another name, with name=NAME."
        )


def _source(config: str, folder: Path, start_in: Path) -> tuple[str, str]:
    """What the runs are given, and the configuration's text if it is one.

    A configuration is copied, so that a run that waits for days is not changed by an edit.
    """
    path = Path(os.path.abspath(start_in / config))
    if is_images(path):
        return str(path), ""
    if path.name in (PLAN, LOGS):
        raise UsageError(f"{config}: a sweep keeps its own {path.name}.", "Rename it.")
    try:
        return str(folder / path.name), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise UsageError(f"{config}: cannot be read: {told}.", "Give a configuration.") from None


def _require_same(before: Plan, now: Plan) -> None:
    found = [
        was_now(what, old, new)
        for what, old, new in (
            ("the folder that it is submitted from", str(before.start_in), str(now.start_in)),
            ("the configuration", before.config, now.config),
        )
        if old != new
    ]
    found = found or changed_settings(_frozen(before), before.words, now.text, now.words)
    if found:
        more = f"; {len(found) - 3} more" if len(found) > 3 else ""
        raise UsageError(
            f"{before.folder}: a sweep with other settings: {'; '.join(found[:3])}{more}.",
            "Give this one a name of its own, with name=NAME; or submit it as it was.",
        )


def _frozen(plan: Plan) -> str:
    """The text of the configuration that the runs read; empty where it is none."""
    path = Path(plan.config)
    try:
        return path.read_text(encoding="utf-8") if path.parent == plan.folder else ""
    except (OSError, UnicodeDecodeError):
        return ""
