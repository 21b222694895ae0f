# SPDX-License-Identifier: Apache-2.0
"""The configuration: every key, its default, its check, and how mistakes are told.

A field's docstring is its only description. Keys whose other values come with later versions are
accepted with their default, so that a configuration written today stays valid.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Tree = dict[str, Any]
Precision = Literal["float32", "bfloat16", "float16"]


def _only(default: object) -> BeforeValidator:
    def check(value: object) -> object:
        if value != default:
            raise ValueError(f"{yaml_word(default)}, all that this version knows")
        return value

    return BeforeValidator(check)


def _folder_name(name: str) -> str:
    if name in (".", "..") or re.search(r"[/\x00-\x1f\x7f]", name):
        raise ValueError("a name that can be a folder's")
    return name


def _off_or_enough(folds: int) -> int:
    if folds and not 4 <= folds <= 50:
        raise ValueError("0 (off) or 4 to 50")
    return folds


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "a text")
    if not value:  # would mean the folder that one happens to be in
        raise PydanticCustomError("string_too_short", "a text that is not empty")
    return value


PathText = Annotated[str, PlainValidator(_path)]
"""A file or folder, by any name that it can have: pydantic's own str takes UTF-8 alone."""


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors and values do not change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Split(Section):
    """How images are dealt into training, validation and test."""

    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the images that helps to choose the L2 strength."""
    test: float = Field(0.1, ge=0, lt=1)
    """Share of the images that only the final accuracy sees."""
    compat: Literal["retrain"] | None = None
    """`retrain`: deal images into the sets that retrain.py would have put them into."""
    image_dir: str | None = None
    """For that, what retrain.py was given as --image_dir; by default data.images as given here."""

    @model_validator(mode="after")
    def _leave_some_to_train_on(self) -> Split:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"data.split: found validation {self.validation:g} and test {self.test:g}; "
                "together they must stay below 1"
            )
        return self


class Data(Section):
    """What to learn from: a folder of images, or of retrain.py's bottleneck files."""

    images: PathText | None = None
    """A folder with one folder a class, a .tar of one, or a CSV: path,label[,group][,split]."""
    bottlenecks: PathText | None = None
    """Instead of images: a folder a class of retrain.py's .txt bottlenecks."""
    exclude: list[str] = []
    """Classes to leave out."""
    split: Split = Split()
    """How images are dealt into sets."""
    max_bad: float = Field(0.05, ge=0, le=1)
    """Largest share of unreadable files that the run accepts."""
    views: Annotated[list[Any], _only([])] = []
    """Augmented renderings of each image (not in this version)."""

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if (self.images is None) == (self.bottlenecks is None):
            raise ValueError("give either data.images or data.bottlenecks")
        return self

    @property
    def source(self) -> Path:
        """Where the files are: a folder, an archive or a manifest."""
        return Path(self.images if self.images is not None else str(self.bottlenecks))

    @property
    def source_key(self) -> str:
        """The key that names the source, for messages."""
        return "data.images" if self.images is not None else "data.bottlenecks"


class Backbone(Section):
    """The pretrained network that turns images into bottlenecks."""

    name: Literal["inception_v3", "resnet50", "mobilenet_v2", "efficientnet_lite0"] = "inception_v3"
    """The network."""
    weights: PathText = "imagenet"
    """`imagenet`, a file of weights, or `random` (not pretrained)."""
    layer: str | None = None
    """Layer whose average over the picture is the bottleneck, by Keras' name; by default the last
    pooling."""
    precision: Literal["auto", Precision] = "auto"
    """Number format of the network's arithmetic; `auto` takes what the devices compute fast."""
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    """Images in one step of the network."""


class Sgd(Section):
    """Settings of the sgd solver (not in this version)."""

    steps: int = Field(4000, ge=1)
    """Training steps."""
    batch_size: int = Field(100, ge=1)
    """Rows a step, all ranks together."""
    learning_rate: float = Field(0.01, gt=0)
    """Step size after the warm-up."""
    warmup: int = Field(100, ge=0)
    """Steps over which the rate rises."""


class Head(Section):
    """How the new softmax layer is fitted."""

    solver: Annotated[Literal["lbfgs"], _only("lbfgs")] = "lbfgs"
    """The method."""
    l2: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Strength of the penalty on the weights: chosen by cross-validation, or a number."""
    class_weight: Literal["balanced"] | None = None
    """`balanced` gives every class the same total weight."""
    sgd: Sgd = Sgd()
    """Settings of the sgd solver."""


class Evaluate(Section):
    """How sure the result is made."""

    folds: Annotated[int, AfterValidator(_off_or_enough)] = 10
    """Folds of the cross-validation: 0 (off), or 4 to 50."""


class Report(Section):
    """What the report may show."""

    images: bool = True
    """`false`: nothing of the pictures leaves."""


class Run(Section):
    """How the job runs."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of everything drawn at random: `random` weights, bootstrap. Not the split."""
    cache: PathText | None = None
    """Folder of the bottleneck cache; by default $RETRAIN_CACHE, else .retrain-cache beside the
    run directories."""
    device: Literal["auto", "cpu"] = "auto"
    """`cpu` leaves GPUs alone."""
    stall_timeout: float = Field(600, gt=0)
    """Seconds without progress after which the run ends itself and names the rank that stands
    still. Time in which a rank computes counts a tenth."""


class Config(Section):
    """One run, whole."""

    name: Annotated[str, AfterValidator(_folder_name)] = ""
    """Name of the run; by default the configuration's or the folder's."""
    data: Data
    """What to learn from."""
    backbone: Backbone = Backbone()
    """The network."""
    head: Head = Head()
    """The new layer."""
    evaluate: Evaluate = Evaluate()
    """How sure the result is made."""
    report: Report = Report()
    """What the report may show."""
    run: Run = Run()
    """How the job runs."""


def as_yaml(tree: Tree) -> str:
    """A configuration as a file to edit next: every key with its value."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def yaml_word(value: object) -> str:
    """A value as one would write it in the file, on one line."""
    for style in (None, '"'):  # double quotes alone keep line breaks within a line
        text = yaml.safe_dump(
            value,
            default_flow_style=True,
            default_style=style,
            allow_unicode=True,
            width=math.inf,
        )
        text = text.removesuffix("\n").removesuffix("\n...")
        if "\n" not in text:
            break
    return text


def differences(old: Tree, new: Tree, prefix: str = "") -> list[tuple[str, object, object]]:
    """Keys whose values differ between two configurations, dotted, with both values."""
    found: list[tuple[str, object, object]] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append((prefix + key, before, after))
    return found


def cache_folder(config: Config, runs: Path) -> Path:
    """Where bottlenecks are kept: `run.cache`, else the default.

    Args:
        config: The run's.
        runs: The folder that holds the run directories.
    """
    return Path(config.run.cache) if config.run.cache else default_cache(runs)


def default_cache(runs: Path) -> Path:
    """The cache of runs that name none: $RETRAIN_CACHE, else beside the run directories."""
    named = os.environ.get("RETRAIN_CACHE")
    return Path(named) if named else runs / ".retrain-cache"
