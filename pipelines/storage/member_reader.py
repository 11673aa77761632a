"""Reads members of local containers that strangers made, without unpacking.

A member's size is bounded twice: as the container declares it, and as it is read.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import os
import stat
import struct
import zlib
from typing import Any

from pipelines.core.errors import StorageError
from pipelines.core.files.members import DEFLATED, PIXELS, PLAIN, ROW, UNREAD, Member

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
        if member.packing == ROW:
            return _of_parquet(descriptor, member, limit)
        if member.packing in (PLAIN, PIXELS):
            return _header(member) + _exactly(descriptor, member.offset, member.size)
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


def _header(member: Member) -> bytes:
    """Returns the header that makes pixels a PGM or PPM.

    These formats store pixels as they are.

    Source: https://netpbm.sourceforge.net/doc/ppm.html
    """
    if member.packing != PIXELS:
        return b""
    height, width, channels = member.shape
    return f"P{5 if channels == 1 else 6}\n{width} {height}\n255\n".encode()


def _of_parquet(descriptor: int, member: Member, limit: int) -> bytes:
    """Reads one value.

    Parquet has no address of a value, so the group of rows that holds it is read.
    """
    status = os.fstat(descriptor)
    file = (member.container, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    try:
        ends, columns = _groups(file)
        group = bisect.bisect_right(ends, member.offset)
        if group == len(ends) or not member.column < len(columns[group]):
            raise StorageError("damaged-member", "The file has no such row, or no such column.")
        size = columns[group][member.column]
        if size > limit:
            raise StorageError(
                "too-large",
                f"Its group of rows holds {size} bytes of images and is read as a whole; the limit is {limit} "
                "(--max-file-bytes). Write the file with smaller groups (pyarrow: row_group_size=100).",
            )
        value = _values(file, group, member.column)[member.offset - (ends[group - 1] if group else 0)].as_py()
    except (StorageError, MemoryError, OSError):
        raise
    except Exception as e:  # a stranger's file: pyarrow raises errors of many kinds
        raise StorageError("damaged-member", f"{type(e).__name__}: {str(e)[:300]}") from e
    if not isinstance(value, bytes):
        raise StorageError("empty", "The row holds no image.")
    if len(value) > limit:
        raise StorageError("too-large", f"{len(value)} bytes; the limit is {limit} (--max-file-bytes).")
    return value


_File = tuple[str, int, int, int, int]  # path, device, number, size and time of the last change


@functools.lru_cache(maxsize=64)
def _groups(file: _File) -> tuple[list[int], list[list[int]]]:
    """Returns where each group of rows ends, and the bytes of its columns.

    An end is the number of the row after the last.
    """
    import pyarrow.parquet  # it takes long to import

    found = pyarrow.parquet.read_metadata(file[0])
    groups = [found.row_group(i) for i in range(found.num_row_groups)]
    ends = list(itertools.accumulate(group.num_rows for group in groups))
    return ends, [[g.column(i).total_uncompressed_size for i in range(g.num_columns)] for g in groups]


@functools.lru_cache(maxsize=1)  # images of one group often follow one another
def _values(file: _File, group: int, column: int) -> Any:
    """Returns the values of one column in a group of rows, as a pyarrow array."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file[0]) as opened:
        values = opened.read_row_group(group, columns=[opened.schema.column(column).path], use_threads=False)
    array = values.column(0).combine_chunks()
    return array.flatten()[0] if pyarrow.types.is_struct(array.type) else array


def _exactly(descriptor: int, offset: int, count: int) -> bytes:
    """Reads `count` bytes at an offset."""
    parts, left = [], count
    while left and (part := os.pread(descriptor, left, offset + count - left)):
        parts.append(part)
        left -= len(part)
    if left:
        raise StorageError("damaged-member", "The container ends before the member does.")
    return b"".join(parts)
