"""Checks the images by themselves: numbers, type, order of axes, sizes."""

from __future__ import annotations

import numpy as np

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import ERROR, PICTURES, WARNING, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import FOLDER, Split, Subject

# Share of the span of all images: one gray level of 255. A constant image spans no more than this.
CONSTANT = 1 / 255
CONSTANT_ERROR = 0.2  # share of the images; from here on a large part of a class is lost, not a few blank photos
FEW_VALUES = 4  # distinct numbers in all images; 8-bit photographs have more after a correct scaling
CHANNELS = (1, 3, 4)
PICTURES_SHOWN = 8


def finite(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds NaN and infinity in images."""
    return [finding for split in subject.splits if (finding := _not_finite(split, clock)) is not None]


def _not_finite(split: Split, clock: Clock) -> Finding | None:
    broken = nan = infinite = 0
    for batch in split.sample.batches:
        clock.check()
        if batch.x.dtype.kind in "fc":
            bad = ~np.isfinite(batch.x)
            broken += int(bad.reshape(len(bad), -1).any(axis=1).sum())
            nan += int(np.isnan(batch.x).sum())
            infinite += int(np.isinf(batch.x).sum())
    if not broken:
        return None
    return catalogue.found(
        "not-finite",
        f"{broken:,} of {len(split.sample):,} images: {nan:,} values are NaN and {infinite:,} are infinite.",
        split=split.name,
    )


def constant(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images of one color, or nearly of one color."""
    found = []
    for split in subject.splits:
        clock.check()
        if not _has_few_values(split.sample.images):  # `number_type` reports those
            found += _constant(split, clock)
    return found


def _constant(split: Split, clock: Clock) -> list[Finding]:
    images = split.sample.images
    if images.ndim < 3:
        return []  # rows of numbers may be equal to each other
    least, greatest = (np.full(len(images), np.nan) for _ in range(2))  # NaN for images that `finite` reports
    for i, image in enumerate(images):
        if image.dtype.kind != "f" or np.isfinite(image).all():
            least[i], greatest[i] = image.min(), image.max()
        if i % 256 == 0:
            clock.check()
    span = float(np.nanmax(greatest) - np.nanmin(least)) if np.isfinite(least).any() else 0.0
    flat = np.flatnonzero(greatest - least <= CONSTANT * span)
    if not len(flat):
        return []
    share = len(flat) / len(images)
    series = {f"{i}: label {split.sample.ids[i]}": images[i] for i in flat[:PICTURES_SHOWN]}
    return [
        catalogue.found(
            "constant-images",
            f"Their values lie within {float((greatest - least)[flat].max()):.3g}, those of all images within "
            f"{span:.3g}. Their numbers in the pass, counted from 0, are {listed(flat, 5)}.",
            level=ERROR if share >= CONSTANT_ERROR else WARNING,
            constant=len(flat),
            images=len(images),
            split=split.name,
            share=share,
            impact=min(1.0, share),
            charts=[Chart("constant images", PICTURES, series)],
        )
    ]


def number_type(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds the results of an integer division, and float64 images.

    Numbers of float64 are twice as wide as those of the model.
    """
    del clock
    found = []
    for split in subject.splits:
        images = split.sample.images
        if _has_few_values(images):
            found.append(_integer_division(split, np.unique(images[:64])))
        elif images.dtype == np.float64:
            found.append(_float64(split))
    return found


def _has_few_values(images: np.ndarray) -> bool:
    """Returns whether color images have only a few distinct numbers.

    Black-and-white drawings also have few. They do not count: their channels are equal.
    """
    part = images[:64]
    if part.ndim != 4 or len(np.unique(part[:8])) > FEW_VALUES:  # eight images, because sorting all takes seconds
        return False
    distinct = len(np.unique(part))
    colored = part.shape[-1] >= 3 and bool((part[..., :1] != part[..., 1:3]).any())
    return distinct == 1 or (distinct <= FEW_VALUES and colored)


def _integer_division(split: Split, values: np.ndarray) -> Finding:
    shown = ", ".join(f"{v:g}" for v in values)
    share = float(np.mean(split.sample.images[:64] == values[0]))
    return catalogue.found(
        "integer-division",
        f"Values found: {shown} ({split.sample.images.dtype}); {share:.1%} of all pixels are {values[0]:g}. "
        "That is what integer division, or a cast to an integer type after scaling, leaves of a photograph.",
        split=split.name,
        values=len(values),
    )


def _float64(split: Split) -> Finding:
    size = split.sample.images[0].nbytes
    return catalogue.found(
        "float64",
        f"An image takes {size:,} bytes; as float32 it would take {size // 2:,}. It is NumPy's default.",
        split=split.name,
    )


def channels_first(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images (3, H, W) where Keras expects (H, W, 3)."""
    del clock
    if subject.origin == FOLDER:
        raise NotApplicable("images of a folder have no order of axes yet")
    if subject.model is not None and _takes_channels_first(subject.model):
        return []
    found = []
    for split in subject.splits:
        shape = split.sample.shapes[0]
        if len(shape) == 3 and shape[0] in CHANNELS and shape[-1] not in (*CHANNELS, 2):
            found.append(
                catalogue.found(
                    "channels-first",
                    f"An image has the shape {shape}; Keras layers expect (height, width, channels), and take "
                    f"this one for {shape[0]} rows of {shape[1]} pixels with {shape[2]} channels.",
                    split=split.name,
                )
            )
    return found


def _takes_channels_first(model: object) -> bool:
    """Returns whether the model takes channels first or transposes the axes itself."""
    layers = list(getattr(model, "layers", []))
    while layers and hasattr(layers[0], "layers"):
        layers = [*layers[0].layers, *layers[1:]]
    turned = any(type(layer).__name__ in ("Permute", "Transpose") for layer in layers[:4])
    return turned or any(getattr(layer, "data_format", None) == "channels_first" for layer in layers)


PROBES = (
    Probe("NaN and infinity in images", finite, ("images",)),
    Probe("constant images", constant, ("images",)),
    Probe("number type of images", number_type, ("images",)),
    Probe("order of the axes", channels_first, ("images",)),
)
