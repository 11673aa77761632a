"""A copy of the user's model to try things on; the model itself is never trained."""

from __future__ import annotations

import copy
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor.finding import NotApplicable
from trainer.doctor.subject import state
from trainer.doctor.subject.subject import Subject

BATCH = 16


class Twin:
    """The copy, with the user's loss and an optimizer like the user's, and one batch of the user's images.

    x, y: up to BATCH images of as many classes as there are, with their labels as given.
    chance: the loss of a model that knows nothing, ln(classes), in nats; infinite where the loss is no cross-entropy.

    Raises:
      NotApplicable: the model cannot be copied, or does not take the images.
    """

    def __init__(self, subject: Subject) -> None:
        self.model = _copy(subject.model)
        self.loss = subject.model.loss
        self._optimizer = subject.model.optimizer
        self.x, self.y = _batch(subject)
        self.classes = state.classes(subject)
        self.chance = math.log(self.classes) if _is_cross_entropy(self.loss) else math.inf
        self._weights = self.model.get_weights()
        try:
            self._compile(None)
            self.start = self.step_loss()
        except Exception as e:  # whatever layers and losses raise on shapes that do not go together
            raise NotApplicable(f"the model and its loss do not take the images ({type(e).__name__})") from e

    @property
    def learning_rate(self) -> float:
        """The user's, at the first step."""
        rate = self._optimizer.learning_rate
        return float(rate(0) if callable(rate) else np.asarray(rate))

    @property
    def optimizer_name(self) -> str:
        return str(self._optimizer.name)

    def restart(self, learning_rate: float | None = None) -> None:
        """The user's weights and a fresh optimizer of the user's kind, with this learning rate or the user's."""
        if (learning_rate is None) != self._own_rate:
            self._compile(learning_rate)  # a number in the place of a schedule, or back
            return
        self.model.set_weights(self._weights)
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        if learning_rate is not None:
            self.optimizer.learning_rate.assign(learning_rate)

    def _compile(self, learning_rate: float | None) -> None:
        self._own_rate = learning_rate is None
        options = self._optimizer.get_config()
        if learning_rate is not None:
            options["learning_rate"] = learning_rate
        self.optimizer = type(self._optimizer).from_config(options)
        self.model.compile(self.optimizer, self.loss, jit_compile=False)
        self.model.set_weights(self._weights)
        self.optimizer.build(self.model.trainable_variables)
        self._fresh = [np.asarray(variable) for variable in self.optimizer.variables]
        self._step = tf.function(self._train, reduce_retracing=True)

    def step_loss(self) -> float:
        """The loss of the batch, in training mode, without a step."""
        return float(self._loss(True))

    def step(self) -> float:
        """One step of the optimizer; gives the loss before it."""
        return float(self._step())

    def gradients(self) -> list[tuple[Any, np.ndarray | None]]:
        """(variable, gradient) of all trainable variables at the user's weights; None where the loss does not "
        "depend."""
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


def _copy(model: Any) -> Any:
    try:
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        return twin
    except Exception:  # a subclass cannot be rebuilt from its layers
        try:
            return copy.deepcopy(model)
        except Exception as e:
            raise NotApplicable(f"the model cannot be copied ({type(e).__name__})") from e


def _batch(subject: Subject) -> tuple[Any, Any]:
    """Images turn by turn of each class, in the order of the pass."""
    sample = subject.split("train").sample
    ids = sample.ids
    turns = np.zeros(len(ids), np.int64)
    for label in np.unique(ids):
        turns[ids == label] = np.arange(np.count_nonzero(ids == label))
    chosen = np.lexsort((ids, turns))[:BATCH]
    if len(np.unique(ids[chosen])) < 2:
        raise NotApplicable("the images that were seen are of one class")
    return tf.convert_to_tensor(sample.images[chosen]), tf.convert_to_tensor(sample.labels[chosen])


def _is_cross_entropy(loss: Any) -> bool:
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    return "crossentropy" in str(name).replace("_", "").lower()
