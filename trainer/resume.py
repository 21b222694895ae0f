# SPDX-License-Identifier: Apache-2.0
"""Whether a run directory fits the configuration and the data, and what is left to do in it."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from trainer import stages
from trainer.config import Config, Tree, as_yaml, differences, yaml_word
from trainer.data.plan import Plan
from trainer.errors import DataError, UsageError, listed
from trainer.rundir import RunDir, make_folder, remove, write_text
from trainer.world.comm import World

ANYWHERE = ("run.cache", "run.stall_timeout")
"""Keys that change where and how patiently a run works, not what it finds."""


def open_directory(run: RunDir, config: Config, again: bool, say: Callable[[str], None]) -> None:
    """Make the directory this configuration's, or see that it is; only under the lock.

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
    for path in stages.drop_damaged(run):
        say(f"{path}: damaged; its stage is done again")
    settings = config.model_dump(mode="json")
    anew = again or (_failed(run, say) and not _fits(run, settings))
    if anew:
        run.clear()
    make_folder(run.stages)
    _bind(run, settings, anew, say)
    make_folder(run.head)  # not before there is a config.yaml: the folder would be a stranger's


def _failed(run: RunDir, say: Callable[[str], None]) -> bool:
    """Whether the last run here failed, over a mistyped key or wrong data perhaps.

    Not one that has fits to go on with: its disk was full perhaps.
    """
    try:
        return run.status() == "failed" and not any(run.head.glob("*"))
    except DataError as error:
        say(f"{error.message} It is written again.")
        return False


def _fits(run: RunDir, settings: Tree) -> bool:
    """Whether what a failed run came to is of use for these settings: its disk was full perhaps."""
    try:
        return not _differences(_made_with(run), settings)
    except UsageError:
        return False


def _made_with(run: RunDir) -> Tree | None:
    """The settings that the directory was made with; None where it is new.

    config.yaml does not count where there is a record: people edit it.

    Raises:
        UsageError: There is no record, and config.yaml cannot be read.
    """
    if record := stages.read(run, "settings"):
        return dict(record["inputs"]["settings"])
    if not run.config.exists():
        return None
    try:
        return dict(yaml.safe_load(run.config.read_bytes()))
    except (yaml.YAMLError, TypeError, ValueError):
        raise UsageError(f"{run.config}: no configuration any more.", _WAYS_OUT) from None


def _differences(before: Tree | None, now: Tree) -> list[tuple[str, object, object]]:
    found = [] if before is None else differences(before, now)
    return [entry for entry in found if entry[0] not in ANYWHERE]


def _bind(run: RunDir, settings: Tree, anew: bool, say: Callable[[str], None]) -> None:
    """See that these are the directory's settings, and that config.yaml is as it was written."""
    before = None if anew else _made_with(run)
    if found := _differences(before, settings):
        told = "; ".join(
            f"{key} was {yaml_word(old)}, now {yaml_word(new)}" for key, old, new in found
        )
        raise UsageError(f"{run.path}: made with other settings: {told}.", _WAYS_OUT)
    record = stages.read(run, "settings")
    if record is None and before is not None:  # config.yaml alone told them
        stages.finish(run, "settings", {"settings": settings}, [run.config])
    elif record is None or not stages.unchanged(run, "settings", record["inputs"], [run.config]):
        if record:
            say(f"{run.config}: changed since it was written; written again")
        write_text(run.config, as_yaml(before or settings))
        stages.finish(run, "settings", {"settings": before or settings}, [run.config])


_WAYS_OUT = "Give another folder with --out, or --again to start this one anew."


class OtherData(UsageError):
    """The directory is that of a run on other data, which can still go on."""

    agreed = True


def require_same_data(run: RunDir, plan: Plan, config: Config, world: World) -> None:
    """Note the data that the directory was made with, or see that it is the same; Collective.

    Raises:
        OtherData: It is not.
    """
    before, now = world.on_root(lambda: _noted(run, plan))
    if {key: before[key] for key in now} != now:
        raise OtherData(
            f"{run.path}: made with other data: {config.data.source_key} had {before['files']:,} "
            f"files (SHA-256 {before['data'][:12]}), now {now['files']:,} ({now['data'][:12]}).",
            _WAYS_OUT,
        )


def _noted(run: RunDir, plan: Plan) -> tuple[stages.Inputs, stages.Inputs]:
    """The data that the directory was made with, from now on this where it is new; and this."""
    now: stages.Inputs = {"data": plan.fingerprint, "files": len(plan.files)}
    record = stages.read(run, "plan")
    if record is None:
        stages.finish(run, "plan", now)
        return now, now
    return dict(record["inputs"]), now


def let_data_go(run: RunDir) -> None:
    """Let the data of a run that it failed over bind nobody: it is going to be mended."""
    remove(run.stage("plan"))


def is_done(run: RunDir) -> bool:
    """Whether the run is complete, every file as the final mark says; asked in this order.

    Results that are damaged cannot tell their status.
    """
    return not run.damaged() and run.status() == "complete"


def begin_again(run: RunDir, say: Callable[[str], None]) -> None:
    """Tell what of a run is not as it was left, and take the final mark from it."""
    if run.complete.exists():
        say(f"{run.path}: not as it was when it was finished, made anew: {listed(run.damaged())}")
        remove(run.complete)
        return
    for name in stages.changed_files(run):
        say(f"{run.path / name}: changed since its stage was done; made anew")
