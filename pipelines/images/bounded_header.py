"""What of a file Pillow is shown, so that opening it costs what its picture costs and not what an attacker chose.

Pillow walks frames, joins comments and EXIF segments byte by byte, and lets libraries allocate whole canvases before a
size can be asked for. Each of these took seconds or gigabytes for a few bytes of input. Here only lengths are followed:
what a file says of its pieces, never what is in them.
"""

from __future__ import annotations

import struct

MAX_CHUNKS = 4096  # of a PNG before its pixels; real ones have a dozen


class TooMuchError(ValueError):
    """More than the limits; `reason` is a short stable word, the message a sentence."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def slim(data: bytes, max_pixels: int, max_frames: int) -> tuple[bytes, int]:
    """(what tells and decodes the first picture, number of frames: at most max_frames + 1, 1 if not counted).

    Equal to `data` for most files: a GIF loses later frames and comments, a JPEG of many EXIF segments loses them.

    Raises:
      TooMuchError: a WebP canvas of more than max_pixels, a PNG of more than MAX_CHUNKS.
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
    """The first frame with what governs it, and how many there are (GIF89a specification, sections 17 to 27)."""
    p = 13 + _palette_bytes(data[10:11])
    kept, frames = [data[:p]], 0
    while p < len(data) and frames <= most:
        start, kind = p, data[p : p + 1]
        if kind == b"!":
            p = _behind_blocks(data, p + 2)
            if not frames and data[start + 1 : start + 2] == b"\xf9":  # says which colour is transparent
                kept.append(data[start:p])
        elif kind == b",":
            p = _behind_blocks(data, p + 11 + _palette_bytes(data[p + 9 : p + 10]))
            frames += 1
            if frames == 1:
                kept.append(data[start:p])
        elif kind == b";":
            break
        else:
            p += 1  # as Pillow skips what it does not know
    return b"".join(kept) + b";", max(frames, 1)


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _behind_blocks(data: bytes, p: int) -> int:
    """Where the chain of data blocks that starts at `p` has ended."""
    end = len(data)
    while p < end and (length := data[p]):
        p += 1 + length
    return min(p + 1, end)


def _without_exif(data: bytes) -> bytes:
    """A JPEG's header without APP1 and APP2: Pillow copies all EXIF that came before for every further segment."""
    kept, p = [data[:2]], 2
    while data[p : p + 1] == b"\xff" and data[p + 1 : p + 2] != b"\xda":
        if data[p + 1 : p + 2] == b"\xff":  # a fill byte
            p += 1
            continue
        length = 2 + int.from_bytes(data[p + 2 : p + 4], "big")
        if data[p + 1] not in (0xE1, 0xE2):
            kept.append(data[p : p + length])
        p += length
    return b"".join([*kept, data[p : p + (1 << 16)]])


def _check_chunks(data: bytes) -> None:
    p = 8
    for _ in range(MAX_CHUNKS):
        if data[p + 4 : p + 8] in (b"IDAT", b""):
            return
        p += 12 + int.from_bytes(data[p : p + 4], "big")
    raise TooMuchError("too-much-metadata", f"It has more than {MAX_CHUNKS} chunks before its pixels.")


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas (RFC 9649, 2.5 to 2.7): libwebp's decoder of animations allocates it when made."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        sides = int.from_bytes(data[21:25], "little")
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _tiff_pages(data: bytes, most: int) -> int:
    """How many directories a TIFF or BigTIFF chains, at most most + 1; a chain that bites its tail ends there."""
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
    except (struct.error, OverflowError):  # beyond the end, or beyond what can be one
        pass
    return max(len(seen), 1)
