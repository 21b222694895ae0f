# SPDX-License-Identifier: Apache-2.0
"""Real control groups with little memory, for the tests of what the kernel kills."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILES = {
    Path("/sys/fs/cgroup/memory"): {"memory.limit_in_bytes": "{bytes}"},
    Path("/sys/fs/cgroup"): {"memory.max": "{bytes}", "memory.swap.max": "0"},
}
"""Where a version of control groups is mounted, and what is written into a new one."""


@contextmanager
def limited(mebibytes: int) -> Iterator[Path]:
    """A control group that may take so much memory; a skip where none can be made."""
    for mount, files in FILES.items():
        group = mount / f"retrain-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not all((group / name).exists() for name in files):
                continue
            for name, value in files.items():
                (group / name).write_text(value.format(bytes=mebibytes << 20))
            yield group
            return
        finally:
            _remove(group)
    pytest.skip("no control group can be made here")


def _remove(group: Path) -> None:
    """Remove a group; what was killed in it is gone only after a moment."""
    end = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
