# SPDX-License-Identifier: Apache-2.0
"""What must not be told: taken out of sentences, and found wherever it is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainer.sharing.scrub import (
    HOST,
    USER,
    Secret,
    Secrets,
    hosts,
    people,
    secret_hosts,
    secret_paths,
)

KNOWN = [
    *secret_hosts(hosts(["gpu07.hpc.example.org", "login1"])),
    Secret("annabelle", USER, "user"),
    *secret_paths([("the data's place", "/proj/My Photos/pools"), ("the cache's place", "/proj")]),
]


def test_hosts_are_numbered_in_order_and_known_by_their_short_forms() -> None:
    assert hosts(["b.example.org", "a", "b", "a.example.org", "10.0.0.1"]) == {
        "b.example.org": "host-1",
        "b": "host-1",
        "a": "host-2",
        "a.example.org": "host-2",
        "10.0.0.1": "host-3",
    }


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("L2 was chosen at the end of its path (10)", "L2 was chosen at the end of its path (10)"),
        ("4 of 1/2 and/or 3 m/s", "4 of 1/2 and/or 3 m/s"),
        ("rank 3 on GPU07 stood still", "rank 3 on host-1 stood still"),
        ("gpu07.hpc.example.org: no answer", "host-1: no answer"),
        ("read /proj/My Photos/pools/a/1.jpg twice", "read 1.jpg twice"),
        ("/scratch/a b/x.shard: damaged shard", "x.shard: damaged shard"),
        ("changed: /scratch/x/1.jpg, ~/y/2.jpg; see above", "changed: 1.jpg, 2.jpg; see above"),
        ("Annabelle's /home/annabelle", "user's user"),
        ("lake/annabelles.jpg", "lake/annabelles.jpg"),
    ],
)
def test_a_sentence_keeps_its_meaning_and_of_paths_the_last_part(said: str, left: str) -> None:
    assert Secrets(KNOWN).scrubbed(said) == left


@pytest.mark.parametrize(
    "content",
    [
        b"on gpu07, rank 1",
        b'"host": "LOGIN1"',
        b"by annabelle.",
        b"photos of annabelle_2024",
        b"<td>/proj/My Photos/pools</td>",
        b"\0\x1f/proj/My Photos/pools\x12\0",  # a length before, a tag behind
        b"\xff/proj/x",
        b"\0annabelle\0",
    ],
)
def test_what_is_left_is_found(content: bytes) -> None:
    assert Secrets(KNOWN).left_in(content)


@pytest.mark.parametrize(
    "content",
    [
        b"gpu071 and login12",
        b"annabelles",
        b"a/project and /projects and x/proj",
        b"\0stats/proj/dense",
        "höchstens".encode(),
        b"",
    ],
)
def test_what_only_resembles_it_is_left_alone(content: bytes) -> None:
    assert Secrets(KNOWN).left_in(content) is None


@pytest.mark.parametrize("written", [b"/data/jos\\u00e9", "/data/josé".encode()])
def test_it_is_found_as_json_writes_it(written: bytes) -> None:
    secrets = Secrets([Secret("/data/josé", "the data's place", "")])
    assert secrets.left_in(b'"' + written + b'"')


def test_it_is_found_as_html_writes_it() -> None:
    secrets = Secrets([Secret("/data/a&b", "the data's place", "")])
    assert secrets.left_in(b"<p>/data/a&amp;b</p>")


def test_a_short_name_is_looked_for_in_text_alone() -> None:
    secrets = Secrets([Secret("vm", HOST, "host-1")])
    assert secrets.left_in(b"on vm")
    assert secrets.left_in(b"\xff vm ") is None


def test_what_is_public_or_stands_in_anothers_place_may_stay() -> None:
    given = [Secret("auto", USER, "user"), *secret_hosts(hosts(["node", "host-1"]))]
    assert Secrets(given).left_in(b"device: auto")
    assert Secrets(given, ["auto"]).left_in(b"device: auto on host-1") is None


def test_accounts_that_belong_to_nobody_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("LOGNAME", "annabelle")
    monkeypatch.setenv("HOME", "/")
    found = {one.text for one in people(os.geteuid())}
    assert "annabelle" in found
    assert not {"/", "root", ""} & found


def test_a_link_is_a_secret_and_so_is_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    found = {one.text for one in secret_paths([("the run's folder", tmp_path / "link")])}
    assert found == {str(tmp_path / "link"), os.path.realpath(tmp_path / "real")}
