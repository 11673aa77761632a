"""Copies the user's model for experiments.

The doctor never trains the user's model itself.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor.clock import Clock
from trainer.doctor.copies import model_variants
from trainer.doctor.copies.deep_copy import deep_copy
from trainer.doctor.copies.model_variants import Variant
from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import choose
from trainer.doctor.subject.subject import Subject

BATCH = 16
WARM = 40, 200, 1000, 5000  # steps at which a schedule is asked whether it warms up
COLD = 1 / 3


class Twin:
    """Holds a copy of the model with the user's loss, an optimizer and one batch.

    The optimizer is like the user's, and the batch consists of the user's images.

    x, y: up to BATCH images from as many classes as there are, with their labels as given. Several inputs or outputs
      keep their structure.
    source: the user's model.
    images: the number of these images.
    shrunk: True if `shrink` left some out.
    chance: the loss of a model that knows nothing, ln(classes), in nats. It is infinite where the loss is no
      cross-entropy.

    Raises:
      NotApplicable: the model cannot be copied, or does not take the images.
    """

    def __init__(self, subject: Subject) -> None:
        self.source = subject.model
        self.model = copy_of(subject.model)
        self.loss = subject.model.loss
        self._options: dict[str, Any] = {}
        self._optimizer = model_variants.inner_of(subject.model.optimizer)
        self.x, self.y = _batch(subject)
        self.images = len(keras.tree.flatten(self.x)[0])
        self.shrunk = False
        self.classes = state.classes(subject)
        self.chance = _chance(self.loss, self.classes, self.y) if _is_cross_entropy(self.loss) else math.inf
        if getattr(self.loss, "reduction", "") == "sum":
            self.chance *= self.images
        self._weights = self.model.get_weights()
        try:
            self._compile(None)
            self.start = self.step_loss()
        except Exception as e:  # layers and losses raise many types on shapes that do not fit
            raise NotApplicable(f"the model and its loss do not take the images ({type(e).__name__})") from e

    @property
    def learning_rate(self) -> float:
        """Returns the user's learning rate.

        Of a schedule it is the greatest at the first step or, if it warms up, later on.
        """
        schedule = model_variants.schedule_of(self._optimizer)
        if schedule is not None:
            return max(float(schedule(step)) for step in (0, *WARM))
        return float(np.asarray(self._optimizer.learning_rate))

    @property
    def warms_up(self) -> bool:
        """Tells whether the user's schedule begins far below its greatest rate."""
        schedule = model_variants.schedule_of(self._optimizer)
        return schedule is not None and float(schedule(0)) < COLD * self.learning_rate

    def starts(self, draws: int, clock: Clock) -> list[float]:
        """Computes the first loss with trainable weights that are drawn anew.

        What is not trained stays, such as the statistics of a Normalization layer or a frozen backbone.

        Returns:
          `draws` losses, fewer where the time is over, and none where the model cannot be rebuilt from its layers.
        """
        found = []
        try:
            for _ in range(draws):
                if clock.over:
                    break
                drawn = model_variants.clone(self.source).trainable_variables
                for variable, value in zip(self.model.trainable_variables, drawn, strict=True):
                    variable.assign(value)
                found.append(self.step_loss())
        except Exception:  # a subclassed model has no layers to draw again
            found = []
        self.model.set_weights(self._weights)
        return found

    def shrink(self, images: int) -> None:
        """Leaves out all but the first images of the batch."""
        self.x, self.y = keras.tree.map_structure(lambda part: part[:images], (self.x, self.y))
        self.images, self.shrunk = images, True
        self._compile(None)  # the traced step holds the batch
        self.start = self.step_loss()

    @property
    def optimizer_name(self) -> str:
        return str(self._optimizer.name)

    def without(self, variant: Variant) -> Twin:
        """Returns a twin with the same batch and weights in which one thing is taken out.

        Raises:
          NotApplicable: the model cannot be rebuilt without it.
        """
        other = copy.copy(self)
        other._options = dict(variant.options)
        try:
            if variant.change is not None:
                other.model = model_variants.clone(self.model, variant.change)
            else:
                other.model = copy_of(self.model)
            other._compile(None)
        except NotApplicable:
            raise
        except Exception as e:  # a subclassed model has no layers to replace
            raise NotApplicable(f"the model cannot be rebuilt without {variant.told} ({type(e).__name__})") from e
        return other

    def restart(self, learning_rate: float | None = None) -> None:
        """Restores the user's weights and resets the optimizer to its first state.

        Args:
          learning_rate: the learning rate from now on; None for the user's.
        """
        if (learning_rate is None) != self._own_rate:
            self._compile(learning_rate)  # replaces a schedule by a number, or a number by the schedule
            return
        self.model.set_weights(self._weights)
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        if learning_rate is not None:
            self.optimizer.learning_rate.assign(learning_rate)

    def begin_from(self, weights: list[np.ndarray]) -> None:
        """Takes other weights for `restart`, such as those before the training."""
        self._weights = weights
        self.restart()
        self.start = self.step_loss()

    def _compile(self, learning_rate: float | None) -> None:
        self._own_rate = learning_rate is None
        options = self._optimizer.get_config() | self._options
        if learning_rate is not None:
            options["learning_rate"] = learning_rate
        self.optimizer = type(self._optimizer).from_config(options)
        self.model.compile(self.optimizer, self.loss, jit_compile=False)
        self.model.set_weights(self._weights)
        self.optimizer.build(self.model.trainable_variables)
        self._fresh = [np.asarray(variable) for variable in self.optimizer.variables]
        self._step = tf.function(self._train, reduce_retracing=True)

    def step_loss(self) -> float:
        """Computes the loss of the batch in training mode, without a step."""
        return float(self._loss(True))

    def penalty(self) -> float:
        """Returns the share of the loss that regularizers add at the present weights."""
        self._loss(True)  # collects them
        return float(sum(float(value) for value in self.model.losses))

    def step(self) -> float:
        """Takes one step of the optimizer and returns the loss before it."""
        return float(self._step())

    def gradients(self) -> list[tuple[Any, np.ndarray | None]]:
        """Returns (variable, gradient) of all trainable variables at the present weights.

        The gradient is None where the loss does not depend on the variable.
        """
        with tf.GradientTape() as tape:
            loss = self._loss(True)
        found = tape.gradient(loss, [v.value for v in self.model.trainable_variables])
        return [
            (v, None if g is None else np.asarray(tf.convert_to_tensor(g)))
            for v, g in zip(self.model.trainable_variables, found, strict=True)
        ]

    def _loss(self, training: bool) -> Any:
        scores = self.model(self.x, training=training)
        return self.model.compute_loss(self.x, self.y, scores, None, training=training)

    def _train(self) -> Any:
        with tf.GradientTape() as tape:
            loss = self._loss(True)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        if pairs:
            self.optimizer.apply_gradients(pairs)
        return loss


def copy_of(model: Any) -> Any:
    """Returns a copy of a model with its weights, not compiled.

    Raises:
      NotApplicable: the model cannot be copied.
    """
    try:
        twin = model_variants.clone(model)
        twin.set_weights(model.get_weights())
        return twin
    except Exception:  # a subclassed model cannot be rebuilt from its layers
        try:
            return deep_copy(model)
        except Exception as e:
            raise NotApplicable(f"the model cannot be copied ({type(e).__name__})") from e


def _batch(subject: Subject) -> tuple[Any, Any]:
    """Returns the batch: takes images of each class in turn, in the order of the pass."""
    sample = subject.split("train").sample
    ids = sample.ids
    turns = np.zeros(len(ids), np.int64)
    for label in np.unique(ids):
        turns[ids == label] = np.arange(np.count_nonzero(ids == label))
    chosen = np.lexsort((ids, turns))[:BATCH]
    if len(np.unique(ids[chosen])) < 2:
        raise NotApplicable("the images that were seen are of one class")
    parts = choose((sample.inputs, sample.targets), chosen)
    x, y = keras.tree.map_structure(tf.convert_to_tensor, parts)
    return x, y


def _chance(loss: Any, classes: int, labels: Any) -> float:
    """Returns the cross-entropy of the shares of the classes, in nats.

    A binary one is the mean over the columns of labels.
    """
    columns = keras.tree.flatten(labels)[0].shape
    if "binary" not in _name(loss) or len(columns) < 2 or columns[-1] < 2:
        return math.log(classes)
    shares = np.clip(np.asarray(keras.tree.flatten(labels)[0], np.float64).mean(axis=0), 1e-3, 1 - 1e-3)
    return float(np.mean(-shares * np.log(shares) - (1 - shares) * np.log(1 - shares)))


def _is_cross_entropy(loss: Any) -> bool:
    return "crossentropy" in _name(loss)


def _name(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    return str(name).replace("_", "").lower()
