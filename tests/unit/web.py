# SPDX-License-Identifier: Apache-2.0
"""A web server and a proxy on this machine that do what they are told, wrong things too."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Request(BaseHTTPRequestHandler):
    """One request, with short words for what servers do to it."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.behaviour(self)

    @property
    def offset(self) -> int:
        """Where the client wants the file from."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(wanted[1]) if wanted else 0

    def begin(self, status: int = 200, **headers: object) -> None:
        """Send what comes before the content."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def part(self, content: bytes, until: int | None = None) -> None:
        """Send the rest that was asked for, as a good server does, or break off in it."""
        rest = content[self.offset :]
        if self.offset:
            span = f"bytes {self.offset}-{len(content) - 1}/{len(content)}"
            self.begin(206, Content_Length=len(rest), Content_Range=span)
        else:
            self.begin(200, Content_Length=len(rest))
        self.wfile.write(content[self.offset : until])

    def stall(self) -> None:
        """Say nothing until the test is over."""
        self.wfile.flush()
        self.server.over.wait(20)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


Behaviour = Callable[[Request], None]


class Server(ThreadingHTTPServer):
    """Does with each request what its behaviour says, and remembers what was asked."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behaviour = behaviour
        self.asked: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that goes away is part of the tests."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Server]:
    """A server for the time of a test."""
    with Server(behaviour) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()


def forward(request: Request) -> None:
    """Be a proxy: the request line holds the whole address."""
    address = urlsplit(request.path)
    connection = http.client.HTTPConnection(address.netloc, timeout=5)
    connection.request("GET", address.path)
    answer = connection.getresponse()
    content = answer.read()
    request.begin(answer.status, Content_Length=len(content))
    request.wfile.write(content)
