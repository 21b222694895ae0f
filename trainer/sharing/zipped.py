# SPDX-License-Identifier: Apache-2.0
"""A copy of a finished run to give away: it tells the result, and not who made it where.

Logs, checkpoints and records of stages stay at home. What is left is cleaned, the page is drawn
anew from the cleaned files, and then every byte is looked through for what was to be taken out.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import Config, as_yaml, cache_folder
from trainer.config_file import load
from trainer.errors import DataError
from trainer.report.page import write_report
from trainer.rundir import RunDir, write_error, write_json, write_text
from trainer.sharing.cleaned import (
    ANALYSIS,
    TABLES,
    cleaned_config,
    cleaned_environment,
    cleaned_results,
    make_relative,
)
from trainer.sharing.scrub import Secret, Secrets, hosts, people, secret_hosts, secret_paths

Results = dict[str, Any]

FOLDERS = ("model", "gallery")

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip, so that the same run gives the same bytes."""
_PICTURE = re.compile(rb"data:image/(?:jpeg|png|webp|gif|avif)")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")


def pack_share(run: RunDir, results: Results, target: Path, public: Sequence[str]) -> bytes:
    """Make the copy.

    Args:
        run: A finished, undamaged run.
        results: Its results.
        target: Where the zip shall lie; the copy is made on the same disk.
        public: Names that may stay.
    Returns:
        A zip of one folder that `retrain report` and `retrain predict` take.
    Raises:
        DataError: Something is left in it that tells who made the run, or where.
        RetrainError: The copy cannot be written.
    """
    config = load(str(run.config), [])
    other = hosts(_named_hosts(run, results))
    secrets = Secrets(_secrets(run, config, other), public)
    try:
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=".share-", suffix=".tmp"
        ) as made:
            copy = RunDir(Path(made) / _folder_name(run, secrets))
            copy.path.mkdir()
            _copy(run, copy, config.report.images)
            _clean(run, copy, config, results, other, secrets)
            files = dict(_files(copy))
    except OSError as error:
        raise write_error(target, None, error) from None
    _require_clean(files, config.report.images, secrets, run)
    return _zipped(files)


def _folder_name(run: RunDir, secrets: Secrets) -> str:
    """The name of the run's folder, where it is harmless to any system and tells nothing."""
    name = run.path.resolve().name
    told = secrets.left_in(os.fsencode(name))
    return name if _PLAIN.fullmatch(name) and not told else "run"


def _named_hosts(run: RunDir, results: Results) -> Iterator[str]:
    world = results.get("world") or {}
    yield from world.get("hosts") or []
    yield from (rank["host"] for rank in world.get("ranks") or [])
    yield from _environment(run).get("hosts") or []
    yield socket.gethostname()


def _environment(run: RunDir) -> Results:
    try:
        return dict(json.loads(run.environment.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _secrets(run: RunDir, config: Config, other: dict[str, str]) -> Iterator[Secret]:
    data, weights = config.data, config.backbone.weights
    kinds: list[tuple[str, str | Path]] = [
        ("the run's folder", run.path),
        ("the folder of the runs", run.path.absolute().parent),
        ("the working directory", os.curdir),
        ("the data's place", data.source),
        ("the cache's place", cache_folder(config, run.path.parent)),
        ("the program's place", Path(__file__).parents[1]),
    ]
    if weights not in ("imagenet", "random"):
        kinds.append(("the weights' place", weights))
    if os.path.isabs(data.split.image_dir or ""):
        kinds.append(("the data's place", str(data.split.image_dir)))
    yield from secret_paths(kinds)
    yield from secret_hosts(other)
    yield from people(run.path.stat().st_uid)


def _copy(run: RunDir, copy: RunDir, images: bool) -> None:
    """Take along what needs no cleaning, or is cleaned where it then lies.

    Links are no part of a run: they could lead to anything that its owner never meant to give.
    """
    for name in (*TABLES, ANALYSIS):
        if (run.path / name).is_file() and not (run.path / name).is_symlink():
            shutil.copyfile(run.path / name, copy.path / name)
    for name in FOLDERS if images else FOLDERS[:1]:
        if (run.path / name).is_dir() and not (run.path / name).is_symlink():
            _copy_folder(run.path / name, copy.path / name)


def _copy_folder(folder: Path, copy: Path) -> None:
    """Copy regular files, but no links and nothing hidden."""
    copy.mkdir()
    for path in folder.iterdir():
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            _copy_folder(path, copy / path.name)
        elif path.is_file():
            shutil.copyfile(path, copy / path.name)


def _clean(
    run: RunDir,
    copy: RunDir,
    config: Config,
    results: Results,
    other: dict[str, str],
    secrets: Secrets,
) -> None:
    """Write the cleaned files, the page drawn from them, and the final mark."""
    make_relative(copy)
    write_text(copy.config, as_yaml(cleaned_config(config, secrets)))
    write_json(copy.environment, cleaned_environment(_environment(run), other, secrets))
    cleaned = cleaned_results(results, other, secrets)
    write_json(copy.results, cleaned)
    write_report(copy)
    copy.stages.mkdir()
    copy.write_complete(cleaned)


def _files(copy: RunDir) -> Iterator[tuple[str, bytes]]:
    """Every file by the name that it has in the zip, in the order of these names."""
    for path in sorted(copy.path.rglob("*")):
        if path.is_file():
            yield path.relative_to(copy.path.parent).as_posix(), path.read_bytes()


def _require_clean(files: dict[str, bytes], images: bool, secrets: Secrets, run: RunDir) -> None:
    """Refuse a copy in which something is left.

    Raises:
        DataError: Names the file, what is left in it, and the ways out.
    """
    for name, content in files.items():
        file = name.partition("/")[2]
        parts = (os.fsencode(name), content, *_texts(name, content))
        found = next(filter(None, map(secrets.left_in, parts)), None)
        if found:
            raise DataError(
                f"{run.path}: cannot be shared: {file} holds {found.kind} {found.text!r}.",
                "Rename what bears it and run again; or, if it stands there by chance and tells "
                f"nothing, say --public {shlex.quote(found.text)}",
            )
        if not images and _PICTURE.search(content):
            raise DataError(
                f"{run.path}: cannot be shared: {file} holds a picture, and report.images is "
                "false.",
                "Start the same `retrain run` with --again.",
            )


def _texts(name: str, content: bytes) -> Iterator[bytes]:
    """The texts in a file of arrays, which has four bytes a character, and may be packed."""
    if not name.endswith(".npz"):
        return
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for key in arrays.files:
            yield os.fsencode(key)
            if arrays[key].dtype.kind == "U":
                yield os.fsencode("\n".join(arrays[key].ravel().tolist()))


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return packed.getvalue()
