# SPDX-License-Identifier: Apache-2.0
"""`--scaling 1,2,4,8`: the same work, and work in proportion, on worlds of several sizes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from jobs.errors import JobError, UsageError, shown
from jobs.files import write_whole
from jobs.plan import Plan, Task
from jobs.planning import plan_tasks
from jobs.scaling import STRONG, WEAK

MOST_SIZES = 20
LARGEST = 100_000
IMAGES, BOTTLENECKS = "data.images", "data.bottlenecks"


def parse_sizes(text: str) -> list[int]:
    """Read `1,2,4,8`; rising, each once.

    Raises:
        UsageError: It is no such list.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) <= LARGEST for word in words):
        raise UsageError(f"--scaling {shown(text)}: wanted numbers from 1.", _EXAMPLE)
    sizes = sorted({int(word) for word in words})
    if not 2 <= len(sizes) <= MOST_SIZES:
        raise UsageError(
            f"--scaling {shown(text)}: wanted 2 to {MOST_SIZES} different sizes.", _EXAMPLE
        )
    return sizes


def scaling_plan(
    config: str,
    words: Sequence[str],
    sizes: Sequence[int],
    folder: Path,
    start_in: Path,
    *,
    ranks: bool = False,
    weak: bool = True,
) -> Plan:
    """The plan of a scaling sweep: every size in an array of its own, with a cache of its own.

    The largest size of strong scaling is that of weak scaling too: it gets all of the data. The
    parts for the smaller sizes are to be written by `write_parts` once the plan is saved.

    Args:
        config: As of `plan_sweep`.
        words: `key=value` for all runs.
        sizes: As `parse_sizes` gives them.
        folder: Where the runs go.
        start_in: The folder that relative paths start from.
        ranks: The sizes count ranks on one node, and not nodes.
        weak: Also weak scaling; for data in a folder with a folder a class.
    Raises:
        UsageError: Weak scaling is wanted of other data, or as `plan_sweep`.
    """
    start_in = Path(os.path.abspath(start_in))
    place = Path(os.path.abspath(start_in / folder))
    tasks = [_task(place, STRONG, size, {}, ranks) for size in sizes]
    if weak:
        key, source = data_source(config, words, start_in)
        if not source.is_dir():
            raise UsageError(
                f"{shown(str(source))}: weak scaling takes its parts from a folder of folders.",
                "Unpack the data, or leave weak scaling out.",
            )
        for size in sizes[:-1]:
            part = str(part_path(place, key, size, sizes[-1]))
            tasks.append(_task(place, WEAK, size, {key: part}, ranks))
    return plan_tasks(config, words, tasks, folder, start_in)


def write_parts(plan: Plan, sizes: Sequence[int]) -> None:
    """Write the parts of the data that weak scaling takes, those that are not there yet.

    Of every class, of the files in order of their names, as many as are in proportion.

    Raises:
        JobError: The data cannot be listed, or a part cannot be written.
    """
    key, source = data_source(plan.config, plan.words, plan.start_in)
    files = list(_files(source))
    for size in sizes[:-1]:
        path = part_path(plan.folder, key, size, sizes[-1])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            chosen = _portion(files, size, sizes[-1])
            if key == BOTTLENECKS:
                _link(source, chosen, path)
            elif not path.exists():
                write_whole(path, _as_csv(source, chosen))
        except OSError as error:
            raise JobError(
                f"{error.filename or path}: cannot be written: {error.strerror}."
            ) from None


def data_source(config: str, words: Sequence[str], start_in: Path) -> tuple[str, Path]:
    """The key of the data that a run reads, and where it lies.

    Raises:
        UsageError: The configuration cannot be read, or names none.
    """
    path = Path(os.path.abspath(start_in / config))
    found = {IMAGES: str(path)} if path.is_dir() else _configured(path)
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in (IMAGES, BOTTLENECKS) and value not in ("", "null", "~"):
            found = {key: value}
    if not found:
        raise UsageError(f"{shown(config)}: names no data.", "For example: data.images=FOLDER")
    key, value = next(iter(found.items()))
    return key, Path(os.path.abspath(start_in / os.path.expanduser(value)))


def part_path(folder: Path, key: str, size: int, whole: int) -> Path:
    """Where the part of a size lies: a CSV of images, or a folder of bottlenecks."""
    name = f"{size}-of-{whole}"
    return folder / "parts" / (name if key == BOTTLENECKS else f"{name}.csv")


_EXAMPLE = "For example: --scaling 1,2,4,8"


def _task(place: Path, kind: str, size: int, settings: dict[str, str], ranks: bool) -> Task:
    name = f"{kind}-{size}"
    own = {**settings, "run.cache": str(place / "caches" / name)}
    options = ("--nodes=1" if ranks else f"--nodes={size}",)
    return Task(own, name, options, ("--ranks", str(size)) if ranks else ())


def _configured(path: Path) -> dict[str, str]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = tree["data"]
        keys = (IMAGES, BOTTLENECKS)
        named = {key: data.get(key.split(".")[1]) for key in keys}
        return {key: str(value) for key, value in named.items() if value is not None}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{shown(str(path))}: cannot be read: {type(error).__name__}.") from None
    except (KeyError, TypeError, AttributeError):
        return {}


def _files(source: Path) -> Iterator[tuple[str, str]]:
    """Class and path below the source of every file; hidden names are passed over."""

    def refuse(error: OSError) -> None:
        raise JobError(f"{error.filename}: cannot be listed: {error.strerror}.")

    for here, folders, names in os.walk(source, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(here, source)
        if below == os.curdir:
            continue
        for name in sorted(names):
            if not name.startswith("."):
                yield below.split(os.sep)[0], os.path.join(below, name)


def _portion(files: Sequence[tuple[str, str]], size: int, whole: int) -> list[tuple[str, str]]:
    """Of every class `size` of each `whole` files, spread evenly."""
    seen: dict[str, int] = {}
    chosen = []
    for label, path in files:
        at = seen.get(label, 0)
        seen[label] = at + 1
        if (at + 1) * size // whole > at * size // whole:
            chosen.append((label, path))
    return chosen


def _as_csv(source: Path, chosen: Sequence[tuple[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label"))
    writer.writerows((os.path.join(source, path), label) for label, path in chosen)
    return text.getvalue()


def _link(source: Path, chosen: Sequence[tuple[str, str]], target: Path) -> None:
    """A folder of links to the files; what an earlier call has left is completed."""
    for folder in {os.path.dirname(path) for _, path in chosen}:
        (target / folder).mkdir(parents=True, exist_ok=True)
    for _, path in chosen:
        with suppress(FileExistsError):
            os.symlink(source / path, target / path)
