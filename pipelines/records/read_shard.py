"""Reads the shards of a run back, before they are used or published."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines import storage
from pipelines.contract import tfrecord
from pipelines.core.errors import IncompleteError

MOST = 1 << 31  # most bytes of a record: the limit of protocol buffers


def records(path: str, number: int) -> Iterator[bytes]:
    """Yields the records of a shard that this program wrote, and checks each.

    Args:
      number: how many records were written.

    Raises:
      IncompleteError: a record is not as it was written, or there are more or fewer of them.
    """
    found = 0
    with storage.reading(path) as file:
        for frame in tfrecord.frames(file.read, MOST):
            if frame.problem:
                raise _changed(path, f"record at byte {frame.offset}: {frame.problem}")
            found += 1
            yield frame.data
    if found != number:
        raise _changed(path, f"it should hold {number} records and holds {found}")


def check(path: str, number: int) -> None:
    """Reads a shard to its end, as `records` does."""
    for _ in records(path, number):
        pass


def _changed(path: str, how: str) -> IncompleteError:
    return IncompleteError(
        f"{path} has changed since it was written ({how}). Nothing was published. Run the same command again: it makes "
        "this shard anew."
    )
