"""Checkpoint files: arrays and a JSON state in one file, which is whole or not there, under a SHA-256 of all of it.

    MAGIC | length of the header, 8 bytes | header, JSON | the arrays, one after another | SHA-256, 32 bytes

No pickle, so that nothing in a file can run; and no zip, so that arrays are hashed on their way out and never copied.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core import atomic

MAGIC = b"shardmill checkpoint 1\n"
KEPT = 2  # the newest, and one to fall back to
DIGEST_BYTES = 32
DTYPES = {
    *("bool", "bfloat16", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}


class DamagedError(ValueError):
    """The file is not a whole checkpoint; the message says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a file holds: `state` as JSON has it, and arrays by group, in the order in which they were written."""

    path: Path
    state: dict[str, Any]
    arrays: dict[str, list[np.ndarray]]


def write(folder: Path, step: int, state: dict[str, Any], arrays: dict[str, Sequence[np.ndarray]]) -> Path:
    """Writes `step-STEP.checkpoint` and takes away all but the last KEPT.

    Raises:
      OSError: it cannot be written; the checkpoints before it are as they were.
    """
    flat = [(group, np.asarray(array, order="C")) for group, members in arrays.items() for array in members]
    listed = [{"group": group, "dtype": array.dtype.name, "shape": array.shape} for group, array in flat]
    header = json.dumps({"state": state, "arrays": listed}).encode()
    path = folder / f"step-{step:012d}.checkpoint"
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256()
    with atomic.replacing(path) as file:
        for part in (MAGIC, struct.pack("<Q", len(header)), header, *(_bytes(array) for _, array in flat)):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
    for old in found(folder)[KEPT:]:
        old.unlink()
    return path


def found(folder: Path) -> list[Path]:
    """The files in a folder, the newest first."""
    return sorted(folder.glob("step-*.checkpoint"), reverse=True)


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole, after saying which are not and taking those away; None without one."""
    for path in found(folder):
        try:
            return read(path)
        except DamagedError as e:
            say(f"warning: checkpoint {path.name} is damaged ({e}) and is left out")
            path.unlink(missing_ok=True)  # or it would count as the newest of those that are kept
    return None


def read(path: Path) -> Checkpoint:
    """Reads one file and compares its digest.

    Raises:
      DamagedError: the digest does not agree, or what is under it is no checkpoint.
      OSError: the file cannot be read.
    """
    data = path.read_bytes()
    body = memoryview(data)[:-DIGEST_BYTES]
    if not data.startswith(MAGIC) or hashlib.sha256(body).digest() != data[-DIGEST_BYTES:]:
        raise DamagedError(f"the SHA-256 of its {len(data)} bytes does not agree")
    try:
        start = len(MAGIC) + 8
        at = start + int(struct.unpack_from("<Q", body, len(MAGIC))[0])
        header = json.loads(bytes(body[start:at]))
        arrays: dict[str, list[np.ndarray]] = {}
        for one in header["arrays"]:
            dtype, shape = _dtype(one["dtype"]), tuple(map(int, one["shape"]))
            if min(shape, default=0) < 0:
                raise DamagedError(f"a side of an array should be at least 0. Received: {shape}")
            array = np.frombuffer(body, dtype, math.prod(shape), at).reshape(shape)
            arrays.setdefault(one["group"], []).append(array)
            at += array.nbytes
        if at != len(body) or not isinstance(header["state"], dict):
            raise DamagedError(f"its {len(arrays)} groups of arrays should end with the file")
        return Checkpoint(path, header["state"], arrays)
    except (struct.error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise DamagedError(f"{type(e).__name__}: {e}") from e


def _bytes(array: np.ndarray) -> Any:
    """A view; of the buffer protocol, which bfloat16 has only so."""
    return array.reshape(-1).view(np.uint8).data


def _dtype(name: Any) -> np.dtype:
    if name not in DTYPES:
        raise DamagedError(f"an array should be of plain numbers. Received: {name!r}")
    dtype: np.dtype = np.dtype(name)
    return dtype
