"""Encoded images made byte by byte or by Pillow, and exact references, for the tests of the image modules."""

from __future__ import annotations

import io
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
