"""Checks whether the labels are right.

Can a classifier learn them from the images? Are some of them wrong? Are the classes of the model's answers exchanged?
"""

from __future__ import annotations

import keras
import numpy as np

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import MATRIX, PICTURES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import FOLDER, Subject
from trainer.doctor.tools import first_weights, image_features, scores
from trainer.doctor.tools.kernel_classifier import FEWEST_OF_CLASS, Judgement, judge

MOST = 1000  # images; the time grows with the cube of their number
CHANCE = 2.5  # standard errors above guessing; shuffled labels exceed them in 0.6 % of cases
EFFECT = 0.12  # least gain over guessing that simple features reach on photographs; dogs against cats: 0.23
# Wrong labels (Northcutt et al. 2021, "Confident Learning"). The limits put precision before recall:
TELLABLE = 0.85  # balanced accuracy of the simple classifier; below it, its doubts do not show wrong labels
# Its probabilities on images that it did not see: at most GIVEN for the given label, at least OTHER for another.
GIVEN, OTHER = 0.05, 0.90
NEIGHBOURS, SAME = 10, 1  # of the nearest images, at most SAME have the given label
FEWEST_WRONG, WRONG_SHARE = 4, 0.008  # clean photographs give up to 0.4 % such images
# Permuted answers:
MATCHED, BY_LABEL = 0.75, 0.4  # share of right answers after renaming the classes, and without renaming
TWICE, MORE = 2.0, 0.25  # how many times as often as guessing, and by how much, renaming must be right
MOST_OF_TWO = 0.65  # share that renaming must make right of two classes, of which half are right by chance
SURE = 3.5  # standard errors below guessing, exceeded by chance once in 4,000; asked of two classes
FEWEST_SCORED = 40


def shuffled(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds labels that simple classifiers memorize but cannot predict.

    Their accuracy on held-out images is no better than guessing.
    """
    found = _judgement(subject, clock)
    chance = 1 / len(found.classes)
    error, accuracy = found.standard_error, found.balanced_accuracy
    if error * (CHANCE + 3) > EFFECT:
        raise NotApplicable(f"{len(found.ids)} images of {len(found.classes)} classes are too few to tell")
    if accuracy > chance + CHANCE * error or _model_knows(subject):
        return []
    return [
        catalogue.found(
            "labels-shuffled",
            f"A classifier on colors, layout and edges is right on {found.memorized:.0%} of the images right that it "
            f"has seen, and of others {accuracy:.1%} (mean over {len(found.classes)} classes), where guessing gives "
            f"{chance:.1%} with a standard error of {error:.1%}: nothing it learnt holds for other images.",
            case="not-learnable",
        )
    ]


def _model_knows(subject: Subject) -> bool:
    """Returns whether the user's model is better than the majority answer.

    If so, the labels can be learned.
    """
    if subject.model is None:
        return False
    try:
        split, outputs = subject.scored
    except NotApplicable:
        return False
    ids = split.sample.ids[: len(outputs)]
    given = _answers(outputs)
    majority = np.bincount(np.maximum(ids, 0)).max() / len(ids)
    return bool(np.mean(given == ids) > majority + 3 * np.sqrt(0.25 / len(ids)))


def _answers(outputs: np.ndarray) -> np.ndarray:
    """Returns class ids.

    One unit is compared with the middle of its range: 0.5 for probabilities, 0 for logits.
    """
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        values = outputs.reshape(-1)
        return (values > (0.5 if values.min() >= 0 and values.max() <= 1 else 0)).astype(np.int64)
    return outputs.reshape(len(outputs), -1).argmax(axis=1)


def _judgement(subject: Subject, clock: Clock) -> Judgement:
    """Judges the images of train, else those of validation.

    It is computed once for all probes.

    Raises:
      NotApplicable: fewer than two classes have enough images.
    """
    found = subject.once("judgement", lambda: judge(*_described(subject, clock), clock))
    if found is None:
        raise NotApplicable(f"fewer than two classes have {FEWEST_OF_CLASS} images in the sample")
    return found


def _described(subject: Subject, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Returns features float64 (N, F) and labels int64 (N,) of up to MOST images."""

    def make() -> tuple[np.ndarray, np.ndarray]:
        sample = subject.splits[0].sample
        if sample.images.ndim != 4:
            raise NotApplicable("the inputs are no pictures")
        small = image_features.thumbnails(sample.images[:MOST], clock)
        return image_features.describe(small), sample.ids[:MOST]

    return subject.once("features", make)


def mislabeled(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images whose label is probably wrong.

    Classifiers that did not see the image are sure of another class, and its nearest neighbours have other labels.
    """
    found = _judgement(subject, clock)
    if found.balanced_accuracy < TELLABLE:
        raise NotApplicable(
            f"simple features tell these classes apart in {found.balanced_accuracy:.0%} of the images, and below "
            f"{TELLABLE:.0%} their doubts say nothing of the labels"
        )
    rows = np.arange(len(found.ids))
    given, other = found.probabilities[rows, found.ids], found.probabilities.max(axis=1)
    doubted = (given <= GIVEN) & (other >= OTHER)
    doubted &= _same_neighbours(_described(subject, clock)[0][found.chosen], found.ids) <= SAME
    wrong = np.flatnonzero(doubted)
    if len(wrong) < max(FEWEST_WRONG, WRONG_SHARE * len(found.ids)):
        return []
    wrong = wrong[np.argsort(given[wrong])]
    return [_mislabeled(subject, found, wrong)]


def _same_neighbours(described: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns how many of the nearest other images have the same label.

    NEIGHBOURS of them are compared with each image.
    """
    squares = np.square(described).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * described @ described.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    return (ids[nearest] == ids[:, None]).sum(axis=1)


def _mislabeled(subject: Subject, found: Judgement, wrong: np.ndarray) -> Finding:
    sample = subject.splits[0].sample

    def describe(i: int) -> str:
        row = int(found.chosen[i])
        classes = found.classes[found.ids[i]], found.classes[found.probabilities[i].argmax()]
        ours, theirs = (state.label_name(int(label), subject.labels) for label in classes)
        return f"{_file_name(subject, row)} ({ours}, rather {theirs})"

    pictures = {describe(i): sample.images[found.chosen[i]] for i in wrong[:8]}
    return catalogue.found(
        "labels-doubtful",
        f"Classifiers that did not see them, and that are right on {found.balanced_accuracy:.0%} of the "
        f"others, give their label {GIVEN:.0%} or less and another {OTHER:.0%} or more, and {NEIGHBOURS - SAME} of the "
        f"{NEIGHBOURS} images most like each have another label: "
        f"{listed((describe(i) for i in wrong), 6, '; ')}.",
        images=len(wrong),
        share=len(wrong) / len(found.ids),
        impact=min(1.0, 3 * len(wrong) / len(found.ids)),
        charts=[Chart("images with doubtful labels", PICTURES, pictures)],
    )


def _file_name(subject: Subject, row: int) -> str:
    """Returns the photo's path in a folder, else its number in the pass."""
    if subject.origin == FOLDER and subject.folder is not None:
        photos = [p for p in subject.folder.photos if p.split in ("", "train")]
        if row < len(photos):
            return photos[row].path
    return f"number {row}"


def permuted(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a trained model whose answers are right after renaming the classes."""
    del clock
    if not _is_trained(subject):
        raise NotApplicable("the model is not trained")
    split, outputs = subject.scored
    ids, given = split.sample.ids[: len(outputs)], _answers(outputs)
    classes = int(max(ids.max(), given.max())) + 1
    if subject.train is not None and not set(np.unique(ids)) <= set(np.unique(subject.train.sample.labels_seen)):
        raise NotApplicable("training has not all classes of the images that were scored")
    if len(ids) < FEWEST_SCORED or ids.min() < 0:
        raise NotApplicable(f"fewer than {FEWEST_SCORED} images were scored")
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (ids, given), 1)
    present = np.flatnonzero(matrix.sum(axis=1))
    below = any(score.below_chance for score in scores.of(subject) if score.split == split.name)
    meant = _one_to_one(matrix)[present] if below else matrix[present].argmax(axis=1)
    right, renamed = float(np.mean(ids == given)), float(matrix[present, meant].sum() / len(ids))
    if len(set(meant)) < len(present):
        return []
    if not below and (right > BY_LABEL or renamed < MATCHED):
        return []
    if below and not _far_from_chance(right, renamed, len(present), len(ids)):
        return []  # it answers a few classes, and they happen to be others
    names = [state.label_name(int(c), subject.labels) for c in range(classes)]
    pairs = "; ".join(f"{names[a]} is answered as {names[b]}" for a, b in zip(present, meant, strict=True) if a != b)
    return [
        catalogue.found(
            "labels-other-order",
            f"Of {len(ids)} {split.name} images {right:.0%} are right, and {renamed:.0%} once the classes are "
            f"renamed: {pairs[:300]}.",
            case="of-answers",
            charts=[
                Chart(
                    "confusion: rows true, columns answered",
                    MATRIX,
                    {names[i]: list(matrix[i]) for i in range(classes)},
                    names,
                )
            ],
        )
    ]


def _far_from_chance(right: float, renamed: float, classes: int, count: int) -> bool:
    """Tells whether answers below chance are right once the classes are renamed.

    Args:
      right, renamed: shares of right answers, with the classes as they are and renamed.
      classes: those that occur. count: number of images.
    """
    if classes == 2:
        return renamed >= MOST_OF_TWO and right <= 0.5 - SURE * float(np.sqrt(0.25 / count))
    return renamed >= max(TWICE / classes, 1 / classes + MORE)


def _one_to_one(matrix: np.ndarray) -> np.ndarray:
    """Returns for each row a column of its own, the most frequent pairs first.

    Two classes have one choice besides themselves; of more, it takes the greatest shares in turn.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    found = np.full(len(matrix), -1)
    if len(matrix) == 2:
        return np.array([0, 1] if np.trace(shares) >= 1 else [1, 0])
    for flat in np.argsort(-shares, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(matrix))
        if found[row] < 0 and column not in found:
            found[row] = column
    return found


def _is_trained(subject: Subject) -> bool:
    """Returns whether the model is trained.

    The evidence is a run, a history, steps of the optimizer, or statistics in a batch normalization.
    """
    if subject.trained is not None or subject.history is not None:
        return True
    optimizer = getattr(subject.model, "optimizer", None)
    if optimizer is not None and int(np.asarray(optimizer.iterations)) > 0:
        return True
    norms = [x for x in first_weights.flat_layers(subject.model) if isinstance(x, keras.layers.BatchNormalization)]
    return any(bool(np.any(np.abs(np.asarray(norm.moving_variance) - 1) > 1e-3)) for norm in norms)


ANSWERS = Probe(
    "answers of a trained model against the order of the classes", permuted, ("images", "model"), 15, exclusive=True
)
PROBES = (
    ANSWERS,
    Probe("labels that can be learnt from the images", shuffled, ("images",), 25, exclusive=True, alone=True),
    Probe("likely wrong labels", mislabeled, ("images",), 25, exclusive=True, alone=True),
)
