"""Maps TFRecord files and reads any record without those before it.

Both checksums of a record can be compared. A map is page cache, which the system takes back when it needs memory. It is
not memory of the process.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.contract import Contract, ContractError, tfrecord
from pipelines.contract.tfrecord import FOOTER_BYTES, FRAMING_BYTES, HEADER_BYTES, LENGTH_BYTES
from pipelines.core import machine
from pipelines.core.files.urls import is_remote

MAX_SHARDS = 512  # each map keeps a file open, and a process may usually open 1,024 files


class Shard:
    """Maps one file.

    Its index takes no memory if all records have the length of the first one, else 8 bytes a record.

    path: of the file.
    map, bytes: the content of the file, as a map and as a uint8 array over it.
    """

    def __init__(self, path: str, records: int) -> None:
        """Maps a file. Raises OSError or ValueError if that is not possible."""
        self.path = path
        self.records = records
        with open(path, "rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self._starts: Sequence[int] | None = None  # the start of each record's header, and the end of the file

    def place(self, number: int) -> tuple[int, int]:
        """Returns (start, stop) of a record's data in the file.

        Raises:
          ContractError: the lengths in the file do not lead from record to record to its end.
        """
        if self._starts is None:
            frame = FRAMING_BYTES + int.from_bytes(self.map[:LENGTH_BYTES], "little")
            same = frame * self.records == len(self.map)
            self._starts = range(0, len(self.map) + 1, frame) if same else self._walk()
        return self._starts[number] + HEADER_BYTES, self._starts[number + 1] - FOOTER_BYTES

    def check(self, number: int) -> None:
        """Compares both checksums of a record.

        Raises:
          ContractError: a checksum does not agree; the message names the shard and the record.
        """
        if not self._header_agrees(number) and isinstance(self._starts, range):
            self._starts = self._walk()  # records of other lengths than the first may fill a file of the same size
        start, stop = self.place(number)
        footer = tfrecord.footer(self.bytes[start:stop])
        if not self._header_agrees(number) or self.map[stop : stop + FOOTER_BYTES] != footer:
            raise self.error(number, "a checksum does not agree")

    def error(self, number: int, what: str) -> ContractError:
        """Returns an error that names the shard, the record and what to do."""
        return error(self.path, number, what)

    def _header_agrees(self, number: int) -> bool:
        start, stop = self.place(number)
        return bool(self.map[start - HEADER_BYTES : start] == tfrecord.header(stop - start))

    def _walk(self) -> Sequence[int]:
        return walk(self.path, self.records, len(self.map), lambda at: self.map[at : at + LENGTH_BYTES])


def open_shards(contract: Contract, directory: str, split: str) -> list[Shard] | None:
    """Maps the shards of a split that hold records, in shard order.

    Returns:
      The mapped shards, or None if they have to be read as streams. That is so if the directory is remote, the system
      cannot map the files, there are more than MAX_SHARDS of them, or they are together larger than the memory that
      this process may use: each record would then be read from the disk separately.
    """
    shards = [shard for shard in contract.split(split).shards if shard.records]
    if is_remote(directory) or len(shards) > MAX_SHARDS:
        return None
    if sum(shard.bytes for shard in shards) > machine.memory_bytes():
        return None
    try:
        return [Shard(os.path.join(directory, shard.file), shard.records) for shard in shards]
    except (OSError, ValueError):
        return None


def records(shards: Sequence[Shard], positions: np.ndarray) -> list[bytes]:
    """Returns the serialized records at positions int64 (B,).

    Positions are counted through the shards.
    """
    firsts = np.cumsum([0, *(shard.records for shard in shards)])
    found = []
    for position in positions.tolist():
        which = int(np.searchsorted(firsts, position, side="right")) - 1
        start, stop = shards[which].place(position - int(firsts[which]))
        found.append(shards[which].map[start:stop])
    return found


def check_framing(path: str, records: int) -> None:
    """Checks the lengths in a local file, without reading the records.

    TensorFlow's reader allocates as much memory as a length says, and a manipulated length ends the process.

    Raises:
      ContractError: the lengths do not lead from record to record to the end of the file.
      OSError: the file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        walk(path, records, os.fstat(file.fileno()).st_size, lambda at: os.pread(file.fileno(), LENGTH_BYTES, at))


def walk(path: str, records: int, size: int, read: Callable[[int], bytes]) -> list[int]:
    """Returns the start of each record of a file, and the file's end.

    Args:
      path: of the file, for messages.
      records: number of records of the contract.
      size: number of bytes of the file.
      read: returns the 8 bytes at an offset.

    Raises:
      ContractError: the lengths do not lead from record to record to the end of the file.
    """
    starts, at = [0], 0
    for number in range(records):
        left = size - at - FRAMING_BYTES
        if left < 0:
            raise error(path, number, f"the contract counts {records} records, and the file ends before this one")
        length = int.from_bytes(read(at), "little")
        if length > left:
            raise error(path, number, f"its length should be at most the {left} bytes left. Received: {length}")
        at += FRAMING_BYTES + length
        starts.append(at)
    if at != size:
        raise ContractError(
            f"Shard {path} should hold {records} records by its contract. Received: {size - at} "
            "bytes after the last of them. Copy or prepare the dataset again."
        )
    return starts


def error(path: str, number: int, what: str) -> ContractError:
    """Returns an error that names the shard, the record and what to do."""
    return ContractError(
        f"Shard {path}, record {number}: {what}. Find what is damaged with `python -m pipelines verify`, then "
        "copy or prepare the dataset again."
    )
