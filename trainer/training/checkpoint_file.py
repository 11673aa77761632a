"""Reads and writes checkpoint files, which hold arrays and a JSON state.

A file is either complete or does not exist. Its last bytes are the SHA-256 digest of all bytes before them:

    MAGIC | length of the header, 8 bytes | header, JSON | the arrays, one after another | SHA-256, 32 bytes

The format is not pickle, so that reading a file never runs code from it. It is not zip either, so that arrays are
hashed while they are written and never copied.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.files import atomic
from pipelines.core.hashing import Hashed
from trainer.config import TrainerError

_log = logging.getLogger(__name__)

FORMAT = 1
MAGIC = b"shardmill checkpoint %d\n" % FORMAT
KEPT = 2  # the newest file, and one more in case the newest is damaged
DIGEST_BYTES = 32
DTYPES = {
    *("bool", "bfloat16", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}


class DamagedError(ValueError):
    """Says that a file is not a complete checkpoint, and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Holds the content of a checkpoint file.

    `state` is the JSON state. `arrays` has a list of arrays for each group, in the order in which they were written.
    """

    path: Path
    state: dict[str, Any]
    arrays: dict[str, list[np.ndarray]]


def write(folder: Path, step: int, state: dict[str, Any], arrays: dict[str, Sequence[np.ndarray]]) -> Path:
    """Writes `step-STEP.checkpoint` and deletes all checkpoints but the newest KEPT.

    Raises:
      OSError: the file cannot be written. The earlier checkpoints are then unchanged.
    """
    flat = [(group, np.asarray(array, order="C")) for group, members in arrays.items() for array in members]
    listed = [{"group": group, "dtype": array.dtype.name, "shape": array.shape} for group, array in flat]
    header = json.dumps({"state": state, "arrays": listed}).encode()
    path = folder / f"step-{step:012d}.checkpoint"
    folder.mkdir(exist_ok=True)
    with atomic.replacing(path) as file:
        hashed = Hashed(file)
        for part in (MAGIC, struct.pack("<Q", len(header)), header, *(_bytes(array) for _, array in flat)):
            hashed.write(part)
        file.write(hashed.sha256.digest())
    # Files of later steps are ones that could not be read: they must not push out those that can.
    for old in [file for file in found(folder) if file <= path][KEPT:]:
        old.unlink()
    return path


def found(folder: Path) -> list[Path]:
    """Returns the checkpoint files of a folder, the newest first."""
    return sorted(folder.glob("step-*.checkpoint"), reverse=True)


def latest(folder: Path) -> Checkpoint | None:
    """Returns the newest complete checkpoint, or None if there is none.

    It warns of each damaged file and deletes it. It warns of a file that the system fails to read, and leaves it.

    Raises:
      TrainerError: a file is of a newer format, or the system fails to read the only ones. They are left as they are.
    """
    files = found(folder)
    for path in files:
        _refuse_newer(path)
    unread: list[str] = []
    for path in files:
        try:
            return read(path)
        except DamagedError as e:
            _log.warning("checkpoint %s is damaged (%s) and is left out", path.name, e)
            path.unlink(missing_ok=True)
        except OSError as e:
            _log.warning("checkpoint %s cannot be read (%s) and is left out", path.name, e.strerror or e)
            unread.append(f"{path.name} ({e.strerror or e})")
    if unread:
        raise TrainerError(
            f"No checkpoint in {str(folder)!r} can be read: {', '.join(unread)}. Look at the disk and at the files' "
            "permissions, or train without --resume to start over."
        )
    return None


def _refuse_newer(path: Path) -> None:
    """Checks that a file is not of a newer format.

    Raises:
      TrainerError: it is.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(2 * len(MAGIC))
    except OSError:  # `latest` tells of it when it reads the file
        return
    named = re.match(rb"shardmill checkpoint ([0-9]{1,9})\n", beginning)
    if named and int(named[1]) > FORMAT:
        raise TrainerError(
            f"Checkpoint {str(path)!r} is of format {int(named[1])}. This version reads format {FORMAT}: a newer one "
            "wrote it. Resume with that version, or train without --resume to start over."
        )


def read(path: Path) -> Checkpoint:
    """Reads one file and compares its digest.

    Raises:
      DamagedError: the digest does not agree, or the hashed bytes are not a checkpoint.
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
    """Returns the bytes of an array as a buffer, without a copy.

    NumPy offers no buffer of a bfloat16 array, therefore the array is viewed as uint8 first.
    """
    return array.reshape(-1).view(np.uint8).data


def _dtype(name: Any) -> np.dtype:
    if name not in DTYPES:
        raise DamagedError(f"an array should be of plain numbers. Received: {name!r}")
    dtype: np.dtype = np.dtype(name)
    return dtype
