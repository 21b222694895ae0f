# SPDX-License-Identifier: Apache-2.0
"""Decoding ahead of the network, by processes that hostile files may crash, hang or get killed."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from trainer.data.decode import upright_rgb
from trainer.data.difference_hash import difference_hash
from trainer.data.images import BadFile, SourceFile
from trainer.data.place import Place
from trainer.errors import DataError, RetrainError
from trainer.features import decoder_process
from trainer.features.pipeline import Batch, Budget, Decoder, Locate, Work, decoded_batches
from trainer.features.preprocess import HASH_ALONE, Decoded

NO_MATTER: tuple[Callable[[float], None], Callable[[], bool], Callable[[], None]] = (
    lambda _: None,
    lambda: False,
    lambda: None,
)
"""How long it took, whether to stop, and that it got on."""
SECONDS = 20.0
"""To wait for what should come at once."""


def png(shade: int) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (shade, shade, shade)), "PNG")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def slow_jpeg() -> bytes:
    """A small file that takes minutes to decode: one scan of its coefficients after the other."""
    content = encoded(Image.new("L", (3000, 3000)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 20_000 + content[-2:]


def work_of(folder: Path, contents: list[bytes]) -> Work:
    for number, content in enumerate(contents):
        (folder / f"{number:03}").write_bytes(content)
    return [
        (SourceFile(f"{number:03}", "a", len(content)), hashlib.sha256(content).digest())
        for number, content in enumerate(contents)
    ]


def within(folder: Path) -> Locate:
    return lambda file: Place(os.path.join(folder, file.path))


def batches(folder: Path, parts: list[Work], threads: int = 2) -> list[Batch]:
    rest = iter(parts)
    with Decoder(within(folder), 4, threads) as decoder:
        return list(decoded_batches(lambda: next(rest, None), decoder, 1, *NO_MATTER))


def shade(outcome: object) -> int:
    """Of an image that was decoded."""
    assert isinstance(outcome, Decoded), outcome
    return int(outcome.pixels[0, 0, 0])


# Batches


def test_batches_and_their_images_come_in_order(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(shade) for shade in range(30)])
    found = batches(tmp_path, [work[:12], work[12:24], work[24:]])
    shades = [int(picture[0, 0, 0]) for batch in found for picture in batch.pixels]
    assert shades == list(range(30))
    assert [len(batch.digests) for batch in found] == [12, 12, 6]


def test_image_comes_with_its_hash_and_a_flat_one_with_none(tmp_path: Path) -> None:
    gradient = Image.linear_gradient("L").rotate(90)
    work = work_of(tmp_path, [png(9), encoded(gradient, "PNG")])
    (batch,) = batches(tmp_path, [work])
    assert batch.hashes == [(None, 0), difference_hash(gradient.convert("RGB"))]


def test_large_jpeg_comes_with_an_estimate_and_when_asked_for_its_hash_alone_with_the_exact_one(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1203, 1600, 3), np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(30))
    content = encoded(ImageOps.autocontrast(image), "JPEG")
    ((file, digest),) = work_of(tmp_path, [content])
    with Decoder(within(tmp_path), 224, 1) as decoder:
        usual = decoder.decode(file, digest)
    with Decoder(within(tmp_path), HASH_ALONE, 1) as decoder:
        alone = decoder.decode(file, digest)
    assert isinstance(usual, Decoded)
    assert isinstance(alone, Decoded)
    assert usual.dhash.unsure
    assert usual.pixels.shape == (224, 224, 3)
    assert alone.dhash == difference_hash(upright_rgb(content))
    assert alone.pixels.size == 0


def test_what_cannot_be_decoded_or_opened_stands_beside_with_its_reason(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(1), b"no picture", png(2), png(3)])
    (tmp_path / "002").unlink()
    (tmp_path / "003").unlink()
    os.mkfifo(tmp_path / "003")
    (batch,) = batches(tmp_path, [work])
    assert len(batch.digests) == len(batch.pixels) == len(batch.hashes) == 1
    assert [(digest, reason[:11]) for digest, reason in batch.unreadable] == [
        (work[1][1], "is no image")
    ]
    gone, pipe = batch.unread
    told = "cannot be read: No such file or directory"
    assert gone == BadFile("002", work[2][0].bytes, told)
    assert pipe.reason.endswith("is no regular file any more")


def test_file_that_cannot_be_read_for_the_moment_is_tried_again(tmp_path: Path) -> None:
    place = Place("/proc/self/mem", 0, 10)  # reading there is an I/O error (Linux)
    with Decoder(lambda _: place, 4, 1) as decoder:
        error = decoder.decode(SourceFile("a/1.jpg", "a"), None)
    assert isinstance(error, OSError)
    assert error.strerror == "Input/output error (tried 4 times)"


def test_file_that_changed_since_it_was_hashed_ends_the_run(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(1)])
    (tmp_path / "000").write_bytes(b"no picture, and no reason to say that its content is bad")
    with pytest.raises(DataError, match="000 changed while the run was reading it"):
        batches(tmp_path, [work])


def test_next_batch_is_decoded_while_the_caller_computes(tmp_path: Path) -> None:
    work = work_of(tmp_path, [png(shade) for shade in range(3)])
    asked = threading.Semaphore(0)
    rest: Iterator[Work] = iter([work[:1], work[1:2], work[2:]])

    def ask() -> Work | None:
        asked.release()
        return next(rest, None)

    with Decoder(within(tmp_path), 4, 1) as decoder:
        given = decoded_batches(ask, decoder, 1, *NO_MATTER)
        next(given)
        assert all(asked.acquire(timeout=5) for _ in range(2))  # the second one, unasked for
        given.close()


def test_threads_share_a_decoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(6):
        image = Image.fromarray(rng.integers(0, 256, (900, 1200, 3), np.uint8))
        contents.append(encoded(image, "JPEG"))
    work = work_of(tmp_path, contents)
    alone, together = (batches(tmp_path, [work], threads)[0] for threads in (1, 4))
    assert np.array_equal(alone.pixels, together.pixels)


# Places


def test_part_of_an_archive_and_a_name_that_is_not_utf8_are_read(tmp_path: Path) -> None:
    content = png(77)
    path = os.path.join(tmp_path, "caf\udce9\n.tar")
    with open(path, "wb") as file:
        file.write(bytes(1000) + content + b"another one")
    with Decoder(lambda _: Place(path, 1000, len(content)), 4, 1) as decoder:
        digest = hashlib.sha256(content).digest()
        assert shade(decoder.decode(SourceFile("a/77.png", "a"), digest)) == 77


def test_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_bytes(png(5))
    monkeypatch.chdir(tmp_path)
    with Decoder(lambda file: Place(file.path), 4, 1) as decoder:
        assert shade(decoder.decode(SourceFile("one", "a"), None)) == 5


# Memory


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


def test_image_that_takes_much_memory_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    @contextmanager
    def hold(budget: Budget, amount: int) -> Iterator[None]:
        held.append(amount)
        yield

    monkeypatch.setattr(Budget, "hold", hold)
    large = encoded(Image.new("RGB", (2000, 1500)), "PNG")
    padded = large + bytes(40 << 20)  # so long a file that it asks before it is read
    work = work_of(tmp_path, [png(1), large, padded])
    batches(tmp_path, [work], threads=1)
    assert held == [16 * 2000 * 1500 + len(large), 16 * 2000 * 1500 + len(padded)]


def test_file_of_over_a_gibibyte_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(png(1))
    os.truncate(tmp_path / "large", (1 << 30) + 1)
    with Decoder(within(tmp_path), 4, 1) as decoder:
        assert decoder.decode(SourceFile("large", "a"), None) == "is over 1 GiB"


# Crashes and hangs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a file that takes for ever, and one that does not."""
    path = tmp_path_factory.mktemp("slow")
    (path / "slow").write_bytes(slow_jpeg())
    (path / "good").write_bytes(png(42))
    return path


SLOW, GOOD = (SourceFile(name, "a") for name in ("slow", "good"))


def children(of: int) -> set[int]:
    """Processes that this one started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it is gone
        if int(words[1]) == of and words[0] != "Z":
            found.add(int(path.parent.name))
    return found


def decoding(process: int) -> bool:
    """Whether a decoding process is in the middle of an image."""
    try:
        text = Path(f"/proc/{process}/fdinfo/0").read_text()
    except OSError:
        return False
    return bool(int(text.split("flags:")[1].split()[0], 8) & os.O_ASYNC)


def until(reached: Callable[[], object]) -> object:
    deadline = time.monotonic() + SECONDS
    while not (found := reached()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def busy(of: int, but: Sequence[int] = ()) -> int:
    """Wait for a process of ours to be in the middle of an image."""

    def look() -> int:
        return next((one for one in children(of) if one not in but and decoding(one)), 0)

    found = until(look)
    assert isinstance(found, int)
    return found


def test_image_that_takes_too_long_costs_itself_only(folder: Path) -> None:
    with Decoder(within(folder), 4, 1, cpu_seconds=0.5) as decoder:
        slow, good = decoder.start([(SLOW, None), (GOOD, None)])
        assert slow.result(SECONDS) == "takes more than 0.5 s of computing to decode"
        assert shade(good.result(SECONDS)) == 42


def test_image_that_crashes_its_decoder_costs_itself_only(folder: Path) -> None:
    with Decoder(within(folder), 4, 1) as decoder:
        slow, good = decoder.start([(SLOW, None), (GOOD, None)])
        os.kill(busy(os.getpid()), signal.SIGSEGV)
        assert slow.result(SECONDS) == "makes the decoder crash (SIGSEGV)"
        assert shade(good.result(SECONDS)) == 42


def test_image_whose_decoder_is_killed_is_tried_once_more(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "slow").write_bytes((folder / "slow").read_bytes())
    with Decoder(within(tmp_path), 4, 1) as decoder:
        (outcome,) = decoder.start([(SLOW, None)])
        process = busy(os.getpid())
        (tmp_path / "slow").write_bytes(png(42))
        os.kill(process, signal.SIGKILL)
        assert shade(outcome.result(SECONDS)) == 42


def test_image_whose_decoder_is_killed_twice_is_no_bad_content(folder: Path) -> None:
    with Decoder(within(folder), 4, 1) as decoder:
        (outcome,) = decoder.start([(SLOW, None)])
        first = busy(os.getpid())
        os.kill(first, signal.SIGKILL)
        os.kill(busy(os.getpid(), but=[first]), signal.SIGKILL)
        error = outcome.result(SECONDS)
        assert isinstance(error, OSError)
        assert error.strerror == "its decoder was killed"


def test_signals_for_the_whole_job_leave_decoders_alone(folder: Path) -> None:
    before = children(os.getpid())
    with Decoder(within(folder), 4, 1) as decoder:
        decoder.decode(GOOD, None)
        (process,) = children(os.getpid()) - before
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            os.kill(process, number)
        assert shade(decoder.decode(GOOD, None)) == 42
        assert children(os.getpid()) - before == {process}


def test_processes_that_were_prepared_are_the_ones_that_decode(folder: Path) -> None:
    before = children(os.getpid())
    with Decoder(within(folder), 4, 2) as decoder:
        decoder.prepare()
        ended = time.monotonic() + 30
        while len(prepared := children(os.getpid()) - before) < 2 and time.monotonic() < ended:
            time.sleep(0.01)
        for started in decoder.start([(GOOD, None)] * 4):
            assert shade(started.result()) == 42
        assert children(os.getpid()) - before == prepared
    assert len(prepared) == 2


def test_what_is_not_done_is_dropped_at_the_end(folder: Path) -> None:
    with Decoder(within(folder), 4, 2) as decoder:
        decoder.start([(SLOW, None)] * 9)
        process = busy(os.getpid())
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert process not in children(os.getpid())


def test_stop_does_not_wait_for_an_image_that_takes_long(folder: Path) -> None:
    before = children(os.getpid())
    work = [(SLOW, hashlib.sha256((folder / "slow").read_bytes()).digest())]
    rest = iter([work])
    with Decoder(within(folder), 4, 1) as decoder:
        started = time.monotonic()
        took, _, got_on = NO_MATTER
        given = decoded_batches(lambda: next(rest, None), decoder, 1, took, lambda: True, got_on)
        assert list(given) == []
    assert time.monotonic() - started < 5
    assert children(os.getpid()) <= before


def test_nothing_is_left_of_a_rank_that_is_killed(folder: Path) -> None:
    program = (
        "import sys\n"
        "from trainer.data.images import SourceFile\n"
        "from trainer.data.place import Place\n"
        "from trainer.features.pipeline import Decoder\n"
        "with Decoder(lambda file: Place(file.path), 4, 1) as decoder:\n"
        "    decoder.decode(SourceFile(sys.argv[1], 'a'), None)\n"
    )
    rank = subprocess.Popen([sys.executable, "-c", program, folder / "slow"])
    process = busy(rank.pid)
    rank.kill()
    rank.wait()
    until(lambda: not Path(f"/proc/{process}").exists() or state(process) == "Z")


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_decoder_that_cannot_start_ends_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decoder_process, "PROGRAM", "trainer.features.nowhere")
    with (
        Decoder(within(folder), 4, 1) as decoder,
        pytest.raises(RetrainError, match="ended with exit code 1 before it was ready"),
    ):
        decoder.decode(GOOD, None)
    assert "nowhere" in capfd.readouterr().err


def test_bug_in_a_decoder_is_told_with_its_traceback(folder: Path) -> None:
    with (
        Decoder(within(folder), 1 << 31, 1) as decoder,  # Pillow knows no such side
        pytest.raises(RuntimeError, match="Traceback"),
    ):
        decoder.decode(GOOD, None)


def test_decoders_load_nothing_that_they_do_not_need() -> None:
    program = "import sys, trainer.features.decoding; print(*sys.modules)"
    words = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    assert not {"tensorflow", "mpi4py", "horovod", "pydantic", "jinja2", "h5py"} & set(words)
