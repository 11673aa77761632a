"""Checks an HDF5 file of weights before Keras reads it.

HDF5 can do more than hold arrays: a link may lead into another file, an array may lie in other files, a filter may be a
library that is loaded, and a small file may describe an array that fills the memory. A file of weights needs none of
it.
"""

from __future__ import annotations

import os
from typing import IO, Any

import h5py

from trainer.config import TrainerError

MAX_EXPANSION, FREE_BYTES = 100, 64 << 20  # an array may be so many times larger than its bytes in the file
_LAST_OWN_FILTER, _LZF = 255, 32000  # HDF5's own filters have numbers up to 255, and h5py has LZF built in


def check(source: str | os.PathLike[str] | IO[bytes], name: str) -> None:
    """Checks every link and array of a file.

    Args:
      source: path of the file, or an open file.
      name: of the file, for the message of an error.

    Raises:
      TrainerError: something in it leads out of the file, or is larger than the file can hold.
      OSError: it is no HDF5 file.
    """
    with h5py.File(source, "r") as file:
        _check_group(file, name, set())


def _check_group(group: Any, name: str, seen: set[int]) -> None:
    waiting = [group]
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for key in group:
            link, where = group.get(key, getlink=True), f"{group.name.rstrip('/')}/{key}"
            if not isinstance(link, h5py.HardLink):
                raise _refused(name, where, "a link, which may lead into another file")
            item = group[key]
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                _check_array(item, name, where)


def _check_array(array: Any, name: str, where: str) -> None:
    made = array.id.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
        raise _refused(name, where, "an array that lies in another file")
    for index in range(made.get_nfilters()):
        number = made.get_filter(index)[0]
        if number > _LAST_OWN_FILTER and number != _LZF:
            raise _refused(name, where, f"an array with filter {number}, which HDF5 would load as a library")
    size, stored = int(array.id.get_type().get_size()) * int(array.size or 0), array.id.get_storage_size()
    if size > FREE_BYTES and size > MAX_EXPANSION * stored:
        raise _refused(name, where, f"an array of {size:,} bytes that has {stored:,} bytes in the file")


def _refused(name: str, where: str, what: str) -> TrainerError:
    return TrainerError(
        f"{name!r} is not loaded, because {where!r} in it is {what}. Weights are plain arrays: save them again "
        "with Keras."
    )
