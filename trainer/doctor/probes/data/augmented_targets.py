"""Checks whether images that are to be made of images are augmented together.

A mask, a picture or a map of depths has to be flipped and moved as its image is.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import PICTURES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.probes.data import augmentation
from trainer.doctor.subject.subject import Split, Subject
from trainer.doctor.tools import flips, tfdata_steps
from trainer.doctor.tools.first_weights import flat_layers

MOVING = (
    "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "RandomCrop", "RandomShear", "RandomPerspective",
    "RandomElasticTransform",
)  # fmt: skip
ELEMENTS, TIMES = 4, 8  # of a map
FEWEST, APART = 3, 0.3  # flipped results, and the share of them whose target does not follow
PAIRS = 256
FEWEST_PAIRS = 20
BETTER = 0.1  # by which the edges of a flipped target fit those of the image better than those of the target
RELATED = 0.2  # correlation of the edges of validation, below which image and target have too little in common
OFTEN, SELDOM = 0.2, 0.05  # share of the pairs of train and of validation that fit better flipped


def apart(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images that are flipped or moved without their targets."""
    train = subject.split("train")
    if not _are_images(train):
        raise NotApplicable("the targets are no images")
    return _by_layers(subject) or _by_maps(train, clock) or _by_edges(subject)


def _are_images(split: Split) -> bool:
    images, targets = split.sample.images, split.sample.labels
    return images.ndim == 4 and targets.ndim in (3, 4) and targets.shape[1:3] == images.shape[1:3]


def _by_layers(subject: Subject) -> list[Finding]:
    """Finds layers of the model that move its images and not the targets."""
    own_step = getattr(type(subject.model), "train_step", None) not in (None, keras.Model.train_step)
    moving = [] if own_step else [x for x in flat_layers(subject.model) if type(x).__name__ in MOVING]
    if not moving:
        return []
    names = listed(dict.fromkeys(type(layer).__name__ for layer in moving), 4)
    shape = "x".join(map(str, subject.split("train").sample.labels.shape[1:]))
    return [
        catalogue.found(
            "augmentation-without-target",
            f"The model begins with {names}, and each target is an image of {shape}.",
            case="layer",
            names=names,
        )
    ]


def _by_maps(train: Split, clock: Clock) -> list[Finding]:
    """Finds a map of the dataset that flips image and target differently."""
    for step, _ in tfdata_steps.maps(train.dataset) if train.dataset is not None else ():
        flipped, wrong, shown = 0, 0, dict[str, np.ndarray]()
        for element in step.source.take(ELEMENTS):
            before = [np.asarray(part) for part in tf.nest.flatten(element)]
            if len(before) < 2 or any(part.dtype.kind not in "fiub" or part.ndim < 2 for part in before[:2]):
                break
            clock.check()
            for after in tfdata_steps.run_whole(step, element, TIMES):
                for one in _pairs(before, after):
                    told = _follows(*one)
                    flipped += told is not None
                    wrong += told is False
                    if told is False and not shown:
                        names = ("image before", "target before", "image after", "target after")
                        shown = dict(zip(names, one, strict=True))
        if wrong >= max(FEWEST, APART * flipped):
            return [
                catalogue.found(
                    "augmentation-without-target",
                    f"{augmentation.where(step)}: of {flipped} results in which the image or its target is flipped or "
                    f"turned, {wrong} have the other as it was, or flipped otherwise.",
                    case="map",
                    charts=[Chart("image and target", PICTURES, shown)],
                )
            ]
    return []


def _pairs(before: list[np.ndarray], after: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """Returns (image before, target before, image after, target after).

    An element that is a batch gives several.
    """
    parts = [*before[:2], *after[:2]]
    if len(parts) < 4 or parts[0].ndim != parts[2].ndim:
        return []
    batched = parts[0].ndim == 4
    singles = zip(*parts, strict=False) if batched else iter([tuple(parts)])
    return [tuple(_with_channels(part) for part in single) for single in itertools.islice(singles, ELEMENTS)]


def _with_channels(part: np.ndarray) -> np.ndarray:
    return part[..., None] if part.ndim == 2 else part


def _follows(image: np.ndarray, target: np.ndarray, new_image: np.ndarray, new_target: np.ndarray) -> bool | None:
    """Tells whether image and target were flipped alike.

    It is None where neither is flipped, and where it cannot be told because one of them is symmetric.
    """
    ours, theirs = flips.which(image, new_image), flips.which(target, new_target)
    if not (ours or theirs):
        return None
    if ours == theirs:
        return True
    told, other, new_other = (ours, target, new_target) if ours else (theirs, image, new_image)
    expected = flips.FLIPS[told](other)
    if flips.correlation(expected, other) > flips.ALIKE - flips.CLEARLY:
        return None
    fits = flips.correlation(expected, new_other)
    return None if fits > flips.ALIKE - flips.CLEARLY or np.ptp(new_other) == 0 else False


def _by_edges(subject: Subject) -> list[Finding]:
    """Finds training targets that often fit their images better when they are flipped.

    Those of validation show that image and target have edges in common.
    """
    validation = next((split for split in subject.splits if split.name == "validation" and len(split.sample)), None)
    if validation is None or not _are_images(validation):
        return []
    (_, ours), (related, theirs) = (_edges(split) for split in (subject.split("train"), validation))
    if min(len(ours), len(theirs)) < FEWEST_PAIRS or related < RELATED:
        return []
    if ours.mean() < OFTEN or theirs.mean() > SELDOM:
        return []
    return [
        catalogue.found(
            "augmentation-without-target",
            f"The edges of {ours.mean():.0%} of {len(ours)} training images fit those of their target better after the "
            f"target is flipped; of validation it is {theirs.mean():.0%} of {len(theirs)}.",
            case="pairs",
        )
    ]


def _edges(split: Split) -> tuple[float, Any]:
    """Returns the median correlation of the edges of image and target.

    The array tells of each pair whether a flip makes it better.
    """
    fits, better = [], []
    sample = split.sample
    for image, target in zip(sample.images[:PAIRS], sample.labels[:PAIRS], strict=True):
        ours, theirs = _strength(image), _strength(_with_channels(target))
        if not ours.any() or not theirs.any():
            continue
        own = flips.correlation(ours, theirs)
        others = [flips.correlation(ours, flips.FLIPS[name](theirs)) for name in ("mirrored", "upside down")]
        fits.append(own)
        better.append(max(others) > own + BETTER)
    return float(np.median(fits)) if fits else 0.0, np.array(better)


def _strength(image: np.ndarray) -> np.ndarray:
    """Returns the strength of the edges (H / 2, W / 2, 1), summed over the channels."""
    values = np.nan_to_num(image.astype(np.float64))
    strength = sum(np.hypot(*np.gradient(values[..., c])) for c in range(values.shape[-1]))
    height, width = (side // 2 * 2 for side in values.shape[:2])
    pooled = np.asarray(strength)[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return pooled[..., None]


PROBES = (Probe("augmentation of images and their targets", apart, ("images", "model"), 10.0, alone=True),)
