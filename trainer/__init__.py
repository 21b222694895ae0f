# SPDX-License-Identifier: Apache-2.0
"""Retrain: transfer learning on image folders as a distributed batch job."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`trainer.Run`, loaded when it is asked for: each command and each rank imports this file."""
    if name == "Run":
        return import_module("trainer.api").Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
