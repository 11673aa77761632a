"""Checks whether train and validation images are prepared in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import BARS, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import FOLDER, Split, Subject

MOST = 512  # images of each split
FEWEST = 16  # images of each split; fewer do not represent a split
SURE = 6.0  # standard errors; splits differ by chance, and their classes are not quite alike
# Ratio of the deviations of all values. 0..1 against -1..1 gives 2, brightness augmentation up to 1.3.
CONTRAST = 1.6
# Difference of the means, in deviations. -1..1 against 0..1 gives 1 and more.
BRIGHTNESS = 0.9
# Difference of the mean log(energy of the finest detail / variance). Nearest against area gives 1 and more.
SHARPNESS = 0.5
# The same limit where training images are the softer ones. Zoom, rotation and blur make them so.
SOFTENED = 1.2


# Of the columns of tables: share of the validation values beyond those of train, ratio of the deviations, and the share
# of the columns that are so.
BEYOND, RESCALED, MOST_COLUMNS = 0.5, 3.0, 0.5
LEAST_COLUMNS = 2
# Of images that predict gets: ratio of the deviations (0..1 against 0..255 is 255), height and width, and the log of
# the energy of the finest detail relative to the variance. Independent noise has log(20), 3.0; photographs are below 1.
OTHER_RANGE, SMALLEST, NOISE = 5.0, 8, 2.0
MOST_NEAR, NEARER = 256, 0.85  # images that are compared, and the share of them that tells the order of the channels
RARE = 0.05  # share of the rows; the deviation of a column that is nearly always 0 depends on chance


@dataclasses.dataclass(frozen=True)
class Figures:
    """Holds statistics of each image of a split.

    mean, deviation: float64 (N,), over all values of the image.
    sharpness: float64 (N,), log of the energy of the finest detail relative to the variance.
    tint: float64 (N, 3), the mean of each channel, or None for gray images.
    weights: float64 (N,), of mean 1. With them each class weighs as much as in the other split.
    """

    mean: np.ndarray
    deviation: np.ndarray
    sharpness: np.ndarray
    tint: np.ndarray | None
    weights: np.ndarray


def compare(subject: Subject, clock: Clock) -> list[Finding]:
    """Compares how the images of train and validation are prepared.

    It compares size, type, normalization, order of the channels and resize method.
    """
    if subject.origin == FOLDER:
        raise NotApplicable("the images of a folder are not prepared yet")
    train, other = subject.split("train"), subject.split("validation")
    if train.sample.shapes[0] != other.sample.shapes[0]:
        return [_sizes(train, other)]
    if min(len(train.sample), len(other.sample)) < FEWEST:
        raise NotApplicable(f"a split has fewer than {FEWEST} images in the sample")
    if len(train.sample.shapes[0]) in (1, 2):
        return _columns(train, other)
    if len(train.sample.shapes[0]) != 3 or train.sample.shapes[0][-1] not in (1, 3):
        raise NotApplicable("the images are not (height, width, 1 or 3)")
    a = figures(train.sample.images[:MOST], _class_weights(train, other))
    clock.check()
    b = figures(other.sample.images[:MOST], np.ones(min(MOST, len(other.sample.images))))
    found = _normalization(train, other, a, b)
    if found:
        return found  # the other comparisons would have different units
    channels = _channels(a, b) if set(train.sample.ids) & set(other.sample.ids) else []  # classes have colors
    return [*channels, *_resize(a, b, _is_augmented(train))]


def of_predict(train: Split, arrays: Sequence[np.ndarray]) -> Finding | None:
    """Finds images that predict gets in another form than those of training.

    It looks at the range and at the order of the channels.

    Noise is left alone: programs ask a model about it to measure time. So are images whose deviation is less than
    OTHER_RANGE times apart, which may be of another kind.
    """
    shape, seen = train.sample.shapes[0], train.sample.images[:MOST]
    fitting = [array for array in arrays if array.shape[1:] == shape and array.dtype.kind in "fiub"]
    images = np.concatenate(fitting)[:MOST] if fitting else np.zeros((0, *shape))
    if len(shape) != 3 or shape[-1] not in (1, 3) or min(shape[:2]) < SMALLEST or min(len(images), len(seen)) < FEWEST:
        return None
    a, b = (figures(part, np.ones(len(part))) for part in (seen, images))
    ours, theirs = (float(np.median(part.deviation)) for part in (a, b))
    if min(ours, theirs) <= 0 or np.median(b.sharpness) > NOISE:
        return None
    if 1 / OTHER_RANGE < theirs / ours < OTHER_RANGE:
        return _reversed_channels(seen, images) if shape[-1] == 3 else None
    return catalogue.found(
        "splits-differ-normalization",
        f"train: {_ends(train)}, deviation {ours:.3g}; the first {len(images)} images that predict gets: "
        f"{images.min():.3g}..{images.max():.3g}, deviation {theirs:.3g}.",
        case="of-predict",
    )


def _reversed_channels(seen: np.ndarray, images: np.ndarray) -> Finding | None:
    """Finds images for predict whose channels stand in the other order.

    With their channels reversed, nearly each of them comes nearer to its nearest training image, and nearly no training
    image does to the other ones. So it does not matter which classes are asked about.
    """
    ours, theirs = (_thumbnails(part[:MOST_NEAR]) for part in (seen, images))
    alone = np.where(np.eye(len(ours), dtype=bool), np.inf, 0.0)
    usual = float(np.mean(_nearest(ours[..., ::-1], ours, alone) < _nearest(ours, ours, alone)))
    other = float(np.mean(_nearest(theirs[..., ::-1], ours) < _nearest(theirs, ours)))
    if other < NEARER or usual > 1 - NEARER:
        return None
    return catalogue.found(
        "splits-differ-channels",
        f"Of the first {len(theirs)} images that predict gets, {other:.0%} come nearer to their nearest training image "
        f"once their channels are reversed; of training images {usual:.0%} do.",
        case="of-predict",
    )


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Averages images (N, height, width, 3) over 4x4 fields, float64 (N, 4, 4, 3)."""
    fields = [np.array_split(band, 4, axis=2) for band in np.array_split(np.nan_to_num(images), 4, axis=1)]
    return np.stack([np.stack([f.mean(axis=(1, 2), dtype=np.float64) for f in band], 1) for band in fields], 1)


def _nearest(images: np.ndarray, others: np.ndarray, added: np.ndarray | float = 0.0) -> np.ndarray:
    """Returns squared distances to the nearest of the others, float64 (N,)."""
    a, b = images.reshape(len(images), -1), others.reshape(len(others), -1)
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.asarray((np.maximum(squares, 0) + added).min(axis=1))


def _class_weights(train: Split, other: Split) -> np.ndarray:
    """Returns weights of mean 1 that give each train class its share in `other`.

    Images of classes that the other split does not have get 0.
    """
    ours, theirs = train.sample.ids[:MOST], other.sample.ids[:MOST]
    share = {label: np.mean(theirs == label) for label in np.unique(theirs)}
    weights = np.array([share.get(label, 0) / np.mean(ours == label) for label in ours])
    return weights / weights.mean() if weights.sum() else np.ones(len(ours))


def figures(images: np.ndarray, weights: np.ndarray) -> Figures:
    """Computes the statistics of images (N, height, width, 1 or 3)."""
    images = np.nan_to_num(images.astype(np.float32), posinf=0, neginf=0)
    flat = images.reshape(len(images), -1)
    gray = images.mean(axis=-1)
    detail = 4 * gray[:, 1:-1, 1:-1] - gray[:, :-2, 1:-1] - gray[:, 2:, 1:-1] - gray[:, 1:-1, :-2] - gray[:, 1:-1, 2:]
    energy = np.square(detail).mean(axis=(1, 2), dtype=np.float64)
    variance = gray.var(axis=(1, 2), dtype=np.float64)
    sharpness = np.log((energy + 1e-9 * variance.max()) / (variance + 1e-6 * variance.max() + 1e-30) + 1e-12)
    tint = images.mean(axis=(1, 2), dtype=np.float64) if images.shape[-1] == 3 else None
    return Figures(flat.mean(axis=1, dtype=np.float64), flat.std(axis=1, dtype=np.float64), sharpness, tint, weights)


def _difference(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Returns mean(b) minus the weighted mean of a, and its size in standard errors."""
    mean = float(np.average(a, weights=weights))
    effective = weights.sum() ** 2 / np.square(weights).sum()  # Kish's effective sample size
    error = np.sqrt(np.average((a - mean) ** 2, weights=weights) / effective + b.var() / len(b))
    return float(b.mean() - mean), float(abs(b.mean() - mean) / max(error, 1e-12))


def _sizes(train: Split, other: Split) -> Finding:
    return catalogue.found(
        "splits-differ-size", f"train {train.sample.shapes[0]}, validation {other.sample.shapes[0]}."
    )


def _normalization(train: Split, other: Split, a: Figures, b: Figures) -> list[Finding]:
    scale = np.sqrt(np.average(a.deviation**2, weights=a.weights))
    ratio = float(np.sqrt(np.mean(b.deviation**2)) / max(scale, 1e-12))
    _, sure_scale = _difference(np.log(a.deviation + 1e-9), np.log(b.deviation + 1e-9), a.weights)
    shift, sure_shift = _difference(a.mean, b.mean, a.weights)
    shift /= max(scale, 1e-12)
    by_scale = not 1 / CONTRAST < ratio < CONTRAST and sure_scale > SURE
    by_shift = abs(shift) > BRIGHTNESS and sure_shift > SURE
    if not (by_scale or by_shift):
        return []
    return [
        catalogue.found(
            "splits-differ-normalization",
            f"train: {_ends(train)}, deviation {scale:.3g}; validation: {_ends(other)}, deviation "
            f"{scale * ratio:.3g}, which is {ratio:.3g} times as much, with a mean {shift:+.2g} deviations away.",
            case="of-validation",
        )
    ]


def _columns(train: Split, other: Split) -> list[Finding]:
    """Finds tables of which one is scaled and the other is not.

    The order of time may bring one column out of its range, but not most of them.
    """
    ours, theirs = (split.sample.images[:MOST] for split in (train, other))
    if all((rows == np.rint(rows)).all() for rows in (ours, theirs)):
        raise NotApplicable("the rows are whole numbers, such as words")
    ours, theirs = (rows.reshape(-1, rows.shape[-1]).astype(np.float64) for rows in (ours, theirs))
    used = np.logical_and.reduce([_varies(rows) & np.isfinite(rows).all(axis=0) for rows in (ours, theirs)])
    if used.sum() < LEAST_COLUMNS:
        raise NotApplicable(f"fewer than {LEAST_COLUMNS} columns have several values")
    ours, theirs = ours[:, used], theirs[:, used]
    beyond = ((theirs < ours.min(axis=0)) | (theirs > ours.max(axis=0))).mean(axis=0)
    ratio = theirs.std(axis=0) / ours.std(axis=0)
    apart = (beyond > BEYOND) | (np.abs(np.log(ratio)) > np.log(RESCALED))
    if apart.mean() <= MOST_COLUMNS:
        return []
    worst = int(np.abs(np.log(ratio)).argmax())
    number = int(np.flatnonzero(used)[worst])
    return [
        catalogue.found(
            "splits-differ-normalization",
            f"In {apart.sum()} of {len(apart)} columns the values differ by far. Column {number} has a mean of "
            f"{ours[:, worst].mean():.4g} and a deviation of {ours[:, worst].std():.3g} in train, and "
            f"{theirs[:, worst].mean():.4g} and {theirs[:, worst].std():.3g} in validation.",
            case="of-validation",
        )
    ]


def _varies(rows: np.ndarray) -> np.ndarray:
    """Tells of each column whether enough rows differ from its usual value."""
    return np.asarray((rows != np.median(rows, axis=0)).mean(axis=0) > RARE)


def _ends(split: Split) -> str:
    values = split.sample.images[:64]
    return f"{values.min():.3g}..{values.max():.3g}"


def _channels(a: Figures, b: Figures) -> list[Finding]:
    """Finds splits with the channels in opposite order.

    Red minus blue then has about the same size and the opposite sign in the other split.
    """
    if a.tint is None or b.tint is None:
        return []
    ours, theirs = a.tint[:, 0] - a.tint[:, 2], b.tint[:, 0] - b.tint[:, 2]
    _, apart = _difference(ours, theirs, a.weights)
    _, mirrored = _difference(-ours, theirs, a.weights)
    mean = float(np.average(ours, weights=a.weights))
    if mean * theirs.mean() >= 0 or apart < SURE or mirrored > apart / 2:
        return []
    scale = float(np.mean(a.deviation))
    return [
        catalogue.found(
            "splits-differ-channels",
            f"The mean of the first channel minus the third is {mean / scale:+.2f} deviations in train and "
            f"{theirs.mean() / scale:+.2f} in validation: {apart:.0f} standard errors apart, and {mirrored:.1f} once "
            "the channels of one are reversed.",
            case="of-validation",
            charts=[
                Chart(
                    "mean of each channel",
                    BARS,
                    {
                        "train": list(np.average(a.tint, axis=0, weights=a.weights)),
                        "validation": list(b.tint.mean(axis=0)),
                    },
                    ["first", "second", "third"],
                )
            ],
        )
    ]


def _resize(a: Figures, b: Figures, augmented: bool) -> list[Finding]:
    change, sure = _difference(a.sharpness, b.sharpness, a.weights)
    limit = SOFTENED if augmented and change > 0 else SHARPNESS
    if abs(change) < limit or sure < SURE:
        return []
    sharper, softer = ("validation", "training") if change > 0 else ("training", "validation")
    return [
        catalogue.found(
            "splits-differ-resize",
            f"The finest detail of {sharper} images has {np.exp(abs(change)):.1f} times the energy of that of "
            f"{softer} images, relative to the contrast of each ({sure:.0f} standard errors): jagged (nearest, or "
            "bilinear without antialias) against smooth (area, antialias).",
        )
    ]


def _is_augmented(train: Split) -> bool:
    """Returns whether random augmentation may change the train images.

    It does not if the second pass gave the images of the first.
    """
    if train.second is None or not train.sample.complete:
        return True
    first = {image.tobytes() for image in train.sample.images}
    again = train.second.images
    return float(np.mean([image.tobytes() in first for image in again])) < 0.5


PROBES = (
    Probe("train and validation prepared alike: size, normalization, channels, resize", compare,
          ("images", "validation"), 15),
)  # fmt: skip
