"""Matches the user's images with the photos or records that they were made from.

The match uses only the pixels.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.data import dataset
from trainer.doctor.clock import Clock
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject.sample import draw
from trainer.doctor.subject.subject import DATASET, Subject
from trainer.doctor.tools import image_features

SIDE = 16  # pixels; side of the thumbnails that are compared
ALIKE = 0.97  # least correlation of gray thumbnails; different photos of one kind stay below 0.95
FEWEST = 24  # least number of pairs for a result
MOST = 1024  # images of each split that are looked up
MOST_REFERENCE = 2048
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Holds k pairs: the user's images with their matches in the reference.

    ours, theirs: float32 (k, SIDE, SIDE, 3) thumbnails in 0..1.
    labels: int64 (k,), the labels in the user's dataset.
    reference: int64 (k,), ids of the folder or contract.
    sizes: int64 (k, 2), width and height of the photo, or None.
    looked_up: number of the user's images that were compared.
    """

    ours: np.ndarray
    theirs: np.ndarray
    labels: np.ndarray
    reference: np.ndarray
    sizes: np.ndarray | None
    looked_up: int


def pairs(subject: Subject, clock: Clock) -> Pairs:
    """Finds the user's images among those of the reference.

    Raises:
      NotApplicable: there is no reference, or fewer than FEWEST images have a match.
    """
    return subject.once("pairs", lambda: _pairs(subject, clock))


def _pairs(subject: Subject, clock: Clock) -> Pairs:
    if subject.origin != DATASET or not subject.directory:
        raise NotApplicable("needs --dataset with --data, the folder or prepared dataset that it reads")
    ours = np.concatenate([split.sample.images[:MOST] for split in subject.splits])
    labels = np.concatenate([split.sample.ids[:MOST] for split in subject.splits])
    ours = image_features.thumbnails(ours, clock, SIDE)
    theirs, ids, sizes = _reference(subject, clock)
    clock.check()
    near, which = _nearest(ours, theirs)
    found = np.flatnonzero(near >= ALIKE)
    if len(found) < FEWEST:
        raise NotApplicable(f"only {len(found)} of {len(ours)} images were found again in {subject.directory}")
    which = which[found]
    return Pairs(
        ours[found], theirs[which], labels[found], ids[which], None if sizes is None else sizes[which], len(ours)
    )


def _reference(subject: Subject, clock: Clock) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if subject.folder is not None:
        photos = subject.folder.photos
        small = image_features.thumbnails(np.stack([photo.small for photo in photos]), clock, SIDE)
        ids = np.array([subject.folder.labels.index(photo.label) for photo in photos])
        return small, ids, np.array([photo.size for photo in photos])
    if subject.contract is None:
        raise NotApplicable("needs --data beside --dataset")
    parts = []
    for name, split in subject.contract.splits.items():
        if split.records:
            batches = dataset.load(subject.directory, name, BATCH)
            parts.append(draw(batches.take(-(-MOST_REFERENCE // BATCH)), clock, MOST_REFERENCE))
    images = np.concatenate([part.images for part in parts])
    return image_features.thumbnails(images, clock, SIDE), np.concatenate([part.ids for part in parts]), None


def _nearest(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the greatest correlation of each image with the others, and its index.

    Each image is compared as it is and mirrored.
    """
    other = _standard(theirs)
    straight, mirrored = (_standard(images) @ other.T for images in (ours, ours[:, :, ::-1]))
    best = np.maximum(straight, mirrored)
    return best.max(axis=1), best.argmax(axis=1)


def _standard(images: np.ndarray) -> np.ndarray:
    """Converts images to gray vectors of mean 0 and length 1.

    Gray is the mean of the channels, because it is the same for RGB and BGR.
    """
    gray = images.mean(axis=-1).reshape(len(images), -1)
    gray = gray - gray.mean(axis=1, keepdims=True)
    return gray / np.maximum(np.linalg.norm(gray, axis=1, keepdims=True), 1e-6)
