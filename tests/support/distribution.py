"""Runs one training on virtual devices or as a worker, for tests/trainer/devices/test_distribution.py."""

from __future__ import annotations

import json
import os
import sys

import keras


def plain(contract):
    """A network without anything random, for each kind of task."""
    inputs = keras.Input(contract.image_shape)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    outputs = len(contract.labels or contract.task.targets)
    return keras.Model(inputs, keras.layers.Dense(outputs)(keras.layers.GlobalAveragePooling2D()(x)))


def normalizing(contract):
    """With statistics over the batch, and no bias before them: its gradient is nothing but rounding."""
    inputs = keras.Input(contract.image_shape)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=2, use_bias=False)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))))


def pretended(took, seconds):
    return lambda self, steps, _, waited: took(self, steps, seconds * steps, waited)


def main(devices: int, runs: list[dict]) -> None:
    """Trains as each of `runs` says.

    "kill": [epoch, step, signal] kills the process there; "seconds" is what each step seems to take.
    """
    import tensorflow as tf

    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    from pipelines.core.console import terminal
    from trainer.config import TrainConfig
    from trainer.devices import compiled_steps
    from trainer.serving.export_check import Parity
    from trainer.training import finalize, loop, resume, train

    # No part of this, and half of the time.
    finalize.plots.write_all = finalize.tensorboard.write = finalize.write_page = lambda *_: None
    finalize.export.write = lambda *_: Parity(0.0, 0.0, 0, 0, 0.0)
    for options in runs:
        kill, seconds = options.pop("kill", None), options.pop("seconds", None)
        if seconds is not None:
            loop.CHECK_STEPS = 2  # the pace is looked at in the middle of these short epochs
            compiled_steps.Pace.took = pretended(compiled_steps.Pace.took, seconds)
        after_step = resume.Saver.after_step

        def dies(self, epoch_ended, kill=kill, after_step=after_step):
            after_step(self, epoch_ended)
            if kill and [self._position.epoch, self._position.step] == kill[:2]:
                os.kill(os.getpid(), kill[2])

        resume.Saver.after_step = dies
        try:
            with terminal.log_printed():
                train.train(TrainConfig(**options))
        finally:
            resume.Saver.after_step = after_step


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
