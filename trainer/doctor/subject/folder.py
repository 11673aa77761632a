"""Scans a folder of class folders: lists all images and opens some of them.

An opened image is kept as its size, its digest and a small copy. Worker processes open the files, because a file may
hang or crash its decoder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipelines.images import file_reader
from pipelines.images.file_reader import Refused
from pipelines.images.limits import Limits
from trainer.config import TrainerError
from trainer.doctor.clock import Clock

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
               "validation": "validation", "test": "test", "testing": "test"}  # fmt: skip
SIDE = 64  # pixels of the small copies
MAX_FILES = 1_000_000
LIMITS = Limits(image_timeout=10.0)  # an image beyond them counts as unreadable; a scan has some 20 s in all


@dataclasses.dataclass(frozen=True)
class Photo:
    """Describes one image.

    path: relative to the scanned folder.
    split: train, validation or test; "" if there are no split folders.
    label: class name.
    size: (width, height) in pixels, after the EXIF orientation.
    digest: SHA-256 of the file, in hexadecimal.
    small: uint8 (SIDE, SIDE, 3), over white, resized without keeping the aspect ratio.
    """

    path: str
    split: str
    label: str
    size: tuple[int, int]
    digest: str
    small: np.ndarray


@dataclasses.dataclass(frozen=True)
class Folder:
    """Describes a scanned folder.

    labels: class names in code-point order.
    counts: split -> number of images of each class; all files with an image's extension count.
    photos: the images that were opened, ordered by path. If time or limits did not allow all, they are chosen evenly
      from the classes.
    unreadable: path and reason of each image that could not be opened.
    """

    root: str
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    photos: tuple[Photo, ...]
    unreadable: tuple[tuple[str, str], ...]


def is_folder_of_classes(path: str) -> bool:
    """Tells whether a subfolder contains an image."""
    return os.path.isdir(path) and next(_walk(path), None) is not None


def scan(root: str, clock: Clock, max_photos: int) -> Folder:
    """Lists all images below `root` and opens up to `max_photos` of them.

    It opens one image of each class in turn, until the limit or the time is reached.

    Raises:
      TrainerError: no class folder contains an image.
    """
    listed = list(_walk(root))
    if not listed:
        raise TrainerError(
            f"--data should be a folder of class folders of images, or a prepared dataset. {root!r} has neither images "
            "in folders nor a contract.json."
        )
    counts: dict[str, dict[str, int]] = {}
    for _, split, label in listed:
        counts.setdefault(split, {}).setdefault(label, 0)
        counts[split][label] += 1
    photos: list[Photo] = []
    unreadable: list[tuple[str, str]] = []
    turns = list(_by_turns(listed))
    opened = file_reader.pictures((os.path.join(root, path) for path, _, _ in turns), SIDE, LIMITS, stretch=True)
    for (path, split, label), found in zip(turns, opened, strict=True):
        if isinstance(found, Refused):
            unreadable.append((path, f"{found.reason}: {found.detail}"))
        else:
            photos.append(Photo(path, split, label, (found.width, found.height), found.digest, found.pixels))
        if len(photos) >= max_photos or clock.over:
            break
    labels = tuple(sorted({label for _, _, label in listed}))
    return Folder(root, labels, counts, tuple(sorted(photos, key=lambda p: p.path)), tuple(unreadable))


def _walk(root: str) -> Iterator[tuple[str, str, str]]:
    """Yields (relative path, split, class) of every image file in a class folder.

    A file is an image file if its name ends with an image's extension.
    """
    tops = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    by_split = bool(tops) and all(name.lower() in SPLIT_NAMES for name in tops)
    depth = 2 if by_split else 1
    found = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        parts = Path(folder).relative_to(root).parts
        if len(parts) < depth:
            continue
        for file in sorted(files):
            if file.lower().endswith(EXTENSIONS) and not file.startswith("."):
                split = SPLIT_NAMES[parts[0].lower()] if by_split else ""
                yield os.path.join(*parts, file), split, parts[depth - 1]
                found += 1
                if found >= MAX_FILES:
                    return


def _by_turns(listed: list[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yields one image of each class and split, then the next of each, and so on.

    Within a class and split the order is that of the hashes of the paths, so that any first part is an even choice.
    """
    groups: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for item in listed:
        groups.setdefault(item[1:], []).append(item)
    for group in groups.values():
        group.sort(key=lambda item: hashlib.blake2b(os.fsencode(item[0]), digest_size=8).digest())
    longest = max(map(len, groups.values()))
    for turn in range(longest):
        for group in groups.values():
            if turn < len(group):
                yield group[turn]


def sizes_of(paths: Iterable[str], clock: Clock) -> Iterator[tuple[int, int]]:
    """Yields (width, height) of upright images until the time is over.

    They come from the headers. Files that are missing or cannot be read are left out.
    """
    for size in file_reader.sizes(paths, LIMITS):
        if not isinstance(size, Refused):
            yield size
        if clock.over:
            return
