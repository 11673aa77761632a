"""Copies the user's folder, so that a program changes nothing of it.

Files that a program may write again, such as models and tables, are copied. Large ones and photographs are links. New
files, and files that replace others, land in the copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from trainer.config import TrainerError

MOST_FILES = 300_000
LARGE = 32 << 20  # bytes of one file; a larger one is a link
MOST_BYTES = 1 << 30  # bytes that are copied; what comes after is a link
LEFT_OUT = (".git", "__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache")
# Files that programs only read. A model that is a link would be overwritten by model.save, a photograph is not.
READ_ONLY = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".tfrecord", ".tfrecords",
             ".wav", ".mp3", ".mp4", ".zip", ".gz", ".tar")  # fmt: skip


MOST_BESIDE = 5_000  # entries of a folder above, which are links


def mirrored(folder: str, root: str) -> str:
    """Copies a folder below `root`, at its own path, and returns where it lies.

    The folders above it exist as well, and what is in them is a link. So a program reads ../photos as it does at home.

    Raises:
      TrainerError, OSError: as `copy`.
    """
    target = os.path.join(root, folder.lstrip(os.sep))
    copy(folder, target)
    inner, above = folder, os.path.dirname(folder)
    while inner != above:
        with contextlib.suppress(OSError):  # a folder above may not be listed by everyone
            for entry in list(os.scandir(above))[:MOST_BESIDE]:
                link = os.path.join(root, above.lstrip(os.sep), entry.name)
                if not os.path.lexists(link):
                    os.symlink(entry.path, link)
        inner, above = above, os.path.dirname(above)
    return target


def copy(folder: str, target: str) -> None:
    """Makes a copy of a folder for a program to run in.

    Environments of Python (folders with a pyvenv.cfg) are links.

    Raises:
      TrainerError: the folder holds more than MOST_FILES files.
      OSError: a file cannot be read, or there is no room.
    """
    files = size = 0
    for place, folders, names in os.walk(folder):
        inside = Path(target, os.path.relpath(place, folder))
        inside.mkdir(parents=True, exist_ok=True)
        for name in list(folders):
            path = os.path.join(place, name)
            if name in LEFT_OUT or os.path.realpath(path) == os.path.realpath(target):
                folders.remove(name)
            elif os.path.islink(path) or os.path.isfile(os.path.join(path, "pyvenv.cfg")):
                folders.remove(name)
                os.symlink(os.path.realpath(path), inside / name)
        files += len(names)
        if files > MOST_FILES:
            raise TrainerError(
                f"{folder!r} has more than {MOST_FILES:,} files, too many for a copy to run the program in: start the "
                "doctor from the folder of the program alone, or give --full, which runs the program where it is."
            )
        for name in names:
            size += _place(os.path.join(place, name), inside / name, size)


def _place(file: str, target: Path, before: int) -> int:
    """Copies or links one file and returns the bytes that were copied.

    Sockets, devices and links to nothing are left out.
    """
    try:
        found = os.stat(file)
    except OSError:
        return 0
    if not os.path.isfile(file):
        return 0
    link = file.lower().endswith(READ_ONLY) or found.st_size > LARGE or before + found.st_size > MOST_BYTES
    if link:
        os.symlink(os.path.realpath(file), target)
        return 0
    shutil.copy2(file, target)
    return found.st_size
