# SPDX-License-Identifier: Apache-2.0
"""What every page has in common: filters, one kind of escaping, scripts allowed by their hash."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from trainer.report import wording

_FORMATS = ("percent", "interval", "number", "strength", "duration", "count", "shell_word")

LONG = 16
"""Letters in a row that a narrow page may have no room for."""
_PARTS = re.compile(r"[\s_/-]")
_OPTION = re.compile(r"(?<= )--[a-z-]+")
_AFTER_A_WORD = re.compile(r"[_/](?=\w)")


def draw(template: str, values: dict[str, Any], script: str = "") -> str:
    """Draw a page.

    Args:
        template: Its file's name.
        values: What it shows.
        script: File name of the only script that the page may run; it must not hang on `values`.
    """
    pages = _environment()
    source = pages.get_template(script).render() if script else ""
    allowed = {"script": Markup(source), "script_hash": policy_hash(source)}
    return pages.get_template(template).render(values | (allowed if script else {}))


def policy_hash(script: str) -> str:
    """How a Content-Security-Policy names a script.

    Source: W3C, Content Security Policy Level 3, section 2.3.1 (hash-source).
    """
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def link_to(file: Path, page: Path) -> str:
    """A file as a page in this folder names it: relative, any byte of it, and never a scheme."""
    return quote(os.fsencode(os.path.relpath(file, page)))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trainer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in _FORMATS}
    environment.globals["nothing"] = wording.NOTHING
    environment.filters |= {
        "name": _name,
        "command": _command,
        "lines": _lines,
        "python_string": ascii,
    }
    return environment


def _shown(value: object) -> object:
    """What stands on the page for a value: nothing unseen, and nothing that UTF-8 cannot hold."""
    if value is None:
        return wording.NOTHING
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return wording.visible(str(value)) if plain else value


def _name(text: str) -> Markup:
    """A stranger's name, which cannot turn the reading direction of what stands beside it.

    A long one may break behind what parts its words.
    """
    seen = wording.visible(text)
    shown = _AFTER_A_WORD.sub(r"\g<0><wbr>", str(escape(seen)))
    kind = ' class="long"' if max(map(len, _PARTS.split(seen))) > LONG else ""
    return Markup(f"<bdi{kind}>{shown}</bdi>")


def _command(text: str) -> Markup:
    """A command whose options are not broken behind their dashes."""
    shown = str(escape(wording.visible(text)))
    return Markup(_OPTION.sub(r'<span class="word">\g<0></span>', shown))


def quoted_name(text: str) -> str:
    """A name in a sentence of our own, as markup."""
    return f'"{_name(text)}"'


def _lines(text: str) -> Markup:
    """A file's text with its line ends."""
    return Markup("\n").join(escape(wording.visible(line)) for line in text.split("\n"))
