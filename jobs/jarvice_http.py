# SPDX-License-Identifier: Apache-2.0
"""One request to the JARVICE API, and what came of it.

What httpx raises holds its request, and so user and key: it ends where it is met, and goes on as a
`Silence`. Credentials are put into a request's body there and nowhere above, so that no traceback
that leaves this module has them in a frame.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from jobs.errors import UsageError
from jobs.jarvice_account import Account

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""What is raised before the request itself is on its way."""
_SENDING = "send_request_headers.started"


@dataclass(frozen=True)
class Limits:
    """What a call may take: seconds, and bytes of an answer."""

    connect: float = 10.0
    read: float = 60.0
    """Without a byte."""
    whole: float = 120.0
    """For one request, however slowly its answer trickles in."""
    pause: float = 1.0
    """Before the second try; it doubles from try to try."""
    longest_pause: float = 60.0
    """Also where the server asks for a longer one."""
    patience: float = 90.0
    """After which nothing is tried again."""
    look_up: float = 30.0
    """In which a job that was recorded appears in the lists."""
    size: int = 64 << 20


USUAL = Limits()


@dataclass(frozen=True)
class Answer:
    """What a server answered, whoever it was."""

    code: int
    text: str = field(repr=False)
    is_page: bool = False
    """Whether it is HTML, which the API never sends."""
    location: str = ""
    """Where a redirect points, without what stands behind a question mark."""
    wait: float | None = None
    """Seconds that the server asks to wait before another try."""

    @property
    def is_good(self) -> bool:
        """Whether it may be what was asked for."""
        return 200 <= self.code < 300 and not self.is_page


@dataclass(frozen=True)
class Silence:
    """No answer."""

    why: str
    """As the end of a sentence."""
    was_sent: bool = True
    """Whether the request may have arrived."""
    may_pass: bool = True
    """Whether another try may fare better."""


Outcome = Answer | Silence


class Wire:
    """The way to the API; only what was sent there and came back."""

    def __init__(self, account: Account, limits: Limits) -> None:
        """Make ready; nothing is sent yet.

        Raises:
            UsageError: The environment's certificates or proxies cannot be used.
        """
        self._account, self._limits = account, limits
        self._client = _client(account, limits)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def post(self, endpoint: str, fields: Mapping[str, object], as_json: bool = False) -> Outcome:
        """Send user, key and these fields, once.

        Everything goes by POST: what stands in a URL stands in the logs on the way.

        Args:
            endpoint: Its name, such as `status`.
            fields: The form's, or the keys of the JSON.
            as_json: Whether they go as JSON, with the credentials as `user`.
        """
        # A thread, for it alone can be left behind: httpx has a limit for each byte, none for all.
        deadline = time.monotonic() + self._limits.whole
        came: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: came.append(self._send(endpoint, fields, as_json, deadline)),
            daemon=True,
        )
        thread.start()
        thread.join(self._limits.whole)
        return came[0] if came else self._too_slow()

    def _send(
        self, endpoint: str, fields: Mapping[str, object], as_json: bool, deadline: float
    ) -> Outcome:
        def gate(event: str, _: object) -> None:
            # Left behind: what is sent now would arrive after it was looked for.
            if event.endswith(_SENDING) and time.monotonic() >= deadline:
                raise TimeoutError

        try:
            with self._client.stream(
                "POST",
                self._account.address(endpoint),
                extensions={"trace": gate},
                **self._body(fields, as_json),
            ) as response:
                return self._received(response, deadline)
        except Exception as error:  # of any kind: in this thread there is none above to tell it
            return _silence(error, self._limits)

    def _body(self, fields: Mapping[str, object], as_json: bool) -> dict[str, Any]:
        who = {"username": self._account.user.reveal(), "apikey": self._account.key.reveal()}
        return {"json": {**fields, "user": who}} if as_json else {"data": {**fields, **who}}

    def _received(self, response: httpx.Response, deadline: float) -> Outcome:
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > self._limits.size:
                size = f"{self._limits.size >> 20} MiB"
                return Silence(f"the answer is larger than {size}", may_pass=False)
            if time.monotonic() >= deadline:
                return self._too_slow()
        text = self._account.without_key(content.decode("utf-8", "replace"))
        headers = response.headers
        return Answer(
            response.status_code,
            text,
            _is_page(headers.get("content-type", ""), text),
            headers.get("location", "").split("?")[0],
            _seconds(headers.get("retry-after", "")),
        )

    def _too_slow(self) -> Silence:
        return Silence(f"no whole answer within {self._limits.whole:g} s")


def _client(account: Account, limits: Limits) -> httpx.Client:
    """Certificates are verified; those of SSL_CERT_FILE and the proxies of the environment serve.

    What goes to this machine without TLS goes there straight: a proxy could read it.
    """
    try:
        return httpx.Client(
            timeout=httpx.Timeout(limits.read, connect=limits.connect),
            follow_redirects=False,
            trust_env=account.url.lower().startswith("https:"),
            headers={"User-Agent": "retrain", "Accept": "application/json, text/plain"},
        )
    except (OSError, ValueError, ImportError, httpx.InvalidURL):
        pass  # said below: a proxy's URL may hold a password, and these quote it
    raise UsageError(
        "JARVICE cannot be asked: SSL_CERT_FILE, SSL_CERT_DIR or a proxy cannot be used as set.",
        "Look at these, HTTPS_PROXY, HTTP_PROXY and ALL_PROXY in the environment.",
    )


def _silence(error: Exception, limits: Limits) -> Silence:
    causes = list(_causes(error))
    was_sent = not isinstance(error, _NOT_SENT)
    for cause in causes:
        broke_off = isinstance(cause, ssl.SSLEOFError)
        if isinstance(cause, ssl.SSLError) and not was_sent and not broke_off:
            why = getattr(cause, "verify_message", "") or cause.reason or "no TLS there"
            return Silence(f"no protected connection: {why}", was_sent, may_pass=False)
        if isinstance(cause, socket.gaierror):
            return Silence("the name of the host cannot be resolved", was_sent)
    return Silence(_why(error, causes, limits), was_sent)


def _why(error: Exception, causes: list[BaseException], limits: Limits) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {limits.connect:g} s"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy of the environment refused: {error}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer for {limits.read:g} s"
    told = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    if isinstance(error, httpx.ConnectError):
        return f"no connection: {told[-1] if told else 'it failed'}"
    if isinstance(error, httpx.TransportError):
        return "the connection broke off"
    return f"the answer cannot be read ({type(error).__name__})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _is_page(kind: str, text: str) -> bool:
    begins = text[:200].lstrip().lower().startswith(("<!doctype html", "<html"))
    return "text/html" in kind.lower() or (begins and "text/plain" not in kind.lower())


def _seconds(text: str) -> float | None:
    """Of a Retry-After: a number of seconds, or a date."""
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


def read_json(text: str) -> object:
    """What a text holds; None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
