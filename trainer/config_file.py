# SPDX-License-Identifier: Apache-2.0
"""From a file, a folder and `key=value` words to a configuration; how mistakes in them are told."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from trainer.config import Config, Tree, yaml_word
from trainer.errors import UsageError


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """All keys in dotted form, sections included."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def load(source: str, overrides: list[str]) -> Config:
    """Read a configuration file, or make one for images, and check it.

    Args:
        source: A YAML file; or a folder with one folder a class, a .tar of one, a .csv manifest.
        overrides: `key=value` words, values in YAML.
    Raises:
        UsageError: The file is not there or not YAML, a key is unknown, a value is wrong.
    """
    if not source:
        raise UsageError("'': neither a file nor a folder.", _EITHER)
    path = Path(source)
    if os.path.isdir(source) or (path.suffix.lower() in _IMAGES and os.path.isfile(source)):
        tree: Tree = {"data": {"images": os.path.abspath(source)}}
        whole = path.resolve()
        name = _printable(whole.name if whole.is_dir() else whole.stem)
    else:
        tree, name = _read_yaml(path), _printable(path.stem)
    for word in overrides:
        _override(tree, word)
    tree["name"] = tree.get("name") or name
    config = _validate(tree, source)
    given = source if tree["data"].get("images") == os.path.abspath(source) else ""
    return _with_absolute_paths(_with_image_dir(config, given))


def load_words(words: list[str]) -> Config:
    """What a run would be told by these words; without a configuration, its defaults.

    Args:
        words: A configuration or a folder, which may be left out, then `key=value` words.
    Raises:
        UsageError: As `load`.
    """
    named = bool(words) and "=" not in words[0]
    return load(words[0] if named else os.curdir, words[1:] if named else words)


def _printable(name: str) -> str:
    """A file's name as a run's name, which is a folder's name and stands in reports."""
    return re.sub(r"[\x00-\x1f\x7f\udc80-\udcff]", "_", name) or "images"


def _read_yaml(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: no configuration: not a text in UTF-8.", _EITHER) from None
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        found = "no such file or folder" if missing else f"cannot be read: {error.strerror}"
        raise UsageError(f"{path}: {found}.", _EITHER) from None
    try:
        tree = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        where, problem = _yaml_problem(error, text)
        raise UsageError(
            f"{path}, line {where}: broken YAML: {problem}.",
            "Mend the line; indent by spaces only.",
        ) from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise UsageError(f"{path}: wanted keys and values, found {found}.", _SHORTEST)
    return tree


_IMAGES = frozenset(".tar .csv .tsv .gz .tgz .bz2 .xz .zst .zip".split())
"""Suffixes of what is no configuration; a packed archive is refused with what to do instead."""
_EITHER = "Give a configuration (.yaml), a folder with one folder a class, a .tar of one or a .csv."
_SHORTEST = "The shortest configuration: data: {images: FOLDER}"


class _Loader(yaml.SafeLoader):
    """YAML with two mercies: 1e-3 is a number, and a key that comes twice is an error."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        mapping = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in mapping.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} comes twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"),
    list("-+.0123456789"),
)


def _yaml_problem(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line of a mistake, counted from 1, and what it is."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, f"found the control character {error.character:#04x}"
    assert isinstance(error, yaml.MarkedYAMLError)
    mark = error.problem_mark
    return (mark.line + 1 if mark else 1), str(error.problem).removeprefix("but ")


def _override(tree: Tree, word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f"{word}: wanted key=value.", "For example: head.l2=0.01")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        value = text  # a path with a colon or a bracket is a path, not YAML
    if key in _NAMES and (value is not None or key in _SOURCES):
        value = text  # a folder may be named 2024, yes or null
    if key in _SOURCES:
        _drop_other_source(tree, key)
    *sections, last = key.split(".")
    for section in sections:
        below = tree.get(section)
        if below is None:
            below = tree[section] = {}
        if not isinstance(below, dict):
            raise _unknown(key)
        tree = below
    tree[last] = value


_SOURCES = ("data.images", "data.bottlenecks")
_NAMES = (*_SOURCES, "name", "backbone.weights", "run.cache")
"""Keys whose values are names: what follows the equals sign is taken as it stands."""


def _drop_other_source(tree: Tree, key: str) -> None:
    """An override of one source replaces the other, which the file may have named."""
    data = tree.get("data")
    if isinstance(data, dict):
        data.pop("images" if key.endswith("bottlenecks") else "bottlenecks", None)


def _validate(tree: Tree, source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    for problem in problems:
        if problem["type"] in ("extra_forbidden", "invalid_key"):
            raise _unknown(_dotted(problem["loc"]))
    problem = problems[0]
    key = _dotted(problem["loc"])
    if key == "data" and problem["type"] == "missing":
        raise UsageError(f"{source}: data is missing.", _SHORTEST)
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        raise UsageError(
            f"{source}: {problem['ctx']['error']}.", _SHORTEST if key == "data" else ""
        )
    wanted = dict.fromkeys(_wanted(p) for p in problems if _dotted(p["loc"]) == key)
    raise UsageError(
        f"{key}: found {_found(problem['input'])}; wanted {' or '.join(wanted)}.",
        _SHORTEST if key == "data" else _hint(problem),
    )


def _found(value: object) -> str:
    text = yaml_word(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _hint(problem: Any) -> str:
    value = problem["input"]
    if value is None:
        return "Leave the key out for its default."
    if problem["type"] in _HINTS:
        return _HINTS[problem["type"]]
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return "Write numbers without quotes."


_HINTS = {
    "string_type": "Put it in quotes.",
    "list_type": "Write a list in brackets: [a, b].",
    "model_type": "Put its keys below it, indented.",
}


def _dotted(loc: tuple[int | str, ...]) -> str:
    """The key of an error: what pydantic adds below a key (list index, union member) is no key."""
    keys = known_keys()
    dotted = ""
    for part in loc:
        dotted = f"{dotted}.{part}" if dotted else str(part)
        if not any(key.startswith(f"{dotted}.") for key in keys):
            break
    return dotted


def _wanted(problem: Any) -> str:
    kind = problem["type"]
    if kind == "literal_error":
        return str(problem["ctx"]["expected"])
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    message = str(problem["msg"]).replace("Input should be ", "")
    return _WANTED.get(kind) or (f"a number {message}" if "than" in kind else message)


_WANTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "keys and values",
    "string_too_short": "a text that is not empty",
    "string_type": "a text",
}


def _unknown(key: str) -> UsageError:
    keys = known_keys()
    tails = {known.rsplit(".", 1)[-1]: known for known in reversed(keys)}
    tail = key.lower().rsplit(".", 1)[-1]
    if tail in tails:  # the last word is right, its section wrong or forgotten
        near = [tails[tail]]
    else:
        near = difflib.get_close_matches(key.lower(), keys, n=1)
        near = near or [tails[word] for word in difflib.get_close_matches(tail, tails, n=1)]
    todo = f"Did you mean {near[0]}?" if near else "The keys: " + ", ".join(Config.model_fields)
    return UsageError(f"{key}: unknown key.", todo)


def _with_image_dir(config: Config, given: str) -> Config:
    """The folder whose name retrain.py's rule hashes, as it was given: its sets depend on that."""
    data = config.data
    if data.split.compat is None or data.split.image_dir is not None:
        return config
    folder = os.path.expanduser(given or str(data.images or data.bottlenecks)).rstrip("/")
    folder = folder.removesuffix(".tar")
    if folder.endswith((".csv", ".tsv")):
        folder = os.path.dirname(folder) or "."
    split = data.split.model_copy(update={"image_dir": folder})
    return config.model_copy(update={"data": data.model_copy(update={"split": split})})


def _with_absolute_paths(config: Config) -> Config:
    """Paths as they are from anywhere, so that a run can go on from another folder."""
    source = {config.data.source_key.split(".")[1]: _absolute(str(config.data.source))}
    weights = config.backbone.weights
    if weights not in ("imagenet", "random"):
        weights = _absolute(weights)
    cache = config.run.cache and _absolute(config.run.cache)
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=source),
            "backbone": config.backbone.model_copy(update={"weights": weights}),
            "run": config.run.model_copy(update={"cache": cache}),
        }
    )


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
