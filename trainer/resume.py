# SPDX-License-Identifier: Apache-2.0
"""Whether a run directory fits the configuration and the data, and what is left to do in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import yaml

from trainer import stages
from trainer.config import Config, differences, yaml_word
from trainer.data.plan import Plan
from trainer.errors import DataError, UsageError
from trainer.rundir import RunDir, write_text

ANYWHERE = ("run.cache", "run.stall_timeout")
"""Keys that change where and how patiently a run works, not what it finds."""


def open_directory(
    run: RunDir, config: Config, again: bool, say: Callable[[str], None] = lambda _: None
) -> None:
    """Make the directory this configuration's, or see that it is; only under the lock.

    Where the last run failed, over a mistyped key perhaps, its settings bind nobody.

    Args:
        run: The directory.
        config: As resolved.
        again: Forget what an earlier run left there.
        say: Told what was damaged.
    Raises:
        UsageError: It was made with other settings, or holds something else.
    """
    if run.foreign():
        raise UsageError(
            f"--out {run.path}: holds files, but no run.", "Give a new or empty folder with --out."
        )
    run.clean()
    if again or _failed(run):
        run.clear()
    for folder in (run.stages, run.head):
        folder.mkdir(exist_ok=True)
    inputs = {"settings": hashlib.sha256(config.to_yaml().encode()).hexdigest()}
    if run.config.exists() and not _damaged(run, inputs, say):
        _require_same_settings(run, config)
        return
    write_text(run.config, config.to_yaml())
    stages.finish(run, "settings", inputs, [run.config])


def _damaged(run: RunDir, inputs: stages.Inputs, say: Callable[[str], None]) -> bool:
    """Whether config.yaml was written for these settings and is not as it was written."""
    made_for = (stages.read(run, "settings") or {}).get("inputs") == stages.whole(inputs)
    damaged = made_for and not stages.unchanged(run, "settings", inputs, [run.config])
    if damaged:
        say(f"{run.config}: changed since it was written for these settings; written again")
    return damaged


def _failed(run: RunDir) -> bool:
    """Whether the last run here failed: it left nothing to go on with, nor to be mistaken for."""
    try:
        return run.status() == "failed"
    except DataError:
        return False


def _require_same_settings(run: RunDir, config: Config) -> None:
    try:
        old = dict(yaml.safe_load(run.config.read_bytes()))
    except (yaml.YAMLError, TypeError, ValueError):
        raise UsageError(f"{run.config}: no configuration any more.", _WAYS_OUT) from None
    new = config.model_dump(mode="json")
    found = [entry for entry in differences(old, new) if entry[0] not in ANYWHERE]
    if found:
        listed = "; ".join(
            f"{key} was {yaml_word(before)}, now {yaml_word(after)}" for key, before, after in found
        )
        raise UsageError(f"{run.path}: made with other settings: {listed}.", _WAYS_OUT)


_WAYS_OUT = "Give another folder with --out, or --again to start this one anew."


def require_same_data(run: RunDir, plan: Plan, config: Config) -> None:
    """Note the data that the directory was made with, or see that it is the same.

    Raises:
        UsageError: It was made with other data.
    """
    now: stages.Inputs = {"data": plan.fingerprint(), "files": len(plan.files)}
    before = (stages.read(run, "plan") or {}).get("inputs")
    if before is None:
        stages.finish(run, "plan", now)
        return
    if {key: before.get(key) for key in now} != now:
        raise UsageError(
            f"{run.path}: made with other data: {config.data.source_key} had {before['files']:,} "
            f"files (SHA-256 {before['data'][:12]}), now {now['files']:,} ({now['data'][:12]}).",
            _WAYS_OUT,
        )


def is_done(run: RunDir) -> bool:
    """Whether the run is complete, every file as the final mark says; asked in this order.

    Results that are damaged cannot tell their status.
    """
    return not run.damaged() and run.status() == "complete"
