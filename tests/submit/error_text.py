# SPDX-License-Identifier: Apache-2.0
"""All that an error could ever show, to look for what it must not hold."""

from __future__ import annotations

import traceback


def all_of(error: BaseException) -> str:
    """Its words, attributes and traceback with all locals, and those of what led to it."""
    texts: list[str] = []
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        left += [one.__cause__, one.__context__]
        texts += [repr(one), str(one), repr(vars(one))]
        texts += traceback.TracebackException.from_exception(one, capture_locals=True).format()
    return "\n".join(texts)
