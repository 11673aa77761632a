"""Finds images that look alike by their perceptual hashes.

The functions are pure. A hash is that of `images/perceptual_hash.py`.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipelines.core.elements import Ref
from pipelines.core.summary import Duplicates
from pipelines.plan import duplicates, splits

BYTES = 16  # of a hash
AT_ONCE = 1 << 18  # pairs of hashes that are compared in one operation


def edges(hashed: Iterable[tuple[bytes, str]], bits: int) -> list[tuple[str, str]]:
    """Returns pairs of names that connect all names whose hashes are alike.

    The components of the pairs are those of all pairs of hashes that differ in at most `bits` bits. There are fewer
    pairs than hashes, in whatever way they are alike.

    If two hashes differ in at most d bits, and the hash is cut into d + 1 parts, they share at least one part. So only
    hashes that share a part are compared (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012).

    Args:
      hashed: (hash, name); a name may occur several times.
      bits: at least 0 and less than the number of bits of a hash.
    """
    named: dict[bytes, list[str]] = collections.defaultdict(list)
    for code, name in sorted(set(hashed)):
        named[code].append(name)
    found = [pair for names in named.values() for pair in itertools.pairwise(names)]
    if len(named) < 2:
        return found
    codes = np.frombuffer(b"".join(named), np.uint8).reshape(-1, BYTES)
    roots = _Roots(len(codes))
    for part in np.array_split(np.unpackbits(codes, axis=1), bits + 1, axis=1):
        _, values = np.unique(np.packbits(part, axis=1), axis=0, return_inverse=True)
        order = np.argsort(values.ravel(), kind="stable")
        for shared in np.split(order, np.flatnonzero(np.diff(values.ravel()[order])) + 1):
            _connect(shared, codes[shared], bits, roots)
    names = [same[0] for same in named.values()]
    return found + [(names[one], names[other]) for one, other in roots.joined]


class Near:
    """Finds which hashes are alike to one of many, as `edges` does."""

    def __init__(self, many: Sequence[bytes], bits: int) -> None:
        """Creates the tables of the parts of `many` hashes.

        Args:
          bits: as of `edges`.
        """
        self._bits = bits
        self._codes = np.frombuffer(b"".join(sorted(set(many))), np.uint8).reshape(-1, BYTES)
        self._parts = []
        for values in self._values(self._codes):
            order = np.argsort(values, kind="stable")
            self._parts.append((order, values[order]))

    def has(self, hashes: Sequence[bytes]) -> list[bool]:
        """Tells of each hash whether one of the many is alike to it."""
        codes = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, BYTES)
        found = np.zeros(len(codes), bool)
        for values, (order, known) in zip(self._values(codes), self._parts, strict=True):
            first, last = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
            for row in np.flatnonzero((last > first) & ~found).tolist():
                others = self._codes[order[first[row] : last[row]]]
                found[row] = (_differing(codes[row], others) <= self._bits).any()
        return [bool(value) for value in found]

    def _values(self, codes: np.ndarray) -> list[np.ndarray]:
        """Returns the value of each part of the hashes, as bytes that can be sorted."""
        parts = np.array_split(np.unpackbits(codes, axis=1), self._bits + 1, axis=1)
        packed = [np.ascontiguousarray(np.packbits(part, axis=1)) for part in parts]
        return [part.view(f"S{part.shape[1]}").ravel() for part in packed]


class _Roots:
    """Holds the components of numbers, and the pairs of roots that were joined."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self.joined: list[tuple[int, int]] = []

    def of(self, member: int) -> int:
        parent = self._parent
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    def join(self, one: int, other: int) -> None:
        """Joins the components of two roots that differ."""
        self.joined.append((one, other))
        self._parent[other] = one


def _connect(members: np.ndarray, codes: np.ndarray, bits: int, roots: _Roots) -> None:
    """Joins the components of the members whose hashes differ in at most `bits` bits.

    Pictures of one component are not compared again: of thousands that are all alike, all pairs would be millions.

    Args:
      members: int (N,), numbers of hashes.
      codes: uint8 (N, BYTES), their hashes.
    """
    root = np.array([roots.of(member) for member in members.tolist()])
    step = max(1, AT_ONCE // len(members))
    for start in range(0, len(members) - 1, step):
        if (root == root[0]).all():
            return
        rows = slice(start, start + step)
        near = (_differing(codes[rows, None], codes[None]) <= bits) & (root[rows, None] != root[None])
        for row in (start + np.flatnonzero(near.any(axis=1))).tolist():
            others = np.unique(root[near[row - start] & (root != root[row])])
            for other in others.tolist():
                roots.join(int(root[row]), other)
            root[np.isin(root, others)] = root[row]


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the number of bits that differ between hashes uint8 (..., BYTES)."""
    differing: np.ndarray = np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int16)
    return differing


def groups(refs: Iterable[Ref], bits: int) -> Iterator[Duplicates]:
    """Yields each group of images that look alike and have different content.

    Args:
      refs: the references of a unit. Only they are compared.
      bits: the value of --group-similar.
    """
    members = [ref for ref in refs if ref.look]
    if len({ref.digest for ref in members}) < 2:
        return
    merged = splits.components(edges(((ref.look, ref.digest) for ref in members), bits))
    alike: dict[str, list[Ref]] = collections.defaultdict(list)
    for ref in members:
        if ref.digest in merged:
            alike[merged[ref.digest]].append(ref)
    yield from (duplicates.told(sorted(same)) for same in alike.values())
