# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that does on each request what a test has laid down, faults included."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

PEM = Path(__file__).with_name("localhost.pem")
"""A certificate that nobody trusts, and its private key."""


@dataclass
class Request:
    """What came in."""

    line: str
    headers: dict[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        """Its fields, where it is a form."""
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    def json(self) -> dict[str, object]:
        """Its keys, where it is JSON."""
        return dict(json.loads(self.body))


Step = Callable[[BaseHTTPRequestHandler, Request], None]


class Scripted:
    """A server on this machine; each endpoint has steps, of which the last is done for ever."""

    def __init__(self) -> None:
        """Lay nothing down: what was not laid down is answered with 404."""
        self.steps: dict[str, list[Step]] = {}
        self.requests: list[Request] = []
        self.recorded: dict[str, dict[str, object]] = {}
        """Jobs that `record` has made, as `jobs` tells them."""
        self.closing = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """The API's."""
        return f"http://127.0.0.1:{self.port}/api"

    def on(self, endpoint: str, *steps: Step) -> None:
        """Lay down what is done on the requests to an endpoint."""
        self.steps[endpoint] = list(steps)

    def of(self, endpoint: str) -> list[Request]:
        """The requests to an endpoint, in the order in which they came."""
        return [request for request in self.requests if f"/{endpoint} " in request.line]

    def record(self, then: Step) -> Step:
        """Record the job of a submission, then do what a test wants in place of an answer."""

        def step(handler: BaseHTTPRequestHandler, request: Request) -> None:
            number = str(len(self.recorded) + 41)
            label = request.json()["job_label"]
            self.recorded[number] = {"job_name": f"job-{number}", "job_label": label}
            then(handler, request)

        return step

    def lists(self, completed: bool = False, after: int = 0) -> Step:
        """`jobs`: all recorded ones, in one of the lists; nothing at the first `after` calls."""
        calls = 0

        def step(handler: BaseHTTPRequestHandler, request: Request) -> None:
            nonlocal calls
            calls += 1
            ours = completed == (request.form().get("completed") == "true") and calls > after
            answer(json.dumps(self.recorded if ours else {}))(handler, request)

        return step

    def do(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        """The next step for a request."""
        self.requests.append(request)
        steps = self.steps.get(handler.path.rsplit("/", 1)[-1])
        if not steps:
            answer('{\n    "error": "Not found"\n}\n', 404)(handler, request)
        else:
            (steps.pop(0) if len(steps) > 1 else steps[0])(handler, request)


@contextmanager
def serving(safely: bool = False, slow: float = 0.0) -> Iterator[Scripted]:
    """A scripted server, for as long as the block lasts.

    Args:
        safely: Whether it speaks TLS, with the certificate `PEM`, for localhost.
        slow: Seconds before it takes up a connection.
    """
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # it would delay each answer by 40 ms

        def do_POST(self) -> None:  # the name that http.server looks for
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.do(self, Request(self.requestline, dict(self.headers), body))

        do_CONNECT = do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, object]:
            time.sleep(slow)
            return super().get_request()

        def handle_error(self, request: object, address: object) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    if safely:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    script.port = server.server_address[1]
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.closing.set()
        server.shutdown()
        server.server_close()


def answer(
    text: str | bytes, code: int = 200, kind: str = "application/json", **headers: str
) -> Step:
    """A whole answer; headers are written with _ for -."""
    content = text.encode() if isinstance(text, str) else text

    def step(handler: BaseHTTPRequestHandler, request: Request) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return step


def echo(code: int) -> Step:
    """An error whose words are all that was sent."""

    def step(handler: BaseHTTPRequestHandler, request: Request) -> None:
        answer(json.dumps({"error": request.body.decode()}), code)(handler, request)

    return step


def cut(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Half an answer, and the end of the connection."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"name": "job-')
    handler.close_connection = True


def closed(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """The end of the connection in place of an answer."""
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """A connection that is torn down."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


def silent(script: Scripted) -> Step:
    """No answer, and no end either."""

    def step(handler: BaseHTTPRequestHandler, request: Request) -> None:
        script.closing.wait(20)

    return step


def trickling(script: Scripted, begin: bytes = b"HTTP/1.1 200 OK\r\nX-Long: ") -> Step:
    """A beginning, then a byte now and then, without end."""

    def step(handler: BaseHTTPRequestHandler, request: Request) -> None:
        handler.wfile.write(begin)
        while not script.closing.is_set():
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)

    return step
