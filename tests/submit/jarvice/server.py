# SPDX-License-Identifier: Apache-2.0
"""The HTTP server in front of the endpoints, and the class that tests use."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .answers import Answer, Refused, as_text
from .api import Api
from .calls import Call, Request
from .faults import AFTERWARDS, INSTEAD, TRICKLE
from .job import TERMINATED, Job
from .site import Site

_RESET = struct.pack("ii", 1, 0)


class Jarvice(Site):
    """The service, from `with` to its end; `requests` has all that was asked of it.

    `faults` are those of FAULTS that hold from the start, with their number of calls (None: all);
    the other words are Site's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        faults: Mapping[str, int | None] | None = None,
        **settings: Any,
    ) -> None:
        """Jobs and vaults lie below `folder`; port 0 is any free one."""
        super().__init__(folder.resolve(), **settings)
        self.requests: list[Request] = []
        self.port = port
        self._api = Api(self)
        self._listener: _Listener | None = None
        for name, times in (faults or {}).items():
            self.fault(name, times)

    def __enter__(self) -> Jarvice:
        """Listen."""
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        """Let no connection, job or process be left."""
        self._hang_up()
        for job in self.jobs:
            job.stop(TERMINATED)
        for job in self.jobs:
            job.wait()

    @property
    def jobs(self) -> list[Job]:
        """All that were ever recorded, the oldest first."""
        return self._api.jobs

    @property
    def account(self) -> dict[str, str]:
        """The variables in which a client looks for the service and its key."""
        return {
            "JARVICE_API_URL": self.url,
            "JARVICE_USER": self.user,
            "JARVICE_API_KEY": self.key,
        }

    def fault(self, name: str, times: int | None = None, on: str = "") -> None:
        """Let a fault strike the next calls, or all; `on` names endpoints."""
        self.faults.set(name, times, on)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Refuse all connections for a while; jobs go on."""
        self._hang_up()
        yield
        self._listen()

    def answer(self, call: Call) -> Answer:
        """What the service answers, with the faults that were asked for."""
        for name, instead in INSTEAD.items():
            if call.strikes(name):
                return instead
        try:
            answer = self._api.answer(call)
        except Refused as refused:
            answer = refused.answer
        if answer.status >= 400:
            plain = call.strikes("error-text")
            return as_text(b"Something went wrong\n", answer.status) if plain else answer
        for name, other in AFTERWARDS.items():
            if call.strikes(name):
                return other
        half = answer.body[: len(answer.body) // 2]
        return replace(answer, body=half) if call.strikes("cut") else answer

    def _listen(self) -> None:
        self._listener = _Listener(self, self.port)
        self.port = self._listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._listener.start()

    def _hang_up(self) -> None:
        if self._listener is not None:
            self._listener.stop()
            self._listener = None


class _Listener(ThreadingHTTPServer):
    """One stretch of listening; knows its open connections, to end them."""

    daemon_threads = False

    def __init__(self, site: Jarvice, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.site = site
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name."""
        socketserver.TCPServer.server_bind(self)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections, and end those that are open."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to hear what a connection has to say."""
        if self.site.faults.take("reset", ""):
            reset(request)
            return False
        self._open.add(request)
        return True

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say so where the emulator is wrong; a client that went away is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def reset(connection: socket.socket) -> None:
    """Close it so that the other end reads an error, not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, and sends what is to be answered or as much of it as a fault lets."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait for the head's receipt

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are kept."""

    def _serve(self) -> None:
        site = self.server.site
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        request = Request(self.command, self.path, dict(self.headers.items()), body)
        site.requests.append(request)
        call = Call(request, site.faults)
        answer = site.answer(call)
        if call.strikes("lost"):
            self.close_connection = True
            reset(self.connection)
        elif call.strikes("hang"):
            self.close_connection = True
            self.server.stopping.wait()
        else:
            self._send(call, answer)

    def _send(self, call: Call, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if call.strikes("broken-off"):
            self.close_connection = True
            self.wfile.write(answer.body[: len(answer.body) // 2])
        elif call.strikes("slow"):
            self._trickle(answer.body)
        else:
            self.wfile.write(answer.body)

    def _trickle(self, body: bytes) -> None:
        for at in range(len(body)):
            if self.server.stopping.wait(TRICKLE):
                break
            self.wfile.write(body[at : at + 1])
            self.wfile.flush()
