# SPDX-License-Identifier: Apache-2.0
"""Work done by other users than the tests' own, in children that forget that they were root."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ANN, BOB = 61_001, 61_002
GROUP = 61_100

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


def as_user(user: int, umask: int, work: Callable[[], Any]) -> Any:
    """What some work gives, or raises, when this user does it; both users share GROUP."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([GROUP])
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        outcome: tuple[Any, Exception | None]
        try:
            outcome = (work(), None)
        except Exception as raised:
            outcome = (None, raised)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(outcome, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        value, error = pickle.load(pipe)
    os.waitpid(child, 0)
    if error:
        raise error
    return value


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that every user can get to; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
