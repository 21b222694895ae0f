# SPDX-License-Identifier: Apache-2.0
"""How a trial says what is wrong, and how it says that it cannot be made here."""

from __future__ import annotations


class Bad(Exception):
    """What a trial found wrong, in words."""


class Impossible(Exception):
    """Why a trial cannot be made on this machine: no finding."""


def require(right: bool, otherwise: str) -> None:
    """Go on only where it is so.

    Raises:
        Bad: It is not.
    """
    if not right:
        raise Bad(otherwise)
