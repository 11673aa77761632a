"""Checks the shards against the contract before TensorFlow opens one.

It compares sizes, SHA-256 digests and lengths of records. A digest that agreed is remembered with the file's size, time
and inode, in a small file in the user's cache folder, so that the next run does not read the shard again. Files that
were changed in the last SETTLED seconds are not remembered: a later change in the same tick of the clock would not be
visible.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from pipelines.contract import Contract, ContractError, Shard
from pipelines.contract.tfrecord import FRAMING_BYTES, LENGTH_BYTES
from pipelines.core import machine
from pipelines.core.files.urls import is_remote
from pipelines.core.hashing import Hashed
from trainer.data.shards import digest_cache, mmap_tfrecord
from trainer.data.shards.digest_cache import Digests

_log = logging.getLogger(__name__)

CHUNK = 8 << 20
THREADS = 8
TOLD_BYTES = 1 << 30  # the user is informed before more than this is read
SETTLED = 2.0  # seconds


def check(contract: Contract, directory: str, splits: Iterable[str], verify: str) -> None:
    """Compares all shards of the splits with the contract.

    It logs a line before much has to be read.

    Args:
      contract: of the dataset.
      directory: of the dataset, local or remote. The lengths of records of a remote one are checked here, too.
      splits: names of the splits to check.
      verify: "full": sizes, and every digest; "fast": sizes, and the digests that are not remembered; "off": sizes.

    Raises:
      ContractError: a shard is missing or differs from the contract; the message names it.
    """
    shards = []
    for split in splits:
        checked_shards(contract, directory, split)
        shards += [(os.path.join(directory, shard.file), shard) for shard in contract.split(split).shards]
    if verify == "off":
        return
    known = digest_cache.read()
    unread = [(path, shard) for path, shard in shards if verify == "full" or _remembered(known, path) != shard.sha256]
    size = sum(shard.bytes for _, shard in unread)
    if size > TOLD_BYTES:
        _log.info("comparing the digests of %d shards, %.1f GB; --verify off skips this", len(unread), size / 1e9)
    with ThreadPoolExecutor(min(THREADS, machine.cores())) as pool:
        fresh = {path: entry for path, entry in pool.map(_compare, unread) if entry}
    if fresh:
        digest_cache.write(known | fresh)


def checked_shards(contract: Contract, directory: str, split: str) -> list[str]:
    """Returns the full paths of the split's shards that hold records.

    Before that it compares each file's size with the contract's. A size costs one `stat`. It finds the shard that was
    not copied or was cut short. TensorFlow would report such a shard in the middle of an epoch, or not at all if it was
    cut at a record boundary. `python -m pipelines verify` compares the digests.

    Raises:
      ContractError: a shard is missing or has another size, or the split holds no records.
    """
    shards = contract.split(split).shards
    for shard in shards:
        path = os.path.join(directory, shard.file)
        size = _size(path)
        if size != shard.bytes:
            raise ContractError(
                f"Shard {path} should have {shard.bytes} bytes by its contract. "
                f"{'There is no such file' if size is None else f'It has {size}'}: copy or prepare the dataset again."
            )
    paths = [os.path.join(directory, shard.file) for shard in shards if shard.records]
    if not paths:
        raise ContractError(
            f"Split {split!r} of {directory} holds no records: choose another split, or prepare with more images."
        )
    return paths


def _size(path: str) -> int | None:
    """Returns the size of a file, local or gs://, in bytes; None if it is not found."""
    try:
        return int(tf.io.gfile.stat(path).length)
    except tf.errors.OpError:
        return None


def _compare(item: tuple[str, Shard]) -> tuple[str, list[Any]]:
    """Reads one shard and compares it with the contract.

    Returns:
      The name of the file and the entry to remember for it, which may be empty.

    Raises:
      ContractError: the shard cannot be read or differs from the contract.
    """
    path, shard = item
    remote = is_remote(path)
    lengths = _Lengths()
    try:
        before = _identity(path)
        with tf.io.gfile.GFile(path, "rb") if remote else open(path, "rb", buffering=0) as file:
            hashed = Hashed(file)
            while chunk := hashed.read(CHUNK):
                if remote:
                    lengths.feed(chunk)
        settled = before and before == _identity(path) and time.time_ns() - before[1] > SETTLED * 1e9
    except (OSError, tf.errors.OpError) as e:
        raise ContractError(f"Shard {path} cannot be read ({e}): copy or prepare the dataset again.") from e
    digest = hashed.sha256.hexdigest()
    if digest != shard.sha256:
        raise ContractError(
            f"Shard {path} should have the SHA-256 {shard.sha256[:12]}… of its contract. It has "
            f"{digest[:12]}…, so it was changed or damaged: copy or prepare the dataset again."
        )
    if remote:  # `dataset.load` checks the lengths of a local shard every time
        found = iter(lengths.headers)
        mmap_tfrecord.walk(path, shard.records, hashed.size, lambda _: next(found))
    return _name(path), [*before, shard.sha256] if settled else []


class _Lengths:
    """Reads the length of each record from a file that arrives in chunks.

    In this way a remote file is transferred only once.
    """

    def __init__(self) -> None:
        self.headers: list[bytes] = []  # LENGTH_BYTES a record
        self._header, self._left = b"", 0  # the part of the next header read so far, and the bytes to skip before it

    def feed(self, chunk: bytes) -> None:
        at = 0
        while at < len(chunk):
            skipped = min(self._left, len(chunk) - at)
            at, self._left = at + skipped, self._left - skipped
            part = chunk[at : at + LENGTH_BYTES - len(self._header)]
            at, self._header = at + len(part), self._header + part
            if len(self._header) == LENGTH_BYTES:
                self._left = int.from_bytes(self._header, "little") + FRAMING_BYTES - LENGTH_BYTES
                self.headers.append(self._header)
                self._header = b""


def _name(path: str) -> str:
    return path if is_remote(path) else os.path.realpath(path)


def _identity(path: str) -> list[int]:
    """Returns size, time of change and inode; nothing if the file system lacks them."""
    if not is_remote(path):
        found = os.stat(path)
        return [found.st_size, found.st_mtime_ns, found.st_ino]
    with contextlib.suppress(tf.errors.OpError):
        remote = tf.io.gfile.stat(path)
        if remote.mtime_nsec:
            return [int(remote.length), int(remote.mtime_nsec), 0]
    return []


def _remembered(known: Digests, path: str) -> str:
    """Returns the remembered digest of an unchanged file, or ""."""
    entry = known.get(_name(path))
    return str(entry[3]) if entry and entry[:3] == _identity(path) else ""
