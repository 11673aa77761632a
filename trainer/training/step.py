"""The training step: the network behind what only training needs, and a note of the first step that broke down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.config import TrainConfig
from trainer.data import class_sampling
from trainer.models import build as models
from trainer.models.backbone import Backbone
from trainer.training import distribution, losses, mixed_precision, optimizers
from trainer.training.augmentation import Augmentation

INPUT, LOSS, GRADIENT = 1, 2, 4  # what of a step is not finite
KINDS = 8


class Dequantize(keras.layers.Layer):
    """Images as stored, uint8 or float16 or float32 (B, H, W, 3) -> float32 normalized as the contract says.

    Runs inside the compiled step, on the device that trains: the bytes cross in their smallest form. It is part of the
    training step only; the saved network takes normalized images.
    """

    def __init__(self, contract: Contract, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._contract = contract

    def call(self, images: tf.Tensor) -> tf.Tensor:
        if images.dtype == tf.uint8:
            return contracts.normalize(self._contract, images)
        return tf.cast(images, tf.float32)


class BalancedAccuracy(keras.metrics.Metric):
    """Mean recall over the classes seen, unweighted: `metrics.balanced_accuracy` as a running Keras metric.

    Takes int labels (B,) and scores (B, C), logits or probabilities. Keeps a (C, C) confusion matrix in float32, which
    counts exactly up to 2**24 records a cell.
    """

    def __init__(self, classes: int, name: str = "balanced_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.matrix = self.add_variable(
            (classes, classes), initializer="zeros", aggregation="only_first_replica", name="matrix"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight  # a record counts once, whatever it weighs in the loss
        self.add(self.confusion(y_true, y_pred))

    def confusion(self, y_true: Any, y_pred: Any) -> Any:
        """How often which class was given for which: float32 (C, C)."""
        true = ops.one_hot(ops.reshape(y_true, (-1,)), self.classes, dtype="float32")
        given = ops.one_hot(ops.argmax(y_pred, axis=-1), self.classes, dtype="float32")
        return ops.matmul(ops.transpose(true), given)

    def add(self, matrix: Any) -> None:
        """Counts what `confusion` gave, the same on every replica."""
        self.matrix.assign_add(matrix)

    def result(self) -> Any:
        support = ops.sum(self.matrix, axis=1)
        recall = ops.diagonal(self.matrix) / ops.maximum(support, 1.0)
        return ops.sum(recall) / ops.maximum(ops.sum(ops.cast(support > 0, "float32")), 1.0)

    def reset_state(self) -> None:
        self.matrix.assign(ops.zeros((self.classes, self.classes)))


class RunningMean(keras.metrics.Mean):
    """A mean of values that are the same on every replica: it can be read without asking the others."""

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        return super().add_variable(*args, **{**kwargs, "aggregation": "only_first_replica"})


class TrainedModel(keras.Model):
    """A network with what only training needs. Takes the batches of `dataset.load(..., dequantize=False)`.

    It has an optimizer for all weights, and where the rest is frozen at first, another for the head. Each has the
    state of its own epochs only.

    fault: int64 (), 0 while all numbers are finite, else KINDS * the number of steps before the first that were not,
      plus INPUT, LOSS, GRADIENT. It stays on the device: reading it waits for the step.
    done: int64 (), steps before the next one; the loop sets it where it begins.
    """

    def __init__(self, config: TrainConfig, contract: Contract, network: keras.Model) -> None:
        super().__init__()
        self.network = network
        self.dequantize = Dequantize(contract)
        self.augmentation = Augmentation(config, contract)
        self.backbone = Backbone(network) if config.freeze_epochs else None
        self.head_optimizer: keras.optimizers.Optimizer | None = None
        self.freeze_epochs, self.averages = config.freeze_epochs, bool(config.ema)
        self.frozen = False
        same = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.fault = tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=same)
        self.done = tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=same)
        self.classes = len(contract.labels)
        self.mean_loss = RunningMean("mean_loss")
        self.balanced_accuracy = BalancedAccuracy(self.classes)

    def build(self, _: Any) -> None:
        """Nothing is left to build: the network is."""
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images as stored (B, H, W, 3) -> scores (B, C), without augmentation."""
        return self.network(self.dequantize(images), training=training)

    def train_step(self, data: Any, records: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """One step of the optimizer; gives the loss of the batch. records: of `distribution.divided`."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        inputs, targets = self.augmentation(self.dequantize(images), labels, self._targets(labels, weights))
        optimizer = self.optimizer if self.head_optimizer is None or not self.frozen else self.head_optimizer
        with tf.GradientTape() as tape:
            scores = self.network(inputs, training=True)
            loss = self.compute_loss(images, targets, scores, training=True)
            objective = optimizer.scale_loss(loss)  # the loss itself, but where float16 needs it larger
        variables = self.trainable_variables
        gradients = tape.gradient(objective, variables)
        broken = _not_finite([images] if weights is None else [images, weights])
        counts = [tf.cast(tf.shape(labels)[0], tf.float32), self.balanced_accuracy.confusion(labels, scores), broken]
        (loss, *gradients), (count, matrix, broken) = distribution.together(records, [loss, *gradients], counts)
        self._note_fault(broken, loss, gradients, mixed_precision.overflows(optimizer))
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._count(loss, count, matrix)
        return {"loss": loss}

    def test_step(self, data: Any, records: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Counts a batch in the metrics; gives its loss. records: of `distribution.divided`."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        scores = self(images, training=False)
        loss = self.compute_loss(images, self._targets(labels, weights), scores, training=False)
        counts = [tf.cast(tf.shape(labels)[0], tf.float32), self.balanced_accuracy.confusion(labels, scores)]
        (loss,), (count, matrix) = distribution.together(records, [loss], counts)
        self._count(loss, count, matrix)
        return {"loss": loss}

    def results(self) -> dict[str, float]:
        """The metrics over the batches since they were reset."""
        return {"balanced_accuracy": float(self.balanced_accuracy.result()), "loss": float(self.mean_loss.result())}

    def reset(self) -> None:
        """Begins to count anew."""
        self.mean_loss.reset_state()
        self.balanced_accuracy.reset_state()

    def enter(self, epoch: int) -> bool:
        """Freezes or unfreezes what is to be so in this epoch, counted from 0; whether the step is another than before.

        A compiled step is then of no use any more: it trains what was to be trained when it was compiled.
        """
        frozen = epoch < self.freeze_epochs
        if self.backbone is None or frozen == self.frozen:
            return False
        self.frozen = frozen
        self.backbone.freeze() if frozen else self.backbone.unfreeze()
        return True

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """With the moving averages in the place of the weights, where they are kept; not while the rest is frozen."""
        if not self.averages or self.frozen or not int(self.optimizer.iterations.numpy()):
            yield
            return
        variables = self.network.trainable_variables
        weights = [np.asarray(v) for v in variables]
        self.optimizer.finalize_variable_values(variables)
        yield
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)

    def optimizer_variables(self) -> list[keras.Variable]:
        """Moments, moving averages and counts of steps."""
        head = self.head_optimizer.variables if self.head_optimizer is not None else []
        return [*self.optimizer.variables, *head]

    def metric_variables(self) -> list[keras.Variable]:
        """What a half counted epoch consists of."""
        return [*self.mean_loss.variables, *self.balanced_accuracy.variables]

    def _targets(self, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """float32 (B, C): each record's weight, on its class."""
        targets = tf.one_hot(labels, self.classes)
        return targets if weights is None else targets * weights[:, None]

    def _count(self, loss: tf.Tensor, count: tf.Tensor, matrix: tf.Tensor) -> None:
        self.mean_loss.update_state(loss, sample_weight=count)
        self.balanced_accuracy.add(matrix)

    def _note_fault(self, broken: tf.Tensor, loss: tf.Tensor, gradients: list[Any], skips: tf.Tensor | bool) -> None:
        """broken: above 0 if the input is. skips: the optimizer leaves steps out whose gradients are not finite.

        One sum a gradient: squares would cost more and overflow.
        """
        kinds = tf.where(tf.math.is_finite(loss), 0, LOSS) + tf.where(broken > 0, INPUT, 0)
        sums = [tf.reduce_sum(tf.convert_to_tensor(g)) for g in gradients if g is not None]
        good = tf.math.is_finite(tf.add_n(sums)) | skips
        kinds = tf.cast(kinds + tf.where(good, 0, GRADIENT), tf.int64)
        found = tf.where(kinds > 0, self.done * KINDS + kinds, 0)
        self.fault.assign(tf.where(self.fault == 0, found, self.fault))
        self.done.assign_add(1)


def _not_finite(inputs: list[tf.Tensor]) -> tf.Tensor:
    """float32 (): how many of the inputs hold NaN or infinity. 8-bit images are always finite."""
    floating = [values for values in inputs if values.dtype.is_floating]
    return tf.add_n([tf.zeros(()), *(1 - tf.cast(tf.reduce_all(tf.math.is_finite(v)), tf.float32) for v in floating)])


def training_model(config: TrainConfig, contract: Contract, network: keras.Model, steps: int) -> TrainedModel:
    """The network behind what only training needs, compiled. steps: of an epoch, which schedules go by.

    Raises:
      TrainerError: --augment-classes or --freeze-epochs cannot be had of this dataset or network.
    """
    training = TrainedModel(config, contract, network)
    training.compile(
        optimizer=mixed_precision.scaled(config, optimizers.optimizer(config, steps, network.trainable_variables)),
        loss=losses.ClassLoss(
            config.loss,
            class_sampling.priors(contract, config.resample),
            from_logits=models.gives_logits(network),
            gamma=config.focal_gamma,
            smoothing=config.label_smoothing,
        ),
        jit_compile=False,
    )
    # Built now, so that a checkpoint can be put back before a step.
    training.optimizer.build(network.trainable_variables)
    if training.backbone is not None:
        training.head_optimizer = mixed_precision.scaled(config, optimizers.head_optimizer(config))
        training.head_optimizer.build(training.backbone.head.trainable_variables)
    return training
