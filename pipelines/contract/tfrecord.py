"""The framing of TFRecord files: length, its checksum, the record, its checksum, all little-endian.

Written by hand because the programs that write and verify shards have no other need of TensorFlow, whose own reader
ends the process on a crafted length. The format is that of tensorflow/core/lib/io/record_writer.h, with masked CRC-32C
(Castagnoli) checksums.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER = _LENGTH.size + _CRC.size


class Frame(NamedTuple):
    """One record as a file holds it: where its frame begins, its bytes, and what is wrong with it ("": nothing)."""

    offset: int
    data: bytes
    problem: str


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated right by 15 bits plus a constant: so that checksums of checksums stay useful."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    """The bytes that stand for one record in a TFRecord file."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record))))


def frames(read: Callable[[int], bytes], most: int) -> Iterator[Frame]:
    """Every record of a file, damaged ones too, in the memory of one of at most `most` bytes.

    After a frame that does not say where the next one begins, there is no further one. A length of which one bit is
    flipped does say it: its checksum tells which.

    Args:
      read: gives so many of the file's next bytes, fewer only at its end.
    """
    offset = 0
    while header := read(_HEADER):
        if len(header) < _HEADER:
            yield Frame(offset, b"", f"the file ends inside its header, after {len(header)} of {_HEADER} bytes")
            return
        said, crc = _LENGTH.unpack(header[:8])[0], _CRC.unpack(header[8:])[0]
        length = said if masked_crc(header[:8]) == crc else _mended(said, crc)
        if length is None:
            yield Frame(offset, b"", "its length is damaged, so that what follows cannot be found")
            return
        if length > most:
            yield Frame(offset, b"", f"its length should be at most {most} bytes. The file says {length}")
            return
        body = read(length + _CRC.size)
        if len(body) < length + _CRC.size:
            ends = f"after {len(body)} of {length + _CRC.size} bytes"
            yield Frame(offset, body[:length], f"the file ends inside it, {ends}")
            return
        data = body[:length]
        if masked_crc(data) != _CRC.unpack(body[length:])[0]:
            problem = "its bytes are damaged (their checksum differs)"
        else:
            problem = "" if masked_crc(header[:8]) == crc else "its length is damaged by one flipped bit"
        yield Frame(offset, data, problem)
        offset += _HEADER + length + _CRC.size


def _mended(said: int, crc: int) -> int | None:
    """The length that was written, if one bit of it or of its checksum is flipped."""
    if (masked_crc(_LENGTH.pack(said)) ^ crc).bit_count() == 1:
        return said
    candidates = (said ^ 1 << bit for bit in range(64))
    return next((length for length in candidates if masked_crc(_LENGTH.pack(length)) == crc), None)
