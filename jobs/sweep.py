# SPDX-License-Identifier: Apache-2.0
"""From `--sweep KEY=VALUE,VALUE KEY=VALUE,VALUE` to combinations, and a directory name for each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import yaml

from jobs.errors import UsageError, shown

MOST = 10_000
"""Combinations of one sweep."""
LONGEST_NAME = 100
"""Bytes of a directory's name."""
NAMES = ("data.images", "data.bottlenecks", "name", "backbone.weights", "run.cache")
"""Keys whose values `retrain run` takes as they stand, so that quotes would be part of the name."""

Settings = dict[str, str]
"""One combination: dotted keys with their values as `retrain run` takes them, in YAML."""


@dataclass(frozen=True)
class Axis:
    """A key and the values that it takes, in the order in which they were given."""

    key: str
    values: tuple[str, ...]


def parse_sweep(words: Sequence[str]) -> list[Axis]:
    """Read the words of `--sweep`.

    Values are YAML; a comma within brackets or quotes belongs to its value.

    Args:
        words: `key=value,value`, one word a key.
    Raises:
        UsageError: A word is no such thing, a value is empty or comes twice, a key comes twice or
            lies within another, or there are more than `MOST` combinations.
    """
    if not words:
        raise UsageError("--sweep: nothing to vary.", _EXAMPLE)
    axes: list[Axis] = []
    for word in words:
        axis = _axis(word)
        for other in axes:
            _require_apart(axis.key, other.key)
        axes.append(axis)
    total = math.prod(len(axis.values) for axis in axes)
    if total > MOST:
        counts = " times ".join(f"{len(axis.values)} ({axis.key})" for axis in axes)
        raise UsageError(
            f"--sweep: {total:,} combinations, {counts}; at most {MOST:,} go into one sweep.",
            "Vary fewer keys at once, or divide it into sweeps with a name= of their own.",
        )
    return axes


def combinations(axes: Sequence[Axis]) -> list[Settings]:
    """All combinations; the last key varies fastest, each key's values in the order given."""
    keys = [axis.key for axis in axes]
    return [
        dict(zip(keys, values, strict=True)) for values in product(*(axis.values for axis in axes))
    ]


def directory_name(number: int, settings: Settings) -> str:
    """A name for a combination's run directory, safe on any file system.

    `KEY=VALUE,KEY=VALUE` where that is safe and short; else the combination's number and what is
    safe of it. So no two combinations of different numbers share one, whatever their values are.
    """
    whole = ",".join(f"{key}={value}" for key, value in settings.items())
    if _SAFE.fullmatch(whole) and len(whole) <= LONGEST_NAME:
        return whole
    return f"{number:05d}-{_UNSAFE.sub('_', whole)[: LONGEST_NAME - 6].rstrip('._')}"


def same_value(text: str) -> str:
    """A text that two values share where they mean the same: 0.1 and 0.10, a and 'a'."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return repr(float(value))
        except (ValueError, OverflowError):
            pass
    return json.dumps(value, sort_keys=True, default=str)


_LONGEST_TOLD = 60
"""Signs of a word up to which a message tells it whole."""
_EXAMPLE = "For example: --sweep head.l2=0.1,0.01 backbone.layer=mixed7,mixed10"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_.=,+-]*[A-Za-z0-9_+-]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=,+-]+")
_NULLS = ("null", "Null", "NULL", "~")
_CLOSING = {"[": "]", "{": "}"}


def _axis(word: str) -> Axis:
    key, equals, text = word.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise UsageError(f"--sweep {shown(word, _LONGEST_TOLD)}: wanted KEY=VALUE,VALUE.", _EXAMPLE)
    values = tuple(_value(key, value) for value in _split(key, text))
    seen: dict[str, str] = {}
    for value in values:
        same = value if key in NAMES else same_value(value)
        if same in seen:
            as_well = "" if seen[same] == value else f", once as {shown(seen[same], _LONGEST_TOLD)}"
            raise UsageError(
                f"--sweep {key}: {shown(value, _LONGEST_TOLD)} comes twice{as_well}.",
                "Give each value once.",
            )
        seen[same] = value
    return Axis(key, values)


def _require_apart(key: str, other: str) -> None:
    if key == other:
        raise UsageError(f"--sweep {key}: given twice.", f"Join them: {key}=VALUE,VALUE")
    inner, outer = max(key, other, key=len), min(key, other, key=len)
    if inner.startswith(f"{outer}.") or {key, other} == {"data.images", "data.bottlenecks"}:
        raise UsageError(
            f"--sweep: {inner} and {outer} cannot both vary: one replaces the other.",
            "Vary one of them.",
        )


def _value(key: str, text: str) -> str:
    """A value as `retrain run` is to be given it."""
    if not text:
        raise UsageError(
            f"--sweep {key}: a value is empty.",
            "Values are parted by single commas; an empty text is '', nothing is null.",
        )
    if "\0" in text:
        raise UsageError(f"--sweep {key}: a value holds the character NUL.", "Leave it out.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        if key in NAMES:
            return text
        raise UsageError(
            f"--sweep {key}: {shown(text, _LONGEST_TOLD)} is no YAML.", "Put it in quotes: 'VALUE'"
        ) from None
    if value is None and text not in _NULLS:
        raise UsageError(
            f"--sweep {key}: {shown(text, _LONGEST_TOLD)} says nothing in YAML.",
            "Put it in quotes: 'VALUE'",
        )
    if key in NAMES and isinstance(value, str) and text[0] in "'\"":
        return value
    return text


def _split(key: str, text: str) -> list[str]:
    """Part a text at its commas outside of brackets and quotes."""
    parts, start, at = [], 0, 0
    open_brackets: list[str] = []
    fresh = True  # a quote opens at the start of a value only: it's is a word
    while at < len(text):
        sign = text[at]
        if fresh and sign in "'\"":
            at = _after_quote(key, text, at)
            fresh = False
            continue
        if sign in _CLOSING:
            open_brackets.append(_CLOSING[sign])
        elif sign in "]}" and (not open_brackets or open_brackets.pop() != sign):
            raise _unpaired(key, text)
        elif sign == "," and not open_brackets:
            parts.append(text[start:at].strip())
            start = at + 1
        fresh = sign in ",[{" or (fresh and sign.isspace()) or text[at - 1 : at + 1] == ": "
        at += 1
    if open_brackets:
        raise _unpaired(key, text)
    return [*parts, text[start:].strip()]


def _after_quote(key: str, text: str, start: int) -> int:
    """The place after a quoted text that begins at `start`."""
    quote, at = text[start], start + 1
    while at < len(text):
        escaped = text[at] == "\\" if quote == '"' else text[at : at + 2] == "''"
        if escaped:
            at += 2
        elif text[at] == quote:
            return at + 1
        else:
            at += 1
    raise UsageError(
        f"--sweep {key}: {shown(text, _LONGEST_TOLD)}: a quote is not closed.", _QUOTES
    )


def _unpaired(key: str, text: str) -> UsageError:
    return UsageError(
        f"--sweep {key}: {shown(text, _LONGEST_TOLD)}: a bracket has no partner.", _QUOTES
    )


_QUOTES = "The shell takes one pair of quotes away; put another around the word: \"key='a,b',c\""
