# SPDX-License-Identifier: Apache-2.0
"""Pages over several runs: the report's look, and scripts that a policy allows by their hash."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

# One set of filters and one kind of escaping for every page.
from trainer.report.page import _environment as environment


def draw(template: str, values: dict[str, Any], script: str = "") -> str:
    """Draw a page.

    Args:
        template: Its file's name.
        values: What it shows.
        script: File name of the only script that the page may run; it must not hang on `values`.
    """
    pages = environment()
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
