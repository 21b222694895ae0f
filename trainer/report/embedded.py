# SPDX-License-Identifier: Apache-2.0
"""Pictures as part of a page, which thus needs no other file."""

from __future__ import annotations

import base64
import re
from pathlib import Path

MOST_BYTES = 3_600_000
"""Of all pictures of a page: it stays below 5 MB, and can be sent by mail."""

_NAME = re.compile(r"[0-9a-f]{16}(-evidence)?\.jpg")
"""What a run calls its pictures: another name may point anywhere."""


class Embedded:
    """The pictures of one page, until it is full."""

    def __init__(self) -> None:
        """Begin with none."""
        self._left = MOST_BYTES

    def encoded(self, content: bytes | None) -> str | None:
        """A JPEG as a data URI; None where there is none, or no more room."""
        text = base64.b64encode(content or b"").decode("ascii")
        if not text or len(text) > self._left:
            return None
        self._left -= len(text)
        return f"data:image/jpeg;base64,{text}"


def from_gallery(folder: Path, name: str | None) -> bytes | None:
    """A picture of a run; None where there is none: the page tells the file's name all the same."""
    if name is None or not _NAME.fullmatch(name):
        return None
    try:
        return (folder / name).read_bytes()
    except OSError:
        return None
