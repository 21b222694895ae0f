# SPDX-License-Identifier: Apache-2.0
"""What odd, damaged and hostile image files hold, by the name each is given.

Every picture is another one, so that none is a copy of the next.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Contents = dict[str, bytes]
Damaged = dict[str, tuple[bytes, str]]
"""Contents, and part of the reason that each shall be given."""

SIZE = 48, 36
ORIENTATION = 0x0112
WORDS = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, ORIENTATION, 2, 4, b"top\0", 0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo(name: str) -> Image.Image:
    """Noise of its own for each name, smooth enough for every codec."""
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize(SIZE, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(name: str, **options: Any) -> bytes:
    return encoded(photo(name), **options)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def chunk(kind: bytes, data: bytes) -> bytes:
    """One of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG of bytes that stand as given, each row after the number of its filter."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def tiff(order: str, width: int, height: int, bits: int, pixels: bytes, kind: int = 1) -> bytes:
    """A grey TIFF without compression.

    Args:
        order: `<` or `>`, of its bytes.
        kind: 1 for whole numbers, 3 for floating point.
    """
    fields = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    fields |= {279: len(pixels), 339: kind}
    table = struct.pack(order + "H", len(fields))
    table += b"".join(struct.pack(order + "HHII", tag, 4, 1, fields[tag]) for tag in fields)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8 + len(pixels))
    return start + pixels + table + struct.pack(order + "I", 0)


def bmp(width: int, height: int) -> bytes:
    """A BMP's header, and no pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def gif(screen: int, frame: int) -> bytes:
    """A GIF that promises squares of these sizes, black and white."""
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\2\2\x4c\1\0;"


def webp(kind: bytes, data: bytes) -> bytes:
    """A WebP of one chunk."""
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def of_size(content: bytes, width: int, height: int) -> bytes:
    """A baseline JPEG that claims another size."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def without_adobe(content: bytes) -> bytes:
    """A JPEG without the marker by which CMYK is known to be inverted."""
    at = content.index(b"\xff\xee")
    return content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]


def as_ycck(content: bytes) -> bytes:
    """A CMYK JPEG whose marker calls it YCCK."""
    at = content.index(b"Adobe") + 11
    return content[:at] + b"\2" + content[at + 1 :]


def good_jpegs() -> Contents:
    cmyk = {name: encoded(photo(name).convert("CMYK")) for name in ("cmyk", "ycck", "no-marker")}
    exif = {f"exif-{n}.jpg": jpeg(f"exif-{n}", exif=turned(n)) for n in range(1, 9)}
    return exif | {
        "progressive.jpg": jpeg("progressive", progressive=True),
        "cmyk.jpg": cmyk["cmyk"],
        "ycck.jpg": as_ycck(cmyk["ycck"]),
        "cmyk-without-marker.jpg": without_adobe(cmyk["no-marker"]),
        "rgb-with-marker.jpg": jpeg("adobe", keep_rgb=True),
        "grey.jpg": encoded(photo("grey").convert("L")),
        "one-pixel.jpg": encoded(Image.new("RGB", (1, 1), (1, 2, 3))),
        "profile.jpg": jpeg("profile", icc_profile=SRGB),
        "broken-profile.jpg": jpeg("broken-profile", icc_profile=b"no profile"),
        "broken-exif.jpg": jpeg("broken-exif", exif=b"Exif\0\0garbage!"),
        "exif-far-away.jpg": jpeg("exif-far", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "exif-in-words.jpg": jpeg("exif-words", exif=WORDS),
        "exif-9.jpg": jpeg("exif-9", exif=turned(9)),
        "comment.jpg": jpeg("comment", comment=b"<script>" * 8_000),
        "two-pictures.mpo": encoded(
            photo("mpo"), "MPO", save_all=True, append_images=[photo("mpo, second")]
        ),
    }


def good_pngs() -> Contents:
    rng = np.random.default_rng(0)
    alpha = photo("alpha").convert("RGBA")
    alpha.putalpha(photo("its alpha").convert("L"))
    deep = Image.fromarray(rng.integers(0, 65536, (36, 48), dtype=np.uint16))
    colours = b"".join(b"\0" + rng.bytes(6 * 5) for _ in range(4))
    frames = {"save_all": True, "append_images": [photo("apng, second")]}
    return {
        "palette.png": encoded(photo("palette").quantize(16), "PNG"),
        "palette-transparent.png": encoded(photo("clear").quantize(16), "PNG", transparency=3),
        "alpha.png": encoded(alpha, "PNG"),
        "grey-alpha.png": encoded(alpha.rotate(180).convert("LA"), "PNG"),
        "bits.png": encoded(photo("bits").convert("1"), "PNG"),
        "grey-16.png": encoded(deep, "PNG"),
        "colour-16.png": png(5, 4, 16, 2, colours),
        "animated.png": encoded(photo("apng"), "PNG", **frames),
        "exif-6.png": encoded(photo("png exif"), "PNG", exif=turned(6)),
        "profile.png": encoded(photo("png profile"), "PNG", icc_profile=SRGB),
        "long-text.png": png(7, 1, 8, 0, b"\0letters", chunk(b"tEXt", b"A\0" + b"x" * (2 << 20))),
    }


def good_others() -> Contents:
    rng = np.random.default_rng(1)
    more = {"save_all": True, "append_images": [photo("second"), photo("third")]}
    alpha = photo("webp alpha").convert("RGBA")
    alpha.putalpha(photo("webp's alpha").convert("L"))
    return {
        "lossy.webp": encoded(photo("lossy"), "WEBP"),
        "lossless.webp": encoded(photo("lossless"), "WEBP", lossless=True),
        "alpha.webp": encoded(alpha, "WEBP"),
        "animated.webp": encoded(photo("webp"), "WEBP", **more),
        "exif-6.webp": encoded(photo("webp exif"), "WEBP", exif=turned(6)),
        "plain.bmp": encoded(photo("bmp"), "BMP"),
        "palette.bmp": encoded(photo("bmp palette").quantize(16), "BMP"),
        "plain.gif": encoded(photo("gif"), "GIF"),
        "animated.gif": encoded(photo("gif"), "GIF", **more),
        "transparent.gif": encoded(photo("clear gif").quantize(8), "GIF", transparency=2),
        "plain.tif": encoded(photo("tiff"), "TIFF"),
        "packed.tif": encoded(photo("lzw"), "TIFF", compression="tiff_lzw"),
        "pages.tif": encoded(photo("pages"), "TIFF", **more),
        "exif-6.tif": encoded(photo("tiff exif"), "TIFF", exif=turned(6)),
        "cmyk.tif": encoded(photo("tiff cmyk").convert("CMYK"), "TIFF"),
        "big-endian.tif": tiff(">", 8, 6, 8, rng.bytes(48)),
        "grey-16.tif": tiff("<", 8, 6, 16, rng.bytes(96)),
        "grey-16-big-endian.tif": tiff(">", 8, 6, 16, rng.bytes(96)),
    }


def good_misleading() -> Contents:
    """Good pictures that look like something else."""
    with_archive = io.BytesIO(jpeg("archive"))
    with zipfile.ZipFile(with_archive, "a") as archive:
        archive.writestr("run.sh", "touch x")
    script = encoded(photo("script"), "GIF")
    return {
        "jpeg.png": jpeg("jpeg as png"),
        "png.jpg": encoded(photo("png as jpeg"), "PNG"),
        "gif.jpg": encoded(photo("gif as jpeg"), "GIF"),
        "webp.jpg": encoded(photo("webp as jpeg"), "WEBP"),
        "jpeg.txt": jpeg("jpeg as text"),
        "no-suffix": jpeg("no suffix"),
        "UPPER.JPG": jpeg("upper case"),
        "archive.jpg": with_archive.getvalue(),
        "script.gif": script + b"/*/;alert(1)",
        "trailing-bytes.jpg": jpeg("trailing") + bytes(1000),
        "trailing-bytes.png": encoded(photo("png trailing"), "PNG") + b"more",
        "joined.jpg": jpeg("joined") + jpeg("joined, second"),
        "joined.png": encoded(photo("png joined"), "PNG") + jpeg("joined, third"),
    }


def cut_off() -> Damaged:
    """Truncated early, in the middle and late."""
    whole = {
        "JPEG": jpeg("cut"),
        "PNG": encoded(photo("png cut"), "PNG"),
        "GIF": encoded(photo("gif cut"), "GIF"),
        "WebP": encoded(photo("webp cut"), "WEBP"),
        "TIFF": encoded(photo("tiff cut"), "TIFF"),
        "BMP": encoded(photo("bmp cut"), "BMP"),
    }
    return {
        f"cut-off-at-{percent}.{kind.lower()}": (content[: len(content) * percent // 100], kind)
        for kind, content in whole.items()
        for percent in (5, 50, 90)
    } | {"start-alone.jpg": (jpeg("start")[:3], "JPEG")}


def broken() -> Damaged:
    whole = encoded(photo("broken"), "PNG")
    data = whole.index(b"IDAT") + 40
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 << 20)))
    noise = np.random.default_rng(2).bytes(500)
    return {
        "noise.jpg": (jpeg("noise")[:20] + noise, "JPEG"),
        "flipped.png": (whole[:data] + bytes(60) + whole[data + 60 :], "broken PNG"),
        "wrong-sum.png": (whole[:29] + b"\0\0\0\0" + whole[33:], "broken PNG"),
        "text-bomb.png": (png(4, 4, 8, 0, bytes(20), bomb), "broken PNG"),
        "unknown-colour.png": (png(4, 4, 8, 5, bytes(20)), "broken PNG"),
        "table-far-away.tif": (b"II*\0\xff\xff\xff\x7f", "TIFF"),
        "table-is-cut-off.tif": (tiff("<", 8, 6, 8, bytes(48))[:70], "TIFF"),
        "float.tif": (tiff("<", 8, 6, 32, bytes(192), kind=3), "floating-point"),
        "whole-32.tif": (tiff("<", 8, 6, 32, bytes(192)), "32-bit"),
        "no-pixels.png": (png(0, 0, 8, 2, b""), ""),
        "no-rows.jpg": (of_size(jpeg("no rows"), 48, 0), ""),
        "no-pixels.gif": (gif(0, 0), ""),
        "no-pixels.bmp": (bmp(0, 0), ""),
        "no-pixels.webp": (webp(b"VP8 ", b"\x10\0\0\x9d\1\x2a" + bytes(4)), ""),
    }


def enormous() -> Damaged:
    """Small files that claim more pixels than anyone has memory for."""
    told = "over 200 megapixels"
    large = struct.pack("<HH", 16383, 16383)
    return {
        "enormous.png": (png(100_000, 100_000, 8, 2, b""), told),
        "enormous.jpg": (of_size(jpeg("enormous"), 65_500, 65_500), told),
        "enormous.gif": (gif(65_535, 65_535), told),
        "enormous-frame.gif": (gif(1, 65_535), ""),
        "enormous.bmp": (bmp(100_000, 100_000), told),
        "enormous.tif": (tiff("<", 100_000, 100_000, 8, bytes(48)), told),
        "enormous.webp": (webp(b"VP8 ", b"\x10\0\0\x9d\1\x2a" + large), told),
        "enormous-lossless.webp": (webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)), told),
        "enormous-canvas.webp": (webp(b"VP8X", bytes(4) + b"\xff" * 5 + b"\0"), told),
    }


def foreign() -> Damaged:
    """What is no image, and images that this version does not read."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.jpg", jpeg("in a zip"))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
    return {
        "empty.jpg": (b"", "is empty"),
        "one-byte.jpg": (b"\xff", "no image"),
        "text.jpg": (b"This photo was removed.\n", "no image"),
        "utf-16.jpg": ("This photo was removed.".encode("utf-16"), "no image"),
        "page.jpg": (b"<!DOCTYPE html><html><title>404</title></html>", "web page"),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "pointer.jpg": (pointer, "Git LFS"),
        "archive.zip": (archive.getvalue(), "zip"),
        "packed.jpg": (gzip.compress(jpeg("in a gzip"), mtime=0), "gzip"),
        "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC"),
        "small.avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(40), "AVIF"),
        "sound.webp": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), "no image"),
        "scan.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
        "zeros.jpg": (bytes(4096), "no image"),
        "notes.txt": (b"Taken on Sunday.\n", "no image"),
        "late-start.jpg": (b"\r\n" + jpeg("late start"), "no image"),
    }


def good() -> Contents:
    return good_jpegs() | good_pngs() | good_others() | good_misleading()


def damaged() -> Damaged:
    return cut_off() | broken() | enormous() | foreign()
