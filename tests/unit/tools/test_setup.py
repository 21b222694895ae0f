# SPDX-License-Identifier: Apache-2.0
"""Setting up: what is missing is told in one line, before anything is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
PLAIN = "bash env cat cut dirname ls mkdir sha256sum timeout uname".split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder that serves as PATH, with what every machine has and nothing to build with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PLAIN:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
    (folder / name).chmod(0o755)


def find(path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "find.sh"], env={"PATH": str(path), **extra}, capture_output=True, text=True
    )


def python_that_says(path: Path, verdict: str) -> None:
    """An interpreter of another version or without venv, as the probe would see it."""
    program(path, "python3", f"echo {verdict}")


@pytest.fixture
def builder(path: Path) -> Path:
    """The same with a compiler and make."""
    program(path, "g++", "exit 0")
    program(path, "make", "exit 0")
    return path


def test_bare_machine_is_told_all_packages_in_one_line(path: Path) -> None:
    found = find(path)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "retrain: Not found: Python 3.10 to 3.12, a C++ compiler, make. "
        "Install as root: apt-get install python3 python3-venv g++ make"
    ]


def test_broken_shim_is_passed_over_for_an_interpreter_that_runs(builder: Path) -> None:
    program(builder, "python3", "exit 127")
    (builder / "python3.12").symlink_to(sys.executable)
    assert find(builder).stdout.splitlines() == [str(builder / "python3.12"), "g++"]


def test_python_without_venv_is_told_its_own_package(builder: Path) -> None:
    python_that_says(builder, "venv 3.11")
    assert find(builder).stderr.endswith("apt-get install python3.11-venv\n")


def test_too_new_a_python_is_named_with_one_that_fits(builder: Path) -> None:
    python_that_says(builder, "version 3.13")
    assert "found 3.13" in find(builder).stderr
    assert find(builder).stderr.endswith("apt-get install python3.12 python3.12-venv\n")


def test_python_that_was_asked_for_and_does_not_run_is_named(builder: Path) -> None:
    found = find(builder, PYTHON="nosuch")
    assert found.returncode == 2
    assert found.stderr.startswith("retrain: PYTHON=nosuch: wanted Python 3.10 to 3.12")


def test_compiler_that_does_not_compile_is_not_taken(builder: Path) -> None:
    (builder / "python3").symlink_to(sys.executable)
    program(builder, "g++", "exit 1")
    assert find(builder).stderr.endswith("Install as root: apt-get install g++\n")


def test_environment_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    shutil.copytree(TOOLS, tmp_path / "tools")
    own = tmp_path / ".venv" / "own"
    own.parent.mkdir()
    own.touch()
    found = subprocess.run([tmp_path / "tools" / "setup.sh"], capture_output=True, text=True)
    assert found.returncode == 2
    assert "was not made by this set-up" in found.stderr
    assert os.listdir(own.parent) == ["own"]
