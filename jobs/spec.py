# SPDX-License-Identifier: Apache-2.0
"""What is to be run, where and how large, out of the words of `retrain submit`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.errors import UsageError, shown
from jobs.sites import Site, read_yaml

_TIME = re.compile(r"\d+|(\d+-)?\d{1,3}(:\d{1,2}){1,2}|\d+-\d{1,2}")
_IMAGES = frozenset(".tar .csv .tsv .gz .tgz .bz2 .xz .zst .zip".split())
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]")


@dataclass(frozen=True)
class Spec:
    """One job."""

    source: str
    """The configuration or the folder of images, as given."""
    overrides: tuple[str, ...]
    """`key=value` words."""
    name: str
    """The run's."""
    out: Path
    """The run directory; absolute."""
    folder: Path
    """Where the job starts, so that relative paths mean the same there; absolute."""
    nodes: int | None = None
    gpus: int | None = None
    """A node; None: as the site has it."""
    time: str = ""
    """As Slurm takes it: minutes, H:M:S or D-H."""
    again: bool = False
    site: Site = field(default_factory=Site)
    options: tuple[str, ...] = ()
    """More words for the submitting command, after the site's."""

    @property
    def words(self) -> list[str]:
        """What `retrain run` is told."""
        again = ["--again"] if self.again else []
        return [self.source, *self.overrides, "--out", str(self.out), *again]


def make(
    source: str,
    overrides: Sequence[str],
    out: Path | None = None,
    nodes: int | None = None,
    gpus: int | None = None,
    time: str = "",
    again: bool = False,
    site: Site | None = None,
    options: Sequence[str] = (),
) -> Spec:
    """Check the words and find the run's name and directory as `retrain run` would.

    Raises:
        UsageError: A word is not what it should be.
    """
    require_settings(overrides)
    if time and not _TIME.fullmatch(time):
        raise UsageError(
            f"--time {shown(time)}: wanted a time.", "For example 30 (minutes), 2:00:00 or 1-12."
        )
    for option in options:
        if not option.startswith("-"):
            raise UsageError(f"--sbatch {shown(option)}: wanted an option, such as --exclusive.")
    name = run_name(source, overrides)
    folder = Path.cwd()
    if source.startswith("-"):
        source = os.path.join(os.curdir, source)  # else it would be taken for an option
    place = Path(os.path.abspath(out or Path("runs") / name))
    where = site or Site()
    words = tuple(overrides)
    return Spec(source, words, name, place, folder, nodes, gpus, time, again, where, tuple(options))


def require_settings(words: Sequence[str]) -> None:
    """See that words are settings.

    Raises:
        UsageError: One is not.
    """
    for word in words:
        if word.startswith("-") or "=" not in word:
            raise UsageError(f"{shown(word)}: wanted key=value.", "For example: head.l2=0.01")


def is_images(path: Path) -> bool:
    """Whether `retrain run` takes a path for images, not for a configuration."""
    return path.is_dir() or path.suffix.lower() in _IMAGES


def run_name(source: str, overrides: Sequence[str]) -> str:
    """The name of a run, as `retrain run` finds it: `name=`, the file's key, or the file's name."""
    given = [word[len("name=") :] for word in overrides if word.startswith("name=")]
    path = Path(source)
    images = is_images(path)
    if given and given[-1] not in ("", "null", "~"):
        name: object = given[-1]
    else:
        name = None if images or given else read_yaml(path).get("name")
    if not name and images:
        whole = path.resolve()
        name = whole.name if whole.is_dir() else whole.stem
    text = _UNPRINTABLE.sub("_", str(name or path.stem)) or "images"
    if "/" in text or text in (".", ".."):
        raise UsageError(f"name: found {shown(text)}; wanted a name that can be a folder's.")
    return text
