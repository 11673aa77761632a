"""Compares the user's dataset with the folder or prepared dataset that it reads.

It compares the order of the color channels and the labels.
"""

from __future__ import annotations

import numpy as np

from pipelines.contract.task import CLASSES
from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import MATRIX, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools.match_images import FEWEST, Pairs, pairs

COLORED = 0.3  # correlation of red minus blue between the two pictures; with less, they are too gray
MOSTLY = 0.8  # share of the pairs that must agree
AGREE = 0.9  # share of the labels; a cleaned dataset may differ from its folder in some


def channel_order(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images in BGR order where the reference has RGB."""
    found = pairs(subject, clock)
    correlation = np.maximum(*(_tint_correlation(ours, found.theirs) for ours in _both_ways(found.ours)))
    opposite = np.maximum(*(_tint_correlation(ours[..., ::-1], found.theirs) for ours in _both_ways(found.ours)))
    colored = np.maximum(correlation, opposite) >= COLORED
    if colored.sum() < FEWEST:
        raise NotApplicable(f"only {int(colored.sum())} of the images are colored enough to tell")
    turned = float(np.mean((opposite > correlation)[colored]))
    if turned < MOSTLY:
        return []
    return [
        catalogue.found(
            "channel-order",
            f"Of {int(colored.sum())} colored images that were found again in {subject.directory}, "
            f"{turned:.0%} have red and blue exchanged: the correlation of red minus blue is "
            f"{correlation[colored].mean():.2f} as they are and {opposite[colored].mean():.2f} with their channels "
            "reversed.",
        )
    ]


def _both_ways(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images, images[:, :, ::-1]


def _tint_correlation(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Returns the correlation over the pixels of red minus blue, for each pair.

    The mean is subtracted first, so that a scaling of each channel does not matter.
    """
    a, b = ((x[..., 0] - x[..., 2]).reshape(len(x), -1) for x in (ours, theirs))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(lengths > 1e-3, (a * b).sum(axis=1) / np.maximum(lengths, 1e-3), 0.0)


def labels(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds label ids in another order than the vocabulary, or of other images."""
    found = pairs(subject, clock)
    if subject.contract is not None and subject.contract.task.kind != CLASSES:
        raise NotApplicable(f"--data is a dataset of another task ({subject.contract.task.kind})")
    agree = float(np.mean(found.labels == found.reference))
    if agree >= AGREE:
        return []
    meant = _mapping(found)
    if meant and not _is_reordered(meant):
        return []  # the user chose some classes or merged some
    chart = _chart(found, subject.labels)
    if meant:
        moved = "; ".join(
            f"{state.label_name(theirs, subject.labels)} has {ours} and not {theirs}"
            for theirs, ours in meant.items()
            if theirs != ours
        )
        return [
            catalogue.found(
                "labels-other-order",
                f"Of {len(found.labels)} images that were found again in {subject.directory}, "
                f"{agree:.0%} have the id of their class, and nearly all others the id of one other class: {moved}.",
                case="against-data",
                classes=listed(subject.labels, 12),
                charts=[chart],
            )
        ]
    return [
        catalogue.found(
            "labels-shuffled",
            f"Of {len(found.labels)} images that were found again in {subject.directory}, {agree:.0%} "
            "have the label of their folder or record, and the others belong to no one class.",
            case="against-data",
            charts=[chart],
        )
    ]


def _mapping(found: Pairs) -> dict[int, int]:
    """Returns class of the reference -> the user's id.

    It is empty unless at least MOSTLY of each class have one id.
    """
    meant = {}
    for theirs in np.unique(found.reference):
        values, counts = np.unique(found.labels[found.reference == theirs], return_counts=True)
        if counts.max() / counts.sum() < MOSTLY:
            return {}
        meant[int(theirs)] = int(values[counts.argmax()])
    return meant


def _is_reordered(meant: dict[int, int]) -> bool:
    """Returns whether each class has an id of its own, but in another order.

    If the user's ids keep the order of the reference, the user has chosen some of its classes. This is no fault.
    """
    ids = list(meant.values())
    return len(set(ids)) == len(ids) and ids != sorted(ids)


def _chart(found: Pairs, names: tuple[str, ...]) -> Chart:
    size = int(max(found.labels.max(), found.reference.max())) + 1
    table = np.zeros((max(1, size), max(1, size)), int)
    np.add.at(table, (np.maximum(found.labels, 0), found.reference), 1)
    labels = [state.label_name(i, names) for i in range(size)]
    series = {f"id {i}": list(row) for i, row in enumerate(table)}
    return Chart("rows: label in the dataset; columns: class of the same image there", MATRIX, series, labels)


PROBES = (
    Probe("order of the channels against --data", channel_order, ("dataset",), 10),
    Probe("labels against --data", labels, ("dataset",), 10),
)
