# SPDX-License-Identifier: Apache-2.0
"""A request to stop is noted, its echo is passed over, and a second one ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from trainer.errors import STOPPED, Stopped
from trainer.world import stopping
from trainer.world.stopping import SIGNALS, Stopping

ROOT = Path(__file__).parents[3]


@pytest.fixture
def installed() -> Iterator[Stopping]:
    """One that listens; the handlers of before come back."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    listening = Stopping()
    listening.last_resort = lambda: None  # this process is the tests'
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


def ask_and_wait() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


def test_request_in_what_may_be_broken_off_raises_there(installed: Stopping) -> None:
    with pytest.raises(Stopped), installed.at_once():
        ask_and_wait()


def test_request_of_before_breaks_off_at_once(installed: Stopping) -> None:
    installed.request()
    with pytest.raises(Stopped), installed.at_once():
        time.sleep(30)


def test_stop_that_a_library_made_another_error_of_is_a_stop(installed: Stopping) -> None:
    def library() -> None:
        try:
            ask_and_wait()
        except Exception as error:
            raise TypeError("unsupported callable") from error

    with pytest.raises(Stopped), installed.at_once():
        library()


def test_stop_that_a_library_swallowed_is_raised_again(
    installed: Stopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    def library() -> None:
        with suppress(Exception):
            ask_and_wait()
        time.sleep(30)

    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 0.1)
    with pytest.raises(Stopped), installed.at_once():
        library()


def test_other_errors_stay_what_they_are(installed: Stopping) -> None:
    with pytest.raises(KeyError), installed.at_once():
        raise KeyError


def test_request_is_only_noted_from_where_a_world_begins(installed: Stopping) -> None:
    with installed.at_once():
        installed.note_only()
        os.kill(os.getpid(), signal.SIGTERM)
    assert installed.requested


IN_C = (
    "import ctypes; stopping.ECHO_SECONDS = 0.2; stopping.LAST_SECONDS = 1.0\n"
    "stopping.Stopping().install()\n"
    "library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
    "import threading\n"
    "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
    "{}\n"
    "library.pthread_mutex_lock(mutex), library.pthread_mutex_lock(mutex)"
)
"""The main thread never comes back to Python."""


def test_process_whose_main_thread_does_not_come_back_ends_as_stopped_in_time() -> None:
    assert ended(IN_C.format("")) == STOPPED


def test_second_request_ends_a_process_whose_main_thread_does_not_come_back() -> None:
    again = "threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()"
    assert ended(IN_C.format(again)) == 128 + signal.SIGINT
