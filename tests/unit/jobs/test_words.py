# SPDX-License-Identifier: Apache-2.0
"""What Slurm and a run's log say, as values; names and times as people read them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jobs.errors import command_line
from jobs.left import ending_of
from jobs.slurm_words import chosen, from_sacct, from_squeue, plain_reason
from jobs.spec import run_name
from jobs.table import elapsed


@pytest.mark.parametrize(
    ("reason", "plain"),
    [
        ("Resources", "waits for free nodes (Resources)"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n1",
            "nodes that it wants are down, reserved or in use "
            "(ReqNodeNotAvail, UnavailableNodes:n1)",
        ),
        ("None", ""),
        ("", ""),
        ("SomethingNew", "Slurm says SomethingNew"),
    ],
)
def test_reason_in_plain_words(reason: str, plain: str) -> None:
    assert plain_reason(reason) == plain


def test_squeue_gives_wait_statuses() -> None:
    found = from_squeue(
        "7_1   |FAILED |NonZeroExitCode|768|2|100|110|120|\n"
        "8     |FAILED |JobLaunchFailure|4021|0|100|N/A|N/A|\n"
        "9     |RUNNING|None|0|0|100|110|999|\nnot a row\n"
    )
    assert (found["7_1"].code, found["7_1"].restarts, found["7_1"].ended) == (3, 2, 120.0)
    assert (found["8"].code, found["8"].started) == (-53, None)
    assert (found["9"].ended, found["9"].started) == (None, 110.0)


def test_sacct_gives_code_and_signal_of_the_last_start() -> None:
    found = from_sacct(
        "7|NODE_FAIL|1:0|100|110|120\n7|CANCELLED by 1000|0:15|100|130|140\n"
        "8_[2-5]|PENDING|0:0|||\n9|TIMEOUT|0:0|2026-01-02T03:04:05|Unknown|Unknown\n"
    )
    assert (found["7"].word, found["7"].code) == ("CANCELLED", -15)
    assert sorted(found) == ["7", "9"]
    assert found["9"].submitted is not None


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["COMPLETED", "FAILED", "RUNNING", "PENDING"], "RUNNING"),
        (["COMPLETED", "FAILED", "PENDING"], "PENDING"),
        (["COMPLETED", "FAILED"], "FAILED"),
        (["COMPLETED", "COMPLETED"], "COMPLETED"),
    ],
)
def test_array_as_a_whole_is_what_its_tasks_are(words: list[str], word: str) -> None:
    rows = [f"5_{task}|{word}|None|0|0|1|2|3|" for task, word in enumerate(words)]
    assert chosen(["5"], from_squeue("\n".join(rows)))["5"].word == word


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("Start    1\nAll is well\n", ("", "")),
        ("Start    1\nretrain: a: b.\n  Do c.\n", ("failed", "a: b.")),
        ("Start    1\nretrain: a.\nStart    2 after a requeue\nfine\n", ("", "")),
        (
            "Stopped  not queued again: why\nGo on    by it\n",
            ("stopped", "not queued again: why"),
        ),
        (
            "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2 ***\n",
            ("stopped", "*** JOB 1 ON n1 CANCELLED AT 2 ***"),
        ),
        ("retrain: \x1b[2Jx\n", ("failed", "\\x1b[2Jx")),
    ],
)
def test_end_of_a_log(text: str, ending: tuple[str, str]) -> None:
    assert ending_of(text) == ending


@pytest.mark.parametrize(
    "words", [["a b", "it's", "$(touch x)", ";", ""], ["two\nlines", "\x1b'\\", "\udcff"]]
)
def test_command_line_is_one_line_that_bash_takes_back(words: list[str]) -> None:
    line = command_line(["printf", "%s\\0", *words])
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert line.isprintable()
    assert done.stdout == b"".join(w.encode("utf-8", "surrogateescape") + b"\0" for w in words)


def test_run_is_named_as_retrain_run_names_it(tmp_path: Path) -> None:
    from trainer.config_file import load

    folder = tmp_path / "my photos"
    folder.mkdir()
    plain, named = tmp_path / "plain.yaml", tmp_path / "named.yaml"
    plain.write_text("data: {images: x}\n")
    named.write_text("name: '2024'\ndata: {images: x}\n")
    (tmp_path / "set.csv").touch()
    for source in (folder, plain, named, tmp_path / "set.csv"):
        for words in ([], ["name=a b"], ["name="], ["name=null"], ["name=x", "name=y"]):
            assert run_name(str(source), words) == load(str(source), words).name, (source, words)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "0:05"), (3723, "1:02:03"), (183840, "2d 03:04"), (-3, "0:00")]
)
def test_elapsed_time(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text
