# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_MOST = 64 << 20
"""Bytes of a results.json; a larger one is none of ours."""


def results_status(path: Path) -> str:
    """The status in a `results.json`; empty where there is none, or none that is whole."""
    try:
        if path.stat().st_size > _MOST:
            return ""
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    status = tree.get("status") if isinstance(tree, dict) else None
    return status if isinstance(status, str) else ""


def write_whole(path: Path, text: str, fresh: bool = False) -> None:
    """Write a text in UTF-8 that others see complete, or see nothing of.

    Args:
        path: The file; its folder is there.
        text: What to write.
        fresh: The file must not be there yet.
    Raises:
        FileExistsError: `fresh`, and it is there.
        OSError: It cannot be written.
    """
    number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp's file is its maker's alone
        if fresh:
            os.link(name, path)  # which a rename would not refuse
        else:
            os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
