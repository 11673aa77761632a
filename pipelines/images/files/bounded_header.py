"""Trims an image file before Pillow opens it, to bound the time and memory needed.

The cost of opening a file then depends on its picture, and an attacker cannot raise it. Pillow itself walks all frames,
joins comments and EXIF segments byte by byte, and lets libraries allocate the full canvas before the size can be read.
Each of these took seconds or gigabytes for a few bytes of input. This module follows only the lengths that a file
states for its parts, and does not interpret the contents of the parts.
"""

from __future__ import annotations

import struct

MAX_CHUNKS = 4096  # chunks that a PNG may have before its pixels; real files have about a dozen


class TooMuchError(ValueError):
    """Says that a file exceeds a limit.

    `reason` is a short stable word, the message is a sentence.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def slim(data: bytes, max_pixels: int, max_frames: int) -> tuple[bytes, int]:
    """Returns the part of a file that is needed to decode its first picture.

    The part equals `data` for most files. A GIF loses its later frames and its comments, and a JPEG with many EXIF
    segments loses these segments. Pillow can decode the picture from the part.

    Returns:
      (part, number of frames). The number is at most max_frames + 1; it is 1 where frames are not counted.

    Raises:
      TooMuchError: a WebP canvas has more than max_pixels, or a PNG has more than MAX_CHUNKS chunks before its pixels.
    """
    if data[:4] == b"GIF8":
        return _gif(data, max_frames)
    if data[:2] == b"\xff\xd8" and data.count(b"Exif\0\0") > 2:
        return _without_exif(data), 1
    if data[:4] == b"\x89PNG":
        _check_chunks(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        width, height = _webp_size(data)
        if width * height > max_pixels:
            raise TooMuchError("too-many-pixels", f"{width}x{height} is more than the allowed {max_pixels} pixels.")
    elif data[:2] in (b"II", b"MM"):
        return data, _tiff_pages(data, max_frames)
    return data, 1


def _gif(data: bytes, most: int) -> tuple[bytes, int]:
    """Returns the first frame of a GIF with the blocks that govern it, and the frames.

    The number of frames is counted up to most + 1. The blocks follow the GIF89a specification, sections 17 to 27.
    """
    p = 13 + _palette_bytes(data[10:11])
    kept, frames = [data[:p]], 0
    while p < len(data) and frames <= most:
        start, kind = p, data[p : p + 1]
        if kind == b"!":
            p = _behind_blocks(data, p + 2)
            if not frames and data[start + 1 : start + 2] == b"\xf9":  # states which colour is transparent
                kept.append(data[start:p])
        elif kind == b",":
            p = _behind_blocks(data, p + 11 + _palette_bytes(data[p + 9 : p + 10]))
            frames += 1
            if frames == 1:
                kept.append(data[start:p])
        elif kind == b";":
            break
        else:
            p += 1  # Pillow skips unknown bytes, too
    return b"".join(kept) + b";", max(frames, 1)


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _behind_blocks(data: bytes, p: int) -> int:
    """Returns the position behind the chain of data blocks that starts at `p`."""
    end = len(data)
    while p < end and (length := data[p]):
        p += 1 + length
    return min(p + 1, end)


def _without_exif(data: bytes) -> bytes:
    """Returns a JPEG without the APP1 and APP2 segments of its header.

    Those of its colour profile stay.

    For every further EXIF segment, Pillow copies all EXIF data that came before it.
    """
    kept, p = [data[:2]], 2
    while data[p : p + 1] == b"\xff" and (marker := data[p + 1 : p + 2]) != b"\xda":
        if marker == b"\xff":  # a fill byte
            p += 1
            continue
        length = 2 + int.from_bytes(data[p + 2 : p + 4], "big")
        if marker not in (b"\xe1", b"\xe2") or data[p + 4 : p + 16] == b"ICC_PROFILE\0":
            kept.append(data[p : p + length])
        p += length
    return b"".join([*kept, data[p:]])


def _check_chunks(data: bytes) -> None:
    p = 8
    for _ in range(MAX_CHUNKS):
        if data[p + 4 : p + 8] in (b"IDAT", b""):
            return
        p += 12 + int.from_bytes(data[p : p + 4], "big")
    raise TooMuchError("too-much-metadata", f"It has more than {MAX_CHUNKS} chunks before its pixels.")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Returns (width, height) of a WebP's canvas in pixels (RFC 9649, 2.5 to 2.7).

    libwebp's decoder of animations allocates the canvas when it is created, so the size must be known before.
    """
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        sides = int.from_bytes(data[21:25], "little")
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _tiff_pages(data: bytes, most: int) -> int:
    """Returns the number of directories that a TIFF or BigTIFF chains, 1 to most + 1.

    A chain that leads back to an earlier directory ends there.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, offset, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        while at and at not in seen and len(seen) <= most:
            seen.add(at)
            (entries,) = struct.unpack_from(order + count, data, at)
            (at,) = struct.unpack_from(order + offset, data, at + struct.calcsize(order + count) + entry * entries)
    except (struct.error, OverflowError):  # an offset lies beyond the end, or is too large for an offset
        pass
    return max(len(seen), 1)
