# SPDX-License-Identifier: Apache-2.0
"""All that can go wrong on request, each for some calls or for good."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from .answers import Answer, as_json

# What each one does, and the endpoints at which it strikes unless told otherwise (none: at all).
FAULTS: dict[str, tuple[str, str]] = {
    "503": ("load is shed: 503 and nothing done", ""),
    "502": ("a gateway's error page, and nothing done", ""),
    "504": ("a gateway that gave up, and nothing done", ""),
    "429": ("too many calls: Retry-After 1, and nothing done", ""),
    "401": ("the right key is not taken", ""),
    "reset": ("the connection is reset before the request is read", ""),
    "lost": ("the call is carried out, its answer lost by a reset", "submit batch"),
    "hang": ("the call is carried out and never answered", "submit batch"),
    "slow": ("a byte of the answer at a time, TRICKLE seconds apart", ""),
    "broken-off": ("the connection ends in the middle of the answer", ""),
    "empty": ("200 without a body", ""),
    "html": ("200 with a page for browsers", ""),
    "cut": ("half of the JSON, of a length that fits", ""),
    "list": ("JSON of another shape", ""),
    "error-text": ("an error is plain text, no JSON", ""),
    "output-late": ("no output for a moment after the end", "output"),
    "status-late": ("the job is unknown for a moment after submit", "status"),
    "jobs-late": ("lists show a job only a moment after submit", "jobs"),
    "short-canceled": ("a job of less than a second shows as CANCELED", "status jobs"),
    "unknown-keys": ("entries of jobs have keys that nobody documented", "status jobs"),
    "unknown-status": ("jobs have a status that nobody documented", "status jobs"),
    "clamped": ("job_exitcode is 0 or 1, whatever the command's was", "jobs"),
}

TRICKLE = 0.1

_PAGE = b"<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n"


def _page(status: int, title: bytes) -> Answer:
    return Answer(status, _PAGE % (title, title), "text/html")


# Answers in place of the call, which is not carried out.
INSTEAD: dict[str, Answer] = {
    "503": Answer(503, b"Service Unavailable\n", "text/plain"),
    "502": _page(502, b"502 Bad Gateway"),
    "504": _page(504, b"504 Gateway Time-out"),
    "429": Answer(429, as_json({"error": "Too Many Requests"}).body, headers={"Retry-After": "1"}),
    "401": as_json({"error": "Unauthorized"}, 401),
}

# Answers in place of the right one.
AFTERWARDS: dict[str, Answer] = {
    "empty": Answer(200, b""),
    "html": _page(200, b"Sign in"),
    "list": as_json(["unexpected"]),
}


@dataclass
class _Setting:
    left: int | None
    on: frozenset[str]


class Faults:
    """Those that are set; safe to ask from several threads."""

    def __init__(self) -> None:
        """None at first."""
        self._set: dict[str, _Setting] = {}
        self._lock = threading.Lock()

    def set(self, name: str, times: int | None = None, on: str = "") -> None:
        """Let one strike the next `times` calls (None: all) of the endpoints named in `on`."""
        _, usual = FAULTS[name]
        with self._lock:
            self._set[name] = _Setting(times, frozenset((on or usual).split()))

    def clear(self) -> None:
        """Let all be well again."""
        with self._lock:
            self._set.clear()

    def take(self, name: str, endpoint: str) -> bool:
        """Whether it strikes this call, which then counts."""
        with self._lock:
            setting = self._set.get(name)
            if setting is None or (setting.on and endpoint not in setting.on):
                return False
            if setting.left is not None:
                setting.left -= 1
                if setting.left <= 0:
                    del self._set[name]
            return True
