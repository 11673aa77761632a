"""Checks the order in which training sees the images."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import Batch
from trainer.doctor.subject.subject import DATASET, Split, Subject
from trainer.doctor.subject.training import PYDATASET, TFDATA
from trainer.doctor.tools import tfdata_steps

LEAST_LABELS = 64
# Share of the runs that a random order has. Half is about ten deviations away for a few hundred images.
FEWER_RUNS = 0.5
# The runs must also be so many deviations below the mean. This protects short passes and rare classes.
FAR = 6.0


def mixed(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images that are sorted by class, or not shuffled enough.

    The second happens with a shuffle buffer that is smaller than the runs of a class.
    """
    del clock
    if _train(subject).shuffled:
        return []
    labels = np.asarray(_train(subject).sample.labels_seen)
    if len(labels) < LEAST_LABELS or len(np.unique(labels)) < 2:
        if len(labels) >= LEAST_LABELS and state.classes(subject) > 1 and not _train(subject).sample.complete:
            return [_sorted(subject, labels, 1, float("nan"))]
        raise NotApplicable("too few labels were seen")
    runs, expected, deviation = runs_of(labels)
    if runs >= FEWER_RUNS * expected or runs > expected - FAR * deviation:
        return []
    return [_sorted(subject, labels, runs, expected)]


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
    if split.shuffled or _batches_are_mixed(subject):
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
    Probe("each image once an epoch", repeated, ("dataset",), 2.0),
)
