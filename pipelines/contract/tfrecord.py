"""The framing of TFRecord files: length, its checksum, the record, its checksum, all little-endian.

Written by hand because the programs that write and verify shards have no other need of TensorFlow, whose own reader
ends the process on a crafted length. The format is that of tensorflow/core/lib/io/record_writer.h, with masked CRC-32C
(Castagnoli) checksums.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c

if TYPE_CHECKING:
    import numpy as np

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size  # a frame begins with the record's length
HEADER_BYTES = _LENGTH.size + _CRC.size  # before the record: its length and the length's checksum
FOOTER_BYTES = _CRC.size  # after the record: its checksum
FRAMING_BYTES = HEADER_BYTES + FOOTER_BYTES


class Frame(NamedTuple):
    """One record as a file holds it: where its frame begins, its bytes, and what is wrong with it ("": nothing)."""

    offset: int
    data: bytes
    problem: str


def masked_crc(data: bytes | np.ndarray) -> int:
    """Returns CRC-32C, rotated right by 15 bits, plus a constant.

    The rotation and the constant keep checksums of data that holds checksums useful.
    """
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def header(length: int) -> bytes:
    """Returns the HEADER_BYTES that stand before a record of this length."""
    packed = _LENGTH.pack(length)
    return packed + footer(packed)


def footer(record: bytes | np.ndarray) -> bytes:
    """Returns the FOOTER_BYTES that stand after a record."""
    return _CRC.pack(masked_crc(record))


def framed(record: bytes) -> bytes:
    """Returns the bytes that stand for one record in a TFRecord file."""
    return b"".join((header(len(record)), record, footer(record)))


def frames(read: Callable[[int], bytes], most: int) -> Iterator[Frame]:
    """Every record of a file, damaged ones too, in the memory of one of at most `most` bytes.

    After a frame that does not say where the next one begins, there is no further one. A length of which one bit is
    flipped does say it: its checksum tells which.

    Args:
      read: gives so many of the file's next bytes, fewer only at its end.
    """
    offset = 0
    while head := read(HEADER_BYTES):
        if len(head) < HEADER_BYTES:
            yield Frame(offset, b"", f"the file ends inside its header, after {len(head)} of {HEADER_BYTES} bytes")
            return
        said, crc = _LENGTH.unpack(head[:LENGTH_BYTES])[0], _CRC.unpack(head[LENGTH_BYTES:])[0]
        intact = masked_crc(head[:LENGTH_BYTES]) == crc
        length = said if intact else _mended(said, crc)
        if length is None:
            yield Frame(offset, b"", "its length is damaged, so that what follows cannot be found")
            return
        if length > most:
            yield Frame(offset, b"", f"its length should be at most {most} bytes. The file says {length}")
            return
        body = read(length + FOOTER_BYTES)
        if len(body) < length + FOOTER_BYTES:
            ends = f"after {len(body)} of {length + FOOTER_BYTES} bytes"
            yield Frame(offset, body[:length], f"the file ends inside it, {ends}")
            return
        data = body[:length]
        if masked_crc(data) != _CRC.unpack(body[length:])[0]:
            problem = "its bytes are damaged (their checksum differs)"
        else:
            problem = "" if intact else "its length is damaged by one flipped bit"
        yield Frame(offset, data, problem)
        offset += FRAMING_BYTES + length


def _mended(said: int, crc: int) -> int | None:
    """The length that was written, if one bit of it or of its checksum is flipped."""
    if (masked_crc(_LENGTH.pack(said)) ^ crc).bit_count() == 1:
        return said
    candidates = (said ^ 1 << bit for bit in range(64))
    return next((length for length in candidates if masked_crc(_LENGTH.pack(length)) == crc), None)
