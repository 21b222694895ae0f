# SPDX-License-Identifier: Apache-2.0
"""Who asks JARVICE, and where it is: from the environment, else from `~/.jarvice.cfg`.

The names are those of Nimbix' own command. What is read is wrapped at once, so that no message,
log or traceback can show it.
"""

from __future__ import annotations

import configparser
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

import click

from jobs.errors import UsageError, shown

URL, USER, KEY = "JARVICE_API_URL", "JARVICE_USER", "JARVICE_API_KEY"
FILE = "~/.jarvice.cfg"
_IN_FILE = {URL: "url", USER: "username", KEY: "apikey"}
"""Under [auth]."""
_HOW = (
    f"Set {URL}, {USER} and {KEY}, or write url, username and apikey under [auth] in {FILE}. "
    "The key stands in the portal under Account, and an address is https://cloud.nimbix.net/api."
)
_FORM = re.compile(
    r"(?P<scheme>https?)://(?P<host>[\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[\w.~/-]*)?",
    re.ASCII | re.IGNORECASE,
)
_HERE = frozenset(("localhost", "127.0.0.1", "[::1]"))
_OTHERS_READ = 0o044
_SHORTEST = 8
"""Signs that a key has at least; those of Nimbix have many more."""


class Secret:
    """A text that is shown only to who asks for it by `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep it."""
        self._text = text

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def reveal(self) -> str:
        """The text itself: for the body of a request, and nothing else."""
        return self._text


@dataclass(frozen=True)
class Account:
    """An account of JARVICE, and the address of its API."""

    url: str
    """Above `/jarvice/...`."""
    user: Secret
    key: Secret
    source: str = "as given"
    """Where user and key came from, for the message that they are not taken."""

    def __post_init__(self) -> None:
        """See that the key goes nowhere unprotected.

        Raises:
            UsageError: The URL is not one, or does not protect what is sent.
        """
        found = _FORM.fullmatch(self.url)
        if not found:
            text = "one with a user in it" if "@" in self.url else shown(self.url, 100) or "nothing"
            raise UsageError(
                f"{URL}: wanted a URL such as https://cloud.nimbix.net/api; found {text}.",
                "User and key are given apart, and nothing with a question mark.",
            )
        if found["scheme"].lower() == "http" and not self.is_here:
            raise UsageError(
                f"{URL}: {shown(self.url, 100)} would send the API key for all to read.",
                "Give it with https://; http:// serves this machine alone.",
            )

    @property
    def is_here(self) -> bool:
        """Whether the API is on this machine."""
        found = _FORM.fullmatch(self.url)
        return found is not None and found["host"].lower() in _HERE

    def address(self, endpoint: str) -> str:
        """The URL of an endpoint."""
        return f"{self.url.rstrip('/')}/jarvice/{endpoint}"

    def without_key(self, text: str) -> str:
        """What the API sends back without the key, which lists of jobs may hold."""
        key = self.key.reveal()
        if len(key) < _SHORTEST:
            return text  # a test's, perhaps; what it stands for would be found in other words
        for form in {key, quote_plus(key), json.dumps(key)[1:-1]}:
            text = text.replace(form, "***")
        return text

    def masked(self, text: str) -> str:
        """Another's words for a message: neither key nor user."""
        user = re.escape(self.user.reveal())
        return re.sub(f"(?<![A-Za-z0-9]){user}(?![A-Za-z0-9])", "***", self.without_key(text))


def read_account() -> Account:
    """The account of who calls: each value from the environment, else from the file.

    Raises:
        UsageError: A value is nowhere, or none that JARVICE could take.
    """
    given = {name: Secret(os.environ.get(name, "").strip()) for name in _IN_FILE}
    missing = [name for name in _IN_FILE if not given[name].reveal()]
    if missing:
        given |= _from_file(missing)
    for name in (USER, KEY):
        if not given[name].reveal().isprintable():
            raise UsageError(f"{_place(name, missing)}: holds signs that cannot be printed.", _HOW)
    places = [_place(name, missing) for name in (USER, KEY)]
    return Account(
        given[URL].reveal(), given[USER], given[KEY], " and ".join(dict.fromkeys(places))
    )


def _place(name: str, missing: list[str]) -> str:
    return f"{_IN_FILE[name]} in {FILE}" if name in missing else name


def _from_file(missing: list[str]) -> dict[str, Secret]:
    """What the environment lacks, from the file."""
    path = Path(FILE).expanduser()
    if not path.is_file():
        names = ", ".join(missing)
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(f"{names}: {verb} not set, and {FILE} is not there.", _HOW)
    found = _parsed(path)
    lacking = [_IN_FILE[name] for name in missing if not found[name].reveal()]
    if lacking:
        raise UsageError(f"{FILE}: lacks {', '.join(lacking)} under [auth].", _HOW)
    if path.stat().st_mode & _OTHERS_READ:
        click.echo(f"{FILE}: others can read the API key in it; chmod 600 {FILE}", err=True)
    return {name: found[name] for name in missing}


def _parsed(path: Path) -> dict[str, Secret]:
    """The file's values by our names; what it lacks is empty."""
    parser = configparser.RawConfigParser()  # which takes a key's % for a %
    problem = ""
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except (configparser.Error, UnicodeDecodeError):
        problem = "cannot be parsed; wanted lines such as username = NAME under [auth]"
    if problem:  # said out here: what the parser raises holds lines of the file
        raise UsageError(f"{FILE}: {problem}.", _HOW)
    return {
        name: Secret(parser.get("auth", key, fallback="").strip()) for name, key in _IN_FILE.items()
    }
