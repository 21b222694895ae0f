# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.images import BadFile, SourceFile
from trainer.errors import DataError
from trainer.features.pipeline import Batch, Budget, Decoder, Work, decoded_batches


def png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(content, "PNG")
    return content.getvalue()


def work_of(folder: Path, contents: list[bytes]) -> Work:
    for number, content in enumerate(contents):
        (folder / f"{number:03}").write_bytes(content)
    return [
        (SourceFile(f"{number:03}", "a", len(content)), hashlib.sha256(content).digest())
        for number, content in enumerate(contents)
    ]


def batches(folder: Path, parts: list[Work], threads: int = 2) -> list[Batch]:
    rest = iter(parts)
    with Decoder(folder, 4, threads) as decoder:
        return list(decoded_batches(lambda: next(rest, None), decoder, 1, lambda _: None))


def test_batches_and_their_images_come_in_order(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(shade) for shade in range(30)])
    found = batches(tmp_path, [work[:12], work[12:24], work[24:]])
    shades = [int(picture[0, 0, 0]) for batch in found for picture in batch.pixels]
    assert shades == list(range(30))
    assert [len(batch.digests) for batch in found] == [12, 12, 6]


def test_what_cannot_be_decoded_or_opened_stands_beside_with_its_reason(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(1), b"no picture", png(2)])
    (tmp_path / "002").unlink()
    (batch,) = batches(tmp_path, [work])
    assert len(batch.digests) == 1
    assert batch.unreadable == [(work[1][1], "is no image: neither JPEG nor PNG")]
    assert batch.unread == [
        BadFile("002", work[2][0].bytes, "cannot be read: No such file or directory")
    ]


def test_file_that_changed_since_it_was_hashed_ends_the_run(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(1)])
    (tmp_path / "000").write_bytes(png(2))
    with pytest.raises(DataError, match="changed while the run was reading it"):
        batches(tmp_path, [work])


def test_next_batch_is_decoded_while_the_caller_computes(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(shade) for shade in range(3)])
    asked = threading.Semaphore(0)
    rest: Iterator[Work] = iter([work[:1], work[1:2], work[2:]])

    def ask() -> Work | None:
        asked.release()
        return next(rest, None)

    with Decoder(tmp_path, 4, 1) as decoder:
        given = decoded_batches(ask, decoder, 1, lambda _: None)
        next(given)
        assert all(asked.acquire(timeout=5) for _ in range(2))  # the second one, unasked for
        given.close()


def test_memory_of_files_being_decoded_stays_within_the_budget() -> None:
    budget, held, most = Budget(100), [0], [0]
    lock = threading.Lock()

    def take(amount: int) -> None:
        with budget.hold(amount):
            with lock:
                held[0] += min(amount, 100)
                most[0] = max(most[0], held[0])
            time.sleep(0.002)
            with lock:
                held[0] -= min(amount, 100)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take, [10, 60, 500, 30, 100, 70] * 8))  # 500 goes alone
    assert most[0] <= 100


def test_threads_share_a_decoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(6):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (900, 1200, 3), np.uint8)).save(content, "JPEG")
        contents.append(content.getvalue())
    work = work_of(tmp_path, contents)
    alone, together = (batches(tmp_path, [work], threads)[0] for threads in (1, 4))
    assert np.array_equal(alone.pixels, together.pixels)
