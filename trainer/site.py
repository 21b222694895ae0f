# SPDX-License-Identifier: Apache-2.0
"""A site: how one cluster is used, as `configs/sites/NAME.yaml` says.

`slurm/retrain.sh` chooses one by the same rule and asks `retrain site` for what it needs of it;
NAME.sh beside the file, with modules and the environment, is its own business.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from trainer.errors import UsageError, listed

Word = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    StringConstraints(pattern=r"^[\w.,:@=/+-]+$"),
]
"""What goes to sbatch as part of an option: letters, digits and a few signs; an account may be a
number."""
Folder = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A path without control characters; $VARIABLES are filled in where it is used."""
SITE = "RETRAIN_SITE"
DEFAULT = "generic"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Python(_Section):
    """Where `retrain` and its Python come from; nothing of it: .venv of the project, else PATH."""

    venv: Folder | None = None
    """A virtual environment's folder."""
    conda: Folder | None = None
    """An environment's name or folder; `conda` must be on PATH, which NAME.sh sees to."""
    apptainer: Folder | None = None
    """An image in which `retrain` is on PATH; several hosts need `launcher: srun`."""
    modules: bool = False
    """NAME.sh puts `retrain` on PATH."""

    @model_validator(mode="after")
    def _one(self) -> Python:
        if sum(bool(value) for value in self.__dict__.values()) > 1:
            raise ValueError("one of venv, conda, apptainer and modules")
        return self


class Gpus(_Section):
    """How GPUs are asked for."""

    request: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    per_node: Annotated[int, Field(ge=0)] | None = None
    """GPUs of each host; null where the user says."""
    type: Word | None = None
    """Slurm's name for the kind, such as v100."""

    def options(self, per_node: int | None = None) -> list[str]:
        """The option for sbatch: so many GPUs a host, or the site's number; none for 0."""
        count = self.per_node if per_node is None else per_node
        if not count:
            return []
        kind = f"{self.type}:" if self.type else ""
        return [f"--gres=gpu:{kind}{count}" if self.request == "gres" else
                f"--gpus-per-node={kind}{count}"]  # fmt: skip


class Site(_Section):
    """All keys of a site's file."""

    name: Folder = DEFAULT
    launcher: Literal["mpirun", "srun"] = "mpirun"
    mpi: Literal["pmix", "pmi2"] | None = None
    """For srun; null is pmix."""
    python: Python = Python()
    partition: Word | None = None
    account: Word | None = None
    gpus: Gpus = Gpus()
    cache: Folder | None = None
    scratch: Folder = "/tmp"
    """A folder of each host's own, for `stage`."""
    stage: Literal["none", "squashfs", "sbcast"] = "none"
    sbatch: list[Annotated[str, StringConstraints(pattern=r"^-[^\x00-\x1f\x7f]+$")]] = []
    """Further options of sbatch, one word each: --qos=normal."""

    @field_validator("python", mode="before")
    @classmethod
    def _short_python(cls, value: object) -> object:
        """`modules` alone stands for {modules: true}, and nothing for no wish."""
        return {"modules": True} if value == "modules" else {} if value is None else value

    @model_validator(mode="after")
    def _fitting(self) -> Site:
        if self.mpi and self.launcher == "mpirun":
            raise ValueError("mpi is srun's: set launcher: srun, or leave mpi out")
        if self.stage != "none" and (self.python.conda or self.python.apptainer):
            raise ValueError(
                f"stage: {self.stage} copies a virtual environment: python: {{venv: FOLDER}}"
            )
        return self

    def options(self) -> list[str]:
        """The site's options for sbatch; what the user gives goes after them and wins."""
        found = [f"--partition={self.partition}"] if self.partition else []
        found += [f"--account={self.account}"] if self.account else []
        return [*found, *self.gpus.options(), *self.sbatch]

    def for_script(self) -> dict[str, str]:
        """What slurm/retrain.sh asks for; empty words where the site has no wish.

        Raises:
            UsageError: A path names a variable that is not set.
        """
        return {
            "launcher": self.launcher,
            "mpi": (self.mpi or "pmix") if self.launcher == "srun" else "",
            "cache": _filled_in("cache", self.cache or ""),
            "scratch": _filled_in("scratch", self.scratch),
            "stage": self.stage,
        }


def folders() -> list[Path]:
    """Where sites lie: in the clone, or in what was installed."""
    package = Path(__file__).parent
    return [package.parent / "configs" / "sites", package / "configs" / "sites"]


def find(name: str | None) -> Path | None:
    """The file of the site that was named here, by RETRAIN_SITE, or after the cluster.

    Args:
        name: A site's name, or the path of a file of one's own.
    Returns:
        The file; None where nothing was named and not even the default is there.
    Raises:
        UsageError: What was named is not there.
    """
    named = name or os.environ.get(SITE)
    if named:
        return _named(named)
    for one in (_cluster(), DEFAULT):
        if one and re.fullmatch(r"[\w.-]+", one) and (path := _there(one)):
            return path
    return None


def load(path: Path) -> Site:
    """Read a site's file and check it.

    Raises:
        UsageError: It cannot be read, a key is unknown, a value is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise UsageError(f"{path}: cannot be read: {why}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: broken YAML.", "Indent by spaces only.") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: wanted keys and values.", f"The keys: {', '.join(_keys(Site))}")
    try:
        site = Site.model_validate({"name": path.stem, **tree})
    except ValidationError as error:
        raise _told(path, error.errors(include_url=False)) from None
    _require_plain_python(path, text, site)
    return site


def _there(name: str) -> Path | None:
    paths = (folder / f"{name}.yaml" for folder in folders())
    return next((path for path in paths if path.is_file()), None)


def _named(name: str) -> Path:
    """A file of one's own has a slash or its suffix in its name."""
    own = "/" in name or name.endswith(".yaml")
    path = Path(name) if own else _there(name)
    if path and path.is_file():
        return path
    known = sorted({path.stem for folder in folders() for path in folder.glob("*.yaml")})
    near = difflib.get_close_matches(name, known, n=1)
    todo = f"Did you mean {near[0]}?" if near else f"There are {listed(known, 20)}, or give a file."
    raise UsageError(f"{name}: {'no such file' if own else 'no such site'}.", todo)


def _cluster() -> str:
    """The cluster's name as Slurm tells it; empty without one."""
    inside = os.environ.get("SLURM_CLUSTER_NAME")
    if inside or not (scontrol := shutil.which("scontrol")):
        return inside or ""
    try:
        answer = subprocess.run(
            [scontrol, "show", "config"], capture_output=True, text=True, timeout=30
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", answer, re.MULTILINE)
    return found[1] if found else ""


def _filled_in(key: str, path: str) -> str:
    filled = os.path.expandvars(path)
    if "$" in filled:
        raise UsageError(f"{key}: {path}: names a variable that is not set.", "Set it in NAME.sh.")
    return filled


def _require_plain_python(path: Path, text: str, site: Site) -> None:
    """The job script reads this key before there is a Python: by the line, not by YAML."""
    python = site.python
    if not (python.venv or python.conda or python.apptainer):
        return
    if not re.search(r"^python: *\{ *(venv|conda|apptainer): *[^{}\"'#]+\}", text, re.MULTILINE):
        raise UsageError(
            f"{path}: python: the job script cannot read it so.",
            "Write it on one line, without quotes: python: {venv: /path/of/it}",
        )


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _told(path: Path, problems: list[Any]) -> UsageError:
    """The first unknown key, else the first wrong value."""
    keys = list(_keys(Site))
    for problem in problems:
        if problem["type"] == "extra_forbidden":
            key = ".".join(map(str, problem["loc"]))
            near = difflib.get_close_matches(key.lower(), keys, n=1)
            todo = f"Did you mean {near[0]}?" if near else f"The keys: {', '.join(keys)}"
            return UsageError(f"{path}: {key}: unknown key.", todo)
    problem = problems[0]
    key = ".".join(map(str, problem["loc"]))
    context = problem.get("ctx", {})
    wanted = str(context.get("error") or context.get("expected") or problem["msg"])
    wanted = wanted.removeprefix("Input should be ").removeprefix("Value error, ")
    if not key:
        return UsageError(f"{path}: {wanted}.")
    if problem["type"] == "string_pattern_mismatch":
        wanted = "a word without blanks or signs of the shell"
        if key.startswith("sbatch"):
            wanted = "an option of sbatch as one word: --qos=normal"
        elif key.split(".")[0] in ("cache", "scratch", "python"):
            wanted = "a path without control characters"
    return UsageError(f"{path}: {key}: found {problem['input']!r:.60}; wanted {wanted}.")
