"""Checks the order of the pixels, their values and their detail."""

from __future__ import annotations

import numpy as np
from PIL import Image

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import PICTURES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.sample import Sample
from trainer.doctor.subject.subject import FOLDER, Subject
from trainer.doctor.tools import first_weights

IMAGES = 64
LEAST_SIDE = 16
ROUGHER = 0.5  # of the roughness as given; a photograph that is put in order falls to a third and less
NOISE = 0.9  # roughness; neighbours that have nothing in common give 1, photographs 0.02 to 0.3
RESEMBLE, MOST_NUMBERS = 0.3, 1 << 23  # autocorrelation, which is within 0.01 in noise; numbers that are looked at
STRUCTURE = 10.0  # of the variance of the mean of independent pixels; photographs have some thousand times that
JUMP, JUMPS = 0.75, 0.01  # of the span; share of neighbours. Photographs have such jumps in one of a thousand
SMALL = 12  # pixels of a side that hold all that is to be seen
LOST = 0.006  # share of the variance that such a small copy lacks
SERIES, FEWEST_STEPS = 512, 16
SMOOTHER = 0.7  # of the roughness of series as given; slow ones with noise fall to a half when they are put in order
RELATED = 0.75  # roughness of noisy series in order; 1 is that of numbers that have nothing in common
ALIKE = 2.0  # ratio of differences at two places of a row
BROKEN = 1.3  # ratio of the differences where a series ends to the others
SCALES = 100.0  # ratio of the deviations of two columns
LARGE_COLUMN = 10.0  # deviation


def order(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images whose pixels were put in another order by reshape."""
    found = []
    for split in subject.splits:
        images = _images(subject, split.sample)
        clock.check()
        rough = _roughness(images)
        n, height, width, channels = images.shape
        others = {
            "(channels, height, width)": images.reshape(n, channels, height, width).transpose(0, 2, 3, 1),
            "(width, height, channels)": images.reshape(n, width, height, channels).transpose(0, 2, 1, 3),
        }
        name = min(others, key=lambda key: _roughness(others[key]))
        better = _roughness(others[name])
        if better < ROUGHER * rough and rough > 0.01:
            charts = [Chart("as given, and put in order", PICTURES, {"given": images[0], "in order": others[name][0]})]
            found.append(
                catalogue.found(
                    "pixels-scrambled",
                    f"The difference of neighbouring pixels is {rough:.0%} of what pixels of one image differ by at "
                    f"random. Read as {name} and transposed, it is {better:.0%}.",
                    case="reshaped",
                    split=split.name,
                    charts=charts,
                )
            )
        elif rough >= NOISE and (apart := _distance_of_neighbours(split.sample.images)):
            found.append(
                catalogue.found(
                    "pixels-scrambled",
                    f"The difference of neighbouring pixels is {rough:.0%} of what pixels of one image differ by at "
                    f"random. Pixels that are {apart:,} numbers apart, in one image and the next, resemble each other.",
                    case="images-last",
                    split=split.name,
                )
            )
        elif rough >= NOISE and _have_brightness(images, split.sample.ids[:IMAGES]):
            found.append(
                catalogue.found(
                    "pixels-scrambled",
                    f"The difference of neighbouring pixels is {rough:.0%} of what pixels of one image differ by at "
                    "random; in photographs it is under 30 %.",
                    case="noise",
                    split=split.name,
                )
            )
    return found


def series_order(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds time series whose steps and columns were exchanged by reshape."""
    found = []
    for split in subject.splits:
        given = split.sample.images[:SERIES].astype(np.float64)
        if given.ndim != 3 or given.shape[1] < FEWEST_STEPS or given.shape[2] < 2 or given.shape[1] == given.shape[2]:
            raise NotApplicable(f"the inputs are no series (steps, columns) of {FEWEST_STEPS} steps and 2 columns")
        clock.check()
        rough, better = _exchanged(np.nan_to_num(given, posinf=0, neginf=0))
        if better < SMOOTHER * rough or (rough >= NOISE and better <= RELATED):
            _, steps, columns = given.shape
            found.append(
                catalogue.found(
                    "pixels-scrambled",
                    f"The difference of a step from the one before it is {rough:.0%} of what steps differ by at "
                    f"random. Numbers that follow each other in memory, across the ends of steps too, differ by "
                    f"{better:.0%}, and every {steps}th time by more: the series are ({columns} columns, "
                    f"{steps} steps).",
                    case="series",
                    split=split.name,
                )
            )
    return found


def _exchanged(given: np.ndarray) -> tuple[float, float]:
    """Returns how rough series (n, steps, columns) are as given, and put in order.

    They are put in order as (n, columns, steps), which is the order of their numbers in memory. Both are mean squares
    of differences relative to random pairs of one series. The second one is infinite where the numbers are not in this
    order: neighbours of one row must resemble each other as those of two rows do, as a picture with a border does not,
    and the end of a series must not resemble the beginning of the next one, as in a series that was folded.
    """
    n, steps, columns = given.shape
    flat = given.reshape(n, -1)
    within = np.maximum(2 * flat.reshape(n, columns, steps).var(axis=2).mean(), 1e-30)
    at = np.arange(steps * columns)
    beside = np.square(np.diff(flat, axis=1)).mean(axis=0)
    ends = (at[:-1] + 1) % steps == 0
    far = np.square(flat[:, columns:] - flat[:, :-columns]).mean(axis=0)
    one = at[:-columns] // steps == at[columns:] // steps
    of_place = [beside[(at[:-1] % columns == place) & ~ends] for place in range(columns)]
    if not one.any() or any(len(part) == 0 for part in of_place):
        return 0.0, np.inf
    rough, better = float(far[one].mean() / within), float(beside[~ends].mean() / within)
    means = [float(part.mean()) for part in of_place]
    breaks = beside[ends].mean() >= BROKEN * beside[~ends].mean() or _unrelated_at(flat, ends)
    return (rough, better) if rough > 0.01 and max(means) <= ALIKE * min(means) and breaks else (rough, np.inf)


def _unrelated_at(flat: np.ndarray, ends: np.ndarray) -> bool:
    """Tells whether numbers that follow each other are related, but for some places.

    They are compared over all series: where a series ends there may be little to be seen.
    """
    apart = flat - flat.mean(axis=0)
    size = np.sqrt(np.square(apart).mean(axis=0))
    used = (size[1:] > 0) & (size[:-1] > 0)
    related = (apart[:, 1:] * apart[:, :-1]).mean(axis=0) / np.maximum(size[1:] * size[:-1], 1e-30)
    if not (used & ends).any() or not (used & ~ends).any():
        return False
    usual = float(related[used & ~ends].mean())
    return usual >= 1 - RELATED and float(related[used & ends].mean()) <= usual / 2


def _distance_of_neighbours(images: np.ndarray) -> int:
    """Returns how far apart numbers are that resemble each other, or 0 if none do.

    An array (height, width, channels, N) that was reshaped to (N, height, width, channels) holds the pixels of one
    image N numbers apart. The autocorrelation of all numbers in their order shows it (Wiener-Khinchin theorem).
    """
    numbers = np.nan_to_num(images.ravel()[:MOST_NUMBERS].astype(np.float32), posinf=0, neginf=0)
    numbers = numbers - numbers.mean()
    power = np.abs(np.fft.rfft(numbers, 2 * len(numbers))) ** 2
    same = np.fft.irfft(power)[: len(numbers) // 2]
    nearest = LEAST_SIDE * images.shape[-1]
    if not len(same) > nearest or same[0] <= 0:
        return 0
    at = nearest + int(same[nearest:].argmax())
    if at % images[0].size == 0:
        return 0  # the same place in another image: only the pixels of an image are in disorder
    beside = max(same[at - images.shape[-1]], same[min(at + images.shape[-1], len(same) - 1)])
    if beside >= same[at] / 2:
        return 0  # images of one colour resemble each other at every distance
    return at if same[at] >= RESEMBLE * same[0] else 0


def _images(subject: Subject, sample: Sample) -> np.ndarray:
    """Returns the first images of a split as float32.

    Raises:
      NotApplicable: they are no images of at least LEAST_SIDE pixels, or are of a folder.
    """
    if subject.origin == FOLDER:
        raise NotApplicable("the images of a folder are as they were decoded")
    images = np.nan_to_num(sample.images[:IMAGES].astype(np.float32), posinf=0, neginf=0)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or min(images.shape[1:3]) < LEAST_SIDE:
        raise NotApplicable(f"the images are not (height, width, 1 or 3) of {LEAST_SIDE} pixels and more")
    return images


def _have_brightness(images: np.ndarray, ids: np.ndarray) -> bool:
    """Returns whether the means of images of one class differ more than by chance.

    Photographs are bright or dark in whatever order their pixels are. Means of independent pixels hardly differ: such
    images are made of noise, as for a test.
    """
    means, within = images.mean(axis=(1, 2, 3)), images.var(axis=(1, 2, 3)).mean() / images[0].size
    apart = np.mean([means[ids == label].var() for label in np.unique(ids)])
    return bool(apart > STRUCTURE * within)


def _roughness(images: np.ndarray) -> float:
    """Returns how much neighbouring pixels differ, relative to random pairs.

    It compares mean squares, and takes the mean over the images of the greater of both directions.
    """
    variance = images.var(axis=(1, 2)).mean(axis=-1)
    down = np.square(np.diff(images, axis=1)).mean(axis=(1, 2, 3))
    along = np.square(np.diff(images, axis=2)).mean(axis=(1, 2, 3))
    kept = variance > 1e-3 * max(float(variance.max()), 1e-12)
    if not kept.any():
        return 0.0
    return float(np.mean((np.maximum(down, along) / (2 * np.maximum(variance, 1e-12)))[kept]))


def wrapped(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds values that went beyond 255 and began with 0 again."""
    found = []
    for split in subject.splits:
        images = _images(subject, split.sample)
        clock.check()
        low, high = float(images.min()), float(images.max())
        span = high - low
        if span <= 0 or _roughness(images) >= NOISE:
            continue
        one, two = images[:, :, 1:], images[:, :, :-1]
        inside = (np.minimum(one, two) > low) & (np.maximum(one, two) < high)  # drawings jump from black to white
        jumps = float(np.mean((np.abs(one - two) > JUMP * span) & inside))
        if jumps >= JUMPS:
            found.append(
                catalogue.found(
                    "pixels-wrapped",
                    f"{jumps:.1%} of neighbouring pixels differ by more than {JUMP:.0%} of the range {low:g} to "
                    f"{high:g}; in photographs 0.1 % do.",
                    split=split.name,
                    charts=[Chart("images", PICTURES, {str(i): images[i] for i in range(min(4, len(images)))})],
                )
            )
    return found


def detail(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images that were made small and large again."""
    if len(subject.splits) == 0:
        return []
    images = _images(subject, subject.split("train").sample)
    if min(images.shape[1:3]) < 2 * SMALL:
        raise NotApplicable(f"the images are smaller than {2 * SMALL} pixels")
    gray = images.mean(axis=-1)
    clock.check()
    lost = []
    for picture in gray:
        if picture.std() < 1e-6 * max(1.0, float(np.abs(picture).max())):
            continue
        size = (picture.shape[1], picture.shape[0])
        small = Image.fromarray(picture).resize((SMALL, SMALL), Image.Resampling.BOX)
        back = np.asarray(small.resize(size, Image.Resampling.BICUBIC))
        lost.append(float(np.mean(np.square(back - picture)) / picture.var()))
    if not lost or float(np.median(lost)) >= LOST:
        return []
    return [
        catalogue.found(
            "detail-lost",
            f"A copy of {SMALL}x{SMALL} pixels holds {1 - np.median(lost):.1%} of the variance of the images of "
            f"{images.shape[1]}x{images.shape[2]}; of photographs of this size it holds 80 to 97 %.",
            charts=[Chart("images", PICTURES, {str(i): images[i] for i in range(min(4, len(images)))})],
        )
    ]


def columns(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds columns of vectors that have widely different scales."""
    del clock
    rows = subject.split("train").sample.images
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise NotApplicable("the inputs are no rows of numbers")
    if subject.model is not None and _normalizes(subject.model):
        return []
    spread = np.nan_to_num(rows.astype(np.float64), posinf=0, neginf=0).std(axis=0)
    used = spread[spread > 0]
    if len(used) < 2 or used.max() < SCALES * used.min() or used.max() < LARGE_COLUMN:
        return []
    big, small = int(spread.argmax()), int(np.where(spread > 0, spread, np.inf).argmin())
    return [
        catalogue.found(
            "columns-unscaled",
            f"Column {big} has a deviation of {spread[big]:.4g} and column {small} one of {spread[small]:.4g}.",
        )
    ]


def _normalizes(model: object) -> bool:
    layers = [layer for layer in first_weights.flat_layers(model) if type(layer).__name__ != "InputLayer"][:3]
    return any(isinstance(layer, first_weights.NORMALIZING + first_weights.SCALING) for layer in layers)


PROBES = (
    Probe("order of the pixels", order, ("images",), 8),
    Probe("order of the steps of series", series_order, ("images",), 5),
    Probe("values that wrapped around", wrapped, ("images",), 8),
    Probe("detail of the images", detail, ("images",), 8),
    Probe("scales of the columns", columns, ("images",), 2),
)
