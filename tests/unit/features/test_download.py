# SPDX-License-Identifier: Apache-2.0
"""Downloads end in bounded time with the file that was meant, or with none."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest

from trainer.errors import DataError, RetrainError
from trainer.features import download as module
from trainer.features.download import Checksum, download
from trainer.progress import Progress
from web import Behaviour, Request, Server, forward, serving

CONTENT = bytes(range(256)) * 2000
HALF = len(CONTENT) // 2
CHECK = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
SOON = 0.5
"""Seconds of patience in these tests."""
Serve = Callable[[Behaviour], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    with ExitStack() as stack:
        yield lambda behaviour: stack.enter_context(serving(behaviour))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "w.h5"


def get(
    server: Server, target: Path, check: module.Check = CHECK, progress: Progress | None = None
) -> None:
    download(f"{server.url}/w.h5", target, check, progress or Progress(), SOON)


def refused(server: Server, target: Path, check: module.Check = CHECK) -> str:
    """Why it cannot be had; no file may be there after that, and not much time gone."""
    started = time.monotonic()
    with pytest.raises(DataError) as error:
        get(server, target, check)
    assert time.monotonic() - started < 10 * SOON
    assert not target.exists()
    assert error.value.message.startswith(f"{server.url}/w.h5: ")
    return error.value.message


def left(target: Path) -> list[int]:
    """Lengths of what else lies beside the target."""
    return [path.stat().st_size for path in target.parent.iterdir() if path != target]


def test_a_good_server_gives_the_file_at_once(serve: Serve, target: Path) -> None:
    server = serve(lambda request: request.part(CONTENT))
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/w.h5", None)]
    assert not left(target)


def broken_at(*places: int) -> Behaviour:
    """Serve parts, and end the connections at these places, one after the other."""
    ends = iter(places)
    return lambda request: request.part(CONTENT, next(ends, None))


def test_a_connection_that_drops_is_gone_on_with(serve: Serve, target: Path) -> None:
    server = serve(broken_at(1000, HALF))
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/w.h5", wanted) for wanted in (None, "bytes=1000-", f"bytes={HALF}-")]


def test_a_server_that_stalls_midway_is_asked_again_for_the_rest(
    serve: Serve, target: Path
) -> None:
    def stall_once(request: Request) -> None:
        request.part(CONTENT, None if request.offset else HALF)
        if not request.offset:
            request.stall()

    server = serve(stall_once)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[1:] == [("/w.h5", f"bytes={HALF}-")]


def test_a_server_that_answers_nothing_is_given_up_soon(serve: Serve, target: Path) -> None:
    assert "no answer for 0.5 s" in refused(serve(Request.stall), target)


def test_a_server_that_stalls_again_and_again_is_given_up_and_told_how_far_it_came(
    serve: Serve, target: Path
) -> None:
    def stall(request: Request) -> None:
        request.part(CONTENT, HALF)
        request.stall()

    told = refused(serve(stall), target)
    assert f"no answer for 0.5 s, after {HALF:,} of {len(CONTENT):,} bytes" in told
    assert left(target) == [HALF]  # for the next to go on with


def test_a_server_that_drips_is_given_up(serve: Serve, target: Path) -> None:
    def drip(request: Request) -> None:
        request.begin(Content_Length=len(CONTENT))
        while not request.server.over.wait(SOON / 5):
            request.wfile.write(b"x")

    assert "fewer than 1,024 bytes a second" in refused(serve(drip), target)


def test_headers_that_drip_are_given_up(serve: Serve, target: Path) -> None:
    def drip(request: Request) -> None:
        while not request.server.over.wait(SOON / 5):
            request.wfile.write(b"H")

    assert "no answer" in refused(serve(drip), target)


def test_a_server_that_ignores_ranges_is_begun_anew_with(serve: Serve, target: Path) -> None:
    ends = iter([HALF])

    def whole(request: Request) -> None:
        request.begin(Content_Length=len(CONTENT))
        request.wfile.write(CONTENT[: next(ends, None)])

    get(serve(whole), target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_and_always_breaks_off_is_given_up(
    serve: Serve, target: Path
) -> None:
    def half(request: Request) -> None:
        request.begin(Content_Length=len(CONTENT))
        request.wfile.write(CONTENT[:HALF])

    server = serve(half)
    assert "the connection ended early" in refused(server, target)
    assert len(server.asked) == 1 + module.TRIES


def test_another_file_than_was_published_is_told_with_its_hash_and_not_kept(
    serve: Serve, target: Path
) -> None:
    page = b"<html>please log in</html>"
    told = refused(serve(lambda request: request.part(page)), target)
    assert f"{len(page)} bytes, SHA256 {hashlib.sha256(page).hexdigest()}" in told
    assert not left(target)


@pytest.mark.parametrize("stated", [len(CONTENT) - 10, 10, 0])
def test_a_server_that_states_too_short_a_length_is_found_out_by_the_hash(
    stated: int, serve: Serve, target: Path
) -> None:
    def short(request: Request) -> None:
        request.begin(Content_Length=stated)
        request.wfile.write(CONTENT)

    assert "another file than was published" in refused(serve(short), target)
    assert not left(target)


def test_a_server_that_states_too_great_a_length_is_given_up(serve: Serve, target: Path) -> None:
    def long(request: Request) -> None:
        if request.offset:
            request.begin(416)
        else:
            request.begin(Content_Length=len(CONTENT) + 10)
            request.wfile.write(CONTENT)

    assert "the connection ended early" in refused(serve(long), target)


def test_the_length_is_checked_where_no_hash_was_published(serve: Serve, target: Path) -> None:
    def short(request: Request) -> None:
        request.begin(Content_Length=len(CONTENT) + 10)
        request.wfile.write(CONTENT)

    told = refused(serve(short), target, check=lambda _: "")
    assert f"after {len(CONTENT):,} of {len(CONTENT) + 10:,} bytes" in told
    assert not left(target)


def test_without_a_stated_length_the_hash_decides(serve: Serve, target: Path) -> None:
    def chunked(request: Request) -> None:
        request.protocol_version = "HTTP/1.1"
        request.begin(Transfer_Encoding="chunked", Connection="close")
        request.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))

    get(serve(chunked), target)
    assert target.read_bytes() == CONTENT


def test_what_goes_on_without_end_is_broken_off(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 1000)
    server = serve(lambda request: request.part(CONTENT))
    assert "it goes on after 1,000 bytes" in refused(server, target)


@pytest.mark.parametrize(("status", "told"), [(404, "404 Not Found"), (503, "503 Service")])
def test_a_refusal_is_told_with_its_number_and_not_repeated(
    status: int, told: str, serve: Serve, target: Path
) -> None:
    server = serve(lambda request: request.begin(status, Content_Length=0))
    assert f"the server answered {told}" in refused(server, target)
    assert len(server.asked) == 1


def test_a_server_that_is_busy_for_a_moment_midway_is_asked_again(
    serve: Serve, target: Path
) -> None:
    turns = iter([HALF, 503])

    def busy(request: Request) -> None:
        turn = next(turns, None)
        if turn == 503:
            request.begin(503, Content_Length=0)
        else:
            request.part(CONTENT, turn)

    get(serve(busy), target)
    assert target.read_bytes() == CONTENT


def test_a_redirect_is_followed(serve: Serve, target: Path) -> None:
    other = serve(lambda request: request.part(CONTENT))
    get(serve(lambda request: request.begin(302, Location=f"{other.url}/other")), target)
    assert target.read_bytes() == CONTENT


def test_a_redirect_in_a_circle_is_told_in_one_line(serve: Serve, target: Path) -> None:
    told = refused(serve(lambda request: request.begin(302, Location=request.path)), target)
    assert "the server answered 302" in told
    assert "\n" not in told


def test_what_is_no_http_is_told(serve: Serve, target: Path) -> None:
    def greet(request: Request) -> None:
        request.wfile.write(b"220 mail.example ready\r\n")

    assert "speaks no HTTP" in refused(serve(greet), target)


def test_nobody_at_the_address_is_told(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/w.h5"
        with pytest.raises(DataError, match="Connection refused"):
            download(url, target, CHECK, Progress(), SOON)


def test_the_environments_proxy_is_used(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, proxy = serve(lambda request: request.part(CONTENT)), serve(forward)
    monkeypatch.setenv("http_proxy", proxy.url)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert proxy.asked == [(f"{server.url}/w.h5", None)]


def test_no_proxy_leaves_the_proxy_out(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(forward)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    get(serve(lambda request: request.part(CONTENT)), target)
    assert not proxy.asked


def test_a_proxy_that_refuses_is_named_without_its_password(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda request: request.part(CONTENT))
    proxy = serve(lambda request: request.begin(407, Content_Length=0))
    address = proxy.url.removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://me:secret@{address}")
    told = refused(server, target)
    assert f"407 Proxy Authentication Required (through the proxy {address})" in told
    assert "secret" not in told


CHILD = """
import sys
from pathlib import Path
from trainer.features.download import Checksum, download
from trainer.progress import Progress
url, target, value = sys.argv[1:]
download(url, Path(target), Checksum("sha256", value), Progress(), 30)
"""


def child(server: Server, target: Path) -> subprocess.Popen[bytes]:
    """A download in a process of its own."""
    root = Path(module.__file__).parents[2]
    words = [sys.executable, "-c", CHILD, f"{server.url}/w.h5", str(target), CHECK.value]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(root)})


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stall_at_half(request: Request) -> None:
    """Serve the first half only, then nothing more; a client that has it gets the rest."""
    request.part(CONTENT, None if request.offset else HALF)
    if not request.offset:
        request.stall()


def test_a_killed_download_is_gone_on_with(serve: Serve, target: Path) -> None:
    server = serve(stall_at_half)
    with child(server, target) as process:
        wait_for(lambda: target.parent.exists() and left(target) == [HALF])
        process.send_signal(signal.SIGKILL)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/w.h5", f"bytes={HALF}-")
    assert not left(target)


def test_a_download_that_is_alive_is_left_alone(serve: Serve, target: Path) -> None:
    server = serve(stall_at_half)
    with child(server, target) as process:
        try:
            wait_for(lambda: target.parent.exists() and left(target) == [HALF])
            server.behaviour = lambda request: request.part(CONTENT)
            get(server, target)
            assert target.read_bytes() == CONTENT
            assert server.asked[-1] == ("/w.h5", None)
            assert left(target) == [HALF]
        finally:
            process.kill()


def test_two_downloads_at_once_both_end_with_the_whole_file(serve: Serve, target: Path) -> None:
    def slowly(request: Request) -> None:
        request.begin(Content_Length=len(CONTENT))
        for start in range(0, len(CONTENT), 2**16):
            request.wfile.write(CONTENT[start : start + 2**16])
            time.sleep(0.05)

    server = serve(slowly)
    with child(server, target) as first, child(server, target) as second:
        assert (first.wait(30), second.wait(30)) == (0, 0)
    assert target.read_bytes() == CONTENT
    assert not left(target)


def test_what_was_left_and_is_damaged_is_fetched_anew(serve: Serve, target: Path) -> None:
    server = serve(broken_at(HALF, *[HALF] * module.TRIES))
    refused(server, target)
    (part,) = target.parent.iterdir()
    part.write_bytes(b"damaged")
    server.asked.clear()
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/w.h5", "bytes=7-"), ("/w.h5", None)]


def test_folder_that_cannot_be_written_is_told(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RetrainError, match="cannot be written") as error:
        get(serve(lambda request: request.part(CONTENT)), tmp_path / "file" / "w.h5")
    assert error.value.exit_code == 1


def test_full_disk_is_told_with_the_path(serve: Serve, target: Path) -> None:
    target.parent.mkdir()
    server = serve(lambda request: request.part(CONTENT))
    program = CHILD.replace("import sys\n", "import resource, signal, sys\n").replace(
        "download(url",
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\ndownload(url",
    )
    root = Path(module.__file__).parents[2]
    words = [sys.executable, "-c", program, f"{server.url}/w.h5", str(target), CHECK.value]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert f"RetrainError: {target}: cannot be written" in done.stderr


def test_progress_is_told_in_megabytes(serve: Serve, target: Path) -> None:
    content, stream = bytes(3_000_000), StringIO()
    check = Checksum("sha256", hashlib.sha256(content).hexdigest())
    server = serve(lambda request: request.part(content))
    get(server, target, check, Progress(stream, terminal=True))
    assert "Weights, MB: " in stream.getvalue()
    assert " of 3, " in stream.getvalue()
