"""Keeps decoded images in memory, so that each record is decoded only once.

Records of compressed shards are found through a memory map of the file, as raw ones are. They are decoded when they are
first needed, so that the first epoch costs the same as without a cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.contract import Contract
from pipelines.core import machine
from trainer.config import TrainerError
from trainer.data.shards import mmap_tfrecord
from trainer.data.shards.gather import calls
from trainer.data.shards.indexed_records import IndexedRecords

MEMORY_SHARE = 0.5  # a cache may take this share of the memory that the process may use: training needs the rest


class Store:
    """Holds the decoded records of one split, by position.

    Several threads may use it at once.
    """

    def __init__(self, shards: Sequence[mmap_tfrecord.Shard], rows: np.ndarray) -> None:
        """Starts with no decoded record.

        Args:
          shards: of the split.
          rows: (N,), numpy records of `image` uint8 (H, W, C), `label` int64 or float32 (K,) and `weight` float32,
            to be filled.
        """
        self._records, self._rows = IndexedRecords(shards), rows
        self._ready = np.zeros(len(rows), bool)  # whether a record is decoded

    def absent(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the serialized records among `positions` that are not decoded yet.

        Args:
          positions: int64 (B,).

        Returns:
          Records, bytes (M,), and their positions, int64 (M,).

        Raises:
          ContractError: the checksum of a record does not agree; the message names the shard and the record.
        """
        found = np.unique(positions)
        found = found[~self._ready[found]]
        return self._records(found), found

    def take(
        self, positions: np.ndarray, absent: np.ndarray, images: np.ndarray, labels: np.ndarray, *weights: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Stores newly decoded records and returns the complete batch.

        Args:
          positions: int64 (B,), of the batch.
          absent: int64 (M,), the positions that were decoded.
          images, labels, weights: the decoded records of `absent`.

        Returns:
          Images uint8 (B, H, W, C), labels int64 (B,) or targets float32 (B, K)[, weights float32 (B,)].
        """
        with calls:
            for number, position in enumerate(absent.tolist()):
                row = self._rows[position : position + 1]
                row["image"], row["label"] = images[number], labels[number]
                row["weight"] = weights[0][number] if weights else 0
                self._ready[position] = True
            names = ("image", "label", "weight") if weights else ("image", "label")
            return tuple(self._rows[name][positions] for name in names)


def open_store(contract: Contract, split: str, shards: Sequence[mmap_tfrecord.Shard]) -> Store:
    """Makes an empty store for the records of shards of compressed images.

    Raises:
      TrainerError: there is not enough memory for the decoded images; the message gives the bytes that they need.
    """
    width = contract.target_width
    label = ("label", "<f4", (width,)) if width else ("label", "<i8")
    dtype = np.dtype([("image", np.uint8, contract.image_shape), label, ("weight", "<f4")])
    records = sum(shard.records for shard in shards)
    _check_memory(split, records * dtype.itemsize)
    return Store(shards, np.zeros(records, dtype))  # the system allocates a page when it is first written


def _check_memory(split: str, size: int) -> None:
    available = machine.memory_bytes()
    if size > MEMORY_SHARE * available:
        raise TrainerError(
            f"--cache memory needs {size / 1e9:.1f} GB for the decoded images of {split!r}, more than half of the "
            f"{available / 1e9:.1f} GB that this process may use: leave --cache out, or prepare with --encoding uint8, "
            "which needs none."
        )
