"""Holds the remedies: the training that a finding's fix makes of a training.

A remedy is a function of a Case. It raises NotApplicable where the fix is not mechanical.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from trainer.doctor.copies import model_variants
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.prove.setup import Setup
from trainer.doctor.prove.source import AfterInput, Edit
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import Place, Training
from trainer.doctor.tools.model_head import BINARY, SPARSE, head_of, loss_of

MORE_STEPS = 600  # of a training that had too few
FIRST_RATES = (1e-3, 1e-2, 1e-4, 1e-1)
DROPOUT = 0.3
MOMENTUM = 0.9  # of batch normalization: after 30 steps its averages hold 4 % of their initial values


@dataclasses.dataclass(frozen=True)
class Case:
    """Holds what a remedy may look at."""

    subject: Subject
    finding: Finding
    setup: Setup

    @property
    def training(self) -> Training:
        """Returns the training of the program.

        It is an empty one for data and models that are given by name.
        """
        return self.subject.training or Training("fit")

    def layer_at(self, name: str) -> Place | None:
        """Returns the line that made a layer."""
        return self.training.layers_at.get(name)


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Holds a changed training.

    told: the change in words.
    edits: the same in the user's file; () if it is no single expression.
    rates: learning rates of which the best on the training data is taken.
    """

    told: str
    setup: Setup
    edits: tuple[Edit | AfterInput, ...] = ()
    rates: tuple[float, ...] = ()


# ---- data


def scaled(case: Case) -> Remedy:
    """Divides images by 255, and standardizes the columns of a table."""
    x = case.setup.x
    if not isinstance(x, np.ndarray):
        raise NotApplicable("the model has several inputs")
    values = x.astype(np.float32)
    place = next((at for name, at in case.training.layers_at.items() if "input" in name), None)
    if 1.5 < values.max() <= 255 and values.min() >= 0 and values.ndim > 2:
        return Remedy(
            "the images divided by 255 in front of the model",
            case.setup.with_inputs(lambda part: part.astype(np.float32) / 255),
            (AfterInput(place, "Rescaling(1 / 255)"),),
        )
    axes = tuple(range(values.ndim - 1))
    mean, deviation = values.mean(axis=axes), np.maximum(values.std(axis=axes), 1e-6)
    return Remedy(
        "the inputs standardized, column by column, with mean and deviation of the training data",
        case.setup.with_inputs(lambda part: (part.astype(np.float32) - mean) / deviation),
    )


def unscaled(case: Case) -> Remedy:
    """Takes one of two scalings back: multiplies images by 255."""
    if not isinstance(case.setup.x, np.ndarray):
        raise NotApplicable("the model has several inputs")
    return Remedy(
        "the images multiplied by 255 in front of the model, which takes one of the two scalings back",
        case.setup.with_inputs(lambda part: part.astype(np.float32) * 255),
    )


def targets_scaled(case: Case) -> Remedy:
    """Standardizes the numbers that are to be predicted."""
    y = np.asarray(case.setup.y, np.float64)
    mean, deviation = y.mean(axis=0), np.maximum(y.std(axis=0), 1e-9)
    return Remedy(
        "the targets standardized for training, and the answers scaled back",
        case.setup.but(y=((y - mean) / deviation).astype(np.float32), answer=lambda told: told * deviation + mean),
    )


def from_zero(case: Case) -> Remedy:
    """Lets the classes count from 0."""
    return Remedy("the labels less one", case.setup.but(y=case.setup.y - 1, held_y=case.setup.held_y - 1))


def shuffled(case: Case) -> Remedy:
    """Shuffles the training data in each epoch."""
    place = case.training.place
    edits = (Edit(place, "fit", "shuffle", "True"),) if case.training.shuffle is False else ()
    return Remedy("the training data shuffled in each epoch", case.setup.but(shuffle=True), edits)


def class_weights(case: Case) -> Remedy:
    """Weighs the classes alike."""
    ids = case.subject.split("train").sample.ids
    labels, counts = np.unique(ids, return_counts=True)
    if labels.min() < 0 or case.setup.weights is not None:
        raise NotApplicable("the training has weights of its own")
    weights = {int(c): round(len(ids) / (len(labels) * int(n)), 3) for c, n in zip(labels, counts, strict=True)}
    return Remedy(
        f"class_weight={weights}",
        case.setup.but(class_weight=weights),
        (Edit(case.training.place, "fit", "class_weight", repr(weights)),),
    )


def unweighted(case: Case) -> Remedy:
    """Leaves the weights of images and classes out."""
    names = ("class_weight",) if case.training.class_weight is not None else ("sample_weight",)
    edits = tuple(Edit(case.training.place, "fit", name, None) for name in names)
    return Remedy("no weights", case.setup.but(weights=None, class_weight=None), edits)


# ---- head and loss


def _loss_edit(case: Case, expression: str) -> Edit:
    return Edit(case.training.compiled_at, "compile", "loss", expression)


def _crossentropy(case: Case, units: int) -> tuple[str, str]:
    """Returns activation and loss for classes.

    They follow from the form of the labels and the number of outputs.
    """
    labels = case.subject.split("train").sample.labels
    if units == 1:
        return "sigmoid", "binary_crossentropy"
    if labels.ndim > 1 and labels.shape[-1] > 1:
        exclusive = bool((np.count_nonzero(labels > 0.5, axis=-1) == 1).all())
        return ("softmax", "categorical_crossentropy") if exclusive else ("sigmoid", "binary_crossentropy")
    return "softmax", "sparse_categorical_crossentropy"


def _activated(case: Case, activation: str) -> tuple[Callable[[Any], Any], tuple[Edit, ...]]:
    """Returns the change of the last layer to an activation, and its edit."""
    last = head_of(case.subject).name
    layers = {layer.name: layer for layer in getattr(case.subject.model, "layers", [])}
    if last not in layers or not hasattr(layers[last], "activation"):
        raise NotApplicable("the model's last layer has no activation that can be set")
    kind = type(layers[last]).__name__

    def change(layer: Any) -> Any:
        config = layer.get_config() | ({"activation": activation} if layer.name == last else {})
        return type(layer).from_config(config)

    return change, (Edit(case.layer_at(last), kind, "activation", repr(activation)),)


def head_and_loss(case: Case) -> Remedy:
    """Gives the head and the loss that the form of the labels asks for."""
    head = head_of(case.subject)
    activation, loss = _crossentropy(case, head.units)
    labels = case.subject.split("train").sample.labels
    columns = labels.shape[-1] if labels.ndim > 1 else 1
    if columns not in (1, head.units) or (columns == 1 and head.units > 1 and int(labels.max()) >= head.units):
        raise NotApplicable("the head has another number of units than the labels ask for")
    if columns == 1 and head.units == 1 and len(np.unique(labels)) > 2:
        raise NotApplicable("one unit cannot tell more than two classes; the head has to be written anew")
    told: list[str] = []
    edits: list[Edit | AfterInput] = []
    setup = case.setup
    if head.activation != activation:
        change, edit = _activated(case, activation)
        told.append(f"{activation} in the last layer")
        edits += edit
        setup = setup.but(change=change)
    setup = setup.but(loss=loss)
    if _name_of(case.setup.loss) != loss:
        told.append(f"loss={loss!r}")
        edits.append(_loss_edit(case, repr(loss)))
    return Remedy(" and ".join(told) or f"loss={loss!r}", setup, tuple(edits))


def _name_of(loss: Any) -> str:
    return loss if isinstance(loss, str) else ""


def from_logits(case: Case) -> Remedy:
    """Tells the loss whether the head gives logits."""
    loss, head = loss_of(case.subject.model), head_of(case.subject)
    logits = head.activation == "linear"
    kinds = {SPARSE: "SparseCategoricalCrossentropy", BINARY: "BinaryCrossentropy"}
    kind = kinds.get(loss.kind, "CategoricalCrossentropy")
    made = getattr(keras.losses, kind)(from_logits=logits)
    if not logits:
        told = f"loss={loss.name!r}, for probabilities"
        return Remedy(told, case.setup.but(loss=made), (_loss_edit(case, repr(loss.name)),))
    if loss.kind != BINARY and head.units == 1:
        raise NotApplicable("one unit does not go with this loss")
    change, edits = _activated(case, "sigmoid" if loss.kind == BINARY else "softmax")
    return Remedy("the activation that the loss expects in the last layer", case.setup.but(change=change), edits)


def linear_head(case: Case) -> Remedy:
    """Takes the activation off the head of a regression."""
    change, edits = _activated(case, "linear")
    return Remedy("no activation in the last layer", case.setup.but(change=change), edits)


def loss_of_numbers(case: Case) -> Remedy:
    """Uses the mean squared error."""
    return Remedy("loss='mean_squared_error'", case.setup.but(loss="mean_squared_error"),
                  (_loss_edit(case, "'mean_squared_error'"),))  # fmt: skip


# ---- layers


def _layers_changed(told: str, wanted: Callable[[Any], bool], **changes: Any) -> Callable[[Case], Remedy]:
    """Returns a remedy that changes settings of all layers that `wanted` chooses."""

    def remedy(case: Case) -> Remedy:
        layers = [layer for layer in getattr(case.subject.model, "layers", []) if wanted(layer)]
        if not layers:
            raise NotApplicable("the layers of the model cannot be rebuilt one by one")
        last = head_of(case.subject).name
        names = {layer.name for layer in layers if layer.name != last}

        def change(layer: Any) -> Any:
            return type(layer).from_config(layer.get_config() | (changes if layer.name in names else {}))

        edits = tuple(
            Edit(case.layer_at(layer.name), type(layer).__name__, name, repr(value))
            for layer in layers if layer.name in names for name, value in changes.items()
        )  # fmt: skip
        return Remedy(told, case.setup.but(change=change), edits)

    return remedy


def _linear(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") == "linear" and hasattr(layer, "kernel")


def _softmax(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") == "softmax"


def _dropout(layer: Any) -> bool:
    return "Dropout" in type(layer).__name__ and float(getattr(layer, "rate", 0) or 0) > 0.5


def _half(layer: Any) -> bool:
    return str(getattr(layer, "compute_dtype", "")) == "float16"


def _batch_norm(layer: Any) -> bool:
    return type(layer).__name__ == "BatchNormalization" and float(layer.momentum) > MOMENTUM


def _embedding(layer: Any) -> bool:
    return type(layer).__name__ == "Embedding"


def drawn_weights(case: Case) -> Remedy:
    """Draws the hidden kernels by Glorot's rule."""
    return _layers_changed("the hidden kernels drawn by Glorot's rule", lambda layer: hasattr(layer, "kernel"),
                           kernel_initializer="glorot_uniform")(case)  # fmt: skip


def trainable(case: Case) -> Remedy:
    """Trains all layers."""
    return Remedy("all layers trainable", case.setup.but(unfreeze=True))


# ---- training


def other_rate(case: Case) -> Remedy:
    """Tries other learning rates, of which the best on the training data is taken."""
    given = case.setup.options.get("learning_rate")
    own = float(given) if isinstance(given, int | float) else 0.0
    lower = case.finding.id in ("learning-rate-high", "diverged")
    near = [own / 10, own / 100] if lower else [own * 10, own * 100]
    rates = [
        r for r in dict.fromkeys([*near, *FIRST_RATES]) if r > 0 and ((r < own) if lower else (r > own) or not own)
    ]
    if not rates:
        raise NotApplicable("the learning rate is no number that could be changed")
    return Remedy("another learning rate", case.setup, rates=tuple(rates))


def rate_edit(case: Case, rate: float) -> Edit:
    """Returns the edit that sets a learning rate in the user's file."""
    return Edit(case.training.compiled_at, "compile", "optimizer", f"{rate:g}", "learning_rate",
                case.setup.rule.__name__)  # fmt: skip


def constant_rate(case: Case) -> Remedy:
    """Keeps the schedule's greatest rate."""
    schedule = model_variants.inner_of(case.subject.model.optimizer)._learning_rate
    rate = float(schedule(0)) if callable(schedule) else 1e-3
    return Remedy(f"a constant learning rate of {rate:g}", case.setup.with_options(learning_rate=rate),
                  (rate_edit(case, rate),))  # fmt: skip


def less_momentum(case: Case) -> Remedy:
    """Uses SGD's usual rate and momentum."""
    return Remedy(
        "SGD with a rate of 0.01 and a momentum of 0.9",
        case.setup.with_options(learning_rate=0.01, momentum=0.9),
        (Edit(case.training.compiled_at, "compile", "optimizer", "0.9", "momentum", "SGD"), rate_edit(case, 0.01)),
    )


def more_steps(case: Case) -> Remedy:
    """Trains for more epochs."""
    steps = max(MORE_STEPS, case.setup.steps)
    if steps <= case.setup.steps:
        raise NotApplicable("a longer training does not fit into the time")
    per_epoch = case.training.steps
    edits = () if not per_epoch else (Edit(case.training.place, "fit", "epochs", str(-(-steps // per_epoch))),)
    return Remedy(f"{steps} steps in the place of {case.setup.steps}", case.setup.but(steps=steps), edits)


def mean_loss(case: Case) -> Remedy:
    """Takes the mean of the losses of a batch."""
    config = keras.losses.serialize(case.setup.loss)
    config["config"] = config["config"] | {"reduction": "sum_over_batch_size"}
    return Remedy("the mean of the losses of a batch", case.setup.but(loss=keras.losses.deserialize(config)))


def larger_batches(case: Case) -> Remedy:
    """Uses batches of 32."""
    edits = (Edit(case.training.place, "fit", "batch_size", "32"),) if case.training.batch_size else ()
    return Remedy("batches of 32", case.setup.but(batch_size=32), edits)


def culprit(case: Case) -> Remedy:
    """Takes out what hinders the model from learning one batch."""
    told = f"{case.finding.what} {case.finding.evidence}"
    for variant in model_variants.of(case.subject.model):
        if variant.told in told:
            setup = case.setup.with_options(**variant.options).but(change=variant.change)
            return Remedy(f"no {variant.told}", setup)
    raise NotApplicable("what hinders the model is not known")


REMEDIES: Mapping[str, Callable[[Case], Remedy]] = {
    "range-large": scaled,
    "scaled-twice": unscaled,
    "columns-unscaled": scaled,
    "targets-unscaled": targets_scaled,
    "labels-off-by-one": from_zero,
    "sorted-input": shuffled,
    "order-fixed": shuffled,
    "imbalance": class_weights,
    "class-weights-reversed": class_weights,
    "accuracy-is-majority": class_weights,
    "answers-one-class": class_weights,
    "sample-weights": unweighted,
    "softmax-one-unit": head_and_loss,
    "sigmoid-categorical": head_and_loss,
    "one-unit-categorical": head_and_loss,
    "one-hot-sparse": head_and_loss,
    "integers-categorical": head_and_loss,
    "head-activation": head_and_loss,
    "regression-of-classes": head_and_loss,
    "softmax-binary": head_and_loss,
    "sigmoids-exclusive": head_and_loss,
    "softmax-multilabel": head_and_loss,
    "probabilities-as-logits": from_logits,
    "logits-as-probabilities": from_logits,
    "head-range": linear_head,
    "loss-of-numbers": loss_of_numbers,
    "no-activation": _layers_changed("relu behind the hidden layers", _linear, activation="relu"),
    "softmax-hidden": _layers_changed("relu in the place of the softmax of hidden layers", _softmax, activation="relu"),
    "dropout-high": _layers_changed(f"a dropout of {DROPOUT:g}", _dropout, rate=DROPOUT),
    "batch-norm-lags": _layers_changed(
        f"a momentum of {MOMENTUM:g} for batch normalization", _batch_norm, momentum=MOMENTUM
    ),
    "padding-unmasked": _layers_changed("mask_zero=True for the Embedding", _embedding, mask_zero=True),
    "float16-weights": _layers_changed("the dtype float32", _half, dtype="float32"),
    "weights-constant": drawn_weights,
    "nothing-to-train": trainable,
    "frozen-random": trainable,
    "learning-rate-low": other_rate,
    "learning-rate-high": other_rate,
    "loss-not-settled": more_steps,
    "diverged": other_rate,
    "schedule-ends": constant_rate,
    "momentum-high": less_momentum,
    "few-steps": more_steps,
    "loss-summed": mean_loss,
    "batch-norm-alone": larger_batches,
    "batch-norm-small": larger_batches,
    "cannot-memorize": culprit,
}
