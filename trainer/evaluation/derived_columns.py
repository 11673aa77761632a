"""Makes columns of the records themselves, to score parts of a split by them.

`brightness` is the mean gray level of the stored pixels, `folder` the folder of the source file, and `size` the
megapixels of the source image. They need no `prepare --keep`.
"""

from __future__ import annotations

import os
import posixpath

import numpy as np

from pipelines import contract as contracts
from pipelines.contract.metadata import FLOAT, TEXT
from trainer.config import BRIGHTNESS, FOLDER, SIZE, TrainerError
from trainer.data import dataset
from trainer.evaluation import mistakes
from trainer.evaluation.slices import Column

BATCH = 256


def made(names: tuple[str, ...], data: str | os.PathLike[str], split: str) -> tuple[Column, ...]:
    """Returns the columns of a split, in the order of `inference.keys`.

    Args:
      names: of `config.DERIVED`.

    Raises:
      TrainerError: a column of the dataset has this name already, or no ledger states the folders or sizes.
    """
    _check_names(names, data)
    makers = {BRIGHTNESS: _brightness, FOLDER: _folders, SIZE: _sizes}
    return tuple(makers[name](data, split) for name in names)


def check(names: tuple[str, ...], data: str | os.PathLike[str], split: str) -> None:
    """Checks that `made` can make the columns, without a look at the pixels.

    Raises:
      TrainerError: as `made`.
    """
    _check_names(names, data)
    made(tuple(name for name in names if name != BRIGHTNESS), data, split)


def _check_names(names: tuple[str, ...], data: str | os.PathLike[str]) -> None:
    kept = {column.name for column in contracts.load(data).metadata}
    if taken := [name for name in names if name in kept]:
        raise TrainerError(
            f"--slice-by {taken[0]}: the dataset has a column {taken[0]!r} of --keep, whose parts are shown "
            "anyway. Leave the name out."
        )


def _brightness(data: str | os.PathLike[str], split: str) -> Column:
    """Returns the mean gray level of each image over all channels, from 0 to 255."""
    n = contracts.load(data).normalization
    offset, scale = np.asarray(n.offset), np.asarray(n.scale)
    means = [
        ((images.numpy().mean(axis=(1, 2), dtype=np.float64) - offset) / scale).mean(axis=1)
        for images, *_ in dataset.load(data, split, BATCH)
    ]
    return Column(BRIGHTNESS, FLOAT, np.concatenate(means).astype(np.float32))


def _folders(data: str | os.PathLike[str], split: str) -> Column:
    """Returns the folder of each source file, below the one that all share."""
    uris = mistakes.sources(data, split)
    if not uris:
        raise TrainerError(
            f"--slice-by {FOLDER} reads the paths of the sources from the ledger. {os.fspath(data)!r} has none that "
            "fits: prepare the dataset again, or leave the name out."
        )
    folders = [posixpath.dirname(uri).split("/") for uri in uris]  # `commonpath` would change the // of a URL
    least, greatest = min(folders), max(folders)  # what these two share at the beginning, all share
    alike = [one == other for one, other in zip(least, greatest, strict=False)]
    shared = [*alike, False].index(False)
    return Column(FOLDER, TEXT, np.array(["/".join(folder[shared:]) or "." for folder in folders], object))


def _sizes(data: str | os.PathLike[str], split: str) -> Column:
    """Returns the megapixels of each source image."""
    pixels = [line.width * line.height for line in mistakes.lines(data, split)]
    if not pixels or not all(pixels):
        raise TrainerError(
            f"--slice-by {SIZE} reads the sizes of the source images from the ledger. That of {os.fspath(data)!r} has "
            "none: prepare the dataset again, or leave the name out."
        )
    return Column(SIZE, FLOAT, (np.array(pixels) / 1e6).astype(np.float32))
