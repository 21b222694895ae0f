# SPDX-License-Identifier: Apache-2.0
"""What a file is, by its first bytes: an image that can be decoded, or something else by name."""

from __future__ import annotations

from trainer.data.images import Unreadable

START_BYTES = 1024
"""Enough of a file to tell what it is."""

READ = "JPEG, PNG, WebP, BMP, GIF and TIFF"

_READ = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),  # BigTIFF
    (0, b"MM\0+", "TIFF"),
)
_OTHERS = (
    (4, b"ftyphei", "a HEIC"),
    (4, b"ftyphev", "a HEIC"),
    (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypmsf1", "a HEIC"),
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftyp", "a film"),
    (8, b"AVI ", "a film"),
    (8, b"CR\2\0", "a camera's raw file"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"PK\3\4", "a zip archive or an office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
)


def format_of(start: bytes) -> str:
    """Name the image format of a file.

    Args:
        start: Its first `START_BYTES` bytes, or all there are.
    Raises:
        Unreadable: It is empty, or nothing that can be decoded; says what it is instead.
    """
    if not start:
        raise Unreadable("is empty")
    other = _other(start)
    if other:
        raise Unreadable(f"is {other}; this version reads {READ}")
    for offset, magic, name in _READ:
        if start.startswith(magic, offset):
            return name
    if start.startswith(b"BM") and _bmp_header(start) in range(12, 125):
        return "BMP"
    raise Unreadable(f"is no image: none of {READ}")


def _other(start: bytes) -> str | None:
    for offset, magic, name in _OTHERS:
        if start.startswith(magic, offset):
            return name
    if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return None
    return "an SVG drawing" if b"<svg" in start else "a web page or other text"


def _bmp_header(start: bytes) -> int:
    """Length of the second header: two letters are too little to know a BMP by."""
    return int.from_bytes(start[14:18], "little")


def webp_size(start: bytes) -> tuple[int, int]:
    """Width and height that a WebP's header tells.

    Args:
        start: As for `format_of`.
    Raises:
        Unreadable: There is no such header.
    Source: RFC 9649, sections 2.5 to 2.7 and 3.4; RFC 6386, section 9.1.
    """
    form, numbers = start[12:16], start[20:30]
    if len(numbers) < 10 or form not in (b"VP8X", b"VP8L", b"VP8 "):
        raise Unreadable("is a broken WebP")
    if form == b"VP8X":
        return 1 + int.from_bytes(numbers[4:7], "little"), 1 + int.from_bytes(
            numbers[7:10], "little"
        )
    if form == b"VP8L":
        both = int.from_bytes(numbers[1:5], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    return (
        int.from_bytes(numbers[6:8], "little") & 0x3FFF,
        int.from_bytes(numbers[8:10], "little") & 0x3FFF,
    )
