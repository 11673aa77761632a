"""Builds the charts of a subject: pixel values, classes, images, past training."""

from __future__ import annotations

import dataclasses

import numpy as np

from pipelines.contract.task import MULTI_LABEL, REGRESSION
from trainer.doctor.finding import BARS, LINES, PICTURES, Chart
from trainer.doctor.output import words
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Split, Subject

BINS = 60
MOST_VALUES = 2_000_000  # greatest number of pixel values in a histogram
MOST_CLASSES = 60
MOST_NUMBERS = 8
PICTURES_SHOWN = 16


def charts(subject: Subject) -> list[Chart]:
    """Returns all charts that the subject's data and past training allow."""
    rows = words.are_rows(subject)
    splits = [split for split in subject.splits if len(split.sample)]
    found = [_values(split) for split in splits if split.sample.images.dtype.kind in "biuf"]  # texts have no values
    found += [chart for split in splits for chart in _answers(subject, split)]
    found += [_images(subject, split) for split in splits if not rows and can_be_seen(split.sample.images[0])]
    if subject.history is not None:
        for name in sorted({key.removeprefix("val_") for key in subject.history}):
            series = {key: subject.history[key] for key in (name, f"val_{name}") if key in subject.history}
            found.append(Chart(f"{name} by epoch", LINES, series))
    return [dataclasses.replace(chart, title=words.of_rows(chart.title)) for chart in found] if rows else found


def _values(split: Split) -> Chart:
    images = split.sample.images
    step = max(1, images.size // MOST_VALUES)
    channels = {3: ("first channel", "second channel", "third channel")}.get(images.shape[-1], ("values",))
    flat = images.reshape(-1, len(channels))[::step].astype(np.float64)
    flat = flat[np.isfinite(flat).all(axis=1)]
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    series = {name: np.histogram(flat[:, i], edges)[0] for i, name in enumerate(channels)}
    return Chart(f"{split.name}: values of the pixels", LINES, series, [f"{edge:.3g}" for edge in edges[:-1]])


def _answers(subject: Subject, split: Split) -> list[Chart]:
    """Returns the charts of what is predicted: classes, labels or numbers."""
    if subject.kind not in (MULTI_LABEL, REGRESSION):
        return [_classes(split, subject.labels)]
    rows = split.sample.labels.reshape(len(split.sample.labels), -1)
    if subject.kind == MULTI_LABEL:
        shown = slice(0, MOST_CLASSES)
        names = [state.label_name(i, subject.labels) for i in range(rows.shape[1])[shown]]
        return [Chart(f"{split.name}: images of each label seen", BARS, {"images": rows.sum(axis=0)[shown]}, names)]
    return [_numbers(split, i, column) for i, column in enumerate(rows.T[:MOST_NUMBERS], 1)]


def _numbers(split: Split, number: int, values: np.ndarray) -> Chart:
    counts, edges = np.histogram(values, min(BINS, 1 + int(np.sqrt(len(values)))))
    title = f"{split.name}: values of number {number}, in standard deviations of train"
    return Chart(title, LINES, {"images": counts}, [f"{edge:.3g}" for edge in edges[:-1]])


def _classes(split: Split, names: tuple[str, ...]) -> Chart:
    ids, counts = np.unique(split.sample.labels_seen, return_counts=True)
    shown = slice(0, MOST_CLASSES)
    labels = [state.label_name(int(i), names) for i in ids[shown]]
    return Chart(f"{split.name}: images of each class seen", BARS, {"images": counts[shown]}, labels)


def _images(subject: Subject, split: Split) -> Chart:
    images, texts = split.sample.images, state.answer_texts(subject, split.sample)
    chosen = np.linspace(0, len(images) - 1, min(PICTURES_SHOWN, len(images))).astype(int)
    series = {f"{k}: {texts[i]}": images[i] for k, i in enumerate(chosen, 1)}
    return Chart(f"{split.name}: images as the model gets them, with their contrast stretched", PICTURES, series)


def can_be_seen(example: np.ndarray) -> bool:
    """Tells whether `visible` takes an example, which is no row, text or film."""
    return np.ndim(example) in (2, 3) and np.asarray(example).dtype.kind in "biuf"


def visible(image: np.ndarray) -> np.ndarray:
    """Converts an image of any shape and range to uint8 (H, W, 3) for display.

    Args:
      image: (H, W), (H, W, C) or (C, H, W). Its least value becomes 0 and its greatest 255.
    """
    values = np.nan_to_num(np.asarray(image, np.float64))
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[-1] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, -1)
    values = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    low, high = values.min(), values.max()
    return np.round((values - low) / (high - low or 1) * 255).astype(np.uint8)
