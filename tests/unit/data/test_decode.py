# SPDX-License-Identifier: Apache-2.0
"""How a file's content becomes an upright RGB image, whatever its format, or a reason why not."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from odd_contents import (
    SRGB,
    as_ycck,
    chunk,
    encoded,
    gif,
    of_size,
    png,
    tiff,
    turned,
    webp,
    without_adobe,
)
from trainer.arrays import ByteArray
from trainer.data.decode import Picture, upright_rgb
from trainer.data.images import Unreadable

EXACT: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "TIFF, packed": {"compression": "tiff_lzw"},
    "TIFF, BigTIFF": {"big_tiff": True},
}
"""Formats that keep every pixel, and how."""
READ = "JPEG, PNG, WebP, BMP, GIF and TIFF"


def as_kind(image: Image.Image, kind: str, **options: Any) -> bytes:
    return encoded(image, kind.partition(",")[0], **EXACT.get(kind, {}), **options)


def pixels(content: bytes) -> ByteArray:
    image = upright_rgb(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(content: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        upright_rgb(content)
    return caught.value.reason


def claiming(width: int, height: int) -> bytes:
    """A PNG that promises pixels and breaks off."""
    whole = png(width, height, 8, 0, b"")
    return whole[: whole.index(b"IDAT") - 4] + struct.pack(">I", 1000) + b"IDAT"


def bmp_of_32_bits(alpha: int) -> bytes:
    """One pixel, blue 10, green 20, red 30, with an alpha channel."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks + bytes(52)
    start = b"BM" + struct.pack("<IHHI", 126, 0, 0, 122)
    return start + header + bytes([10, 20, 30, alpha])


@pytest.fixture
def photo() -> Image.Image:
    """Noise that no two turns of have in common."""
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture
def layered(photo: Image.Image) -> Image.Image:
    """Half of it cut out, one pixel half transparent."""
    alpha = np.zeros((40, 60), np.uint8)
    alpha[20:] = 255
    alpha[0, 0] = 128
    photo.putalpha(Image.fromarray(alpha))
    return photo


# Formats


@pytest.mark.parametrize("kind", EXACT)
def test_format_without_loss_gives_every_pixel_as_it_was(photo: Image.Image, kind: str) -> None:
    assert np.array_equal(pixels(as_kind(photo, kind)), np.asarray(photo))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_format_with_loss_gives_nearly_what_it_was(kind: str) -> None:
    smooth = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    found = pixels(encoded(smooth, kind)).astype(int)
    assert np.abs(found - np.asarray(smooth)).max() < 20


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_picture_of_several_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (pixels(content) == (255, 0, 0)).all()


def test_gif_whose_first_picture_covers_a_part_lies_on_white() -> None:
    content = encoded(Image.new("RGB", (2, 2), "red"), "GIF")
    canvas = content[:6] + struct.pack("<HH", 4, 3) + content[10:]
    found = pixels(canvas)
    assert found.shape == (3, 4, 3)
    assert (found[:2, :2] == (255, 0, 0)).all()
    assert (found[2:] == 255).all()
    assert (found[:, 2:] == 255).all()


def test_embedded_profile_changes_nothing(photo: Image.Image) -> None:
    for kind in ("JPEG", "PNG", "TIFF"):
        plain, profiled = encoded(photo, kind), encoded(photo, kind, icc_profile=SRGB)
        assert np.array_equal(pixels(profiled), pixels(plain))


# Orientation

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


@pytest.mark.parametrize("kind", ["JPEG", *sorted(set(EXACT) - {"BMP"})])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_image_is_turned_as_its_exif_says(photo: Image.Image, orientation: int, kind: str) -> None:
    stored = pixels(as_kind(photo, kind))
    found = pixels(as_kind(photo, kind, exif=turned(orientation)))
    assert np.array_equal(found, UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", [0, 9, 6000])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_without_meaning_leaves_the_image_as_it_is(
    photo: Image.Image, orientation: int, kind: str
) -> None:
    content = as_kind(photo, kind, exif=turned(orientation))
    assert np.array_equal(pixels(content), np.asarray(photo))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage!", b"Exif\0\0MM\0*\0\0\xff\xff"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_image(photo: Image.Image, exif: bytes, kind: str) -> None:
    assert np.array_equal(pixels(as_kind(photo, kind, exif=exif)), np.asarray(photo))


# Grey and depth


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_grey_becomes_equal_channels(photo: Image.Image, kind: str) -> None:
    values = pixels(as_kind(photo.convert("L"), kind))
    assert np.array_equal(values, np.repeat(values[..., :1], 3, axis=2))


DEEP = np.array([[0, 255, 256, 32768, 65535]], np.uint16)


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(DEEP), "PNG"),
        encoded(Image.fromarray(DEEP), "TIFF"),
        encoded(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
        tiff("<", 5, 1, 16, DEEP.astype("<u2").tobytes()),
        tiff(">", 5, 1, 16, DEEP.astype(">u2").tobytes()),
    ],
    ids=["PNG", "TIFF", "TIFF, packed", "TIFF, little-endian", "TIFF, big-endian"],
)
def test_sixteen_bit_grey_is_scaled_and_not_clipped(content: bytes) -> None:
    assert pixels(content)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bit_grey_whose_white_is_zero_is_turned_over() -> None:
    plain = tiff("<", 5, 1, 16, DEEP.tobytes())
    at = plain.index(struct.pack("<HHI", 262, 4, 1)) + 8
    content = plain[:at] + struct.pack("<I", 0) + plain[at + 4 :]
    assert pixels(content)[0, :, 0].tolist() == [255, 255, 254, 127, 0]


def test_twelve_bits_are_scaled_to_eight() -> None:
    content = tiff("<", 2, 1, 12, bytes([0xFF, 0xF8, 0x00]))  # 4095, 2048
    assert pixels(content)[0, :, 0].tolist() == [255, 128]


def test_sixteen_bit_colour_keeps_its_high_bytes() -> None:
    content = png(1, 1, 16, 2, b"\0" + bytes([1, 255, 128, 0, 255, 255]))
    assert pixels(content)[0, 0].tolist() == [1, 128, 255]


@pytest.mark.parametrize(
    ("mode", "told"), [("F", "floating-point pixels"), ("I", "32-bit or signed pixels")]
)
def test_numbers_without_a_known_range_are_no_image(mode: str, told: str) -> None:
    content = encoded(Image.new(mode, (4, 4)), "TIFF")
    assert reason(content) == f"has {told}, which this version does not read"


def test_ycbcr_without_compression_is_told_and_not_taken_for_rgb(photo: Image.Image) -> None:
    content = encoded(photo.convert("YCbCr"), "TIFF")
    assert "YCbCr pixels without compression" in reason(content + bytes(3000))
    packed = pixels(encoded(photo.convert("YCbCr"), "TIFF", compression="tiff_lzw"))
    assert np.abs(packed.astype(int) - np.asarray(photo)).max() < 5


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (10, 10, 10, 255))
    image.putpixel((1, 0), (10, 10, 10, 0))
    content = encoded(image.convert(mode), "PNG")
    assert pixels(content)[0].tolist() == [[10] * 3, [255] * 3, [10] * 3]


@pytest.mark.parametrize("kind", sorted(set(EXACT) - {"BMP"}))
def test_picture_that_is_cut_out_stands_on_white(layered: Image.Image, kind: str) -> None:
    found = pixels(as_kind(layered, kind))
    assert np.array_equal(found[20:], np.asarray(layered)[20:, :, :3])
    assert (found[:20].reshape(-1, 3)[1:] == 255).all()


def test_half_transparent_pixel_lies_half_way_to_white() -> None:
    content = encoded(Image.new("RGBA", (1, 1), (0, 100, 200, 128)), "PNG")
    assert np.allclose(pixels(content)[0, 0], [127, 177, 227], atol=1)


def test_premultiplied_colour_is_not_darkened_twice() -> None:
    content = encoded(Image.new("RGBA", (1, 1), (0, 50, 100, 128)), "TIFF")
    at = content.index(struct.pack("<HHI", 338, 3, 1)) + 8  # ExtraSamples: 2, not multiplied
    associated = content[:at] + struct.pack("<H", 1) + content[at + 2 :]
    assert np.allclose(pixels(associated)[0, 0], [127, 177, 227], atol=2)


def test_palette_with_alpha_stands_on_white() -> None:
    image = Image.new("PA", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((0, 0), (1, 255))
    image.putpixel((1, 0), (1, 0))
    assert pixels(encoded(image, "TIFF"))[0].tolist() == [[0, 0, 200], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_colour_of_a_palette_shows_white(kind: str) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    content = encoded(image, kind, transparency=1)
    assert pixels(content)[0].tolist() == [[200, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("mode", "clear", "shown"), [("L", 7, [[255] * 3, [9] * 3]), ("RGB", (7, 7, 7), None)]
)
def test_transparent_colour_without_a_palette_shows_white(
    mode: str, clear: Any, shown: list[list[int]] | None
) -> None:
    image = Image.new("L", (2, 1), 7)
    image.putpixel((1, 0), 9)
    content = encoded(image.convert(mode), "PNG", transparency=clear)
    assert pixels(content)[0].tolist() == (shown or [[255] * 3, [9] * 3])


@pytest.mark.parametrize(("alpha", "shown"), [(255, [30, 20, 10]), (0, [255] * 3)])
def test_alpha_of_a_bmp_is_applied(alpha: int, shown: list[int]) -> None:
    assert pixels(bmp_of_32_bits(alpha))[0, 0].tolist() == shown


def test_palette_becomes_its_colours(photo: Image.Image) -> None:
    few = photo.quantize(16)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(pixels(encoded(few, kind)), np.asarray(few.convert("RGB")))


# Inks

INKS = [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)]


@pytest.mark.parametrize(("inks", "colour"), INKS)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(inks: tuple[int, ...], colour: int, kind: str) -> None:
    content = encoded(Image.new("CMYK", (8, 8), inks), kind)
    assert np.allclose(pixels(content), colour, atol=2)


@pytest.mark.parametrize(("inks", "colour"), INKS)
def test_cmyk_jpeg_without_adobes_mark_is_not_taken_for_inverted(
    inks: tuple[int, ...], colour: int
) -> None:
    upside_down = tuple(255 - ink for ink in inks)  # Pillow writes all of them as Adobe does
    content = without_adobe(encoded(Image.new("CMYK", (8, 8), upside_down), "JPEG"))
    assert np.allclose(pixels(content), colour, atol=2)


def test_ycck_jpeg_becomes_rgb() -> None:
    # Stored inverted: luma 200 and no colour, black 255, which is none of that ink.
    stored = Image.new("CMYK", (8, 8), (55, 127, 127, 0))
    assert np.allclose(pixels(as_ycck(encoded(stored, "JPEG"))), 55, atol=3)


# What cannot be read


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF"])
def test_content_that_is_cut_off_is_told_as_truncated(photo: Image.Image, kind: str) -> None:
    content = encoded(photo, kind.upper())
    assert reason(content[: len(content) // 2]) == f"is a truncated {kind}"


def test_tiff_whose_table_is_cut_off_is_told_as_truncated(photo: Image.Image) -> None:
    content = encoded(photo, "TIFF", compression="tiff_lzw")
    assert reason(content[: len(content) // 2]) == "is a truncated TIFF"


def test_content_that_is_damaged_is_told_as_broken(photo: Image.Image) -> None:
    content = encoded(photo, "PNG")
    middle = len(content) // 2
    assert reason(content[:middle] + b"\0" * 100 + content[middle + 100 :]) == "is a broken PNG"
    assert reason(b"\xff\xd8\xff and then only words") == "is a broken JPEG"
    assert reason(b"RIFF\x1a\0\0\0WEBPVP8 ") == "is a broken WebP"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"just words", f"is no image: none of {READ}"),
        (b"BMW is a maker of cars", f"is no image: none of {READ}"),
        (b"<!DOCTYPE html><html>", "is a web page or other text"),
        (b'\n<?xml version="1.0"?><svg xmlns="">', "is an SVG drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "is an AVIF"),
        (b"\0\0\0\x1cftypisom\0\0\0\0isomiso2", "is a film"),
        (b"version https://git-lfs.example/spec/v1", "is a Git LFS pointer"),
        (b"%PDF-1.7", "is a PDF"),
        (b"PK\3\4\x14\0", "is a zip archive or an office document"),
        (b"II*\0\x10\0\0\0CR\2\0", "is a camera's raw file"),
    ],
)
def test_other_contents_are_told_by_what_they_are(content: bytes, told: str) -> None:
    tail = "" if "no image" in told or "empty" in told else f"; this version reads {READ}"
    assert reason(content) == told + tail


def test_tiff_that_begins_with_a_thumbnail_is_no_image() -> None:
    content = tiff("<", 2, 2, 8, bytes(4))
    at = content.index(struct.pack("<HHI", 256, 4, 1))
    table = struct.pack("<HHII", 254, 4, 1, 1) + content[at:]
    count = int.from_bytes(content[at - 2 : at], "little") + 1
    assert "begins with a thumbnail" in reason(content[: at - 2] + struct.pack("<H", count) + table)


def test_reason_is_the_same_in_every_process(photo: Image.Image) -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        for _ in range(60):
            content = bytearray(encoded(photo.resize((9, 9)), kind))
            for place in rng.integers(0, len(content), 9):
                content[place] ^= 0x55
            assert " at 0x" not in outcome(bytes(content))


def outcome(content: bytes) -> str:
    """Why a content is unreadable, or nothing; any other exception would end a run."""
    try:
        upright_rgb(content)
    except Unreadable as error:
        return error.reason
    return ""


def test_nothing_of_pillows_is_printed(
    photo: Image.Image, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome(encoded(photo, "TIFF", compression="tiff_lzw")[:-5])
    outcome(encoded(photo, "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff"))
    whole = encoded(photo, "PNG")
    outcome(whole[:33] + chunk(b"acTL", bytes(8)) + whole[33:])
    assert capfd.readouterr() == ("", "")


# Size


@pytest.mark.parametrize(
    "content",
    [
        claiming(20_000, 10_001),
        of_size(encoded(Image.new("L", (8, 8)), "JPEG"), 20_000, 10_001),
        webp(b"VP8X", bytes(4) + (19_999).to_bytes(3, "little") + (10_000).to_bytes(3, "little")),
        tiff("<", 20_000, 10_001, 8, bytes(8)),
    ],
    ids=["PNG", "JPEG", "WebP", "TIFF"],
)
def test_more_than_200_megapixels_are_refused_before_decoding(content: bytes) -> None:
    assert reason(content) == "has 20000 x 10001 pixels, over 200 megapixels"


@pytest.mark.parametrize(
    "content",
    [
        webp(b"VP8L", b"\x2f" + (16_382 | 16_382 << 14).to_bytes(4, "little") + bytes(5)),
        webp(b"VP8 ", b"\x10\0\0\x9d\1\x2a" + struct.pack("<HH", 16_383, 16_383)),
    ],
)
def test_webp_tells_its_size_before_its_decoder_takes_memory(content: bytes) -> None:
    assert reason(content) == "has 16383 x 16383 pixels, over 200 megapixels"


def test_frame_larger_than_its_gif_counts() -> None:
    assert "over 200 megapixels" in reason(gif(1, 65_535))


def test_tile_larger_than_its_tiff_counts() -> None:
    content = tiff("<", 2, 2, 8, bytes(4))
    for strips, tiles, value in ((273, 322, 20_000), (277, 323, 20_000), (278, 324, 8)):
        at = content.index(struct.pack("<HHI", strips, 4, 1))
        content = content[:at] + struct.pack("<HHII", tiles, 4, 1, value) + content[at + 12 :]
    assert reason(content) == "has 20000 x 20000 pixels, over 200 megapixels"


def test_200_megapixels_are_decoded_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert reason(claiming(20_000, 10_000)) == "is a truncated PNG"  # so it was tried
    assert not recwarn.list


def test_lack_of_memory_is_not_blamed_on_the_image(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: PngImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(MemoryError):
        upright_rgb(encoded(photo, "PNG"))


def test_memory_for_decoding_is_foreseen_from_the_header() -> None:
    image = Image.new("RGB", (2000, 1500))
    for kind, each in (("PNG", 16), ("WEBP", 28), ("TIFF", 24)):
        assert Picture(io.BytesIO(encoded(image, kind)), 598).bytes == each * 2000 * 1500


def test_memory_for_a_jpeg_is_that_of_its_reduced_size_and_of_its_coefficients() -> None:
    image = Image.new("RGB", (2000, 1500))
    plain = Picture(io.BytesIO(encoded(image, "JPEG")), 598).bytes
    progressive = Picture(io.BytesIO(encoded(image, "JPEG", progressive=True)), 598).bytes
    assert plain == 16 * 1000 * 750
    assert progressive == plain + 6 * 2000 * 1500
