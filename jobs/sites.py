# SPDX-License-Identifier: Apache-2.0
"""How a cluster wants to be asked: what of `configs/sites/NAME.yaml` concerns submitting.

The file's other keys are for the job itself, which reads it again.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import UsageError, shown

PROJECT = Path(__file__).resolve().parents[1]
"""The clone, or where the package is installed."""
SITE = "RETRAIN_SITE"
DEFAULT = "generic"
_WORD = re.compile(r"[\w.,:@=/+-]+")


@dataclass(frozen=True)
class Site:
    """How one cluster is used; what is left out is the cluster's own default."""

    file: Path | None = None
    """Absolute; None where no site was found."""
    partition: str = ""
    account: str = ""
    gres: bool = False
    """Whether GPUs are asked for by --gres, not by --gpus-per-node."""
    gpus: int = 0
    """A node, where the user says nothing."""
    gpu_type: str = ""
    options: tuple[str, ...] = ()
    """More words for the submitting command."""


def read_site(name: str | None, cluster: Callable[[], str] = str) -> Site:
    """Find the site's file and read it.

    Args:
        name: A site's name, or a file of one's own; None: `$RETRAIN_SITE`, and without that the
            cluster's name where a site has it, else `generic`.
        cluster: Gives the cluster's name, or nothing.
    Raises:
        UsageError: There is no such site, or its file cannot be used.
    """
    name = name or os.environ.get(SITE)
    path = _named(name) if name else _of_cluster(cluster)
    return _read_site(path) if path else Site()


def _named(name: str) -> Path:
    own = "/" in name or name.endswith(".yaml")
    known = _known()
    path = Path(os.path.abspath(name)) if own else known.get(name)
    if path and path.is_file():
        return path
    near = difflib.get_close_matches(name, known, n=1)
    there = f"There are {', '.join(sorted(known))}, or give a file." if known else "Give a file."
    raise UsageError(
        f"--site {shown(name)}: {'no such file' if own else 'no such site in configs/sites'}.",
        f"Did you mean {near[0]}?" if near else shown(there),
    )


def _of_cluster(cluster: Callable[[], str]) -> Path | None:
    known = _known()
    named = known.get(cluster()) if known else None
    return named or known.get(DEFAULT)


def _known() -> dict[str, Path]:
    """Sites' files by name: of this folder, else of the clone, else of the installation."""
    found: dict[str, Path] = {}
    for root in (Path.cwd(), PROJECT, PROJECT / "trainer"):
        for path in (root / "configs" / "sites").glob("*.yaml"):
            found.setdefault(path.stem, path)
    return found


def _read_site(path: Path) -> Site:
    tree = read_yaml(path)
    gpus = tree.get("gpus") or {}
    if not isinstance(gpus, dict):
        raise _wrong(path, "gpus", "request, per_node and type", gpus)
    request = gpus.get("request") or "gpus-per-node"
    if request not in ("gpus-per-node", "gres"):
        raise _wrong(path, "gpus.request", "gpus-per-node or gres", request)
    per_node = gpus.get("per_node") or 0
    if not isinstance(per_node, int) or per_node < 0:
        raise _wrong(path, "gpus.per_node", "a number", per_node)
    more = tree.get("sbatch") or []
    if not isinstance(more, list) or not all(re.fullmatch(r"-[^\x00-\x1f]+", str(w)) for w in more):
        raise _wrong(path, "sbatch", "a list of options, such as [--exclusive]", more)
    words = {key: _word(path, key, tree.get(key)) for key in ("partition", "account")}
    kind, options = _word(path, "gpus.type", gpus.get("type")), tuple(map(str, more))
    return Site(
        path, **words, gres=request == "gres", gpus=per_node, gpu_type=kind, options=options
    )


def _word(path: Path, key: str, value: object) -> str:
    if value is not None and not _WORD.fullmatch(str(value)):
        raise _wrong(path, key, "a word without blanks or signs of the shell", value)
    return "" if value is None else str(value)


def _wrong(path: Path, key: str, wanted: str, found: object) -> UsageError:
    return UsageError(
        f"{shown(str(path))}: {key}: wanted {wanted}; found {shown(repr(found)):.60}."
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's keys and values.

    Raises:
        UsageError: It cannot be read, or holds something else.
    """
    import yaml

    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise UsageError(f"{shown(str(path))}: cannot be read: {shown(what)}") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{shown(str(path))}: wanted keys and values.")
    return tree
