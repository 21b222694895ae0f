# SPDX-License-Identifier: Apache-2.0
"""What goes back to a client, and the texts with which the service refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MALFORMED = "Missing or Malformed API Syntax"
MISSING = "Required parameter(s) missing"
INVALID = "Invalid parameter(s)"
NOT_FOUND = "Not found"
NOT_RUNNING = "Running job is not found"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer before it is sent."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: object, status: int = 200) -> Answer:
    """As the service prints it."""
    return Answer(status, (json.dumps(value, indent=4) + "\n").encode())


def as_text(text: bytes, status: int = 200) -> Answer:
    """For logs and the verdict on an AppDef."""
    return Answer(status, text, "text/plain; charset=utf-8")


class Refused(Exception):
    """A call that the service does not carry out."""

    def __init__(self, status: int, text: str) -> None:
        """`text` is what the client reads under `error`."""
        super().__init__(text)
        self.answer = as_json({"error": text}, status)


Json = dict[str, Any]
