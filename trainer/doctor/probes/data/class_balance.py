"""Checks the data for the balance of classes in each split.

The balance also decides what an accuracy means.
"""

from __future__ import annotations

import numpy as np

from pipelines.core.text import listed, plural
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import BARS, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import metrics, scores

UNBALANCED = 5.0  # largest class to smallest; below this ratio a model still learns the rare class, but less well
LEAST_IMAGES = 50  # least number of images in a sample from which the balance is judged
LIKE_MAJORITY = 0.02  # an accuracy less than this above the majority's shows nothing about the other classes
LEARNED = 0.15  # balanced accuracy above guessing, from which on a trained model tells the classes apart
ABOVE_CHANCE = 0.1  # by which the commonest class exceeds an equal share, where accuracy alone begins to mislead
ONE_ANSWER = 0.98
LIBRARIES = "keras", "tf_keras", "tensorflow"  # whose callbacks compute no scores
LEAST_ANSWERS = 40


def imbalance(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a class that is much more frequent than another.

    Accuracy is then mostly the share of this class.
    """
    del clock
    counts, whole = state.counts(subject, subject.split("train"))
    if len(counts) < 2 or (sum(counts.values()) < LEAST_IMAGES and not whole):
        raise NotApplicable("too few images were seen to tell")
    common, rare = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
    ratio = counts[common] / counts[rare]
    if ratio < UNBALANCED:
        return []
    given = (subject.training.class_weight if subject.training is not None else None) or {}
    weighed = [count * given.get(label, 1.0) for label, count in counts.items()]
    if given and min(weighed) > 0 and max(weighed) < UNBALANCED * min(weighed):
        return []  # fit(class_weight=...) makes up for it
    majority, rate, where = _majority(subject)
    reported = state.reported_accuracy(subject.history)
    beside = f" The history's best {reported[0]} is {reported[1]:.1%}." if reported else ""
    names = [state.label_name(label, subject.labels, quoted=True) for label in sorted(counts)]
    return [
        catalogue.found(
            "imbalance",
            f"{counts[common]:,} and {counts[rare]:,} train images. {rate:.1%} accuracy on {where} is what "
            f"always answering {majority} gives.{beside}",
            ratio=ratio,
            common=state.label_name(common, subject.labels, quoted=True),
            rare=state.label_name(rare, subject.labels, quoted=True),
            impact=min(0.6, 1 - 1 / ratio),
            charts=[Chart("train images of each class", BARS, {"images": [counts[c] for c in sorted(counts)]}, names)],
        )
    ]


def accuracy_alone(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a training of unequal classes that is judged by accuracy only."""
    del clock
    training, named = subject.training, metrics.names(subject.model)
    if training is None or not named:
        raise NotApplicable("the model has no metrics")
    counts, whole = state.counts(subject, subject.split("train"))
    if len(counts) < 2 or (sum(counts.values()) < LEAST_IMAGES and not whole):
        raise NotApplicable("too few images were seen to tell")
    own = any(type(callback).__module__.partition(".")[0] not in LIBRARIES for callback in training.callbacks)
    if training.judged or own or training.class_weight or any(name not in metrics.OF_CLASSES for name in named):
        return []  # the program may look at the classes one by one
    majority, rate, where = _majority(subject)
    if rate < 1 / len(counts) + ABOVE_CHANCE or max(counts.values()) >= UNBALANCED * min(counts.values()):
        return []  # `imbalance` says it of classes that differ more
    name, best = state.reported_accuracy(training.history) or ("", 0.0)
    if name.startswith("val_") and best >= (1 + rate) / 2:
        return []  # no constant answer has it
    return [
        catalogue.found(
            "accuracy-alone",
            f"The model is compiled with {listed(named, 3)}, and the program asks for no other score. "
            f"{rate:.1%} of the {where} images are {majority}.",
            majority=majority,
            rate=rate,
        )
    ]


def _majority(subject: Subject) -> tuple[str, float, str]:
    """Returns the commonest class, its share of the images, and the split's name.

    The split is validation, or train where there is no validation.
    """
    split = subject.splits[-1]
    counts, _ = state.counts(subject, split)
    common = max(counts, key=lambda c: counts[c])
    return state.label_name(common, subject.labels, quoted=True), counts[common] / sum(counts.values()), split.name


def accuracy_is_majority(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a reported accuracy no better than that of a constant answer.

    The constant answer is the commonest class.
    """
    del clock
    reported = state.reported_accuracy(subject.history)
    if reported is None:
        raise NotApplicable("the history has no accuracy")
    if not subject.splits:
        raise NotApplicable("it needs the labels: --data or --dataset")
    majority, rate, where = _majority(subject)
    validation = reported[0].startswith("val_")
    if validation != (where == "validation") or reported[1] > rate + LIKE_MAJORITY or rate >= 1:
        return []
    known = next((score for score in scores.of(subject) if score.split == where), None)
    if known is not None and known.balanced >= 1 / known.classes + LEARNED:
        return []  # the model tells the classes apart; class weights cost accuracy where one class is common
    return [
        catalogue.found(
            "accuracy-is-majority",
            f"The history's best {reported[0]} is {reported[1]:.1%}; {rate:.1%} of the {where} images are {majority}.",
            majority=majority,
            balanced=1 / state.classes(subject),
        )
    ]


def one_answer(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a trained model that gives the same class for all images."""
    del clock
    if not state.is_trained(subject):
        raise NotApplicable("the model is not trained yet")
    split, outputs = subject.scored
    given = state.answers(outputs)
    true = split.sample.ids[: len(given)]
    if len(given) < LEAST_ANSWERS or len(np.unique(true)) < 2:
        raise NotApplicable("too few images, or of one class only")
    answer = int(np.bincount(given).argmax())
    share, right = float(np.mean(given == answer)), float(np.mean(true == answer))
    if share < ONE_ANSWER or right >= ONE_ANSWER:
        return []
    return [
        catalogue.found(
            "answers-one-class",
            f"{share:.1%} of {len(given):,} {split.name} images get this answer; {right:.1%} of them are of "
            f"that class. Its accuracy on them is {np.mean(given == true):.1%}.",
            answer=state.label_name(answer, subject.labels, quoted=True),
        )
    ]


def missing(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds classes that occur in one split and not in the other."""
    del clock
    train, validation = subject.split("train"), subject.split("validation")
    one, whole = state.counts(subject, train)
    two, both_whole = state.counts(subject, validation)
    if not (whole and both_whole):
        raise NotApplicable("not all labels of both splits were seen; --deep looks at more")
    found = []
    never_learned, never_judged = sorted(set(two) - set(one)), sorted(set(one) - set(two))
    if never_learned:
        evidence, names = _absent(subject, never_learned)
        found.append(catalogue.found("class-missing", evidence, case="in-training", split=train.name, classes=names))
    if never_judged:
        evidence, names = _absent(subject, never_judged)
        split = validation.name
        if _cut(sorted(one), sorted(two)):
            found.append(catalogue.found("class-missing", evidence, case="cut-of-sorted", split=split, classes=names))
        else:
            found.append(catalogue.found("class-missing", evidence, case="in-validation", split=split, classes=names))
    return found


def unseen(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds classes of the second split that training never had."""
    del clock
    train, other = subject.split("train"), subject.splits[-1]
    one, whole = state.counts(subject, train)
    two, _ = state.counts(subject, other)
    if not whole:
        raise NotApplicable("not all train labels were seen; --deep looks at more")
    absent = sorted(set(two) - set(one))
    if not absent or not one:
        return []
    share = sum(two[label] for label in absent) / sum(two.values())
    shape = getattr(subject.model, "output_shape", None)
    units = shape[-1] if isinstance(shape, tuple) and isinstance(shape[-1], int) and shape[-1] > len(one) else 0
    head = f", and the head of the model has {units} units" if units else ""
    return [
        catalogue.found(
            "class-missing",
            f"Of {sum(two.values()):,} images that evaluate gets, {share:.0%} are of "
            f"{plural(len(absent), 'class', 'classes')} that training never has. Training has "
            f"{plural(len(one), 'class', 'classes')}{head}.",
            case="in-training",
            split=train.name,
            classes=listed((state.label_name(label, subject.labels, quoted=True) for label in absent), 10),
        )
    ]


def _cut(train: list[int], validation: list[int]) -> bool:
    """Returns whether validation has only the last classes, or the first ones.

    They are at most half of them.

    It looks so where images that are sorted by class were cut by their position.
    """
    few = 2 * len(validation) <= len(train)
    return few and validation in (train[-len(validation) :], train[: len(validation)])


def _absent(subject: Subject, absent: list[int]) -> tuple[str, str]:
    """Returns the evidence for classes that one split lacks, and their names."""
    names = listed((state.label_name(label, subject.labels, quoted=True) for label in absent), 10)
    evidence = (
        f"{plural(len(absent), 'class', 'classes')} that the other split has {'is' if len(absent) == 1 else 'are'} "
        "missing from all its images."
    )
    return evidence, names


UNSEEN = Probe("classes that training has not", unseen, ("images", "validation"), 1.0, exclusive=True)
PROBES = (
    Probe("balance of the classes", imbalance, ("images",), 1.0, exclusive=True),
    Probe(
        "reported accuracy against the majority baseline",
        accuracy_is_majority,
        ("history",),
        1.0,
        of_classes=True,
        exclusive=True,
    ),
    Probe("accuracy as the only score", accuracy_alone, ("images", "loss"), 1.0, of_classes=True, exclusive=True),
    Probe("classes in every split", missing, ("images", "validation"), 1.0, exclusive=True),
    Probe("answers of more than one class", one_answer, ("images", "model"), 15.0, exclusive=True),
)
