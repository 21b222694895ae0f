# SPDX-License-Identifier: Apache-2.0
"""A request to stop is noted, its echo is passed over, and a second one ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.world import stopping
from trainer.world.stopping import SIGNALS, Stopping

ROOT = Path(__file__).parents[3]


@pytest.fixture
def installed() -> Iterator[Stopping]:
    """One that listens; the handlers of before come back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    listening = Stopping()
    listening.install()
    yield listening
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_nothing_is_requested_at_first(installed: Stopping) -> None:
    assert not installed.requested


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR2"])
def test_signal_is_noted_and_interrupts_nothing(name: str, installed: Stopping) -> None:
    os.kill(os.getpid(), signal.Signals[name])
    assert installed.requested


def ended(program: str) -> int:
    """How a process ends that sends itself signals."""
    begin = "import os, signal, time; from trainer.world import stopping\n"
    return subprocess.run(
        [sys.executable, "-c", begin + program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=20,
    ).returncode


def test_echo_of_a_request_is_passed_over() -> None:
    program = (
        "stopping.Stopping().install()\n"
        "for number in 2 * stopping.SIGNALS: os.kill(os.getpid(), number)"
    )
    assert ended(program) == 0


def test_echo_may_come_as_late_as_a_scheduler_and_a_launcher_are_apart() -> None:
    assert stopping.ECHO_SECONDS >= 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_second_request_ends_the_process_at_once_with_the_signal_s_code(name: str) -> None:
    program = (
        "stopping.ECHO_SECONDS = 0.01; stopping.Stopping().install()\n"
        f"os.kill(os.getpid(), signal.{name}); time.sleep(0.05)\n"
        f"os.kill(os.getpid(), signal.{name}); time.sleep(30)"
    )
    assert ended(program) == 128 + signal.Signals[name]
