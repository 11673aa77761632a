"""Defines the training step and records the first step with a non-finite number.

`TrainedModel` wraps the network with the parts that only training needs.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.config import TrainConfig, unfrozen_layers
from trainer.devices import distribution, mixed_precision
from trainer.models import build as models
from trainer.models import input_size, view
from trainer.models.backbone import Backbone, depths, freeze_batch_norm
from trainer.tasks import kinds
from trainer.training import optimizers
from trainer.training.augment import crop_size
from trainer.training.augment.augmentation import Augmentation
from trainer.training.augment.standard import Standard
from trainer.training.keras_metrics import RunningMean

INPUT, LOSS, GRADIENT = 1, 2, 4  # bits: which part of a step is not finite
KINDS = 8


class Dequantize(keras.layers.Layer):
    """Normalizes stored images as the contract says.

    It maps uint8, float16 or float32 (B, H, W, C) to float32 of that shape. It runs inside the compiled step, on the
    device that trains, so that the images are transferred in their smallest form. It is part of the training step only;
    the saved network takes normalized images.
    """

    def __init__(self, contract: Contract, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._contract = contract

    def call(self, images: tf.Tensor) -> tf.Tensor:
        if images.dtype == tf.uint8:
            return contracts.normalize(self._contract, images)
        return tf.cast(images, tf.float32)


class TrainedModel(keras.Model):
    """Wraps a network with the parts that only training needs.

    It takes the batches of `dataset.load(..., dequantize=False)`. It has an optimizer for all weights, and a second one
    for the head if all other layers are frozen in the first epochs. Each optimizer has the state of its own epochs
    only.

    fault: int64 (), 0 while all numbers are finite. Otherwise KINDS * the number of steps before the first step with a
    number that is not finite, plus INPUT, LOSS, GRADIENT. It stays on the device, because reading it waits for the
    step.
    done: int64 (), number of steps before the next one; the loop sets it where it begins.
    """

    def __init__(self, config: TrainConfig, contract: Contract, network: keras.Model) -> None:
        super().__init__()
        self.network = network
        self.dequantize = Dequantize(contract)
        self.standard = Standard(config, contract)
        self.size = functools.partial(crop_size.of_epoch, config)
        core = view.core(network)
        smaller = {self.size(epoch) for epoch in range(config.epochs)} - {config.view_size}
        cores = {size: input_size.at_size(core, size) for size in sorted(smaller)}
        # A function, because Keras would count the layers of networks that are attributes twice.
        self.core: Callable[[], keras.Model] = lambda: cores.get(self.standard.size, core)
        self.augmentation = Augmentation(config, contract)
        unfrozen = unfrozen_layers(config.unfreeze)
        self.backbone = Backbone(network, unfrozen) if config.freeze_epochs or unfrozen is not None else None
        if self.backbone is not None:
            self.backbone.unfreeze()
        self.head_optimizer: keras.optimizers.Optimizer | None = None
        self.freeze_epochs, self.averages = config.freeze_epochs, bool(config.ema)
        self.frozen = False
        same = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.fault = tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=same)
        self.done = tf.Variable(0, trainable=False, dtype=tf.int64, aggregation=same)
        task = kinds.of(contract)
        self.targets, self.kept = functools.partial(task.targets, contract), task.kept
        self.mean_loss = RunningMean("mean_loss")
        self.score = task.metric(contract, models.gives_logits(network, task.activation))

    def build(self, _: Any) -> None:
        """Does nothing: the network is built already."""
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns scores (B, C) of stored images (B, H, W, C), without augmentation."""
        return self.network(self.dequantize(images), training=training)

    def train_step(self, data: Any, records: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Makes one step of the optimizer and returns the loss of the batch.

        Args:
          data: (images, labels[, weights]) of `dataset.load`.
          records: number of records that count, from `distribution.divided`; None on one device.
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        inputs = self.standard.change(self.dequantize(images), labels, self.done)
        inputs, targets = self.augmentation(inputs, labels, self.targets(labels, weights))
        optimizer = self.optimizer if self.head_optimizer is None or not self.frozen else self.head_optimizer
        with tf.GradientTape() as tape:
            scores = self.core()(inputs, training=True)
            loss = self.compute_loss(images, targets, scores, training=True)
            objective = optimizer.scale_loss(loss)  # larger than the loss only if float16 needs loss scaling
        variables = self.trainable_variables
        gradients = tape.gradient(objective, variables)
        broken = _not_finite([images] if weights is None else [images, weights])
        counts = [tf.cast(tf.shape(labels)[0], tf.float32), self.score.counts(labels, scores), broken]
        (loss, *gradients), (count, right, broken) = distribution.together(records, [loss, *gradients], counts)
        self._note_fault(broken, loss, gradients, mixed_precision.overflows(optimizer))
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._count(loss, count, right)
        return {"loss": loss}

    def test_step(self, data: Any, records: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Adds a batch to the metrics and returns its loss.

        Args:
          data: (images, labels[, weights]) of `dataset.load`.
          records: number of records that count, from `distribution.divided`; None on one device.
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        scores = self(images, training=False)
        loss = self.compute_loss(images, self.targets(labels, weights), scores, training=False)
        counts = [tf.cast(tf.shape(labels)[0], tf.float32), self.score.counts(labels, scores)]
        (loss,), (count, right) = distribution.together(records, [loss], counts)
        self._count(loss, count, right)
        return {"loss": loss}

    def results(self) -> dict[str, float]:
        """Returns the metrics over the batches since the last reset."""
        return {self.kept.name: float(self.score.result()), "loss": float(self.mean_loss.result())}

    def reset(self) -> None:
        """Sets the metrics back to zero."""
        self.mean_loss.reset_state()
        self.score.reset_state()

    def enter(self, epoch: int) -> bool:
        """Freezes or unfreezes the backbone for an epoch, and sets the size of crops.

        Args:
          epoch: counted from 0.

        Returns:
          Whether that changed. If so, the step has to be compiled again: a compiled step trains the variables that were
            trainable when it was compiled, on images of one size.
        """
        size, frozen = self.size(epoch), epoch < self.freeze_epochs
        grown, self.standard.size = size != self.standard.size, size
        if self.backbone is None or frozen == self.frozen:
            return grown
        self.frozen = frozen
        self.backbone.freeze() if frozen else self.backbone.unfreeze()
        return True

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Replaces the weights by their moving averages inside the context.

        It changes nothing if averages are not kept, while the backbone is frozen, or before the first step.
        """
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
        """Returns the moments, moving averages and step counts of the optimizers."""
        head = self.head_optimizer.variables if self.head_optimizer is not None else []
        return [*self.optimizer.variables, *head]

    def metric_variables(self) -> list[keras.Variable]:
        """Returns the variables of the metrics, which an unfinished epoch has changed."""
        return [*self.mean_loss.variables, *self.score.variables]

    def _count(self, loss: tf.Tensor, count: tf.Tensor, right: tf.Tensor) -> None:
        self.mean_loss.update_state(loss, sample_weight=count)
        self.score.add(right)

    def _note_fault(self, broken: tf.Tensor, loss: tf.Tensor, gradients: list[Any], skips: tf.Tensor | bool) -> None:
        """Stores the step in `fault` if it is the first with a non-finite number.

        It checks one sum of each gradient: a sum of squares would cost more and could overflow.

        Args:
          broken: above 0 if the input is not finite.
          loss: of the batch.
          gradients: of the loss.
          skips: whether the optimizer skips steps whose gradients are not finite.
        """
        kinds = tf.where(tf.math.is_finite(loss), 0, LOSS) + tf.where(broken > 0, INPUT, 0)
        sums = [tf.reduce_sum(tf.convert_to_tensor(g)) for g in gradients if g is not None]
        good = tf.math.is_finite(tf.add_n(sums)) | skips
        kinds = tf.cast(kinds + tf.where(good, 0, GRADIENT), tf.int64)
        found = tf.where(kinds > 0, self.done * KINDS + kinds, 0)
        self.fault.assign(tf.where(self.fault == 0, found, self.fault))
        self.done.assign_add(1)


def _not_finite(inputs: list[tf.Tensor]) -> tf.Tensor:
    """Returns how many of the inputs hold NaN or infinity, float32 ().

    8-bit images are always finite.
    """
    floating = [values for values in inputs if values.dtype.is_floating]
    return tf.add_n([tf.zeros(()), *(1 - tf.cast(tf.reduce_all(tf.math.is_finite(v)), tf.float32) for v in floating)])


def training_model(config: TrainConfig, contract: Contract, network: keras.Model, steps: int) -> TrainedModel:
    """Wraps the network with the parts that only training needs and compiles it.

    Args:
      config: the options.
      contract: of the dataset.
      network: the network to train.
      steps: number of steps of an epoch, for the learning-rate schedules.

    Raises:
      TrainerError: --augment-classes, --freeze-epochs or --unfreeze is not possible with this dataset or network.
    """
    if config.batch_norm == "freeze" or (config.batch_norm == "auto" and config.init_weights):
        freeze_batch_norm(network)
    training, task = TrainedModel(config, contract, network), kinds.of(contract)
    made = optimizers.optimizer(config, steps, network.trainable_variables, depths(network))
    training.compile(
        optimizer=mixed_precision.scaled(config, made),
        loss=task.loss(config, contract, models.gives_logits(network, task.activation)),
        jit_compile=False,
    )
    # The optimizer is built now, so that a checkpoint can be restored before the first step.
    training.optimizer.build(network.trainable_variables)
    if training.backbone is not None and config.freeze_epochs:
        training.head_optimizer = mixed_precision.scaled(config, optimizers.head_optimizer(config))
        training.head_optimizer.build(training.backbone.head.trainable_variables)
    return training
