# SPDX-License-Identifier: Apache-2.0
"""`--sweep` in words, and the directories that its combinations get."""

from __future__ import annotations

import pytest

from jobs.errors import UsageError
from jobs.option_words import one_option_a_word
from jobs.sweep import LONGEST_NAME, combinations, directory_name, parse_sweep

HOSTILE = ["../../etc", "a b", "$(touch x)", "'; rm -rf'", "two\nlines", "ü", "*", "x" * 300, "."]


def values(word: str) -> tuple[str, ...]:
    return parse_sweep([word])[0].values


def test_last_key_varies_fastest_and_values_keep_their_order() -> None:
    axes = parse_sweep(["head.l2=0.1,0.01", "backbone.layer=mixed7,mixed10"])
    assert combinations(axes) == [
        {"head.l2": "0.1", "backbone.layer": "mixed7"},
        {"head.l2": "0.1", "backbone.layer": "mixed10"},
        {"head.l2": "0.01", "backbone.layer": "mixed7"},
        {"head.l2": "0.01", "backbone.layer": "mixed10"},
    ]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("k=1", ("1",)),
        ("k= 1 , 2 ", ("1", "2")),
        ("k=[],[flip],[flip, {crop: 0.1}]", ("[]", "[flip]", "[flip, {crop: 0.1}]")),
        ('k=\'a,b\',"c,\\",d",e', ("'a,b'", '"c,\\",d"', "e")),
        ("k='it''s, one',two", ("'it''s, one'", "two")),
        ("k=it's,b", ("it's", "b")),
        ("k=['a]',b],c", ("['a]',b]", "c")),
        ("k=null,auto,true", ("null", "auto", "true")),
        ("k='',x", ("''", "x")),
        ("k=a=b,c", ("a=b", "c")),
        ("data.images=a: b: c", ("a: b: c",)),
        ("data.images='a,b',2024", ("a,b", "2024")),
    ],
)
def test_comma_within_brackets_or_quotes_belongs_to_its_value(
    word: str, wanted: tuple[str, ...]
) -> None:
    assert values(word) == wanted


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to vary"),
        (["head.l2"], "wanted KEY=VALUE"),
        (["=1,2"], "wanted KEY=VALUE"),
        (["--evil=1"], "wanted KEY=VALUE"),
        (["head..l2=1"], "wanted KEY=VALUE"),
        (["head.l2="], "a value is empty"),
        (["head.l2=0.1,,0.2"], "a value is empty"),
        (["head.l2=0.1,"], "a value is empty"),
        (["head.l2=0.1,0.10"], "comes twice"),
        (["head.l2=1e-3,0.001"], "comes twice"),
        (["a=x,'x'"], "comes twice"),
        (["head.l2=1", "head.l2=2"], "given twice"),
        (["head=1", "head.l2=2"], "cannot both vary"),
        (["data.images=a", "data.bottlenecks=b"], "cannot both vary"),
        (["k=[1,2"], "no partner"),
        (["k=1]"], "no partner"),
        (["k=[1},2"], "no partner"),
        (["k='a,b"], "not closed"),
        (["k=a: b: c"], "no YAML"),
        (["k=#5"], "says nothing"),
        ([f"a={','.join(map(str, range(101)))}", f"b={','.join(map(str, range(100)))}"], "10,100"),
    ],
)
def test_what_is_no_sweep_is_told_in_three_lines_at_most(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sweep(words)
    lines = f"{caught.value.message}\n{caught.value.todo}".splitlines()
    assert told in lines[0]
    assert len(lines) <= 3
    assert caught.value.exit_code == 2


def test_ten_thousand_combinations_are_a_sweep() -> None:
    hundred = ",".join(map(str, range(100)))
    found = combinations(parse_sweep([f"a={hundred}", f"b={hundred}"]))
    assert len({directory_name(n, settings) for n, settings in enumerate(found)}) == 10_000


def test_directory_is_named_after_the_combination() -> None:
    assert directory_name(7, {"head.l2": "0.1", "backbone.layer": "mixed7"}) == (
        "head.l2=0.1,backbone.layer=mixed7"
    )


@pytest.mark.parametrize("value", HOSTILE)
def test_any_value_gets_a_safe_directory(value: str) -> None:
    name = directory_name(12, {"head.note": value})
    assert len(name.encode()) <= LONGEST_NAME
    assert name.isascii()
    assert not set(name) - set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.=,+-"
    )
    assert name[0] not in ".-"
    assert value == "." or name.startswith("00012-")


def test_values_that_look_alike_when_made_safe_get_directories_of_their_own() -> None:
    axes = parse_sweep(["data.images=a b,a_b,a*b"])
    names = [directory_name(n, settings) for n, settings in enumerate(combinations(axes))]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("photos x=1 --on slurm", "photos x=1 --on slurm"),
        ("photos --sweep a=1,2 b=3 --limit 8", "photos --sweep a=1,2 --sweep b=3 --limit 8"),
        ("--sweep a=1 photos x=1", "--sweep a=1 photos x=1"),
        ("--sweep a=1 --sweep b=2", "--sweep a=1 --sweep b=2"),
        ("--sweep=a=1 b=2", "--sweep=a=1 b=2"),
        ("--sweep photos", "--sweep photos"),
        ("--sweep --limit 8", "--sweep --limit 8"),
        ("photos --sweep", "photos --sweep"),
    ],
)
def test_option_of_many_words_becomes_many_options(given: str, wanted: str) -> None:
    assert one_option_a_word(given.split()) == wanted.split()
