# SPDX-License-Identifier: Apache-2.0
"""What is listed as a file of the source, and how its content becomes an upright RGB image."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from trainer.arrays import ByteArray
from trainer.data.decode import upright_rgb
from trainer.data.images import (
    Listing,
    Unreadable,
    list_source,
    require_enough,
)
from trainer.data.index import digest
from trainer.errors import DATA, DataError, UsageError


def fill(root: Path, *names: str) -> Path:
    """Files of five bytes at these paths."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"bytes")
    return root


def listing(root: Path, *exclude: str) -> Listing:
    return list_source(root, exclude, "data.images")


def paths(root: Path) -> list[str]:
    return [file.path for file in listing(root).files]


def bad(root: Path) -> dict[str, str]:
    return {file.path: file.reason for file in listing(root).bad}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> ByteArray:
    image = upright_rgb(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(content: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        upright_rgb(content)
    return caught.value.reason


def bare_png(width: int, height: int) -> bytes:
    """A PNG that promises pixels and breaks off."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT"


@pytest.fixture
def photo() -> Image.Image:
    """Noise that no two turns of have in common."""
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(values)


# Listing


def test_files_are_listed_in_path_order_with_label_and_bytes(tmp_path: Path) -> None:
    fill(tmp_path, "b/1.jpg", "a/x/deep.jpg", "a/x-1.jpg", "a/y.jpg", "a-b/1.jpg")
    found = listing(tmp_path)
    assert found.classes == ["a", "a-b", "b"]
    assert [(f.path, f.label, f.bytes) for f in found.files] == [
        ("a-b/1.jpg", "a-b", 5),
        ("a/x-1.jpg", "a", 5),
        ("a/x/deep.jpg", "a", 5),
        ("a/y.jpg", "a", 5),
        ("b/1.jpg", "b", 5),
    ]


def test_bad_files_are_listed_in_path_order(tmp_path: Path) -> None:
    for name in ("b/1", "a/y", "a/x/deep", "a-b/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to("nowhere")
    assert list(bad(tmp_path)) == ["a-b/1", "a/x/deep", "a/y", "b/1"]


@pytest.mark.parametrize(
    "name", [".hidden", ".hidden/1.jpg", "Thumbs.db", "desktop.ini", "__MACOSX/1.jpg"]
)
def test_what_systems_leave_behind_is_passed_over_at_every_level(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a/1.jpg", name, f"a/{name}", f"a/deep/{name}")
    found = listing(tmp_path)
    assert (found.classes, found.outside, found.bad) == (["a"], 0, [])
    assert [file.path for file in found.files] == ["a/1.jpg"]


def test_files_beside_the_class_folders_are_counted_and_not_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "readme.txt", "2.jpg")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "source").symlink_to(tmp_path)
    assert (listing(tmp_path).outside, paths(tmp_path)) == (5, ["a/1.jpg"])


def test_empty_class_folder_is_no_class_but_is_remembered(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/.hidden")
    found = listing(tmp_path)
    assert (found.classes, found.empty) == (["a"], ["b"])


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "1.jpg", "deep/2.jpg")
    root = fill(tmp_path / "root", "a/0.jpg")
    (root / "a" / "file.jpg").symlink_to(store / "1.jpg")
    (root / "a" / "folder").symlink_to(store)
    (root / "b").symlink_to(store)
    assert paths(root) == [
        "a/0.jpg",
        "a/file.jpg",
        "a/folder/1.jpg",
        "a/folder/deep/2.jpg",
        "b/1.jpg",
        "b/deep/2.jpg",
    ]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere", "not there"),
        ("link", "back to itself"),
        ("..", "listed already"),
        (".", "listed already"),
        ("../..", "listed already"),
    ],
)
def test_dangling_and_looping_links_are_bad(tmp_path: Path, target: str, told: str) -> None:
    fill(tmp_path, "a/deep/1.jpg")
    (tmp_path / "a" / "deep" / "link").symlink_to(target)
    assert told in bad(tmp_path)["a/deep/link"]
    assert paths(tmp_path) == ["a/deep/1.jpg"]


def test_second_link_to_one_folder_is_bad(tmp_path: Path) -> None:
    store = fill(tmp_path / "store", "1.jpg")
    root = fill(tmp_path / "root", "a/0.jpg")
    for name in ("later", "first"):
        (root / "a" / name).symlink_to(store)
    assert paths(root) == ["a/0.jpg", "a/first/1.jpg"]
    assert list(bad(root)) == ["a/later"]


def test_folders_that_all_link_to_each_other_are_listed_in_no_time(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        fill(tmp_path, f"a/{name}/1.jpg")
        for other in names:
            (tmp_path / "a" / name / f"to-{other}").symlink_to(f"../{other}")
    assert len(paths(tmp_path)) <= 2 * len(names)


def test_named_pipe_is_bad(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert "pipe" in bad(tmp_path)["a/pipe"]


def test_class_of_bad_files_alone_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").symlink_to("nowhere")
    assert listing(tmp_path).classes == ["a"]


def test_name_that_is_not_utf8_leads_back_to_its_file(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    with open(os.fsencode(tmp_path) + b"/a/\xe9t\xe9.jpg", "wb"):
        pass
    [name] = [path for path in paths(tmp_path) if path != "a/1.jpg"]
    assert os.fsencode(name) == b"a/\xe9t\xe9.jpg"
    assert (tmp_path / name).exists()


def test_excluded_class_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/1.jpg")
    assert listing(tmp_path, "b").classes == ["a"]


def test_excluded_class_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    fill(tmp_path, "gravel/1.jpg", "thatch/1.jpg")
    with pytest.raises(UsageError, match=r"data\.exclude: gravle") as caught:
        listing(tmp_path, "gravle")
    assert caught.value.todo == "Did you mean gravel?"


@pytest.mark.parametrize(
    ("name", "told"),
    [("missing", "no such folder"), ("file", "no folder"), ("n" * 300, "cannot be read")],
)
def test_source_that_cannot_be_listed_is_a_data_error(tmp_path: Path, name: str, told: str) -> None:
    fill(tmp_path, "file")
    with pytest.raises(DataError, match=f"^data.images {tmp_path}.*{told}") as caught:
        listing(tmp_path / name)
    assert caught.value.exit_code == DATA


def test_folder_that_cannot_be_opened_ends_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/locked/1.jpg")
    scandir: Callable[[Path], Iterator[os.DirEntry[str]]] = os.scandir

    def guarded(folder: Path) -> Iterator[os.DirEntry[str]]:
        if folder.name == "locked":  # root, who may run this, opens any real folder
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match="a/locked: cannot be read: Permission denied"):
        listing(tmp_path)


# What the listing alone shows


def refusal(root: Path, *exclude: str) -> DataError:
    with pytest.raises(DataError) as caught:
        require_enough(listing(root, *exclude), root, "data.images")
    return caught.value


def test_two_classes_of_three_files_are_enough(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{label}/{number}" for label in "ab" for number in range(3)))
    require_enough(listing(tmp_path), tmp_path, "data.images")


def test_all_classes_with_too_few_files_are_told_with_their_counts(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{label}/{number}" for label in "ab" for number in range(3)))
    fill(tmp_path, "few/1", "few/2", "none/.hidden")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "1").symlink_to("nowhere")
    error = refusal(tmp_path)
    assert "too few files in 3 of 5 classes" in error.message
    assert "few (2), links (0 usable, 1 not), none (0); each needs 3" in error.message
    assert "links/1 is a link to something that is not there" in error.todo


def test_one_class_alone_is_refused_with_its_count(tmp_path: Path) -> None:
    fill(tmp_path, "a/1", "a/2", "a/3", "b/1")
    assert "one class only, a (3)" in refusal(tmp_path, "b").message


def test_empty_source_is_refused(tmp_path: Path) -> None:
    assert "no class folders; two" in refusal(tmp_path).message


def test_images_without_class_folders_are_told_how_to_be_sorted(tmp_path: Path) -> None:
    error = refusal(fill(tmp_path, "1.jpg", "2.jpg"))
    assert "no class folders, only files (2)" in error.message
    assert "one folder a class" in error.todo
    assert str(tmp_path.parent) in error.todo


# Content


def test_digest_is_the_sha256_of_all_pieces(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "file").write_bytes(content)
    assert digest(tmp_path / "file") == hashlib.sha256(content).digest()


def test_digest_lets_an_unreadable_file_be_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "missing")


UPRIGHT: dict[int, Callable[[ByteArray], ByteArray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
"""By the EXIF standard: where the stored row 0 and column 0 belong in the picture."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_image_is_turned_as_its_exif_says(photo: Image.Image, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = pixels(encoded(photo, kind))
    assert np.array_equal(pixels(encoded(photo, kind, exif=exif)), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", [0, 9, 6000])
def test_orientation_without_meaning_leaves_the_image_as_it_is(
    photo: Image.Image, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(encoded(photo, "PNG", exif=exif)), np.asarray(photo))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage!", b"Exif\0\0MM\0*\0\0\xff\xff"])
def test_broken_exif_does_not_cost_the_image(photo: Image.Image, exif: bytes) -> None:
    assert np.array_equal(pixels(encoded(photo, "PNG", exif=exif)), np.asarray(photo))


def test_grey_becomes_equal_channels(photo: Image.Image) -> None:
    for kind in ("JPEG", "PNG"):
        values = pixels(encoded(photo.convert("L"), kind))
        assert np.array_equal(values, np.repeat(values[..., :1], 3, axis=2))


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    assert pixels(encoded(Image.fromarray(values), "PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (10, 10, 10, 255))
    image.putpixel((1, 0), (10, 10, 10, 0))
    content = encoded(image.convert(mode), "PNG")
    assert pixels(content)[0].tolist() == [[10] * 3, [255] * 3, [10] * 3]


def test_half_transparent_pixel_lies_half_way_to_white() -> None:
    content = encoded(Image.new("RGBA", (1, 1), (0, 100, 200, 128)), "PNG")
    assert np.allclose(pixels(content)[0, 0], [127, 177, 227], atol=1)


def test_palette_becomes_its_colours(photo: Image.Image) -> None:
    few = photo.quantize(16)
    assert np.array_equal(pixels(encoded(few, "PNG")), np.asarray(few.convert("RGB")))


@pytest.mark.parametrize(
    ("inks", "colour"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)]
)
def test_cmyk_jpeg_becomes_rgb(inks: tuple[int, ...], colour: int) -> None:
    content = encoded(Image.new("CMYK", (8, 8), inks), "JPEG")
    assert np.allclose(pixels(content), colour, atol=2)


def test_content_that_is_cut_off_is_told_as_truncated(photo: Image.Image) -> None:
    for kind in ("JPEG", "PNG"):
        content = encoded(photo, kind)
        assert reason(content[: len(content) // 2]) == f"is a truncated {kind}"


def test_content_that_is_damaged_is_told_as_broken(photo: Image.Image) -> None:
    content = encoded(photo, "PNG")
    middle = len(content) // 2
    assert reason(content[:middle] + b"\0" * 100 + content[middle + 100 :]) == "is a broken PNG"
    assert reason(b"\xff\xd8\xff and then only words") == "is a broken JPEG"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"just words", "is no image: neither JPEG nor PNG"),
        (b"<!DOCTYPE html><html>", "is a web page or other text; this version reads JPEG and PNG"),
        (encoded(Image.new("P", (4, 4)), "GIF"), "is a GIF; this version reads JPEG and PNG"),
        (encoded(Image.new("L", (4, 4)), "TIFF"), "is a TIFF; this version reads JPEG and PNG"),
        (encoded(Image.new("RGB", (4, 4)), "BMP"), "is a BMP; this version reads JPEG and PNG"),
        (b"RIFF\x1a\0\0\0WEBPVP8 ", "is a WebP; this version reads JPEG and PNG"),
    ],
)
def test_other_contents_are_told_by_what_they_are(content: bytes, told: str) -> None:
    assert reason(content) == told


def test_reason_is_the_same_in_every_process(photo: Image.Image) -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG"):
        for _ in range(100):
            content = bytearray(encoded(photo.resize((9, 9)), kind))
            for place in rng.integers(0, len(content), 9):
                content[place] ^= 0x55
            found = outcome(bytes(content))
            assert " at 0x" not in found


def outcome(content: bytes) -> str:
    """Why a content is unreadable, or nothing; any other exception would end a run."""
    try:
        upright_rgb(content)
    except Unreadable as error:
        return error.reason
    return ""


def test_more_than_200_megapixels_are_refused_before_decoding() -> None:
    assert reason(bare_png(20_000, 10_001)) == "has 20000 x 10001 pixels, over 200 megapixels"


def test_200_megapixels_are_decoded_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(bare_png(20_000, 10_000)) == "is a truncated PNG"  # so it was tried


def test_lack_of_memory_is_not_blamed_on_the_image(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: PngImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(MemoryError):
        upright_rgb(encoded(photo, "PNG"))


def test_threads_decode_alike(photo: Image.Image) -> None:
    contents = [encoded(photo.rotate(angle), "JPEG") for angle in range(20)]
    alone = [pixels(content) for content in contents]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(pixels, contents))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
