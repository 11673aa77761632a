"""Holds the numbers of a run of `prepare`: what it read and what it did.

They are the source of the summary table, of `stats/` and of the report.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.core.elements import TRAIN_SPLIT, TRANSIENT
from pipelines.core.text import cut

# Characters. Parts of a detail come from strangers, and a list may hold a million rejects.
MAX_DETAIL = 1000


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """Holds the counts of one class in one split.

    natural = stored - copies + unused: every image is accounted for.
    """

    natural: int = 0  # readable images that belong to the split
    stored: int = 0  # records in the shards, copies included
    copies: int = 0  # of these, augmented copies
    unused: int = 0  # left out by undersampling


@dataclasses.dataclass(frozen=True)
class Rejected:
    """Describes one input that was not written."""

    uri: str
    label: str
    split: str  # "" where the input was rejected before splits were assigned
    digest: str  # SHA-256 in hex, "" where it could not be read
    stage: str  # "list", "fingerprint", "duplicates", "plan" or "decode"
    reason: str  # a short stable word, such as "truncated"; the key of `Summary.rejected`
    detail: str  # a sentence for people, at most MAX_DETAIL characters; a longer one is cut

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", cut(self.detail, MAX_DETAIL))


def may_pass(outcome: object) -> bool:
    """Tells whether an outcome is a reject for a reason of `elements.TRANSIENT`."""
    return isinstance(outcome, Rejected) and outcome.reason in TRANSIENT


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Describes inputs of equal content (equal SHA-256).

    Attributes:
      members: (uri, label, split) of each input.
      more: Number of further inputs, if there are too many to list.
    """

    digest: str
    members: tuple[tuple[str, str, str], ...]
    more: int = 0

    @property
    def conflicting(self) -> bool:
        """Tells whether the same image has more than one label.

        An image without a label has "". At least one of the labels is wrong then.
        """
        return len({label for _, label, _ in self.members if label}) > 1

    @property
    def straddling(self) -> bool:
        """Tells whether the same image is in more than one split, which is leakage.

        This is possible only if the input came with its own splits.
        """
        return len({split for _, _, split in self.members}) > 1


@dataclasses.dataclass(frozen=True)
class Twin:
    """Describes a labelled image that is equal to, or looks like, one without a label.

    Attributes:
      equal: Paths of equal ones, some of them if there are too many to list.
    """

    digest: str
    uri: str
    label: str
    split: str
    equal: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Straddling:
    """Describes a group of images that is in several of the stated splits."""

    group: str
    splits: tuple[str, ...]
    images: int


@dataclasses.dataclass(frozen=True)
class Kept:
    """Holds the numbers of images that the dataset of --like has, or has not.

    The counts are of some of the images: those of one bucket.
    """

    kept: int  # images with the content of one of its images: they have its split
    new: int  # other images
    moved: int  # images of `kept` for which the input states another split
    gone: tuple[str, ...]  # paths of its images whose content is in no image any more


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """Holds two pictures of one record: the source and the stored image.

    The source has its EXIF orientation applied and is not resized to the stored size. Both are JPEG in base64.

    Attributes:
      policies: The policies that were applied to the source, if the picture is an example of these. Then `source_jpeg`
        is the image as a program shows it that applies none of them.
    """

    uri: str
    label: str
    split: str
    copy: int  # 0: the original; above: an augmented copy
    width: int  # of the source, in pixels, EXIF applied
    height: int
    source_jpeg: str
    stored_jpeg: str
    policies: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Summary:
    """Holds the totals of one run.

    read = sum over splits of natural + images without a label + sum of rejected.
    """

    read: int  # inputs listed
    classes: dict[str, dict[str, ClassCounts]]  # split -> label -> counts
    rejected: dict[str, int]  # reason -> count
    rejects: tuple[Rejected, ...]  # the first of them, in order of uri; all are in rejects/
    formats: dict[str, int]  # "jpeg" -> images written as originals
    conversions: dict[str, int]  # policy applied ("exif-orientation", "alpha", "cmyk", ...) -> images
    widths: dict[int, int]  # source width in pixels, rounded down to 16 -> images
    heights: dict[int, int]
    file_bytes: dict[int, int]  # source size in bytes, rounded down to a power of two -> images
    pixel_histogram: dict[str, list[list[int]]]  # split -> channels x 256 gray levels, of stored originals
    duplicate_groups: int
    conflicting_groups: int
    straddling_groups: int
    duplicates: tuple[Duplicates, ...]  # conflicting ones first, then by digest; at most a few hundred
    thumbnails: tuple[Thumbnail, ...]  # a few per split and class, originals and copies
    settings: dict[str, Any]  # the configuration as given, one key per option
    engine: dict[str, Any]  # runner, workers, seconds, images_per_second
    warnings: tuple[str, ...]  # sentences: a class missing from a split, images enlarged, ...
    unlisted: int = 0  # images in the manifest's folder that it does not list; `read` does not include them
    lost_classes: dict[str, int] = dataclasses.field(default_factory=dict)  # class without any record -> its rejects
    reading: tuple[str, ...] = ()  # sentences that say how the input was read
    like: dict[str, int] = dataclasses.field(default_factory=dict)  # of --like: images "kept", "new", "gone"
    depth: tuple[int, float, float] | None = None  # images with more than 8 bits, their least and greatest value
    # Of --group-similar: "groups" of images, of these "conflicting" and "straddling" ones, images of the "largest".
    similar: dict[str, int] = dataclasses.field(default_factory=dict)
    similar_first: tuple[Duplicates, ...] = ()  # in the order of `duplicates`
    layout: dict[str, Any] | None = None  # the fields of the `inputs.layout.Layout` of a folder
    # Only if images do not have one class each; `classes` then counts an image for each of its labels.
    images: dict[str, ClassCounts] = dataclasses.field(default_factory=dict)  # split -> counts of all images
    answers: dict[str, Any] = dataclasses.field(default_factory=dict)  # as `Kind.described` has it
    folds: tuple[dict[str, int], ...] = ()  # of --folds: label -> images of each fold; "" has the number of all images
    # Of --unlabelled: "images" without a label that were written, and of all "twins": split -> labelled images in it
    # that are equal to such an image, and with --group-similar "alike" those that look like one.
    unlabelled: dict[str, Any] = dataclasses.field(default_factory=dict)
    # The columns of --keep, as `MetadataTotals.described` has them.
    metadata: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def written(self) -> int:
        """Returns the number of records in all splits, copies included."""
        return sum(self.of_split(split).stored for split in self.classes) + self.unlabelled_images

    @property
    def unlabelled_images(self) -> int:
        """Returns the number of images without a label that were written."""
        return int(self.unlabelled.get("images", 0))

    def of_split(self, split: str) -> ClassCounts:
        """Returns the counts of all images of a split."""
        return self.images[split] if split in self.images else total(self.classes.get(split, {}).values())

    def to_json(self) -> str:
        """Returns the text of `stats/summary.json`: all fields but the thumbnails."""
        data = dataclasses.asdict(self)
        del data["thumbnails"]
        for name in ("images", "answers", "folds", "unlabelled", "metadata"):
            if not data[name]:
                del data[name]
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def reading_order(splits: Iterable[str]) -> list[str]:
    """Returns the names of splits in the usual order.

    train is first and test is last; the others are between them, in the given order.
    """
    return sorted(splits, key=lambda name: {TRAIN_SPLIT: 0, "test": 2}.get(name, 1))


def total(counts: Iterable[ClassCounts]) -> ClassCounts:
    """Returns the sum over classes."""
    rows = [dataclasses.astuple(c) for c in counts]
    return ClassCounts(*(sum(column) for column in zip(*rows, strict=True)))
