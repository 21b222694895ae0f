# SPDX-License-Identifier: Apache-2.0
"""Where user, key and address come from, and that they do not get out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from error_text import all_of
from jobs.errors import UsageError
from jobs.jarvice_account import Account, Secret, read_account

USER, KEY = "wilhelmina", "5a%(b)s#3d-long"
URL = "https://cloud.nimbix.net/api"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and an environment without JARVICE's variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("JARVICE_API_URL", "JARVICE_USER", "JARVICE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(home: Path, text: str, mode: int = 0o600) -> None:
    file = home / ".jarvice.cfg"
    file.write_text(text)
    file.chmod(mode)


def whole(url: str = URL) -> str:
    return f"[auth]\nusername = {USER}\napikey = {KEY}\nurl = {url}\n"


def refused() -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_account()
    text = all_of(caught.value)
    assert USER not in text
    assert KEY not in text
    assert "\n" not in caught.value.message + caught.value.todo
    return caught.value


def test_account_comes_from_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "not to be read")
    monkeypatch.setenv("JARVICE_API_URL", f"{URL}/")
    monkeypatch.setenv("JARVICE_USER", USER)
    monkeypatch.setenv("JARVICE_API_KEY", f"{KEY}\n")
    account = read_account()
    assert (account.user.reveal(), account.key.reveal()) == (USER, KEY)
    assert account.address("status") == "https://cloud.nimbix.net/api/jarvice/status"
    assert account.source == "JARVICE_USER and JARVICE_API_KEY"


def test_account_comes_from_the_file(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(home, whole())
    account = read_account()
    assert (account.url, account.user.reveal(), account.key.reveal()) == (URL, USER, KEY)
    assert account.source == "username in ~/.jarvice.cfg and apikey in ~/.jarvice.cfg"
    assert capfd.readouterr() == ("", "")


def test_environment_goes_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, whole())
    monkeypatch.setenv("JARVICE_API_URL", "http://localhost:8080")
    monkeypatch.setenv("JARVICE_USER", "")
    account = read_account()
    assert (account.url, account.user.reveal()) == ("http://localhost:8080", USER)


@pytest.mark.parametrize("mode", [0o604, 0o640])
def test_file_that_others_can_read_is_warned_of(
    home: Path, capfd: pytest.CaptureFixture[str], mode: int
) -> None:
    write(home, whole(), mode)
    read_account()
    assert "chmod 600 ~/.jarvice.cfg" in capfd.readouterr().err


def test_nothing_set_is_told_with_the_ways_to_set_it(home: Path) -> None:
    error = refused()
    assert "JARVICE_API_URL, JARVICE_USER, JARVICE_API_KEY: are not set" in error.message
    assert "[auth]" in error.todo


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[auth]\nusername = {USER}\napikey = {KEY}\n", "lacks url"),
        (f"[auth]\nusername =\napikey = {KEY}\n", "lacks url, username"),
        (f"[other]\napikey = {KEY}\n", "lacks url, username, apikey"),
        (f"apikey = {KEY}\n", "cannot be parsed"),
        (f"[auth]\napikey = {KEY}\napikey = {KEY}\n", "cannot be parsed"),
        (f"[auth]\n{KEY}\n", "cannot be parsed"),
        (f"[auth]\nusername = {USER}\napikey = {KEY}\x1b\nurl = {URL}\n", "cannot be printed"),
    ],
)
def test_file_that_does_not_serve_is_told_without_its_lines(
    home: Path, text: str, said: str
) -> None:
    write(home, text)
    error = refused()
    assert "~/.jarvice.cfg" in error.message
    assert said in error.message


def test_file_of_other_bytes_is_told(home: Path) -> None:
    (home / ".jarvice.cfg").write_bytes(b"[auth]\napikey = \xff" + KEY.encode())
    assert "cannot be parsed" in refused().message


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://jarvice-api.cloud.nimbix.net/",
        "HTTPS://api.example.org:8443/a/b",
        "http://localhost",
        "http://127.0.0.1:8080/api",
        "http://[::1]:8080",
    ],
)
def test_address_is_the_url_and_jarvice(url: str) -> None:
    address = Account(url, Secret(USER), Secret(KEY)).address("jobs")
    assert address == f"{url.rstrip('/')}/jarvice/jobs"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cloud.nimbix.net/api",
        "ftp://cloud.nimbix.net",
        "http://cloud.nimbix.net/api",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
        "http://127.0.0.1:80@example.org/",
        "https://name:word@cloud.nimbix.net/api",
        "https://cloud.nimbix.net/api?apikey=1",
        "https://cloud.nimbix.net/#",
        "https://cloud.nimbix.net/ api",
        "https://cloud.nimbix.net\n",
        "https://cloud.nimbix.net\\@example.org",
        "https://",
    ],
)
def test_url_that_would_not_protect_the_key_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="JARVICE_API_URL") as caught:
        Account(url, Secret(USER), Secret(KEY))
    text = caught.value.message + caught.value.todo
    assert "word" not in text.replace("password", "")
    assert "\n" not in text


def test_account_shows_neither_user_nor_key() -> None:
    account = Account(URL, Secret(USER), Secret(KEY))
    text = f"{account} {account!r} {account.key} {account.user!s} {vars(account)}"
    assert USER not in text
    assert KEY not in text


def test_words_of_others_lose_the_key_in_any_form_and_the_user_as_a_word() -> None:
    account = Account(URL, Secret("al"), Secret('a"b+c/1234'))
    said = 'al sent a"b+c/1234, {"apikey": "a\\"b+c/1234"}, apikey=a%22b%2Bc%2F1234 and all'
    assert account.masked(said) == '*** sent ***, {"apikey": "***"}, apikey=*** and all'
    assert account.without_key("al, all") == "al, all"


def test_commands_load_no_http_before_it_is_needed() -> None:
    program = "import sys, jobs.cli, jobs.jarvice_account; assert 'httpx' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
