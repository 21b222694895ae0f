# SPDX-License-Identifier: Apache-2.0
"""What a terminal, a batch log and the run's own log are told of long work."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from trainer import progress
from trainer.errors import FAILED, RetrainError
from trainer.progress import ERASE, Progress, to_stderr


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def strftime(self, form: str) -> str:
        return "12:34:56"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the terminal's width."""
    return lambda count: monkeypatch.setenv("COLUMNS", str(count))


def frames(stream: io.StringIO) -> list[str]:
    """What a terminal shows after each erasing of its line."""
    return stream.getvalue().split(ERASE)[1:]


# The bar of a terminal


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("done", [0, 1, 50_000, 99_999, 100_000])
def test_bar_stays_within_its_line(
    width: int, done: int, clock: Clock, columns: Callable[[int], None]
) -> None:
    columns(width)
    stream = io.StringIO()
    with Progress(stream, terminal=True).track("Bottlenecks", 100_000) as track:
        clock.now += 3000
        track.reach(done)
    drawn, after = frames(stream)
    assert drawn.startswith("[" if width >= 80 else "Bottlenecks: ")
    assert "\n" not in drawn
    assert len(drawn) < width
    assert after == ""


@pytest.mark.parametrize(("done", "filled"), [(0, 0.0), (25, 0.25), (100, 1.0)])
def test_bar_is_filled_as_far_as_the_work_is_done(
    done: int, filled: float, clock: Clock, columns: Callable[[int], None]
) -> None:
    columns(120)
    stream = io.StringIO()
    with Progress(stream, terminal=True).track("Files", 100) as track:
        clock.now += 10
        track.reach(done)
    bar = re.match(r"\[(=*)( *)\] Files: ", frames(stream)[0])
    assert bar
    assert len(bar[1]) == round(filled * len(bar[1] + bar[2]))


def test_bar_is_redrawn_at_most_ten_times_a_second(
    clock: Clock, columns: Callable[[int], None]
) -> None:
    columns(80)
    stream = io.StringIO()
    with Progress(stream, terminal=True).track("Files", 1000) as track:
        for done in range(1000):
            clock.now += 0.001
            track.reach(done)
    assert 9 <= len(frames(stream)) - 1 <= 11


def test_work_without_steps_draws_no_error(clock: Clock, columns: Callable[[int], None]) -> None:
    columns(80)
    stream = io.StringIO()
    with Progress(stream, terminal=True).track("Files", 0) as track:
        track.reach(0)
    assert "Files: 0 of 0" in frames(stream)[0]


def test_line_said_amid_the_work_replaces_the_bar(
    clock: Clock, columns: Callable[[int], None]
) -> None:
    columns(80)
    stream = io.StringIO()
    tell = Progress(stream, terminal=True)
    with tell.track("Files", 10) as track:
        track.reach(1)
        tell.warn("a shard is damaged")
    assert "Warning: a shard is damaged\n" in frames(stream)


def test_bar_is_erased_also_after_an_error(clock: Clock, columns: Callable[[int], None]) -> None:
    columns(80)
    stream = io.StringIO()

    def fail() -> None:
        with Progress(stream, terminal=True).track("Files", 10) as track:
            track.reach(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert stream.getvalue().endswith(f"0.0/s{ERASE}")


# The lines of a batch log


def test_batch_log_gets_lines_at_growing_intervals(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(stream).track("Files", 1000) as track:
        for second in range(300):
            track.reach(second)
            clock.now += 1
    told = re.findall(
        r"^Files: (\d+) of 1,000, 1.0/s, about \d+ \w+ left\n", stream.getvalue(), re.M
    )
    assert [int(done) for done in told] == [5, 10, 20, 40, 80, 140, 200, 260]
    assert stream.getvalue().count("\n") == len(told)
    assert "\x1b" not in stream.getvalue()


def test_quick_work_says_nothing_in_a_batch_log(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(stream).track("Files", 10) as track:
        for done in range(10):
            track.reach(done)
            clock.now += 0.4
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "left"), [(10, "about 10 s left"), (600, "about 10 min left"), (7200, "2.0 h left")]
)
def test_line_tells_speed_and_the_time_that_is_left(seconds: int, left: str, clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(stream).track("Files", 2400) as track:
        clock.now += seconds
        track.reach(1200)
    assert stream.getvalue().startswith(f"Files: 1,200 of 2,400, {1200 / seconds:.1f}/s, ")
    assert stream.getvalue().endswith(f"{left}\n")


# Silence, warnings, the run's log


def test_silent_rank_prints_nothing_and_keeps_its_warnings(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    tell = Progress()
    tell.say("a step")
    tell.warn("a limit")
    with tell.track("Files", 10) as track:
        clock.now += 100
        track.reach(5)
    assert tell.warnings == ["a limit"]
    assert capfd.readouterr() == ("", "")


def test_warning_is_told_and_kept_once() -> None:
    stream = io.StringIO()
    tell = Progress(stream)
    for text in ("small test set", "small test set", "no images"):
        tell.warn(text)
    assert tell.warnings == ["small test set", "no images"]
    assert stream.getvalue() == "Warning: small test set\nWarning: no images\n"


def test_log_gets_what_is_said_with_the_time_and_keeps_what_was_there(
    clock: Clock, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    tell = Progress(io.StringIO())
    tell.say("too early")
    with tell.logging_to(log):
        tell.say("a step")
        tell.warn("a limit")
        tell.note("for the log alone")
        assert log.read_text().count("\n") == 4  # at once, for whoever follows it
    tell.say("too late")
    assert log.read_text().splitlines() == [
        "before",
        "12:34:56 a step",
        "12:34:56 Warning: a limit",
        "12:34:56 for the log alone",
    ]


def test_log_ends_also_after_an_error(tmp_path: Path) -> None:
    tell = Progress()
    with pytest.raises(ValueError, match="broken"), tell.logging_to(tmp_path / "log.txt"):
        raise ValueError("broken")
    tell.say("goes nowhere, and to no closed file")


def test_log_takes_names_that_are_no_text(tmp_path: Path) -> None:
    tell = Progress()
    with tell.logging_to(tmp_path / "log.txt"):
        tell.say("caf\udce9 ä")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").endswith(" caf\\udce9 ä\n")


@pytest.mark.parametrize("path", [Path("/dev/full"), Path("/proc/retrain")])
def test_log_that_cannot_be_written_is_told_with_its_path(path: Path) -> None:
    tell = Progress()
    with pytest.raises(RetrainError) as caught, tell.logging_to(path):
        tell.say("a step")
    assert caught.value.exit_code == FAILED
    assert caught.value.message.startswith(f"{path}: cannot be written")


@pytest.mark.parametrize("terminal", [True, False])
def test_standard_error_is_told_so_that_standard_output_stays_the_answer(
    terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr(terminal).say("a step")
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{ERASE if terminal else ''}a step\n")


@pytest.fixture
def failing_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a log on a disk that takes a few bytes more, then none."""

    class FullDisk(FileIO):
        room = 20

        def write(self, line: Any) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = super().write(line[: self.room])
            self.room -= taken
            return taken

    monkeypatch.setattr(progress, "FileIO", FullDisk)
    return tmp_path / "log.txt"


def test_line_that_does_not_fit_is_told_with_its_bytes_and_leaves_no_part(
    clock: Clock, failing_log: Path
) -> None:
    tell = Progress()
    with tell.logging_to(failing_log):
        tell.say("short")
        with pytest.raises(RetrainError) as caught:
            tell.say("too long for what is left")
    assert caught.value.message == (
        f"{failing_log}: cannot be written (35 bytes): No space left on device."
    )
    assert failing_log.read_text() == "12:34:56 short\n"


def test_log_that_failed_hides_no_other_error(failing_log: Path) -> None:
    tell = Progress()
    with tell.logging_to(failing_log):
        with pytest.raises(RetrainError):
            tell.say("much longer than what is left there")
        tell.note("failed: the real one")


def test_standard_error_that_is_gone_is_no_reason_to_end(clock: Clock, tmp_path: Path) -> None:
    tell = Progress(open("/dev/full", "w"))  # noqa: SIM115 - what is in it can never be flushed
    with tell.logging_to(tmp_path / "log.txt"), tell.track("Files", 10) as track:
        tell.say("a step")
        tell.say("another")
        track.reach(5)
    assert (tmp_path / "log.txt").read_text().splitlines() == [
        "12:34:56 From here on in this log alone: standard error: No space left on device",
        "12:34:56 a step",
        "12:34:56 another",
    ]
