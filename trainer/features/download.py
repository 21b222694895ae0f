# SPDX-License-Identifier: Apache-2.0
"""One file from the internet: in bounded time, gone on with where it broke off, checked, whole."""

from __future__ import annotations

import hashlib
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainer.errors import DataError
from trainer.features.part_file import PartFile
from trainer.progress import Progress

TIMEOUT_SECONDS = 10.0
TRIES = 3
"""Connections in a row that bring nothing new before it gives up."""
SLOWEST = 1024
"""Bytes a second, on average over three time-outs."""
LONGEST = 2**30
CHUNK = 2**18

Check = Callable[[Path], str]
"""Says what is wrong with a file, in words that follow its name; empty where nothing is."""


@dataclass(frozen=True)
class Checksum:
    """What a file's hash must be."""

    algorithm: str
    value: str

    def __call__(self, path: Path) -> str:
        """See Check."""
        digest = hashlib.new(self.algorithm, usedforsecurity=False)
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        if digest.hexdigest() == self.value:
            return ""
        return (
            f"is another file than was published ({path.stat().st_size:,} bytes, "
            f"{self.algorithm.upper()} {digest.hexdigest()})"
        )


def download(
    url: str,
    target: Path,
    check: Check,
    progress: Progress,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Get a file, through a proxy where the environment names one.

    What an earlier call left unfinished is gone on with where a checksum can tell that both parts
    belong together.

    Args:
        url: Whence, by http or https.
        target: Where to; written whole or not at all.
        check: Must find nothing wrong with it.
        progress: Told how far it is.
        timeout: Seconds that a connection may stay silent, and that it may take to come about.
    Raises:
        DataError: It cannot be had, or is not what it should be.
        RetrainError: The disk is full, or the folder cannot be written.
    """
    part = PartFile(target, url)
    source = _Source(url, timeout, progress)
    resumable = keep = isinstance(check, Checksum)
    try:
        if not resumable:
            part.cut(0)
        old = part.size
        _fill(source, part)
        if old and check(part.path):  # what was left there may be to blame
            part.cut(0)
            _fill(source, part)
        wrong = check(part.path)
        if wrong:
            keep = False
            raise _unobtainable(url, f"what came {wrong}")
        part.finish()
    finally:
        part.close(keep)


@dataclass
class _Source:
    """Where the bytes come from, and what is known of the whole."""

    url: str
    timeout: float
    progress: Progress
    size: int | None = None
    received: int = 0
    opener: Any = field(default_factory=urllib.request.build_opener)

    def open(self, offset: int) -> HTTPResponse:
        """Ask for the file from an offset on, in bounded time: the look-up of names included."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        request = urllib.request.Request(self.url, headers=headers)
        answers: queue.Queue[Any] = queue.Queue()

        def ask() -> None:
            try:
                answers.put(self.opener.open(request, timeout=self.timeout))
            except BaseException as error:  # raised where it is waited for
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=self.timeout)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, BaseException):
            raise answer
        if not isinstance(answer, HTTPResponse):
            raise ConnectionError("redirected to what is no web address")
        return answer


def _fill(source: _Source, part: PartFile) -> None:
    """Get the whole file, over as many connections as bring something new."""
    failures, best = 0, part.size
    while True:
        try:
            _receive(source, part)
            return
        except (OSError, HTTPException, ValueError) as error:
            failures = 0 if part.size > best else failures + 1
            best = max(best, part.size)
            if _hopeless(error) or not source.received or failures == TRIES:
                raise _unobtainable(source.url, _told(error, source, best)) from None
        time.sleep(source.timeout / 10)


def _hopeless(error: Exception) -> bool:
    """Whether to ask again would bring no more."""
    refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
    return refused or isinstance(error, _TooSlow)


def _receive(source: _Source, part: PartFile) -> None:
    """Append what one connection brings."""
    offset = part.size
    try:
        answer = source.open(offset)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        if error.headers.get("Content-Range") == f"bytes */{offset}":
            return  # all of it was there
        part.cut(0)
        answer = source.open(0)
    with answer:
        source.size = _begin(answer, part)
        _copy(source, answer, part)
    if source.size is not None and part.size < source.size:
        raise ConnectionError("the connection ended early")


def _begin(answer: HTTPResponse, part: PartFile) -> int | None:
    """Go back to where the answer begins.

    Returns:
        Bytes of the whole file, where they are told.
    """
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status == 206 and told and int(told[1]) <= part.size:
        part.cut(int(told[1]))
        return None if told[2] == "*" else int(told[2])
    part.cut(0)
    if answer.status != 200:
        raise ConnectionError(f"the server answered {answer.status}, which makes no sense here")
    return answer.length


def _copy(source: _Source, answer: HTTPResponse, part: PartFile) -> None:
    start = part.size
    total = (source.size or start) - start
    pace = _Pace(3 * source.timeout)
    with source.progress.track("Weights, MB", round(total / 1e6)) as track:
        done = 0
        while chunk := answer.read1(CHUNK):
            part.append(chunk)
            source.received += len(chunk)
            done += len(chunk)
            if start + done > LONGEST:
                raise _unobtainable(source.url, f"it goes on after {LONGEST:,} bytes")
            pace.reach(done)
            if total:
                track.reach(round(done / 1e6))


class _TooSlow(OSError):
    """A connection that brings next to nothing, and would again."""


class _Pace:
    """Ends a connection that only drips."""

    def __init__(self, seconds: float) -> None:
        """Judge so many seconds at a time."""
        self._seconds = seconds
        self._since, self._before = time.monotonic(), 0

    def reach(self, done: int) -> None:
        """Tell how many bytes have come.

        Raises:
            _TooSlow: Too few for too long.
        """
        waited = time.monotonic() - self._since
        if waited < self._seconds:
            return
        if done - self._before < SLOWEST * waited:
            raise _TooSlow(f"fewer than {SLOWEST:,} bytes a second")
        self._since, self._before = time.monotonic(), done


def _told(error: Exception, source: _Source, reached: int) -> str:
    """What happened, in plain words."""
    whole = f" of {source.size:,}" if source.size else ""
    after = f", after {reached:,}{whole} bytes" if reached else ""
    return f"{_cause(error, source.timeout)}{_proxy(source.url)}{after}"


def _cause(error: Exception, timeout: float) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {str(reason).partition(chr(10))[0]}"
    if isinstance(error, TimeoutError) or isinstance(reason, TimeoutError):
        return f"no answer for {timeout:g} s"
    if isinstance(error, HTTPException) and not isinstance(error, OSError):
        return "the connection ended early, or speaks no HTTP"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _proxy(url: str) -> str:
    """Which proxy was in between, without the name and password that it may want."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    return f" (through the proxy {proxy.rpartition('@')[2]})" if proxy else ""


def _unobtainable(url: str, what: str) -> DataError:
    name = url.rpartition("/")[2]
    return DataError(f"{url}: {what}.", f"Download {name} by other means and put it there.")
