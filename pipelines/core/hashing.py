"""Makes every choice of the pipeline a function of a hash.

Split, order, shard and augmentation depend on a hash, and never on the time or the worker. The hash is BLAKE2b: it is
in the standard library, takes the seed as its key, is the same on every machine and Python version (unlike `hash()`),
and is faster than SHA-256 on short strings. Content is identified by SHA-256, which others can check with `sha256sum`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

POSITIONS = 1 << 64


class Hashed:
    """Reads or writes an open file, and hashes the bytes that it reads or writes.

    So no file has to be read once more for its digest.

    Attributes:
      sha256: The hash of all bytes so far.
      size: Their number.
    """

    def __init__(self, file: Any) -> None:
        self._file, self.sha256, self.size = file, hashlib.sha256(), 0

    def read(self, count: int) -> bytes:
        data: bytes = self._file.read(count)
        self._add(data)
        return data

    def write(self, data: Any) -> None:
        """Writes bytes, or a buffer of bytes."""
        self._file.write(data)
        self._add(data)

    def _add(self, data: Any) -> None:
        self.sha256.update(data)
        self.size += len(data)


def position(seed: int, *parts: str | int) -> int:
    """Returns a uniform integer 0 <= p < 2**64 from the seed and the parts.

    Equal seeds and parts give equal positions.
    """
    text = "\0".join(map(str, parts))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big")


def record_key(source_key: str, copy: int) -> str:
    """Returns the key of a record, which has the fixed length `contract.KEY_BYTES`.

    It has 16 hex digits of the source key's hash, a "-", and three digits of the copy number.
    """
    return f"{position(0, 'key', source_key):016x}-{copy:03d}"


def text_digest(text: str) -> str:
    """Returns the SHA-256 of the text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def multiset_digest(rows: Iterable[tuple[str, ...]]) -> str:
    """Returns a digest of a multiset of rows, as 64 hex digits.

    It is the sum of the rows' SHA-256 modulo 2**256, so that order and sharding do not matter.
    """
    total = sum(int(text_digest("\0".join(row)), 16) for row in rows)
    return f"{total % (1 << 256):064x}"
