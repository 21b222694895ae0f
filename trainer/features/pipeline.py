# SPDX-License-Identifier: Apache-2.0
"""Reading and decoding, ahead of the network, in bounded memory whatever the images' sizes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trainer.arrays import ByteArray
from trainer.data.decode import decoding_bytes
from trainer.data.images import BadFile, SourceFile, Unreadable
from trainer.errors import DataError
from trainer.features.preprocess import DRAFT, pixels

MEMORY_A_THREAD = 192 << 20
"""Bytes that files being decoded may take, for each decoding thread; a larger one goes alone."""

Work = Sequence[tuple[SourceFile, bytes]]
"""Files with the SHA-256 that their contents had."""
Outcome = ByteArray | str | OSError
"""A file's pixels, why its content is unreadable, or what kept it from being read now."""


@dataclass
class Batch:
    """Decoded images on their way to the network; what could not be decoded stands beside."""

    digests: list[bytes] = field(default_factory=list)
    pixels: list[ByteArray] = field(default_factory=list)
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
    """From files to a network's input, on some threads; a context."""

    def __init__(self, root: Path, side: int, threads: int) -> None:
        """Start the threads.

        Args:
            root: What the files' paths are relative to.
            side: Pixels a side of the network's input.
            threads: How many files are worked on at a time.
        """
        self._root = root
        self._side = side
        self._budget = Budget(threads * MEMORY_A_THREAD)
        self._threads = ThreadPoolExecutor(threads, "decode")

    def __enter__(self) -> Decoder:
        """Decode inside."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what has not begun and wait for the rest."""
        self._threads.shutdown(cancel_futures=True)

    def start(self, work: Work) -> list[Future[Outcome]]:
        """Begin with some files; they are done in order."""
        return [self._threads.submit(self.decode, file, digest) for file, digest in work]

    def decode(self, file: SourceFile, digest: bytes) -> Outcome:
        """Decode one file, here and now.

        Raises:
            DataError: Its content is not what it was when it was hashed.
        """
        path = self._root / file.path
        try:
            with open(path, "rb") as opened:
                needed = file.bytes + decoding_bytes(opened, DRAFT * self._side)
                with self._budget.hold(needed):
                    opened.seek(0)
                    return self._pixels(path, opened.read(), digest)
        except OSError as error:
            return error

    def _pixels(self, path: Path, content: bytes, digest: bytes) -> ByteArray | str:
        if hashlib.sha256(content).digest() != digest:
            raise DataError(
                f"{path}: changed while the run was reading it.",
                "Start again when the folder is at rest.",
            )
        try:
            return pixels(content, self._side)
        except Unreadable as error:
            return error.reason


def decoded_batches(
    next_work: Callable[[], Work | None],
    decoder: Decoder,
    ahead: int,
    waited: Callable[[float], None],
) -> Generator[Batch, None, None]:
    """Batches in order, some of them being decoded while the caller computes.

    Args:
        next_work: The files of the next batch; None at the end. Called on a thread of its own.
        decoder: Decodes them.
        ahead: Batches begun beside the one that is given; at least 1.
        waited: Told the seconds that the caller had to wait for each batch.
    """
    with ThreadPoolExecutor(1, "ahead") as taking:
        coming = deque(taking.submit(_begin, next_work, decoder) for _ in range(ahead))
        while True:
            started = time.monotonic()
            begun = coming.popleft().result()
            batch = None if begun is None else _gather(*begun)
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


def _gather(work: Work, outcomes: Sequence[Future[Outcome]]) -> Batch:
    """Wait for a batch, and sort its files by what came of them."""
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
            batch.pixels.append(outcome)
    return batch
