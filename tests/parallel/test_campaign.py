# SPDX-License-Identifier: Apache-2.0
"""A small campaign of tests/campaign; `make campaign` runs the large one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worlds import ROOT

TRIALS = "--kills 4 --stops 2 --flips 3 --disks 2 --starts 1 --clocks 1"


@pytest.mark.timeout(900)
def test_runs_disturbed_in_many_ways_end_as_undisturbed_ones(tmp_path: Path) -> None:
    options = f"{TRIALS} --cases texts --patience 3 --out".split()
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "campaign", *options, tmp_path / "campaign"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
