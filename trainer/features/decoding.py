# SPDX-License-Identifier: Apache-2.0
"""A program that decodes images for its parent, so that a decoder that dies takes nothing along.

It is asked on standard input, one image at a time, and answers on standard output:

    request     REQUEST: length of the path, offset, length, pixels a side, whether the SHA-256 is
                known, the SHA-256; then the path
    answer      ANSWER: kind, length of what follows, a number; then a hash and pixels, or words
    hash        HASH: whether there is a difference hash, the hash, the bits that are unsure; and
                width and height of the picture, upright

Its parent's end is its own: it reads the end of its standard input, or the kernel ends it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import resource
import select
import signal
import struct
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from trainer.data.images import MOST_BYTES, TOO_LARGE, Unreadable
from trainer.data.place import Place, patiently
from trainer.features.preprocess import Decoded, decode, open_picture

REQUEST = struct.Struct("<IqqI?32s")
ANSWER = struct.Struct("<cIQ")
HASH = struct.Struct("<?QQII")

READY = b"H"
MEMORY = b"M"
"""Wants to take so many bytes, and waits for GO."""
PIXELS = b"P"
"""Decoded."""
UNREADABLE = b"U"
"""The words say why."""
UNREAD = b"E"
"""The number is the errno, the words are its text."""
CHANGED = b"C"
"""Its SHA-256 is another."""
FAILED = b"F"
"""A bug; the words are its traceback."""
GO = b"g"

UNASKED = 32 << 20
"""Bytes that an image may take without asking: asking takes time, and most need less."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Sent to whole groups of processes; what comes of them its rank decides."""


def request(place: Place, side: int, digest: bytes | None) -> bytes:
    """Put a request into bytes.

    Args:
        place: The content.
        side: Pixels a side that are wanted, or `HASH_ALONE`.
        digest: The SHA-256 that the content should have; None where it is not known.
    """
    path = os.fsencode(place.path)
    numbers = (len(path), place.offset, place.length, side)
    return REQUEST.pack(*numbers, digest is not None, digest or b"") + path


def write(pipe: int, content: bytes) -> None:
    """Write all of it, at one go as long as there is room: the reader wakes up once."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(pipe, rest) :]


class _Changed(Exception):
    """The content is not the one that was meant."""


class _Server:
    """Answers requests, one by one."""

    def __init__(self, requests: BinaryIO, answers: int, cpu_seconds: float) -> None:
        self._requests = requests
        self._answers = answers
        self._cpu_seconds = cpu_seconds
        self._asked = False

    def serve(self) -> None:
        """Answer until the parent is gone."""
        self._send(READY)
        while len(head := self._requests.read(REQUEST.size)) == REQUEST.size:
            length, offset, size, side, known, digest = REQUEST.unpack(head)
            path = os.fsdecode(self._requests.read(length))
            self._answer(Place(path, offset, size), side, digest if known else None)

    def _answer(self, place: Place, side: int, digest: bytes | None) -> None:
        try:
            with _limited(self._cpu_seconds):
                decoded = self._decode(place, side, digest)
        except Unreadable as error:
            self._say(UNREADABLE, error.reason)
        except _Changed:
            self._send(CHANGED)
        except OSError as error:
            self._say(UNREAD, error.strerror or str(error), error.errno or errno.EIO)
        except MemoryError:
            self._say(UNREAD, os.strerror(errno.ENOMEM), errno.ENOMEM)
        except Exception:
            self._say(FAILED, traceback.format_exc())
        else:
            bits, unsure = decoded.dhash
            dhash = HASH.pack(bits is not None, bits or 0, unsure, *decoded.size)
            self._send(PIXELS, dhash + decoded.pixels.tobytes())

    def _decode(self, place: Place, side: int, digest: bytes | None) -> Decoded:
        self._asked = False
        content = patiently(lambda: self._read(place, side))
        if digest is not None and hashlib.sha256(content).digest() != digest:
            raise _Changed
        picture = open_picture(io.BytesIO(content), side)
        self._ask(len(content) + picture.bytes)
        with _ending_with_the_parent():
            return decode(picture, side)

    def _read(self, place: Place, side: int) -> bytes:
        with place.open() as file:
            size = os.fstat(file.fileno()).st_size if place.length < 0 else place.length
            if size > MOST_BYTES:
                raise Unreadable(TOO_LARGE)
            if size > UNASKED:
                self._ask(size + _decoding_bytes(file, side))
                file.seek(0)
            return file.read()

    def _ask(self, needed: int) -> None:
        """Wait until so much memory may be taken; once an image."""
        if self._asked or needed <= UNASKED:
            return
        self._asked = True
        self._send(MEMORY, number=needed)
        if self._requests.read(len(GO)) != GO:
            sys.exit()

    def _say(self, kind: bytes, words: str, number: int = 0) -> None:
        self._send(kind, words.encode("utf-8", "backslashreplace"), number)

    def _send(self, kind: bytes, rest: bytes = b"", number: int = 0) -> None:
        write(self._answers, ANSWER.pack(kind, len(rest), number) + rest)


def _decoding_bytes(file: BinaryIO, side: int) -> int:
    try:
        return open_picture(file, side).bytes
    except Unreadable:
        return 0  # why is told when the content is known to be the one that was meant


@contextmanager
def _limited(cpu_seconds: float) -> Iterator[None]:
    """Be ended by SIGPROF after so much computing; time that a job is suspended does not count."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextmanager
def _ending_with_the_parent() -> Iterator[None]:
    """Be ended by SIGIO, which the kernel sends when the other end of standard input closes.

    Not by a signal at the parent's death (Linux prctl): that is the death of the thread which
    started us.
    """
    fcntl.fcntl(sys.stdin, fcntl.F_SETFL, os.O_ASYNC)
    try:
        _end_if_alone()
        yield
    finally:
        fcntl.fcntl(sys.stdin, fcntl.F_SETFL, 0)


def _end_if_alone() -> None:
    gone = select.poll()
    gone.register(sys.stdin, 0)  # nothing but the closing of the other end
    if gone.poll(0):
        sys.exit()


def _keep_to_ourselves() -> int:
    """Let nothing but our answers leave this process, and give what they are written to.

    C libraries may print what they think of a file, and the C library how it crashed.
    """
    answers = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    return answers


def main() -> None:
    """Serve the parent; the argument is the seconds of computing that an image may take."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    fcntl.fcntl(sys.stdin, fcntl.F_SETOWN, os.getpid())
    answers = _keep_to_ourselves()
    try:
        _Server(sys.stdin.buffer, answers, float(sys.argv[1])).serve()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone; the interpreter's own end would try to write once more


if __name__ == "__main__":
    main()
