# SPDX-License-Identifier: Apache-2.0
"""Values out of results that anybody may have written: of the kind that is wanted, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Tree = dict[str, Any]

_LARGEST = 1e300
_UNWRITABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of characters, which JSON and YAML can name and UTF-8 cannot hold."""


def number(results: Tree, *keys: str) -> float | None:
    """A finite number out of results that anybody may have written, else None."""
    value = _at(results, keys)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None


def bounds(results: Tree, *keys: str) -> list[float] | None:
    """An interval out of results that anybody may have written, else None."""
    value = _at(results, keys)
    if not isinstance(value, list) or len(value) != 2:
        return None
    ends = [number({"end": end}, "end") for end in value]
    return None if None in ends else [end for end in ends if end is not None]


def text(results: Tree, *keys: str) -> str:
    """A text out of results that anybody may have written, else an empty one."""
    value = _at(results, keys)
    return writable(value) if isinstance(value, str) else ""


def class_names(results: Tree) -> list[str]:
    """The classes of a run, as far as its results tell them."""
    names = _at(results, ("data", "classes"))
    return [str(name) for name in names] if isinstance(names, list) else []


def writable(words: str) -> str:
    """A text as it can stand in a file: halves of characters replaced."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", words)


def _at(results: object, keys: Iterable[str]) -> object:
    for key in keys:
        results = results.get(key) if isinstance(results, dict) else None
    return results
