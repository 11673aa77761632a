"""Reads the EXIF orientation of encoded bytes, for headers.

`exif_graph.py` reads it in TensorFlow graphs by the same rules. This module needs no TensorFlow, so that a process that
only opens images starts in a fraction of a second. Pillow is not used: it decodes a complete PNG to look for EXIF, and
takes the orientation of XMP where there is no EXIF.

JPEG keeps EXIF in an APP1 segment, PNG in an eXIf chunk, WebP in an EXIF chunk; all three hold a TIFF structure whose
first directory has tag 0x0112 (CIPA DC-008, "Exif 2.32", 4.6.4; PNG third edition, 11.3.3.5; RFC 9649, 2.7.1.5).
Every length is clipped to the data, so that hostile bytes end the search and never cause a read beyond the data.
"""

from __future__ import annotations

from typing import Literal

TAG = 0x0112
SHORT, LONG = 3, 4  # TIFF's types of 2 and 4 bytes
MAX_SEGMENTS = 256  # real headers have far fewer; only hostile files have more
MAX_ENTRIES = 512


def read_orientation(data: bytes, format_: str) -> int:
    """Returns the EXIF orientation 1..8 in JPEG, PNG or WebP bytes.

    It is 1 where there is none or where it cannot be read. The result equals that of `orientation` for any bytes.

    Args:
      format_: "JPEG", "PNG" or "WEBP".
    """
    p = {"JPEG": 2, "PNG": 8, "WEBP": 12}[format_]
    for _ in range(MAX_SEGMENTS):
        if p >= len(data):
            return 1
        if format_ == "JPEG":
            if data[p : p + 2] == b"\xff\xff":  # a fill byte before a marker
                p += 1
                continue
            if data[p] != 0xFF or data[p + 1 : p + 2] == b"\xda":
                return 1
            if data[p : p + 2] == b"\xff\xe1" and data[p + 4 : p + 10] == b"Exif\0\0":
                return _read_tiff(data, p + 10)
            p += 2 + _number(data, p + 2, 2, "big")
        elif format_ == "PNG":
            if data[p + 4 : p + 8] == b"eXIf":
                return _read_tiff(data, p + 8)
            p += 12 + _number(data, p, 4, "big")
        else:
            if data[p : p + 4] == b"EXIF":
                return _read_tiff(data, p + (14 if data[p + 8 : p + 14] == b"Exif\0\0" else 8))
            length = _number(data, p + 4, 4, "little")
            p += 8 + length + length % 2
    return 1


def _number(data: bytes, position: int, count: int, order: Literal["little", "big"]) -> int:
    return int.from_bytes(data[position : position + count].ljust(count, b"\0"), order)


def _read_tiff(data: bytes, tiff: int) -> int:
    order: Literal["little", "big"]
    if data[tiff : tiff + 4] == b"MM\0*":
        order = "big"
    elif data[tiff : tiff + 4] == b"II*\0":
        order = "little"
    else:
        return 1
    ifd = tiff + _number(data, tiff + 4, 4, order)
    for i in range(min(_number(data, ifd, 2, order), MAX_ENTRIES)):
        entry = ifd + 2 + 12 * i
        if _number(data, entry, 2, order) == TAG:
            size = {SHORT: 2, LONG: 4}.get(_number(data, entry + 2, 2, order), 0)
            value = _number(data, entry + 8, size, order)
            return value if 1 <= value <= 8 else 1
    return 1
