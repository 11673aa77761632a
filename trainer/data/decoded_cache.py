"""Keeps decoded images in memory: each record is decoded once, and from then on copied.

Records of compressed shards are found through a map of the file, as raw ones are, and decoded when they are first
asked for. So a first epoch costs what it costs without a cache.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from pipelines.contract import Contract
from trainer.config import TrainerError
from trainer.data import mmap_tfrecord
from trainer.data.gather import calls

MEMORY_SHARE = 0.5  # of the machine's memory that a cache may take: the rest is for the training


class Store:
    """Holds the decoded records of one split, by position; several threads may use it at once."""

    def __init__(self, shards: Sequence[mmap_tfrecord.Shard], rows: np.ndarray) -> None:
        """rows: (N,), numpy records of `image` uint8 (H, W, 3), `label` int64 and `weight` float32, to be filled."""
        self._shards, self._rows = shards, rows
        self._firsts = np.cumsum([0, *(shard.records for shard in shards)])
        self._ready = np.zeros(len(rows), bool)  # decoded before

    def absent(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of positions int64 (B,), the serialized records, bytes (M,), and positions (M,) that are still to decode.

        Raises:
          ContractError: the checksum of a record does not agree; the message names the shard and the record.
        """
        with calls:
            found = [p for p in np.unique(positions).tolist() if not self._ready[p]]
            return np.array([self._record(p) for p in found], object), np.array(found, np.int64)

    def take(
        self, positions: np.ndarray, absent: np.ndarray, images: np.ndarray, labels: np.ndarray, *weights: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Keeps what was decoded of `absent`; gives the batch, images (B, H, W, 3), labels (B,)[, weights (B,)]."""
        with calls:
            for number, position in enumerate(absent.tolist()):
                row = self._rows[position : position + 1]
                row["image"], row["label"] = images[number], labels[number]
                row["weight"] = weights[0][number] if weights else 0
                self._ready[position] = True
            names = ("image", "label", "weight") if weights else ("image", "label")
            return tuple(self._rows[name][positions] for name in names)

    def _record(self, position: int) -> bytes:
        which = int(np.searchsorted(self._firsts, position, side="right")) - 1
        shard, number = self._shards[which], position - int(self._firsts[which])
        shard.check(number)
        start, stop = shard.place(number)
        return bytes(shard.map[start:stop])


def open_store(contract: Contract, split: str, shards: Sequence[mmap_tfrecord.Shard]) -> Store:
    """Makes an empty store for the records of the shards, which hold compressed images.

    Raises:
      TrainerError: there is no room for the decoded images; the message says how much they need.
    """
    dtype = np.dtype([("image", np.uint8, contract.image_shape), ("label", "<i8"), ("weight", "<f4")])
    records = sum(shard.records for shard in shards)
    _check_memory(split, records * dtype.itemsize)
    return Store(shards, np.zeros(records, dtype))  # pages are taken as they are written


def _check_memory(split: str, size: int) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > MEMORY_SHARE * whole:
        raise TrainerError(
            f"--cache memory needs {size / 1e9:.1f} GB for the decoded images of {split!r}, more than half of this "
            f"machine's {whole / 1e9:.1f} GB: leave --cache out, or prepare with --encoding uint8, which needs none."
        )
