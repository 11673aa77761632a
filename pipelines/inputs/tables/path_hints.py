"""Finds out why the images of a table's rows are not where the rows say."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Sequence

from pipelines import storage
from pipelines.core import name_variants
from pipelines.core.text import cut
from pipelines.inputs import containers
from pipelines.inputs.rules import IMAGE_SUFFIXES, InputSpec
from pipelines.inputs.tables import composed_paths, manifest_paths

MOST_FILES, LONGEST_LOOK = 100_000, 5.0  # of the search for the images, in files and seconds


def explain(spec: InputSpec, paths: Sequence[str]) -> str:
    """Returns what is wrong with paths, and the options that mend it, in words.

    It looks below the local folder of the images for files with the names of the paths' last parts.

    Args:
      paths: Some paths as their rows have them, of which none names an image.

    Returns:
      "" if it is not known what is wrong.
    """
    if not paths:
        return ""
    first, said, options = paths[0], [], []
    shown = cut(first, 200)
    if first.lower().startswith(("http://", "https://")):
        return (
            f"The paths are addresses on the web, such as {shown!r}. Download the images, and replace the beginning of "
            "the addresses: --path-prefix https://HOST/FOLDER=FOLDER."
        )
    slashed = first
    if "\\" in first and not spec.table.windows_paths:
        said.append(f"The paths are those of Windows, such as {shown!r}.")
        options.append("--windows-paths")
        slashed = first.replace("\\", "/")
    base = manifest_paths.folder(spec.path, spec.table)
    if storage.is_remote(base):
        found = ""
    else:
        found = _search(base or ".", [part for part in slashed.split("/") if part not in ("", ".", "..")])
    if found and not spec.table.find_images and _are_scattered(base or ".", slashed, found, paths):
        said.append(f"For {shown!r} there is {(storage.join(base, found) if base else found)!r}.")
        said.append("The images are in several folders.")
        options.append("--find-images")
    elif found:
        options += _options(slashed, found, base, spec.table.image_root)
        place = storage.join(base, found) if base else found
        said.append(f"For {shown!r} there is {place!r}.")
    elif near := name_variants.nearby(manifest_paths.resolve(manifest_paths.written(first, spec.table), base)):
        said.append(_of_variant(slashed, near))
    elif _is_of_other_machine(slashed):
        said.append(
            f"The path {shown!r} is one of another machine: --path-prefix OLD=NEW replaces the beginning of the paths."
        )
    elif packed := _container(base):
        said.append(
            f"The images of a table are not read from a container: unpack {packed!r}, and name the folder in which the "
            "paths begin with --image-root FOLDER."
        )
    elif not slashed.lower().endswith(IMAGE_SUFFIXES):
        said.append(f"{shown!r} has no ending of an image: --suffix .jpg adds one.")
    elif not said:
        said.append("--image-root FOLDER names the folder in which the paths begin, if it is not that of the table.")
    if options:
        said.append(f"Say: {' '.join(options)}")
    return " ".join(said)


def _container(base: str) -> str:
    """Returns the container that the folder of the images is or holds, or ""."""
    if storage.is_remote(base):
        return ""
    if os.path.isfile(base):
        return base if containers.is_container(base) else ""
    names = sorted(os.listdir(base or ".")) if os.path.isdir(base or ".") else []
    return next((os.path.join(base, name) for name in names if containers.is_container(name)), "")


def _of_variant(path: str, near: str) -> str:
    """Returns what to do with a path whose file is called `near`, a variant of it."""
    said = f"There is {near!r}: the case of its name differs, or its Unicode form."
    ending = os.path.splitext(near)[1]
    if ending != os.path.splitext(path)[1] and near.endswith(os.path.splitext(path)[0] + ending):
        return (
            f"{said} The paths get this ending with --path-from '{{COLUMN{composed_paths.STEM}}}{ending}': COLUMN is "
            "the heading or the number of the column of the paths."
        )
    return f"{said} Write the names into the table as the files have them."


def _is_of_other_machine(path: str) -> bool:
    drive = path[1:3] == ":/" and path[0].isalpha()
    return drive or path.startswith(("//", "~")) or (path.startswith("/") and not os.path.lexists(path))


def _are_scattered(base: str, first: str, found: str, paths: Sequence[str]) -> bool:
    """Tells whether other rows have their images in other folders.

    They are compared with the first row, as far as the paths say.
    """
    for other in {paths[len(paths) // 2], paths[-1]}:
        path = other.replace("\\", "/")
        at = _search(base, [part for part in path.split("/") if part not in ("", ".", "..")])
        if at and _options(path, at, base, "") != _options(first, found, base, ""):
            return True
    return False


def _search(base: str, parts: Sequence[str]) -> str:
    """Returns the file below `base` that most of a path's last parts fit.

    Its path is relative to `base`, and "" if there is none.

    A file whose name has an ending of an image behind the last part counts, too.
    """
    if not parts:
        return ""
    until, seen, best, most = time.monotonic() + LONGEST_LOOK, 0, "", 0
    endings = ("", *IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    names = {parts[-1] + ending for ending in endings}
    for folder, folders, files in os.walk(base):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            if name in names:
                below = posixpath.normpath(posixpath.join(os.path.relpath(folder, base), name))
                common = 1 + _common(parts[:-1], below.split("/")[:-1])
                if common > most:
                    best, most = below, common
        seen += len(files)
        if seen > MOST_FILES or time.monotonic() > until:
            break
    return best


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns how many of the last parts are equal."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _options(path: str, found: str, base: str, image_root: str) -> list[str]:
    """Returns the options with which a row's path leads to the file `found`.

    `found` is relative to `base`.
    """
    options = []
    wanted = path
    suffix = posixpath.basename(found).removeprefix(posixpath.basename(path))
    if suffix:  # the file has an ending that the path lacks
        options.append(f"--suffix {suffix}")
        wanted = path + suffix
    tail = posixpath.normpath(wanted).lstrip("/")
    if found == tail and not path.startswith("/"):
        return options
    if found.endswith(f"/{tail}"):
        root = posixpath.join(image_root or base, found[: -len(tail) - 1])
        return [*options, f"--image-root {root}"]
    count = 1 + _common(wanted.split("/")[:-1], found.split("/")[:-1])
    old = "/".join(wanted.split("/")[:-count])
    new = "/".join(found.split("/")[:-count]) or "."
    return [*options, f"--path-prefix {old or '/'}={new}"]
