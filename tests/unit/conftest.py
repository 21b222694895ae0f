# SPDX-License-Identifier: Apache-2.0
"""A driver of CUDA for machines without one: a library of its own, found as the real one is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Answer:
    """What a process with a driver of its own said: a value, or an error's two lines."""

    value: Any
    message: str = ""
    todo: str = ""


Ask = Callable[..., Answer]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda.so.1, which shows the GPUs that FAKE_GPUS lists."""
    folder = tmp_path_factory.mktemp("driver")
    source, library = HERE / "world" / "fake_libcuda.cpp", folder / "libcuda.so.1"
    compiler = os.environ.get("CXX", "g++")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return folder


@pytest.fixture
def ask(driver: Path) -> Ask:
    """Evaluates an expression in a process that finds this driver, and has these variables."""

    def evaluate(
        expression: str,
        knowing: str = "from trainer.world.devices import *",
        folder: Path = driver,
        **variables: str,
    ) -> Answer:
        outside = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
        }
        child = subprocess.run(
            [sys.executable, "-c", f"{knowing}\n{_EVALUATE}", expression],
            env={**outside, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.PIPE,
            check=True,
        )
        return Answer(*json.loads(child.stdout))

    return evaluate


_EVALUATE = """
import dataclasses, json, sys
from trainer.errors import UsageError
try:
    answer = [eval(sys.argv[1]), "", ""]
except UsageError as error:
    answer = [None, error.message, error.todo]
print(json.dumps(answer, default=dataclasses.asdict))
"""
