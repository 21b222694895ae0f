# SPDX-License-Identifier: Apache-2.0
"""Reading and decoding, ahead of the network, in bounded memory whatever the images' sizes."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from trainer.arrays import ByteArray
from trainer.data.difference_hash import DifferenceHash
from trainer.data.images import BadFile, SourceFile
from trainer.data.place import Place
from trainer.errors import DataError
from trainer.features.decoder_process import Changed, DecoderProcess, Ended
from trainer.features.decoding import request
from trainer.features.preprocess import Decoded

MEMORY_A_THREAD = 192 << 20
"""Bytes that files being decoded may take, for each of them; a larger one goes alone."""
CPU_SECONDS = 60.0
"""Of computing, after which an image is given up; more than any takes that is meant to be seen."""
STOP_SECONDS = 0.5
"""Within which a request to stop is seen: the image being waited for may take a minute."""
TRIES = 2
"""For an image whose decoder was killed: by the kernel, short of memory, it may be."""

Locate = Callable[[SourceFile], Place]

Work = Sequence[tuple[SourceFile, bytes]]
"""Files with the SHA-256 that their contents had."""
Outcome = Decoded | str | OSError
"""An image, why a file's content is unreadable, or what kept it from being read now."""


@dataclass
class Batch:
    """Decoded images on their way to the network; what could not be decoded stands beside."""

    digests: list[bytes] = field(default_factory=list)
    pixels: list[ByteArray] = field(default_factory=list)
    hashes: list[DifferenceHash] = field(default_factory=list)
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)
    unread: list[BadFile] = field(default_factory=list)


class Budget:
    """Memory that threads share: who wants more than is left waits; who wants it all goes alone."""

    def __init__(self, total: int) -> None:
        """Start with `total` bytes free."""
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Keep so many bytes, or all there are where that is less."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


class Decoder:
    """From files to a network's input, several at a time; a context.

    Each thread lets a process of its own do the work, started when it is first needed: a file that
    makes the decoder crash or hang costs itself only.
    """

    def __init__(
        self, locate: Locate, side: int, threads: int, cpu_seconds: float = CPU_SECONDS
    ) -> None:
        """Start the threads.

        Args:
            locate: Where a file's content lies.
            side: Pixels a side of the network's input, or `HASH_ALONE`.
            threads: How many files are worked on at a time.
            cpu_seconds: Of computing, after which an image is given up.
        """
        self._locate = locate
        self._side = side
        self._cpu_seconds = cpu_seconds
        self._budget = Budget(threads * MEMORY_A_THREAD)
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, "decode")
        self._lock = threading.Lock()
        self._closing = False
        self._all: set[DecoderProcess] = set()
        self._idle: list[DecoderProcess] = []

    def __enter__(self) -> Decoder:
        """Decode inside."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what has not begun and what is not done."""
        with self._lock:
            self._closing = True
            for process in self._all:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._all:
            process.close()

    def prepare(self) -> None:
        """Let the processes start while the caller does something else.

        One that cannot start is tried again, and told of, where it is needed.
        """
        for _ in range(self._count):
            self._threads.submit(self._start_one)

    def start(self, work: Sequence[tuple[SourceFile, bytes | None]]) -> list[Future[Outcome]]:
        """Begin with some files; they are done in order."""
        return [self._threads.submit(self.decode, file, digest) for file, digest in work]

    def decode(self, file: SourceFile, digest: bytes | None) -> Outcome:
        """Decode one file, here and now.

        Args:
            file: The file.
            digest: The SHA-256 that its content had; None where it is not known.
        Raises:
            DataError: Its content is not what it was when it was hashed.
        """
        place = self._locate(file)
        asked = request(place, self._side, digest)
        for _ in range(TRIES):
            try:
                return self._ask(asked)
            except Changed:
                raise DataError(
                    f"{place.path}: {file.path} changed while the run was reading it.",
                    "Start again when the data is at rest.",
                ) from None
            except Ended as end:
                if reason := end.reason(self._cpu_seconds):
                    return reason
                if self._closing:
                    break
        return OSError(errno.EIO, "its decoder was killed")

    def _ask(self, asked: bytes) -> Outcome:
        process = self._take()
        try:
            outcome = process.ask(asked, self._side, self._budget.hold)
        except Ended:
            with self._lock:
                self._all.discard(process)
            process.close()
            raise
        self._idle.append(process)
        return outcome

    def _take(self) -> DecoderProcess:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._new()

    def _start_one(self) -> None:
        self._idle.append(self._new())

    def _new(self) -> DecoderProcess:
        process = DecoderProcess(self._cpu_seconds)
        with self._lock:
            self._all.add(process)
            if self._closing:
                process.kill()
        return process


def decoded_batches(
    next_work: Callable[[], Work | None],
    decoder: Decoder,
    ahead: int,
    waited: Callable[[float], None],
    stopping: Callable[[], bool],
    got_on: Callable[[], None],
) -> Generator[Batch, None, None]:
    """Batches in order, some of them being decoded while the caller computes.

    Args:
        next_work: The files of the next batch; None at the end. Called on a thread of its own.
        decoder: Decodes them.
        ahead: Batches begun beside the one that is given; at least 1.
        waited: Told the seconds that the caller had to wait for each batch.
        stopping: Whether no more is wanted, not even the batch being decoded.
        got_on: Told when images were decoded.
    """
    with ThreadPoolExecutor(1, "ahead") as taking:
        coming = deque(taking.submit(_begin, next_work, decoder) for _ in range(ahead))
        while True:
            started = time.monotonic()
            begun = coming.popleft().result()
            batch = None if begun is None else _gather(*begun, stopping, got_on)
            waited(time.monotonic() - started)
            if batch is None:
                return
            coming.append(taking.submit(_begin, next_work, decoder))
            yield batch


def _begin(
    next_work: Callable[[], Work | None], decoder: Decoder
) -> tuple[Work, list[Future[Outcome]]] | None:
    work = next_work()
    return None if work is None else (work, decoder.start(work))


def _gather(
    work: Work,
    outcomes: Sequence[Future[Outcome]],
    stopping: Callable[[], bool],
    got_on: Callable[[], None],
) -> Batch | None:
    """Wait for a batch, and sort its files by what came of them."""
    left = len(outcomes)
    while missing := len(wait(outcomes, STOP_SECONDS).not_done):
        if stopping():
            return None
        if missing < left:
            got_on()
        left = missing
    batch = Batch()
    for (file, digest), future in zip(work, outcomes, strict=True):
        outcome = future.result()
        if isinstance(outcome, str):
            batch.unreadable.append((digest, outcome))
        elif isinstance(outcome, OSError):
            reason = f"cannot be read: {outcome.strerror}"
            batch.unread.append(BadFile(file.path, file.bytes, reason))
        else:
            batch.digests.append(digest)
            batch.pixels.append(outcome.pixels)
            batch.hashes.append(outcome.dhash)
    return batch
