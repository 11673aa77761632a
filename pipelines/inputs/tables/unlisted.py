"""Searches the folder of a manifest's images for images that no row names."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from pipelines import storage
from pipelines.core.errors import SourceError
from pipelines.inputs.rules import IMAGE_SUFFIXES, InputSpec
from pipelines.inputs.tables import manifest, manifest_paths

# Limits of the search: a manifest may be at the top of a very large directory tree.
MOST_LOOKED_AT, LONGEST_LOOK = 2_000_000, 20.0  # files, seconds


class Unlisted(NamedTuple):
    """Describes the images in the manifest's folder that no row names.

    Attributes:
      images: Their number; an image is known by its extension.
      first: The path of one of them, "" if there are none.
      complete: False if the search stopped at a limit or a folder could not be read, so that there may be more.
    """

    images: int = 0
    first: str = ""
    complete: bool = True


def find(spec: InputSpec, output: str) -> Unlisted:
    """Searches the folder of a manifest's images for images that no row names.

    Manifest and folder are local.

    It does not search if none of the rows' files is in the folder. Hidden files and the output directory do not count.
    """
    folder = manifest_paths.folder(spec.path, spec.table)
    if storage.is_remote(spec.path) or storage.is_remote(folder):
        return Unlisted()
    base = os.path.abspath(folder or ".")
    try:
        paths = list(manifest.paths(spec))
    except SourceError:  # it was removed after it was read; its images are prepared already
        return Unlisted()
    local = [path for path in paths if not storage.is_remote(path)]
    if spec.table.find_images:
        by_name = manifest_paths.Names(base)
        listed = {os.path.abspath(found) for path in local for found in by_name.find(path)}
    else:
        listed = {os.path.abspath(manifest_paths.resolve(path, base)) for path in local}
    if not any(path.startswith(f"{base}/") for path in listed):
        return Unlisted()
    output, until = os.path.abspath(output), time.monotonic() + LONGEST_LOOK
    count, looked_at, first = 0, 0, ""
    unread: list[OSError] = []
    for at, folders, names in os.walk(base, onerror=unread.append):
        folders[:] = sorted(f for f in folders if f[0] != "." and os.path.join(at, f) != output)
        for name in sorted(names):
            path = os.path.join(at, name)
            if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES) and path not in listed:
                count, first = count + 1, first or path
        looked_at += len(names)
        if looked_at > MOST_LOOKED_AT or time.monotonic() > until:
            return Unlisted(count, first, complete=False)
    return Unlisted(count, first, complete=not unread)
