"""Checks whether the metrics measure what their names say."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import metrics, reported, scores, task
from trainer.doctor.tools.model_head import LINEAR, head_of

CATEGORICAL = ("categorical_accuracy", "CategoricalAccuracy")
OFF = 0.02  # by which a metric may differ once labels and outputs have one shape, relative to 1 or to its value
FAR = 0.2  # between an accuracy of Keras and the share of right answers among the same images


def of_head(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds an accuracy that does not fit the head and the labels."""
    del clock
    given = metrics.given(subject.model)
    if not given:
        raise NotApplicable("the model has no metrics")
    head, labels = head_of(subject), subject.split("train").sample.labels
    exact = [m for m in given if type(m) is keras.metrics.Accuracy or m == "Accuracy"]
    if exact:
        return [catalogue.found("accuracy-exact", f"The model's outputs begin with {subject.outputs.ravel()[0]:.4g}.")]
    if task.is_regression(subject):
        named = [name for name in metrics.names(subject.model) if name in metrics.OF_CLASSES]
        if not named:
            return []
        return [
            catalogue.found(
                "accuracy-of-regression",
                f"The targets have {len(np.unique(labels)):,} different values, such as {labels.ravel()[0]:.4g}.",
                metric=named[0],
            )
        ]
    if task.is_multilabel(subject):
        return _of_several(subject, given, labels)
    if head.units == 1 and head.activation == LINEAR:
        return _threshold(subject, given)
    exclusive = labels.ndim > 1 and labels.shape[-1] > 1 and bool(((labels > 0.5).sum(axis=-1) == 1).all())
    if exclusive and head.units > 2 and any(_is_binary(m) for m in given):
        return [
            catalogue.found(
                "binary-accuracy-of-classes",
                f"Of {head.units} classes, answering none of them is right in {1 - 1 / head.units:.0%} of the outputs.",
                units=head.units,
            )
        ]
    return []


def _of_several(subject: Subject, given: list[Any], labels: np.ndarray) -> list[Finding]:
    """Finds an accuracy that compares the greatest output with one class of several."""
    named = [m if isinstance(m, str) else getattr(m, "name", "") for m in given]
    wrong = [name for name in named if name.lower() in (*metrics.PLAIN, "categorical_accuracy", "categoricalaccuracy")]
    if not wrong:
        return []
    several = float((labels.sum(axis=1) > 1).mean())
    none = float((labels.sum(axis=1) == 0).mean())
    each = np.mean([max(column.mean(), 1 - column.mean()) for column in labels.T])
    return [
        catalogue.found(
            "accuracy-multilabel",
            f"Of the rows of labels {several:.0%} have several classes and {none:.0%} have none. Always answering the "
            f"commoner value of each class would be right in {each:.1%} of the {labels.shape[1]} outputs.",
            metric=wrong[0],
        )
    ]


def _threshold(subject: Subject, given: list[Any]) -> list[Finding]:
    """Finds a threshold of 0.5 on logits, for which the middle is 0."""
    wrong = [
        m for m in given if m in (*metrics.PLAIN, "binary_accuracy") or (_is_binary(m) and _threshold_of(m) == 0.5)
    ]
    loss = subject.model.loss
    if not wrong or "crossentropy" not in task.loss_name(subject.model).replace("_", ""):
        return []
    outputs = subject.outputs
    between = float(np.mean((outputs > 0) & (outputs <= 0.5)))
    return [
        catalogue.found(
            "accuracy-threshold",
            f"The outputs are {outputs.min():.3g} to {outputs.max():.3g}, and {between:.1%} of them lie between 0 and "
            f"0.5: they mean class 1 and are counted as class 0. The loss is {getattr(loss, 'name', loss)}.",
            metric=wrong[0] if isinstance(wrong[0], str) else wrong[0].name,
        )
    ]


def _is_binary(metric: Any) -> bool:
    return isinstance(metric, keras.metrics.BinaryAccuracy) or (
        isinstance(metric, str) and metric.lower() in metrics.BINARY
    )


def _threshold_of(metric: Any) -> float:
    if isinstance(metric, str):
        return 0.5
    return float(metric.get_config().get("threshold", 0.5))


def of_answers(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds a metric that does not say what the model's answers are worth."""
    given = metrics.given(subject.model)
    if not given:
        raise NotApplicable("the model has no metrics")
    if of_head(subject, clock):
        return []  # that is told already
    split, outputs = subject.scored
    if outputs.ndim > 2 or not np.isfinite(outputs).all():
        raise NotApplicable(f"the model gives outputs of shape {outputs.shape[1:]}, not one number a class")
    labels = split.sample.labels[: len(outputs)]
    for metric in given:
        found = _of_integers(metric, labels, outputs) or _spread(metric, labels, outputs)
        if found is not None:
            return [found]
    return _measured(subject, split.name, labels, outputs)


def _of_integers(metric: Any, labels: np.ndarray, outputs: np.ndarray) -> Finding | None:
    """Finds an accuracy for one-hot labels that gets class ids."""
    wrong = isinstance(metric, keras.metrics.CategoricalAccuracy) or metric in CATEGORICAL
    if not wrong or labels.size != len(labels) or outputs.ndim < 2 or outputs.shape[1] < 2:
        return None
    return catalogue.found(
        "metric-misfits",
        f"The labels are class ids of shape {labels.shape}, and the outputs have the shape {outputs.shape}. It takes "
        "the argmax of the labels for the class.",
        case="integers",
        metric=metric if isinstance(metric, str) else metric.name,
    )


def _spread(metric: Any, labels: np.ndarray, outputs: np.ndarray) -> Finding | None:
    """Finds a metric of the program's own that compares each label with all outputs.

    Labels (n,) and outputs (n, 1) are spread to (n, n). It says something else then than of two columns.
    """
    if isinstance(metric, str) or type(metric).__module__.partition(".")[0] == "keras":
        return None
    if {labels.ndim, outputs.ndim} != {1, 2} or labels.size != len(labels) or outputs.size != len(outputs):
        return None
    said = metrics.value(metric, labels, outputs)
    columns = metrics.value(metric, labels.reshape(-1, 1), outputs.reshape(-1, 1))
    flat = metrics.value(metric, labels.reshape(-1), outputs.reshape(-1))
    # A metric that takes an axis away itself is right of what it gets, and wrong or impossible of one of the others.
    if said is None or columns is None or flat is None or _alike(said, columns) or not _alike(flat, columns):
        return None
    return catalogue.found(
        "metric-misfits",
        f"It gets labels of shape {labels.shape} and outputs of shape {outputs.shape}, and says {said:.4g}. It says "
        f"{columns:.4g} once both have the shape {(len(labels), 1)}.",
        case="spread",
        metric=metrics.name(metric),
    )


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= OFF * max(1.0, abs(other))


def _measured(subject: Subject, split: str, labels: np.ndarray, outputs: np.ndarray) -> list[Finding]:
    """Finds an accuracy of Keras that the answers contradict."""
    score = next((one for one in scores.of(subject) if one.split == split), None)
    if score is None:
        raise NotApplicable("the answers have no accuracy")
    of_keras = [m for m in metrics.given(subject.model) if isinstance(m, str) or _is_plain(m)]
    named = {metrics.name(metric) for metric in of_keras}
    for name, value in metrics.values(subject.model, labels, outputs).items():
        if name in named and reported.is_accuracy(name) and abs(value - score.accuracy) > FAR:
            return [
                catalogue.found(
                    "metric-misfits",
                    f"It says {value:.1%} of {len(outputs)} {split} images, and {score.accuracy:.1%} of the answers "
                    f"are right. The labels have the shape {labels.shape} and values such as {labels.ravel()[0]:.4g}, "
                    f"the outputs have the shape {outputs.shape}.",
                    case="measured",
                    metric=name,
                )
            ]
    return []


def _is_plain(metric: Any) -> bool:
    """Tells whether a metric is one of Keras, with the usual threshold."""
    own = type(metric).__module__.partition(".")[0] != "keras"
    return not own and (not isinstance(metric, keras.metrics.BinaryAccuracy) or _threshold_of(metric) == 0.5)


PROBES = (
    Probe("metrics against the head", of_head, ("images", "loss"), 15),
    Probe("what the metrics say of the answers", of_answers, ("images", "loss"), 15),
)
