"""Reads members of local containers that strangers made, without unpacking.

A member's size is bounded twice: as the container declares it, and as it is read.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib

from pipelines.core.errors import StorageError
from pipelines.core.members import DEFLATED, PLAIN, UNREAD, Member

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # of a zip, before each member
_ENCRYPTED = 1
_METHODS = {0: "stored", 8: DEFLATED}


def read(member: Member, limit: int) -> bytes:
    """Reads a member of at most `limit` bytes.

    Raises:
      StorageError: As `files.read_input`; or the member is damaged.
    """
    if member.packing == UNREAD:
        raise StorageError("unreadable", "This member of the container is not read.")
    if max(member.size, member.packed) > limit:
        said = max(member.size, member.packed)
        raise StorageError("too-large", f"{said} bytes; the limit is {limit} (--max-file-bytes).")
    try:
        # O_NONBLOCK: as in `local.read`.
        descriptor = os.open(member.container, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as e:
        raise StorageError("missing", f"There is no container {member.container!r}.") from e
    except (OSError, ValueError) as e:
        raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError("not-a-file", "The container is no regular file.")
        if member.packing == PLAIN:
            return _exactly(descriptor, member.offset, member.size)
        return _of_zip(descriptor, member)
    except StorageError:
        raise
    except OSError as e:
        raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    finally:
        os.close(descriptor)


def _of_zip(descriptor: int, member: Member) -> bytes:
    fixed = _exactly(descriptor, member.offset, _LOCAL_HEADER.size)
    magic, _, flags, method, _, _, _, _, _, name, extra = _LOCAL_HEADER.unpack(fixed)
    if magic != b"PK\3\4" or _METHODS.get(method) != member.packing or flags & _ENCRYPTED:
        raise StorageError("damaged-member", "The zip says other things of the member in its two headers.")
    packed = _exactly(descriptor, member.offset + _LOCAL_HEADER.size + name + extra, member.packed)
    if member.packing == DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflate.decompress(packed, member.size + 1)
        except zlib.error as e:
            raise StorageError("damaged-member", f"The compressed bytes are damaged ({e}).") from e
    else:
        data = packed
    if len(data) != member.size:
        found = f"more than {member.size}" if len(data) > member.size else str(len(data))
        raise StorageError("damaged-member", f"The zip declares {member.size} bytes and holds {found}.")
    if zlib.crc32(data) != member.crc:
        raise StorageError("damaged-member", "The bytes do not have the CRC-32 that the zip states.")
    return data


def _exactly(descriptor: int, offset: int, count: int) -> bytes:
    """Reads `count` bytes at an offset."""
    parts, left = [], count
    while left and (part := os.pread(descriptor, left, offset + count - left)):
        parts.append(part)
        left -= len(part)
    if left:
        raise StorageError("damaged-member", "The container ends before the member does.")
    return b"".join(parts)
