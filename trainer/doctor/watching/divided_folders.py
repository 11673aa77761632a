"""Notes which calls read which files of a folder, and how they divided it.

image_dataset_from_directory puts the files in an order by its seed before it cuts. Two calls with different seeds cut
two orders, and most files of the one's validation part are in the other's training part.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.training import Place
from trainer.doctor.tools import tfdata_steps

READERS = ("image_dataset_from_directory", "text_dataset_from_directory", "audio_dataset_from_directory")
MANY = 0.02  # share of the validation files; fewer are a finding of equal images
CUTS = ("Take", "Skip", "Shard", "Filter")  # steps that may divide what two calls read


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """Describes what one call read of a folder.

    files: their paths; None where they are not known.
    order: the seed of the order that is cut, None for that of the names.
    share: validation_split; None without. subset: training, validation, or None.
    """

    place: Place | None
    folder: str
    files: frozenset[str] | None
    order: int | None
    share: float | None
    subset: str | None

    def told(self, names: tuple[str, ...]) -> str:
        """Returns arguments of the call as they would be written."""
        values = {"seed": self.order, "validation_split": self.share, "subset": self.subset}
        parts = {name: f"{name}={value!r}" for name, value in values.items()}
        if self.order is None:
            parts["seed"] = "shuffle=False"
        return ", ".join(parts[name] for name in names)


class DividedFolders:
    """Holds the datasets and iterators that a program made of folders.

    finding: the first one on data of evaluate.
    """

    def __init__(self) -> None:
        self._read: weakref.WeakKeyDictionary[Any, Reading] = weakref.WeakKeyDictionary()
        self._trained: weakref.WeakKeyDictionary[Any, Any] = (
            weakref.WeakKeyDictionary()
        )  # model -> data of its last fit
        self.finding: Finding | None = None

    def note_dataset(self, made: Any, arguments: Mapping[str, Any], place: Place | None) -> None:
        """Notes a dataset of a folder, or the two that one call makes."""
        parts, subsets = [made], [arguments.get("subset")]
        if isinstance(made, list | tuple):
            parts, subsets = list(made), ["training", "validation"]
        for part, subset in zip(parts, subsets, strict=False):
            if isinstance(part, tf.data.Dataset):
                files = getattr(part, "file_paths", None)
                self._read[part] = Reading(
                    place,
                    os.path.realpath(arguments["directory"]),
                    None if files is None else frozenset(map(str, files)),
                    arguments.get("seed") if arguments.get("shuffle", True) else None,
                    arguments.get("validation_split"),
                    subset,
                )

    def note_iterator(self, made: Any, share: float | None, subset: str | None, place: Place | None) -> None:
        """Notes an iterator of an ImageDataGenerator, which cuts each class by names."""
        files = frozenset(map(str, made.filepaths))
        self._read[made] = Reading(place, os.path.realpath(made.directory), files, None, share or None, subset)

    def fitted(self, model: Any, data: Any, validation: Any) -> list[Finding]:
        """Finds two calls that divided the folder of a fit differently."""
        self._trained.pop(model, None)
        if self._readings(data):
            self._trained[model] = data
        return self._compare(data, validation)

    def judge(self, model: Any, data: Any) -> None:
        """Looks at the data of evaluate, if they are a validation part by name."""
        train = self._trained.get(model)
        if self.finding is None and train is not None:
            parts = [
                (reading.subset, other.subset) for reading in self._readings(train) for other in self._readings(data)
            ]
            if ("training", "validation") in parts:
                self.finding = next(iter(self._compare(train, data)), None)

    def _readings(self, data: Any) -> list[Reading]:
        """Returns what data were made of."""
        if isinstance(data, tf.data.Dataset):
            return [self._read[step.dataset] for step in tfdata_steps.steps(data) if step.dataset in self._read]
        return [self._read[data]] if hasattr(data, "index_array") and data in self._read else []

    def _compare(self, data: Any, validation: Any) -> list[Finding]:
        for one in self._readings(data):
            for other in self._readings(validation):
                if one is not other and one.folder == other.folder:
                    found = _apart(one, other, _is_cut(data) or _is_cut(validation))
                    if found is not None:
                        return [found]
        return []


def _is_cut(data: Any) -> bool:
    return isinstance(data, tf.data.Dataset) and any(step.kind in CUTS for step in tfdata_steps.steps(data))


def _apart(one: Reading, other: Reading, cut: bool) -> Finding | None:
    """Returns the finding on two calls that read the same files of a folder."""
    both = one.share is not None and other.share is not None
    seeds, shares = both and one.order != other.order, both and one.share != other.share
    if cut and not seeds:
        return None  # take and skip may divide what is read twice
    if one.files is None or other.files is None:
        by_part = {reading.subset: reading.share for reading in (one, other)}
        rest, last = by_part.get("training"), by_part.get("validation")
        if not seeds and rest is not None and last is not None and rest >= last:
            return None
        told = ""
    else:
        common = len(one.files & other.files)
        if common < MANY * len(other.files):
            return None
        told = f" Of {len(other.files):,} validation files {common:,} are also training files."
    names = ("seed",) if seeds else ("validation_split",) if shares else ("validation_split", "subset")
    lines = [
        f"{'a call' if reading.place is None else reading.place} has {reading.told(names)}" for reading in (one, other)
    ]
    folder = os.path.basename(one.folder)
    found = catalogue.found(
        "folder-divided-twice",
        f"Of {folder}, {' and '.join(lines)}.{told}",
        case="seeds" if seeds else "shares" if shares else "subsets",
    )
    places = dict.fromkeys(reading.place.quoted for reading in (one, other) if reading.place is not None)
    return dataclasses.replace(found, place="; ".join(places))
