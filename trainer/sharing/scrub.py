# SPDX-License-Identifier: Apache-2.0
"""What a run must not tell when it is given away, taken out of its texts and looked for in the end.

Taking out is done in the few places where such things stand; looking is done everywhere, since
nobody knows all places. Both know the same names.
"""

from __future__ import annotations

import html
import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.data.manifest import escaped

HOST, USER = "the host name", "the user name"
NOBODY = frozenset("root user admin nobody ubuntu debian jovyan runner localhost".split())
"""Names that say nothing of who or where, and stand in many files by chance."""
SHORTEST_IN_BINARY = 5
"""Bytes from which a name is looked for in what is no text: a shorter one is there by chance."""

_PART = r"[^\s/:;,\"'()]"
_REST = rf"(?:/{_PART}*)*"
_ABSOLUTE = re.compile(rf"(?<![\w./~-])~?/(?:{_PART}+/)+{_PART}*")
_LEADING = re.compile(r"\A~?/.*?(?=: )")
"""How messages begin that are about a file, which may have blanks in its name."""


@dataclass(frozen=True)
class Secret:
    """A text that must not be left.

    Attributes:
        text: The name, or the absolute path.
        kind: What it is, for a sentence.
        instead: What stands in its place where it is taken out.
    """

    text: str
    kind: str
    instead: str

    @property
    def is_path(self) -> bool:
        """Whether it is a path, whose beginning says where it begins."""
        return self.text.startswith("/")

    def pattern(self) -> str:
        """A regular expression for it in a text, as a whole word or path."""
        word = re.escape(self.text)
        if self.is_path:
            return rf"(?<![A-Za-z0-9_.-]){word}(?![A-Za-z0-9_-])"
        return rf"(?<![A-Za-z0-9])(?i:{word})(?![A-Za-z0-9])"

    def stands_in_text(self, text: str, lower: str) -> bool:
        """Whether it is left in a text, in any way that our files write it.

        Args:
            text: The text.
            lower: The same in lower case, in which most secrets are seen not to be at all.
        """
        forms = [form for form in _forms(self.text) if form.lower() in lower]
        return any(re.search(Secret(form, "", "").pattern(), text) for form in forms)

    def stands_in_bytes(self, content: bytes) -> bool:
        """Whether it is left in what is no text, where neighbours tell nothing."""
        word = os.fsencode(self.text)
        if self.is_path and self.text.count("/") == 1:  # such as /data, also a part of others
            return bool(re.search(rb"(?<![A-Za-z0-9_.-])" + re.escape(word) + b"/", content))
        return len(word) >= SHORTEST_IN_BINARY and word in content


def _forms(text: str) -> set[str]:
    """A text as JSON, HTML and CSV have it."""
    return {text, json.dumps(text)[1:-1], html.escape(text), escaped(text)}


class Secrets:
    """All of them, the longest first, so that none is hidden by a part of it."""

    def __init__(self, secrets: Iterable[Secret], public: Iterable[str] = ()) -> None:
        """Know these, but for the public ones, and but for what stands in others' places."""
        given = list(secrets)
        spared = {"", *public} | {one.instead for one in given if one.kind == HOST}
        wanted = {one.text: one for one in reversed(given) if one.text not in spared}
        self._all = sorted(wanted.values(), key=lambda one: (-len(one.text), one.text))

    def scrubbed(self, text: str) -> str:
        """A sentence without them; of any absolute path its last part stays."""
        for one in self._all:
            if one.is_path:  # known ones first: they may have blanks in them
                text = re.sub(one.pattern() + _REST, _last_part, text)
        for paths in (_LEADING, _ABSOLUTE):
            text = paths.sub(_last_part, text)
        for one in self._all:
            if not one.is_path:
                text = re.sub(one.pattern(), one.instead, text)
        return text

    def left_in(self, content: bytes) -> Secret | None:
        """The first of them that a file's content still holds."""
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            return next((one for one in self._all if one.stands_in_bytes(content)), None)
        lower = text.lower()
        return next((one for one in self._all if one.stands_in_text(text, lower)), None)


def _last_part(found: re.Match[str]) -> str:
    return _last(found[0])


def _last(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def hosts(names: Iterable[str]) -> dict[str, str]:
    """Other names for hosts: `host-1`, `host-2` and so on, in the order given.

    Args:
        names: As the ranks told them; again and again where a host has several.
    Returns:
        By name, the short forms of long names among them.
    """
    other: dict[str, str] = {}
    for name in names:
        short = name.partition(".")[0]
        if name not in other:
            other[name] = other.get(short) or f"host-{len(set(other.values())) + 1}"
        if not short.isdigit():  # the first number of an address is no name
            other.setdefault(short, other[name])
    return other


def secret_hosts(other: dict[str, str]) -> Iterator[Secret]:
    """The hosts' names, as secrets."""
    for name, instead in other.items():
        if name not in NOBODY:
            yield Secret(name, HOST, instead)


def secret_paths(kinds: Iterable[tuple[str, str | Path]]) -> Iterator[Secret]:
    """Folders and files as secrets, as they are named and as their links lead.

    Args:
        kinds: What each is, for a sentence, and where.
    """
    for kind, path in kinds:
        for form in (os.path.abspath(path), os.path.realpath(path)):
            if form != "/":
                yield Secret(form, kind, _last(form))


def people(owner: int) -> Iterator[Secret]:
    """Names and homes of who runs this and of who made a run.

    Args:
        owner: The user number of the latter.
    """
    names = {os.environ.get("USER", ""), os.environ.get("LOGNAME", "")}
    homes = {os.path.expanduser("~")}
    for number in (os.geteuid(), owner):
        with suppress(KeyError):  # this host knows nobody of this number
            entry = pwd.getpwuid(number)
            names.add(entry.pw_name)
            homes.add(entry.pw_dir)
    for home in sorted(homes):
        if home.count("/") > 1 or home == "/root":  # no account's /, /bin or /var
            yield Secret(home, "the home folder", "home")
            names.add(_last(home))
    for name in sorted(names - NOBODY):
        if len(name) > 1:
            yield Secret(name, USER, "user")
