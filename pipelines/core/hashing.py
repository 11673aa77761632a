"""Every choice of the pipeline (split, order, shard, augmentation) is a function of a hash, never of time or worker.

BLAKE2b: in the standard library, keyed by the seed, the same on every machine and Python version (unlike `hash()`),
and faster than SHA-256 on short strings. Content is identified by SHA-256, which others can check with `sha256sum`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

POSITIONS = 1 << 64


def position(seed: int, *parts: str | int) -> int:
    """A uniform integer 0 <= p < 2**64 from the seed and the parts; equal parts give equal positions."""
    text = "\0".join(map(str, parts))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big")


def record_key(source_key: str, copy: int) -> str:
    """The fixed-length key of a record (contract.KEY_BYTES): 16 hex digits of the source's key, -, copy number."""
    return f"{position(0, 'key', source_key):016x}-{copy:03d}"


def text_digest(text: str) -> str:
    """SHA-256 of the text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def multiset_digest(rows: Iterable[tuple[str, ...]]) -> str:
    """A digest of a multiset: the sum of the rows' SHA-256 modulo 2**256, so that order and sharding do not matter."""
    total = sum(int(text_digest("\0".join(row)), 16) for row in rows)
    return f"{total % (1 << 256):064x}"
