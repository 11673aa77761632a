"""A cache of decoded images: each record is decoded once, and from then on copied.

Records of compressed shards are found through a map of the file, as raw ones are, and decoded when they are first
asked for; so a first epoch costs what it costs without a cache, and a half filled cache is as good as any. On the disk
every row has a CRC-32C with its place in it: rows of a run that was killed while it wrote are decoded again, and so are
damaged ones.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import tensorflow as tf

from pipelines.contract import Contract
from trainer.config import TrainerError
from trainer.data import digest_cache, mmap_tfrecord
from trainer.data.gather import _calls

MEMORY_SHARE = 0.5  # of the machine's memory that a cache may take: the rest is for the training


class Store:
    """The decoded records of one split, by position; several threads may use it at once.

    Rows are numpy records of `image` uint8 (H, W, 3), `label` int64 and `weight` float32. `sums` holds a CRC for each
    row, 0 where there is none yet.
    """

    def __init__(self, shards: Sequence[mmap_tfrecord.Shard], rows: np.ndarray, sums: np.ndarray | None) -> None:
        """sums: None for rows in memory, which nobody else writes."""
        self._shards, self._rows, self._sums = shards, rows, sums
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        self._ready = np.zeros(len(rows), bool)  # decoded, or compared, in this process

    def absent(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of positions int64 (B,), the serialized records, bytes (M,), and positions (M,) that are still to decode.

        Raises:
          ContractError: the checksum of a record does not agree; the message names the shard and the record.
        """
        with _calls:
            found = [p for p in np.unique(positions).tolist() if not self._is_ready(p)]
            return np.array([self._record(p) for p in found], object), np.array(found, np.int64)

    def take(
        self, positions: np.ndarray, absent: np.ndarray, images: np.ndarray, labels: np.ndarray, *weights: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Keeps what was decoded of `absent`; gives the batch, images (B, H, W, 3), labels (B,)[, weights (B,)]."""
        with _calls:
            for number, position in enumerate(absent.tolist()):
                row = self._rows[position : position + 1]
                row["image"], row["label"] = images[number], labels[number]
                row["weight"] = weights[0][number] if weights else 0
                if self._sums is not None:
                    self._sums[position] = _checksum(position, row)  # last: without it the row does not count
                self._ready[position] = True
            names = ("image", "label", "weight") if weights else ("image", "label")
            return tuple(self._rows[name][positions] for name in names)

    def _is_ready(self, position: int) -> bool:
        if not self._ready[position] and self._sums is not None and self._sums[position]:
            row = self._rows[position : position + 1]
            self._ready[position] = self._sums[position] == _checksum(position, row)
        return bool(self._ready[position])

    def _record(self, position: int) -> bytes:
        which = int(np.searchsorted(self._firsts, position, side="right")) - 1
        shard, number = self._shards[which], position - int(self._firsts[which])
        shard.check(number)
        start, stop = shard.place(number)
        return bytes(shard.map[start:stop])


def open_store(contract: Contract, split: str, shards: Sequence[mmap_tfrecord.Shard], where: str) -> Store:
    """A store for the records of the shards, which hold compressed images.

    Args:
      where: "memory", or "disk": a file in `folder()`, which later runs on the same dataset use again.

    Raises:
      TrainerError: there is no room for the decoded images; the message says how much they need.
    """
    dtype = np.dtype([("image", np.uint8, contract.image_shape), ("label", "<i8"), ("weight", "<f4")])
    records = sum(shard.records for shard in shards)
    if where == "memory":
        _check_memory(split, records * dtype.itemsize)
        return Store(shards, np.zeros(records, dtype), None)  # pages are taken as they are written
    path = folder() / f"{_identity(contract, split)}.rows"
    size = records * (4 + dtype.itemsize)
    try:
        _make(path, size)
        with path.open("r+b") as file:
            bytes_ = mmap.mmap(file.fileno(), size)
    except OSError as e:
        raise TrainerError(
            f"--cache disk needs {size / 1e9:.2f} GB in {str(path.parent)!r} for the decoded images of {split!r} "
            f"({e.strerror or e}): make room, set XDG_CACHE_HOME to another disk, or use --cache memory."
        ) from e
    sums = np.frombuffer(bytes_, "<u4", records)
    return Store(shards, np.frombuffer(bytes_, dtype, records, 4 * records), sums)


def folder() -> Path:
    """Where decoded images are kept; any of its files may be deleted at any time."""
    return digest_cache.cache_file().parent / "decoded"


def _make(path: Path, size: int) -> None:
    """A file of zeros that has all its blocks: a full disk is told now, and not by a signal later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size == size:
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:  # macOS
                for _ in range(0, size, 1 << 20):
                    file.write(bytes(1 << 20))
                file.truncate(size)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _identity(contract: Contract, split: str) -> str:
    """Of the records and of what decodes them: another dataset or another decoder is another file."""
    parts = [hashlib.sha256(contract.to_json().encode()).hexdigest(), split, tf.__version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _checksum(position: int, row: np.ndarray) -> int:
    """Never 0, which says that there is no row."""
    return google_crc32c.extend(google_crc32c.value(position.to_bytes(8, "little")), row.tobytes()) or 1


def _check_memory(split: str, size: int) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > MEMORY_SHARE * whole:
        raise TrainerError(
            f"--cache memory needs {size / 1e9:.1f} GB for the decoded images of {split!r}, more than half of this "
            f"machine's {whole / 1e9:.1f} GB: use --cache disk."
        )
