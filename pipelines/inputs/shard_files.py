"""Finds the files of a dataset that comes in shards, below a folder."""

from __future__ import annotations

import os
from collections.abc import Callable


def below(folder: str, is_shard: Callable[[str], bool], is_other: Callable[[str], bool], flat: bool) -> list[str]:
    """Returns the paths of the shards below a local folder, in order.

    It returns [] if there is another input, too, at once: a folder of a million photographs holds no shards. What
    cannot be listed is left to those that list folders.

    Args:
      is_shard: Tells by the name of a file whether it is a shard.
      is_other: Tells by the name of any other file whether it is another input.
      flat: Whether folders are left out if the folder itself has shards.
    """
    found: list[str] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif is_shard(entry.name):
                        found.append(entry.path)
                    elif is_other(entry.name):
                        return []
        except OSError:
            return []
        if flat and here == folder and found:
            break
    return sorted(found)
