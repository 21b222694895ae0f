# SPDX-License-Identifier: Apache-2.0
"""Pictures of a gallery as part of a page, which thus needs no other file."""

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

    def __init__(self, folder: Path) -> None:
        """Name the gallery; nothing is read yet."""
        self._folder = folder
        self._left = MOST_BYTES

    def uri(self, name: str | None) -> str | None:
        """A picture as a data URI; None where there is none, or no more room."""
        if name is None or not _NAME.fullmatch(name):
            return None
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None  # the page tells its name all the same
        return self.encoded(content)

    def encoded(self, content: bytes) -> str | None:
        """A JPEG as a data URI; None where there is no more room."""
        text = base64.b64encode(content).decode("ascii")
        if len(text) > self._left:
            return None
        self._left -= len(text)
        return f"data:image/jpeg;base64,{text}"
