"""The framing of TFRecord files: length, its checksum, the record, its checksum, all little-endian.

Written by hand because the program that writes shards has no other need of TensorFlow; the format is that of
tensorflow/core/lib/io/record_writer.h, with masked CRC-32C (Castagnoli) checksums.
"""

from __future__ import annotations

import struct

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated right by 15 bits plus a constant: so that checksums of checksums stay useful."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    """The bytes that stand for one record in a TFRecord file."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record))))
