"""Checks the data for the same picture in training and in validation.

Equal pictures have equal bytes. Nearly equal pictures (recompressed, brightened, mirrored) are found in two steps. A
difference hash proposes them (Krawetz 2013, "Kind of Like That": is each pixel brighter than its neighbour?), and the
correlation of their colors at 32x32 confirms them. Pictures without contrast are left out, because their hash means
nothing.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import ERROR, PICTURES, WARNING, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import FOLDER, Subject

HASH_SIDE, LOOK_SIDE = 16, 32
# Of 256 bits, so many may differ. Different photographs differ in about half of them, and noise changes those of flat
# areas.
NEAR_BITS = 80
SAME_LOOK = 0.975  # correlation at 32x32; different photographs on one background reach 0.96
NEAR_SHARE = 0.01  # share of the validation images; fewer near ones do not change a score given in percent
LEAST_CONTRAST = 0.05  # deviation of the gray values as a share of the range of all images
MANY = 0.05  # share of the validation images; from here on their score is visibly wrong
REPEATED = 0.02  # share of the training rows that repeat another one, where rows were copied
SHOWN = 4
UNLIKE = 0.9  # share of different values among the different rows, in one column: it tells rows apart


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Holds some images of a split, with their hashes and color vectors.

    hashes, mirrored: bool (N, 256), hashes of the upright and of the mirrored picture.
    looks, mirrored_looks: float32 (N, K), colors of the upright and of the mirrored picture, of mean 0 and length 1.
    usable: bool (N,), whether the picture has contrast.
    """

    images: np.ndarray
    names: list[str]
    digests: list[bytes | str]
    hashes: np.ndarray
    mirrored: np.ndarray
    looks: np.ndarray
    mirrored_looks: np.ndarray
    usable: np.ndarray


def across(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds equal and nearly equal images in train and validation."""
    if subject.split("train").sample.images.ndim == 2:
        return _rows(subject)
    train, validation = (_pictures(subject, name, clock) for name in ("train", "validation"))
    equal = _equal(train, validation)
    taken = {j for _, j in equal}
    near = [(i, j) for i, j in _near(train, validation, clock) if j not in taken]
    found = []
    if equal:
        found.append(_finding(equal, train, validation, near=False))
    if len(near) > NEAR_SHARE * len(validation.images):
        found.append(_finding(near, train, validation, near=True))
    return found


def _rows(subject: Subject) -> list[Finding]:
    """Finds rows of a table that are in both splits.

    Rows of few values, such as counts and words, may be equal by chance. Only a table with a column of fractions whose
    values hardly repeat is looked at, and of it the rows whose value there is that of no other row: values that were
    cut at a limit, or filled in, are equal by chance again.
    """
    train, other = (subject.split(name).sample for name in ("train", "validation"))
    if train.images.shape[1:] != other.images.shape[1:] or train.images.dtype.kind != "f":
        raise NotApplicable("the inputs are neither images nor rows of fractions")
    rows = [np.ascontiguousarray(row).tobytes() for row in train.images]
    times = collections.Counter(rows)
    different = np.stack([np.frombuffer(row, train.images.dtype) for row in times])
    alone = {i: once for i, column in enumerate(different.T) if (once := _telling(column))}
    if not alone:
        raise NotApplicable("the rows have few different values, so equal ones need not be the same")
    equal = [
        j
        for j, row in enumerate(other.images)
        if np.ascontiguousarray(row).tobytes() in times and any(row[i] in once for i, once in alone.items())
    ]
    if not equal:
        return []
    copies = [times[np.ascontiguousarray(other.images[j]).tobytes()] for j in equal]
    share = len(equal) / len(other.images)
    level, impact = ERROR if share >= MANY else WARNING, min(0.9, 0.2 + 2 * share)
    told = (
        f"Of {len(other.images):,} validation rows {len(equal):,} are also among the {len(rows):,} training rows seen"
    )
    if np.mean(np.array(copies) > 1) >= 0.5 and len(times) < (1 - REPEATED) * len(rows):
        return [
            catalogue.found(
                "copied-before-split",
                f"{told}, where they are up to {max(copies)} times each. {len(rows) - len(times):,} of the training "
                "rows repeat another one.",
                share=share, level=level, impact=impact,
            )
        ]  # fmt: skip
    return [catalogue.found("duplicates-across-splits", f"{told}.", images=len(equal), share=share, level=level,
                            impact=impact)]  # fmt: skip


def _telling(column: np.ndarray) -> set[float]:
    """Returns the values that one row only has.

    It returns an empty set for a column whose values repeat, as those of most columns do.
    """
    values, counts = np.unique(column, return_counts=True)
    return set(values[counts == 1].tolist()) if len(values) >= UNLIKE * len(column) else set()


def _pictures(subject: Subject, name: str, clock: Clock) -> Pictures:
    split = subject.split(name)
    images = split.sample.images
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise NotApplicable("the images are not (H, W, channels)")
    if subject.origin == FOLDER and subject.folder is not None:
        photos = [p for p in subject.folder.photos if (p.split in ("", "train")) == (name == "train")]
        photos = photos if len(photos) == len(images) else []
    else:
        photos = []
    names = [p.path for p in photos] or [f"number {i}" for i in range(len(images))]
    digests: list[bytes | str] = [p.digest for p in photos] or [image.tobytes() for image in images]
    floats = images.astype(np.float32)
    floats = np.where(np.isfinite(floats), floats, 0)
    small, hashes = _shrink(floats, LOOK_SIDE, LOOK_SIDE, clock), _shrink(floats, HASH_SIDE, HASH_SIDE + 1, clock)
    gray = small.mean(axis=-1).reshape(len(small), -1)
    span = float(np.ptp(floats)) or 1.0
    return Pictures(
        images, names, digests, _hash(hashes), _hash(hashes[:, :, ::-1]), _look(small), _look(small[:, :, ::-1]),
        gray.std(axis=1) >= LEAST_CONTRAST * span,
    )  # fmt: skip


def _shrink(images: np.ndarray, height: int, width: int, clock: Clock) -> np.ndarray:
    parts = []
    for start in range(0, len(images), 128):
        clock.check()
        parts.append(tf.image.resize(images[start : start + 128], (height, width), "area").numpy())
    return np.concatenate(parts)


def _hash(images: np.ndarray) -> np.ndarray:
    gray = images.mean(axis=-1)
    return (gray[:, :, 1:] > gray[:, :, :-1]).reshape(len(gray), -1)


def _look(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _equal(train: Pictures, validation: Pictures) -> list[tuple[int, int]]:
    first = {digest: i for i, digest in reversed(list(enumerate(train.digests)))}
    return [(first[digest], j) for j, digest in enumerate(validation.digests) if digest in first]


def _near(train: Pictures, validation: Pictures, clock: Clock) -> list[tuple[int, int]]:
    """Finds for each validation image at most one nearly equal train image.

    The validation image is compared upright and mirrored.
    """
    one = train.hashes.astype(np.float32)
    found: dict[int, int] = {}
    for hashes, looks in ((validation.hashes, validation.looks), (validation.mirrored, validation.mirrored_looks)):
        clock.check()
        two = hashes.astype(np.float32)
        distance = one.sum(axis=1)[:, None] + two.sum(axis=1)[None] - 2 * one @ two.T
        candidates = (distance <= NEAR_BITS) & train.usable[:, None] & validation.usable[None]
        for i, j in np.argwhere(candidates):
            if float(train.looks[i] @ looks[j]) >= SAME_LOOK:
                found.setdefault(int(j), int(i))
    return [(i, j) for j, i in found.items()]


def _finding(pairs: list[tuple[int, int]], train: Pictures, validation: Pictures, near: bool) -> Finding:
    share = len(pairs) / len(validation.images)
    equal = listed((f"{validation.names[j]} = {train.names[i]}" for i, j in pairs), 5)
    shown = {}
    for i, j in pairs[:SHOWN]:
        shown[f"train {train.names[i][-24:]}"] = train.images[i]
        shown[f"validation {validation.names[j][-24:]}"] = validation.images[j]
    return catalogue.found(
        "near-duplicates-across-splits" if near else "duplicates-across-splits",
        f"Of {len(validation.images):,} validation and {len(train.images):,} train images: {equal} "
        "(validation = train).",
        images=len(pairs),
        share=share,
        level=ERROR if share >= MANY else WARNING,
        impact=min(0.9, 0.2 + 2 * share),
        charts=[Chart("the same picture in both splits", PICTURES, shown)],
    )


PROBES = (Probe("images in both splits", across, ("images", "validation"), 10.0, alone=True),)
