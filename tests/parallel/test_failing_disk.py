# SPDX-License-Identifier: Apache-2.0
"""A disk that fails: one message, nothing half-written, and a rerun that goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import FAILED, USAGE
from worlds import ROOT, environment, retrain_command

CONTENTS = ("fsync", "write")
"""Changes that need room for bytes that are known."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that takes a moment: 24 bottlenecks of 6 numbers, in two classes."""
    folder = tmp_path_factory.mktemp("few")
    rng = np.random.default_rng(0)
    for label in "ab":
        (folder / "texts" / label).mkdir(parents=True)
        for number in range(12):
            values = rng.normal(2.0 * (label == "b"), 1.0, 6)
            text = ",".join(f"{value:.6g}" for value in values)
            (folder / "texts" / label / f"{number}.txt").write_text(text)
    path = folder / "few.yaml"
    path.write_text(
        f"data: {{bottlenecks: '{folder}/texts'}}\nevaluate: {{folds: 0}}\nhead: {{l2: 0.01}}\n"
    )
    return path


def told_of(path: str, run: Path) -> str:
    """How what is written is called: not by its temporary name; the first probe is the folder."""
    name = os.path.relpath(path, run)
    if name == "." or ".write-test" in name:
        return str(run)
    decoration = rf"(?:{re.escape(socket.gethostname())}\.\d+|[0-9a-f]{{16}})(?:\.\w+)*\.tmp"
    return f"{run}/" + re.sub(rf"\.([^/]+?)\.{decoration}", r"\1", name)


def test_every_change_of_the_run_directory_may_fail(config: Path, tmp_path: Path) -> None:
    program = ROOT / "tests" / "parallel" / "failing_disk.py"
    done = subprocess.run(
        [sys.executable, str(program), str(config), str(tmp_path)],
        env=environment(RETRAIN_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) > 40
    for error, event, path, code, told, wrong in outcomes:
        assert not wrong, (event, path, wrong)
        assert code == (USAGE if f"--out {tmp_path}" in told else FAILED), told
        lines = told[told.index("retrain: ") :].splitlines()
        assert len(lines) == 2, told
        named = path if event == "os.remove" else told_of(path, tmp_path / "run")
        assert named in lines[0], (path, told)
        assert os.strerror(error) in lines[0]
        assert event not in CONTENTS or " bytes)" in lines[0]
        assert "Traceback" not in told
    assert {outcome[3] for outcome in outcomes} == {USAGE, FAILED}
    assert {outcome[0] for outcome in outcomes if outcome[3] == FAILED} >= {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO,
    }  # fmt: skip


def on_small_disk(folder: Path, kilobytes: int, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that sees a file system of this size in `folder`."""
    mounted = f"mount -t tmpfs -o size={kilobytes}k none '{folder}'"
    flags = "-m" if os.geteuid() == 0 else "-rm"
    if subprocess.run(["unshare", flags, "sh", "-c", mounted], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    return subprocess.run(
        ["unshare", flags, "sh", "-c", f"{mounted}; {script}"],
        env=environment(RETRAIN_CACHE=f"{folder}-cache"),
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_full_disk_ends_all_ranks_and_with_more_room_the_run_goes_on(
    config: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    run = " ".join(f"'{word}'" for word in retrain_command("run", config, "--out", disk / "run"))
    done = on_small_disk(
        disk,
        28,
        f"{run} --ranks 2; echo $?; find '{disk}' -name '*.tmp' -o -name lock;"
        f"mount -o remount,size=9m '{disk}'; {run} --ranks 1 >'{disk}/said'; echo $?",
    )
    assert done.stdout.split() == ["1", "0"], done
    assert done.stderr.count("No space left on device") == 1
    assert f"retrain: {disk}/run/" in done.stderr
    assert "Traceback" not in done.stderr
