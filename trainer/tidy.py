# SPDX-License-Identifier: Apache-2.0
"""`retrain cache`: what lies in the cache, and what of one's own nobody has used for a while.

Removed is only what is this user's, can be computed again, was not changed for the age that was
given, and lies in a folder that no run has used for that long and none uses now. All ages are
told by the file system's clock, which hosts may not share. What is removed under a running job
all the same (one that was suspended for long) costs computing: a run looks at what it reads.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainer.cache_use import BOTTLENECKS
from trainer.errors import RetrainError, UsageError, listed
from trainer.features.survey import COMPUTED, File, Folder, Survey, Use, in_order, look_through
from trainer.report.wording import count, visible
from trainer.shared import user_name

UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
WATCH_SECONDS = 7.0
"""In which the heartbeat of a running job is seen: three of them."""
DAY = 86_400.0
"""So long a marker that may not be read counts as that of a running job, and what is half-written
as being written."""
COLUMNS = 80
LABEL = 60
"""Columns for what a folder is for, behind what is done with it."""

Say = Callable[[str], object]


def show(root: Path, say: Say) -> None:
    """Tell what lies in a cache."""
    survey = look_through(root)
    everything = survey.files()
    shards = [file for file in everything if file.is_shard]
    say(f"Cache    {visible(str(root.absolute()))}")
    files = f"{count(len(everything), 'file')}, {count(len(shards), 'shard')}"
    say(f"Holds    {_size(everything)} in {files}")
    say(f"By user  {_shares(everything, lambda file: user_name(file.owner))}")
    say(f"By kind  {_shares(everything, lambda file: file.path.relative_to(root).parts[0])}")
    if survey.closed:
        say(f"Closed   {len(survey.closed):,} folders of other users, not looked into")
    for folder in in_order([one for one in survey.folders if one.path.parent.name == BOTTLENECKS]):
        _show_folder(folder, say)
    if any(file.owner == os.geteuid() for file in shards):
        say("\n`retrain cache --prune 30d --dry-run` shows what of yours is unused.")


def _shares(files: Iterable[File], name: Callable[[File], str]) -> str:
    """Bytes by a name, the largest first."""
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[name(file)] += file.bytes
    return listed([f"{visible(name)} {_bytes(size)}" for name, size in sizes.most_common()], 4)


def _show_folder(folder: Folder, say: Say) -> None:
    last = f"last used {_ago(time.time() - folder.last_used)}"
    room = COLUMNS - len(last) - 1
    say(f"\n{_label(folder, room):<{room}} {last}")
    by_owner: defaultdict[int, list[File]] = defaultdict(list)
    for file in folder.files:
        by_owner[file.owner].append(file)
    for owner, files in sorted(by_owner.items()):
        counts = [file.bottlenecks() for file in files if file.is_shard]
        rows = count(sum(one for one in counts if one), "bottleneck")
        closed = counts.count(None)
        rows += f" ({count(closed, 'shard')} not to be read)" if closed else ""
        shards = count(len(counts), "shard")
        say(f"  {user_name(owner):<14}{shards:>14}  {rows:<38}{_size(files):>9}")


def prune(root: Path, age: str, dry_run: bool, say: Say) -> None:
    """Remove what nobody has used for a while, and tell what that frees.

    Args:
        root: The cache.
        age: Such as 30d.
        dry_run: Tell only.
        say: Told line by line.
    Raises:
        UsageError: No such age, or nothing can be removed there.
        RetrainError: Something could not be removed.
    """
    seconds = _seconds(age)
    survey = look_through(root)
    now = _time_there(root)
    off = abs(time.time() - now)
    if off > 60:
        say(f"Clocks   this host's is {_span(off)} off the file system's, which counts here")
    choice = _choose(survey, now, now - seconds)
    for label, user in choice.kept:
        say(f"Kept     {label}\n         used by {user}")
    for label, files in choice.gone:
        say(f"{'Would go' if dry_run else 'Gone':<9}{_size(files):>9}  {label}")
    failed = {} if dry_run else _remove(choice)
    freed = [file for _, files in choice.gone for file in files if file.path not in failed]
    if freed:
        verb = "Would free" if dry_run else "Freed"
        say(f"{verb} {_size(freed)} of yours, unused for {age} or longer.")
    else:
        say(f"Nothing of yours was unused for {age} or longer.")
    for path, error in failed.items():
        raise RetrainError(
            f"{len(failed):,} files could not be removed, first {path}: {error.strerror}.",
            "Check the folder's permissions, then start the same command again.",
        )


def _seconds(age: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([mhdw])", age)
    if not found:
        raise UsageError(
            f"--prune {age}: no such age.", "Give a number and a unit: 12h, 30d or 8w."
        )
    return float(found[1]) * UNITS[found[2]]


def _time_there(root: Path) -> float:
    """The file system's time, by a file that is made and gone.

    Raises:
        UsageError: None can be made.
    """
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError as error:
        raise UsageError(
            f"run.cache {root}: cannot be written: {error.strerror}.",
            "Nothing can be removed there; `retrain cache` shows what it holds.",
        ) from None


@dataclass
class Choice:
    """What is to go, and what must not.

    Attributes:
        gone: Files to remove, under a label.
        folders: Where they lie; to be removed if they are empty then.
        kept: Labels of folders that would go but for a run, and whose that is.
    """

    gone: list[tuple[str, list[File]]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)


def _choose(survey: Survey, now: float, before: float) -> Choice:
    """Own files, unchanged since then, in folders that no run has used since then or uses now."""
    unused = [
        (folder, files)
        for folder in survey.folders
        if all(use.file.changed < before for use in folder.uses)
        and (files := [file for file in folder.files if _may_go(file, before)])
    ]
    markers = [use for use in survey.markers if _is_own(use.file, before)]
    busy = _running([*markers, *(use for folder, _ in unused for use in folder.uses)], now)
    choice = Choice()
    for folder, files in unused:
        user = next((busy[use.file.path] for use in folder.uses if use.file.path in busy), None)
        if user:
            choice.kept.append((_label(folder, LABEL), user))
        else:
            choice.gone.append((_label(folder, LABEL), files))
            choice.folders.append(folder.path)
    halves = [file for file in survey.files() if _is_left_over(file, min(before, now - DAY))]
    ended = [use.file for use in markers if use.file.path not in busy]
    for label, files in (("half-written files", halves), ("markers of runs", ended)):
        choice.gone += [(label, files)] if files else []
    return choice


def _is_own(file: File, before: float) -> bool:
    return file.owner == os.geteuid() and file.changed < before


def _may_go(file: File, before: float) -> bool:
    name = file.path.name
    return _is_own(file, before) and name.endswith(COMPUTED) and not name.startswith(".")


def _is_left_over(file: File, before: float) -> bool:
    return _is_own(file, before) and file.is_left_over


def _running(uses: Sequence[Use], now: float) -> dict[Path, str]:
    """Markers of jobs that run, with whose they are.

    A running job's lock shows a heartbeat. It is watched for, since no two clocks are compared
    then; a lock whose run was killed stands still.
    """
    running = {
        use.file.path: "a run that keeps its marker closed"
        for use in uses
        if not use.told and now - use.file.changed < DAY
    }
    first = {use.lock: beat for use in uses if use.lock and (beat := _beat(use.lock))}
    ends = time.monotonic() + WATCH_SECONDS
    while first and time.monotonic() < ends:
        time.sleep(0.5)
        beating = {lock for lock, beat in first.items() if _beat(lock) not in (beat, None)}
        running.update((use.file.path, _whose(use)) for use in uses if use.lock in beating)
        first = {lock: beat for lock, beat in first.items() if lock not in beating}
    return running


def _beat(lock: Path) -> int | None:
    with suppress(OSError):
        return lock.lstat().st_mtime_ns
    return None


def _whose(use: Use) -> str:
    job = f", job {use.told['job']}" if use.told.get("job") else ""
    who = f"{use.told.get('user', '')} on {use.told.get('host', '')}{job}, "
    return visible(f"{who}run {use.told.get('run', '')}")


def _remove(choice: Choice) -> dict[Path, OSError]:
    """Remove files, and their folders where they are empty then.

    Returns:
        Those that could not be removed, and why.
    """
    failed = {}
    for _, files in choice.gone:
        for file in files:
            try:
                file.path.unlink(missing_ok=True)
            except OSError as error:
                failed[file.path] = error
    for folder in choice.folders:
        with suppress(OSError):  # others' files are in it
            folder.rmdir()
    return failed


def _label(folder: Folder, room: int) -> str:
    """What a folder is for, and its name, in so many columns."""
    name = f" [{folder.path.name[:8]}]"
    what = visible(folder.what) or folder.path.parent.name
    most = room - len(name)
    return (what if len(what) <= most else f"{what[: most - 3]}...") + name


def _size(files: Iterable[File]) -> str:
    return _bytes(sum(file.bytes for file in files))


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _ago(seconds: float) -> str:
    return "just now" if seconds < 60 else f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    for name, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return count(int(seconds // length), name)
    return f"{seconds:.0f} s"
