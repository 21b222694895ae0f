# SPDX-License-Identifier: Apache-2.0
"""How numbers and strangers' names are put in words, on the page and on the terminal alike.

Names come from folders and files that anybody may have made: nothing in them may move the cursor,
turn the line around or end a quotation.
"""

from __future__ import annotations

import os
import shlex
import unicodedata

NOTHING = "\N{EN DASH}"
"""Stands where a run has no such value."""

_TURNING = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as a percentage; only what is all or nothing reads 100% or 0%.

    Args:
        share: 0 to 1, or None where there is none.
        digits: Decimals; 1 in tables, 0 in sentences.
    """
    if share is None:
        return NOTHING
    step = 0.1**digits
    value = round(100 * share, digits)
    if 0 < share < 1:
        value = min(max(value, step), 100 - step)
    return f"{value:.{digits}f}%"


def interval(bounds: list[float] | None) -> str:
    """The two bounds of an interval in whole percents, finer only where these are the same.

    Args:
        bounds: Lower and upper bound, shares of 1, or None where there are none.
    """
    if bounds is None:
        return NOTHING
    low, high = (f"{100 * bound:.0f}" for bound in bounds)
    if low == high and bounds[0] != bounds[1]:
        low, high = (f"{100 * bound:.1f}" for bound in bounds)
    return f"{low} to {high}%"


def number(value: float | None, digits: int = 0) -> str:
    """A number with its thousands set apart."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def strength(value: float | None) -> str:
    """An L2 strength, or a norm: three digits that count, whatever its size."""
    return NOTHING if value is None else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{seconds / 3600:.1f} h"


def count(value: int, noun: str) -> str:
    """A number and what it counts: `1 image`, `1,200 images`."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def visible(text: str) -> str:
    r"""A name on one line that can be printed anywhere: what cannot be seen is written out.

    Control characters, line ends, marks that turn the reading direction, and bytes that are not
    UTF-8 become `\n`, `\x1b`, `\u202e`, `\xff`.
    """
    return text if text.isprintable() else "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if not _unseen(character):
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _unseen(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def quoted(name: str) -> str:
    """A name in a sentence."""
    return f'"{visible(name)}"'


def shell_word(name: str) -> str:
    """A path as one word of a shell's command line, on one line and never an option.

    Names that can be seen are quoted as any shell reads them, others in bash's form `$'...'`.
    """
    path = f"./{name}" if name.startswith("-") else name
    if visible(path) == path:
        return shlex.quote(path)
    return "$'" + "".join(map(_bash_character, path)) + "'"


def _bash_character(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if not _unseen(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
