"""Checks the order in which training sees the images."""

from __future__ import annotations

import hashlib

import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import Batch, Sample, class_ids
from trainer.doctor.subject.subject import DATASET, Split, Subject
from trainer.doctor.subject.training import PYDATASET, TFDATA
from trainer.doctor.tools import tfdata_steps

LEAST_LABELS = 64
# Share of the runs that a random order has. Half is about ten deviations away for a few hundred images.
FEWER_RUNS = 0.5
# The runs must also be so many deviations below the mean. This protects short passes and rare classes.
FAR = 6.0
ALIKE = 0.9  # share of the classes that a batch of a random order holds
FEWEST_BATCHES, FEW_BATCHES, REPEATS = 6, 3, 3  # so many batches are few, where each comes so many times
# Images that two passes must have in common, and the share of them with another label. A pass that changes its images
# has none in common; one that draws labels anew (label smoothing, mixing) changes the images, too.
FEWEST_AGAIN, MOVED = 20, 0.1


def mixed(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images that are sorted by class, or not shuffled enough.

    The second happens with a shuffle buffer that is smaller than the runs of a class.
    """
    del clock
    if _train(subject).shuffled or _is_one_batch(subject):
        return []
    labels = np.asarray(_train(subject).sample.labels_seen)
    if subject.training is not None and subject.training.in_turn and _are_of_one_class(subject):
        raise NotApplicable("several models are trained in turn, with batches of one class each")
    if len(labels) < LEAST_LABELS or len(np.unique(labels)) < 2:
        if len(labels) >= LEAST_LABELS and state.classes(subject) > 1 and not _train(subject).sample.complete:
            return [_sorted(subject, labels, 1, float("nan"))]
        raise NotApplicable("too few labels were seen")
    runs, expected, deviation = runs_of(labels)
    if runs >= FEWER_RUNS * expected or runs > expected - FAR * deviation:
        return []
    if _are_mixed(labels, len(_train(subject).sample.batches[0].y)):
        return []  # such as batches of so many images of each class
    return [_sorted(subject, labels, runs, expected)]


def _are_of_one_class(subject: Subject) -> bool:
    return all(len(np.unique(class_ids(batch.y))) == 1 for batch in _train(subject).sample.batches)


def _are_mixed(labels: np.ndarray, size: int) -> bool:
    """Tells whether batches hold as many classes as those of a random order."""
    _, counts = np.unique(labels, return_counts=True)
    expected = np.sum(1 - (1 - counts / len(labels)) ** size)
    whole = range(0, len(labels) - size + 1, size)
    return bool(whole) and bool(np.mean([len(np.unique(labels[i : i + size])) for i in whole]) >= ALIKE * expected)


def runs_of(labels: np.ndarray) -> tuple[int, float, float]:
    """Returns the runs of equal labels, and the mean and deviation in random order.

    Mood 1940, "The Distribution Theory of Runs": the mean is 1 + (n^2 - sum n_i^2) / n. The deviation that is returned
    is that of n - 1 independent changes of equal probability. It is within a few percent of Mood's.
    """
    n = len(labels)
    runs = 1 + int(np.count_nonzero(labels[1:] != labels[:-1]))
    _, counts = np.unique(labels, return_counts=True)
    change = 1 - float(np.sum((counts / n) ** 2))
    return runs, 1 + n * change, float(np.sqrt(n * change * (1 - change))) + 1e-9


def _sorted(subject: Subject, labels: np.ndarray, runs: int, expected: float) -> Finding:
    buffer = tfdata_steps.buffer_size(_train(subject).dataset)
    shuffled = f"The dataset has .shuffle({buffer:,})" if buffer else "No shuffling was found in it"
    batch = len(_train(subject).sample.batches[0].y)
    single = np.mean([len(np.unique(labels[i : i + batch])) == 1 for i in range(0, len(labels), batch)])
    usual = "" if np.isnan(expected) else f"; a random order has about {expected:,.0f}"
    return catalogue.found(
        "sorted-input",
        f"Among {len(labels):,} labels in the order of a pass there are {runs:,} runs of one class{usual}. "
        f"{single:.0%} of the batches are of a single class. {shuffled}.",
        shuffled=bool(buffer),
    )


def shuffled(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a dataset with the same order in every epoch."""
    del clock
    split = _train(subject)
    if split.shuffled or _batches_are_mixed(subject) or _is_one_batch(subject):
        return []
    if split.second is None or not split.second.batches or len(split.second) < 2:
        raise NotApplicable("there was no second pass to compare with")
    if any(s.kind.startswith("Shuffle") and _reshuffles(s.dataset) for s in tfdata_steps.steps(split.dataset)):
        return []
    pairs = list(zip(split.sample.batches, split.second.batches, strict=False))
    if not pairs or not all(_same_labels(one, two) for one, two in pairs):
        return []
    labels = np.concatenate([two.y.reshape(len(two.y), -1) for _, two in pairs])
    # Where a program has few images and no step that shuffles, the two passes are all of them.
    whole = subject.training is not None and split.form == TFDATA and split.sample.complete
    if (len(labels) < LEAST_LABELS and not whole) or len(np.unique(labels, axis=0)) < 2:
        raise NotApplicable("too few labels were seen")
    return [catalogue.found("order-fixed", f"The first {len(labels):,} labels of two passes are the same, one by one.")]


def _is_one_batch(subject: Subject) -> bool:
    """Tells whether each epoch is one batch of all rows, whose order changes nothing.

    Fewer than LEAST_LABELS images stand for the many that will take their place.
    """
    sample = _train(subject).sample
    training = subject.training
    one = len(sample.batches) == 1 if training is None or training.steps is None else training.steps == 1
    if training is not None and training.batch_size and training.samples:
        one = training.batch_size >= training.samples
    elif not sample.complete:
        one = False
    return one and (len(sample) >= LEAST_LABELS or sample.batches[0].x.ndim == 2)


def _batches_are_mixed(subject: Subject) -> bool:
    """Returns whether Keras mixes the batches of a PyDataset, as it does by default."""
    told = subject.training is not None and subject.training.shuffle is False
    return _train(subject).form == PYDATASET and not told


def _reshuffles(dataset: object) -> bool:
    return getattr(dataset, "_reshuffle_each_iteration", True) is not False


def _same_labels(one: Batch, two: Batch) -> bool:
    return one.y.shape == two.y.shape and np.array_equal(one.y, two.y)


def repeated(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a pass that never ends, or that contains each image several times."""
    clock.check()
    split = _train(subject)
    if subject.training is not None and subject.training.steps_per_epoch:
        return []  # fit ends the epoch itself
    if int(split.dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        if subject.training is None:
            raise NotApplicable("with steps_per_epoch an endless dataset is right, and how fit is called is not known")
        return [catalogue.found("repeats", "It is repeated without end.", case="endless")]
    counts = [_count(step.dataset) for step in tfdata_steps.steps(split.dataset) if step.kind.startswith("Repeat")]
    times = max((n for n in counts if n and n > 1), default=1)
    if times == 1:
        return []
    return [catalogue.found("repeats", f"It has .repeat({times}).", case="several", times=times)]


def same_batches(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training that gets one batch, or a few, again and again."""
    clock.check()
    batches = _train(subject).sample.batches
    if len(batches) < FEWEST_BATCHES:
        raise NotApplicable(f"fewer than {FEWEST_BATCHES} batches were seen")
    found = [hashlib.sha256(batch.x.tobytes()).digest() for batch in batches]
    different = len(set(found))
    if different > FEW_BATCHES or different * REPEATS > len(found):
        return []
    images = len({image.tobytes() for batch in batches[: different * REPEATS] for image in batch.x})
    return [
        catalogue.found(
            "batches-repeat",
            f"Of the first {len(found)} batches {different} {'is' if different == 1 else 'are'} different, with "
            f"{images:,} different images; the others are equal to {'it' if different == 1 else 'them'}, number by "
            "number.",
            different=different,
            images=images,
        )
    ]


def steady_labels(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images that have another label in the next pass."""
    split = _train(subject)
    if split.second is None or split.sample.images.shape[1:] != split.second.images.shape[1:]:
        raise NotApplicable("there was no second pass to compare with")
    passes = [_label_of_each(sample, clock) for sample in (split.sample, split.second)]
    both = [image for image in passes[0] if image in passes[1]]
    if len(both) < FEWEST_AGAIN:
        raise NotApplicable(f"fewer than {FEWEST_AGAIN} images of the first pass were seen in the second one")
    moved = [image for image in both if passes[0][image] != passes[1][image]]
    if len(moved) < MOVED * len(both):
        return []
    return [
        catalogue.found(
            "labels-move",
            f"Of {len(both):,} images that were seen in two passes over the training data, {len(moved):,} have another "
            "label in the second one.",
            share=len(moved) / len(both),
        )
    ]


def _label_of_each(sample: Sample, clock: Clock) -> dict[bytes, bytes]:
    """Returns image -> label, by their bytes, of the images that occur once."""
    found: dict[bytes, bytes] = {}
    several: set[bytes] = set()
    for image, label in zip(sample.images, sample.labels, strict=True):
        clock.check()
        key, value = hashlib.sha256(image.tobytes()).digest(), label.tobytes()
        if found.setdefault(key, value) != value:
            several.add(key)
    return {key: value for key, value in found.items() if key not in several}


def _count(dataset: object) -> int | None:
    count = getattr(dataset, "_count", None)
    return None if count is None else int(np.asarray(count))


def _train(subject: Subject) -> Split:
    if subject.origin != DATASET:
        raise NotApplicable("it looks at the order of --dataset")
    return subject.split("train")


PROBES = (
    Probe("classes mixed in the order", mixed, ("images",), 2.0, exclusive=True),
    Probe("another order every epoch", shuffled, ("images",), 2.0),
    Probe("batches that differ", same_batches, ("images",), 3.0),
    Probe("labels that stay with their images", steady_labels, ("images",), 3.0, alone=True),
    Probe("each image once an epoch", repeated, ("dataset",), 2.0),
)
