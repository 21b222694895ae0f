# SPDX-License-Identifier: Apache-2.0
"""Whether a sweep is the one that its folder was made for, and what differs if it is not."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from jobs.sweep import NAMES, same_value

_ANYWHERE = ("run.cache", "run.stall_timeout")
"""Keys that change where and how patiently a run works, not what it finds."""


def changed_settings(
    before: str, words_before: Sequence[str], now: str, words_now: Sequence[str]
) -> list[str]:
    """What differs between two configurations, a phrase a key.

    Args:
        before: The text of the first, in YAML; empty where it is none.
        words_before: `key=value` words beside it.
        now: The text of the second.
        words_now: Its words.
    """
    old, new = _values(before, words_before), _values(now, words_now)
    return [
        was_now(key, old.get(key, "not set"), new.get(key, "not set"))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in _ANYWHERE
    ]


def was_now(what: str, old: str, new: str) -> str:
    """Both values of what differs."""
    return f"{what} was {_shown(old)}, now {_shown(new)}"


def _values(text: str, words: Sequence[str]) -> dict[str, str]:
    """Dotted keys with values, in a spelling that differs only where they do."""
    found: dict[str, str] = {}
    try:
        _flatten(yaml.safe_load(text), "", found)
    except yaml.YAMLError:
        found["the configuration's text"] = text
    for word in words:
        key, _, value = word.partition("=")
        found[key] = value if key in NAMES else same_value(value)
    return found


def _flatten(tree: object, prefix: str, found: dict[str, str]) -> None:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            _flatten(value, f"{prefix}.{key}" if prefix else str(key), found)
    elif prefix:
        plain = prefix in NAMES and isinstance(tree, str)
        found[prefix] = str(tree) if plain else same_value(yaml.safe_dump(tree))


def _shown(value: str) -> str:
    plain = value if value.isprintable() else repr(value)
    return plain if len(plain) <= 80 else plain[:77] + "..."
