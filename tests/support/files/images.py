"""Encoded images made byte by byte or by Pillow, and exact references, for the tests of the image modules."""

from __future__ import annotations

import io
import pathlib
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# What EXIF's orientations make of the picture   a b c
#                                                d e f   (CIPA DC-008, 4.6.4)
UPRIGHT = {
    1: ["abc", "def"], 2: ["cba", "fed"], 3: ["fed", "cba"], 4: ["def", "abc"],
    5: ["ad", "be", "cf"], 6: ["da", "eb", "fc"], 7: ["fc", "eb", "da"], 8: ["cf", "be", "ad"],
}  # fmt: skip


def upright(orientation: int) -> np.ndarray:
    """uint8 (h, w, 3) gray: the picture a..f (0, 40, ... 200) as it should look."""
    levels = [[(ord(c) - ord("a")) * 40 for c in row] for row in UPRIGHT[orientation]]
    return np.repeat(np.array(levels, np.uint8)[..., None], 3, -1)


def encode(pixels: np.ndarray | Image.Image, format_: str, **options: object) -> bytes:
    """The bytes that Pillow writes."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def decode(data: bytes) -> np.ndarray:
    """uint8 (h, w, 3) as Pillow decodes it, EXIF ignored."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, depth: int, color_type: int, rows: Sequence[bytes], *before: bytes, after: bytes = b"") -> bytes:
    """A PNG of the packed rows; `before` and `after` are chunks around the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return PNG_MAGIC + header + b"".join(before) + body + after + chunk(b"IEND", b"")


def tiff(orientation: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """The TIFF structure of EXIF with two tags; `kind` 3 is SHORT, 4 LONG."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    entries = struct.pack(order + "HHI4s", 0x0100, 3, 1, b"\7\0\7\0")
    entries += struct.pack(order + "HHI", ORIENTATION, kind, count) + value
    return head + struct.pack(order + "IH", 8, 2) + entries + b"\0\0\0\0"


def segment(marker: int, content: bytes) -> bytes:
    """One JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments put directly behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def jpeg_exif(jpeg: bytes, structure: bytes) -> bytes:
    return jpeg_with(jpeg, segment(0xE1, b"Exif\0\0" + structure))


def webp_with(webp: bytes, *chunks: bytes, flags: int = 0x08, size: tuple[int, int] | None = None) -> bytes:
    """A simple WebP made extended (VP8X), with chunks behind the picture; size (width, height), else the picture's."""
    width, height = size or Image.open(io.BytesIO(webp)).size
    stated = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + riff(b"VP8X", bytes([flags, 0, 0, 0]) + stated) + webp[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff(kind: bytes, content: bytes) -> bytes:
    """One RIFF chunk."""
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def area_average(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width, c): the exact average over each target pixel's box, with fractions of pixels."""
    rows, columns = _overlaps(pixels.shape[0], height), _overlaps(pixels.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(np.float64), columns)


def _overlaps(source: int, target: int) -> np.ndarray:
    """(target, source): the part of each target pixel that each source pixel covers."""
    edges = np.arange(target + 1) * (source / target)
    low = np.maximum(edges[:-1, None], np.arange(source)[None])
    high = np.minimum(edges[1:, None], np.arange(1, source + 1)[None])
    return np.clip(high - low, 0, None) * (target / source)


def jpeg_header(width: int, height: int) -> bytes:
    """A frame header (SOF0) of three components."""
    return segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\1\3\x11\1")


def gif(width: int, height: int, *blocks: bytes) -> bytes:
    """A GIF of the canvas with a global palette of two colours; `blocks` are its frames and extensions."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + bytes([*b"\0\0\0", 255, 90, 0])
        + b"".join(blocks)
        + b";"
    )


def gif_frame(width: int, height: int, packed: bytes | None = None) -> bytes:
    """One frame: its descriptor and LZW data, by default a single pixel's."""
    data = b"\2\2\x44\1\0" if packed is None else packed
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + data


def gif_comment(length: int) -> bytes:
    """A comment of so many bytes, in blocks of 255."""
    return b"!\xfe" + (b"\xff" + b"c" * 255) * (length // 255) + b"\0"


def tiff_file(width: int, height: int, frames: int = 1, data: bytes = b"\0") -> bytes:
    """A little-endian TIFF of 8-bit gray whose directories all point to the same uncompressed data."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, height),
            (279, 4, len(data))]  # fmt: skip
    start = 8 + len(data) + len(data) % 2
    size = 2 + 12 * len(tags) + 4
    out = [b"II*\0" + struct.pack("<I", start) + data + b"\0" * (len(data) % 2)]
    for i in range(frames):
        following = start + (i + 1) * size if i + 1 < frames else 0
        out.append(struct.pack("<H", len(tags)))
        out += [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags]
        out.append(struct.pack("<I", following))
    return b"".join(out)


def webp_lossless_header(width: int, height: int) -> bytes:
    """A VP8L picture of the size without its pixels."""
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
    return b"RIFF" + struct.pack("<I", 4 + 8 + 6) + b"WEBP" + riff(b"VP8L", body)


def avif_of_size(width: int, height: int) -> bytes:
    """A small AVIF whose boxes (not its AV1 stream) state another size."""
    small = encode(np.zeros((16, 16, 3), np.uint8), "AVIF")
    return small.replace(
        b"ispe\0\0\0\0" + struct.pack(">II", 16, 16), b"ispe\0\0\0\0" + struct.pack(">II", width, height)
    )


def flat_png(width: int, height: int, depth: int = 8, color_type: int = 2) -> bytes:
    """A whole PNG of zeros: few bytes, as many pixels as asked for. Made row by row."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (width * channels * depth + 7) // 8)
    many = max(1, (1 << 22) // len(row))
    parts = [packer.compress(row * min(many, height - y)) for y in range(0, height, many)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(3)) if color_type == 3 else b""
    return PNG_MAGIC + header + palette + chunk(b"IDAT", b"".join([*parts, packer.flush()])) + chunk(b"IEND", b"")


def _text_bomb(kind: bytes) -> bytes:
    packed = zlib.compress(bytes(64 << 20), 9)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    return png(2, 8, 2, [bytes(6)], chunk(kind, head + packed))


def text_file(format_: str) -> bytes:
    """PostScript or PDF: what a program that Pillow starts would draw."""
    return encode(Image.new("RGB", (8, 8)), format_)


def bombs() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, the reason it is rejected for, "" where its picture is good and is written)."""
    jpeg = encode(np.full((40, 50, 3), 90, np.uint8), "JPEG")
    profile = [segment(0xE2, b"ICC_PROFILE\0" + bytes([i % 255 + 1, 255]) + bytes(65519)) for i in range(400)]
    webp = encode(np.zeros((4, 4, 3), np.uint8), "WEBP")
    still = encode(Image.new("P", (2000, 2000), 1), "GIF")
    frame = still[still.index(b",\0\0\0\0") : -1]
    bmp = struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return {
        "30000x30000.png": (flat_png(30_000, 30_000, 1, 0), "too-many-pixels"),
        "9000x9000.png": (flat_png(9000, 9000), "too-many-pixels"),
        "one-row.png": (flat_png(200_000_000, 1, 1, 0), "too-many-pixels"),
        "zTXt.png": (_text_bomb(b"zTXt"), "too-much-metadata"),
        "iTXt.png": (_text_bomb(b"iTXt"), "too-much-metadata"),
        "profile.png": (_text_bomb(b"iCCP"), "too-much-metadata"),
        "chunks.png": (png(2, 8, 2, [bytes(6)], *[chunk(b"quUX", b"")] * 200_000), "too-much-metadata"),
        "65500x65500.jpg": (b"\xff\xd8" + jpeg_header(65_500, 65_500) + jpeg[-300:], "too-many-pixels"),
        "exif.jpg": (jpeg_with(jpeg, *[segment(0xE1, b"Exif\0\0" + bytes(65527))] * 400), ""),
        "profile.jpg": (jpeg_with(jpeg, *profile), ""),
        "16383x16383.webp": (webp_lossless_header(16_383, 16_383), "too-many-pixels"),
        "canvas.webp": (webp_with(webp, riff(b"ANIM", bytes(6)), flags=2, size=(1 << 24, 256)), "too-many-pixels"),
        "65535x65535.gif": (gif(65_535, 65_535, gif_frame(65_535, 65_535)), "too-many-pixels"),
        "frame-beyond.gif": (gif(4, 4, gif_frame(65_535, 65_535)), "too-many-pixels"),
        "300-frames.gif": (gif(2000, 2000, *[frame] * 300), ""),
        "200000-frames.gif": (gif(4, 4, *[gif_frame(1, 1)] * 200_000), "too-many-frames"),
        "comment.gif": (gif(1, 1, gif_comment(20 << 20), gif_frame(1, 1)), ""),
        "100000x100000.tif": (tiff_file(100_000, 100_000), "too-many-pixels"),
        "50000-pages.tif": (tiff_file(1, 1, 50_000), "too-many-frames"),
        "30000x30000.bmp": (b"BM" + bmp, "too-many-pixels"),
        "30000x30000.avif": (avif_of_size(30_000, 30_000), "not-an-image"),  # libavif's own limit is lower
    }


def draw_photo(path: pathlib.Path, seed: int, size: tuple[int, int], **save: object) -> None:
    """A smooth random picture of (width, height): noise of a few pixels, enlarged."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size, Image.Resampling.BICUBIC).save(path, **save)
