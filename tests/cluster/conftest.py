# SPDX-License-Identifier: Apache-2.0
"""The clusters that these tests use; what is missing here is a failure on CI, a skip elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests' folders are no packages

from host import missing
from lab import Lab

ROOT = Path(__file__).parents[2]
MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def make_lab() -> Iterator[MakeLab]:
    """A maker of labs, of two hosts if no number is given, that see this clone and this Python."""
    lack = missing()
    if lack and os.environ.get("CI"):
        pytest.fail(lack)
    if lack:
        pytest.skip(lack)
    before = signal.signal(signal.SIGTERM, _interrupt)
    visible = [ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()]
    yield partial(Lab, shared=visible)
    signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End by SIGTERM as by Ctrl-C, so that fixtures take down what they made."""
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def lab(make_lab: MakeLab) -> Iterator[Lab]:
    """The lab for all tests that break nothing in it."""
    with make_lab() as lab:
        yield lab
