# SPDX-License-Identifier: Apache-2.0
"""Numbers never claim more than they know; names never do more than be read."""

from __future__ import annotations

import os
import subprocess

import pytest

from trainer.report.wording import NOTHING, count, duration, interval, percent, shell_word, visible


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.8379, 1, "83.8%"),
        (0.8379, 0, "84%"),
        (1.0, 0, "100%"),
        (0.0, 1, "0.0%"),
        (0.9996, 0, "99%"),
        (0.9996, 1, "99.9%"),
        (0.0001, 1, "0.1%"),
        (None, 1, NOTHING),
    ],
)
def test_percent_reads_all_or_nothing_only_where_it_is(
    share: float | None, digits: int, text: str
) -> None:
    assert percent(share, digits) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([0.7248, 0.9199], "72 to 92%"),
        ([0.9921, 0.9943], "99.2 to 99.4%"),
        ([1.0, 1.0], "100 to 100%"),
        (None, NOTHING),
    ],
)
def test_interval_is_told_in_whole_percents_unless_it_would_vanish(
    bounds: list[float] | None, text: str
) -> None:
    assert interval(bounds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.81, "2.8 s"), (33.5, "34 s"), (133.7, "2 min 14 s"), (7 * 3600, "7.0 h"), (None, NOTHING)],
)
def test_duration_takes_the_unit_that_suits(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_one_thing_is_counted_in_the_singular() -> None:
    assert [count(1, "image"), count(1200, "image")] == ["1 image", "1,200 images"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("maison à piscine", "maison à piscine"),
        ("مسبح", "مسبح"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("caf\udce9", "caf\\xe9"),
        ("👩\u200d🌾", "👩\u200d🌾"),
    ],
)
def test_what_cannot_be_seen_in_a_name_is_written_out(name: str, text: str) -> None:
    assert visible(name) == text


@pytest.mark.parametrize(
    "name",
    ["runs/pools", "it's $(touch x) `y`", "a\nb", "caf\udce9", "\u202edir\\", '"', "a b*", "\x1b'"],
)
def test_shell_reads_back_the_very_name_from_one_line(name: str) -> None:
    word = shell_word(name)
    told = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], stdout=subprocess.PIPE, check=True
    ).stdout
    assert (os.fsdecode(told), visible(word)) == (name, word)


def test_name_that_begins_like_an_option_is_given_as_a_path() -> None:
    assert shell_word("-rf") == "./-rf"
