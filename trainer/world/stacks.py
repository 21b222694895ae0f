# SPDX-License-Identifier: Apache-2.0
"""Where the threads of a process are, and how a run that stands still says so at its end."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType

from trainer.errors import GO_ON, told

WRITE_SECONDS = 3.0
"""For the log: it may be its file system that stands still."""
PACKAGE = str(Path(__file__).parents[1])


def stacks() -> str:
    """The stacks of all Python threads of this process, the main thread's first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sorted(sys._current_frames().items(), key=lambda one: one[0] != main)
    return "".join(
        f"  thread {names.get(ident, ident)}\n" + "".join(traceback.format_stack(frame))
        for ident, frame in frames
        if ident != threading.get_ident()
    )


def fingerprint() -> int:
    """A number for the place where the main thread is, instruction by instruction."""
    frame = _main_frame()
    places = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return hash(tuple(places))


def _main_frame() -> FrameType | None:
    main = threading.main_thread().ident
    return sys._current_frames().get(main) if main else None


def place() -> str:
    """Where in this package the main thread is; empty where it is nowhere in it."""
    frame = _main_frame()
    while frame is not None:
        code = frame.f_code
        if (
            code.co_filename.startswith(PACKAGE)
            and f"{os.sep}world{os.sep}" not in code.co_filename
        ):
            return (
                f"in {code.co_name}, {os.path.relpath(code.co_filename, PACKAGE)}:{frame.f_lineno}"
            )
        frame = frame.f_back
    return ""


def tell(message: str, details: str, log: Path | None, stream: int = 2) -> None:
    """Say on standard error why the run ends; the details go to its log.

    Args:
        message: What was found.
        details: Stacks; on standard error too where the log cannot be written.
        log: Written to only where a run has begun it.
        stream: The descriptor of standard error.
    """
    written = threading.Event()
    text = f"{time.strftime('%H:%M:%S')} failed: {message}\n{details}"
    arguments = (log, text.encode("utf-8", "backslashreplace"), written)
    writing = threading.Thread(target=_append, args=arguments, daemon=True)
    writing.start()
    writing.join(WRITE_SECONDS)
    where = f"The stacks are in {log}." if written.is_set() else f"Stacks:\n{details}"
    lines = f"{told(message, GO_ON)}\n  {where}\n"
    os.write(stream, lines.encode("utf-8", "backslashreplace"))


def _append(log: Path | None, text: bytes, written: threading.Event) -> None:
    if log is None or not log.exists():
        return
    try:
        with open(log, "ab", buffering=0) as file:
            file.write(text)
    except OSError:
        return  # `tell` then shows them itself
    written.set()
