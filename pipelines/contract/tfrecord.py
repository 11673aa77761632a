"""Writes and reads the framing of TFRecord files.

A frame is the record's length, the checksum of the length, the record, and the checksum of the record, all
little-endian. The format is that of tensorflow/core/lib/io/record_writer.h, with masked CRC-32C (Castagnoli) checksums.

This code does not use TensorFlow, because the programs that write and verify shards need TensorFlow for nothing else,
and because TensorFlow's own reader ends the process on a crafted length.
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
    """Holds one record as a file holds it.

    Attributes:
      offset: Position of the frame in the file, in bytes.
      data: The record's bytes.
      problem: What is wrong with the frame; "" if nothing is.
    """

    offset: int
    data: bytes
    problem: str


def masked_crc(data: bytes | np.ndarray) -> int:
    """Returns the masked CRC-32C of the data.

    The CRC is rotated right by 15 bits, and a constant is added modulo 2**32. The mask keeps checksums useful for data
    that contains checksums itself.
    """
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def header(length: int) -> bytes:
    """Returns the HEADER_BYTES that come before a record of this length.

    They are the length and its checksum.
    """
    packed = _LENGTH.pack(length)
    return packed + footer(packed)


def footer(record: bytes | np.ndarray) -> bytes:
    """Returns the FOOTER_BYTES that come after a record: its checksum."""
    return _CRC.pack(masked_crc(record))


def framed(record: bytes) -> bytes:
    """Returns the frame of one record, as it stands in a TFRecord file."""
    return b"".join((header(len(record)), record, footer(record)))


def frames(read: Callable[[int], bytes], most: int) -> Iterator[Frame]:
    """Yields every record of a file, including damaged ones.

    The function needs the memory of one record of at most `most` bytes. It stops after a frame that does not say where
    the next one begins. A length with one flipped bit does say that: the checksum shows which bit it is.

    Args:
      read: Returns the given number of the file's next bytes, and fewer only at the end of the file.
      most: Maximum size of a record in bytes.
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
    """Returns the length as it was written, if one bit is flipped.

    The flipped bit may be in the length or in its checksum. The result is None if the difference is not one flipped
    bit.
    """
    if (masked_crc(_LENGTH.pack(said)) ^ crc).bit_count() == 1:
        return said
    candidates = (said ^ 1 << bit for bit in range(64))
    return next((length for length in candidates if masked_crc(_LENGTH.pack(length)) == crc), None)
