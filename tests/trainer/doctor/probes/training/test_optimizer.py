"""Optimizer and loss: each fault in a small network, what hinders one batch, and the healthy twins."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import batches, doctor, ids, only, probe_of, subject
from trainer.doctor.clock import Clock
from trainer.doctor.copies import model_copy
from trainer.doctor.probes.training import initialization, optimizer, overfit_one_batch, train_eval_modes
from trainer.doctor.subject.load import subject_of
from trainer.doctor.subject.training import LOOP, STEPS, Training

X = np.random.default_rng(0).random((96, 8, 8, 3), np.float32)
Y = np.arange(96) % 2
DECAY = keras.optimizers.schedules.ExponentialDecay


def network(*stack, rule="adam", loss="sparse_categorical_crossentropy", **more):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Flatten(), layers.Dense(32, "relu", **more),
                              layers.Dense(2, activation="softmax")])  # fmt: skip
    model.compile(rule, loss)
    return model


def sgd(*args, **more):
    return keras.optimizers.SGD(*args, **more)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda: keras.optimizers.Adam(DECAY(1e-3, 1, 0.3)), ["schedule-ends"]),
        (lambda: keras.optimizers.Adam(DECAY(1e-3, 1000, 0.9)), []),
        (lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 100)), []),
        (lambda: sgd(0.5, momentum=0.99), ["momentum-high"]),
        (lambda: sgd(0.1, momentum=0.9), []),
        (lambda: "adam", []),
    ],
)
def test_rate_and_momentum(rule, expected):
    assert ids(doctor(*optimizer.PROBES, dataset=batches(X, Y), model=network(rule=rule()))) == expected


@pytest.mark.parametrize(
    ("rate", "epochs", "callbacks", "expected"),
    [
        (DECAY(1e-3, 1, 0.95), 20, (), ["schedule-ends"]),  # 0.95 ** 32 is left after each epoch
        (DECAY(1e-3, 32, 0.95), 20, (), []),
        (DECAY(1e-3, 1, 0.95), 8, (), []),  # 90 of 256 steps have more than 1 %
        (DECAY(1e-3, 1, 0.95), 20, (keras.callbacks.EarlyStopping(),), []),  # epochs are a limit there
        (keras.optimizers.schedules.PolynomialDecay(1e-3, 640, 0), 20, (), []),
        (keras.optimizers.schedules.CosineDecay(1e-3, 160), 20, (), ["schedule-ends"]),  # five epochs of 20
        (keras.optimizers.schedules.CosineDecayRestarts(1e-3, 64), 20, (), []),
    ],
)
def test_a_schedule_over_all_epochs_of_fit(rate, epochs, callbacks, expected):
    model = network(rule=keras.optimizers.Adam(rate))
    training = Training("fit", epochs=epochs, steps=32, callbacks=callbacks)
    found = optimizer.schedule(subject((X, Y), model=model, training=training), Clock(5))
    assert [finding.id for finding in found] == expected


def test_what_is_said_of_a_schedule_over_all_epochs():
    model = network(rule=keras.optimizers.Adam(DECAY(1e-3, 1, 0.95)))
    given = subject((X, Y), model=model, training=Training("fit", epochs=20, steps=32))
    (found,) = optimizer.schedule(given, Clock(5))
    assert found.evidence == "It is 0.001 at most, and under 1 % of that after 2.8 of 20 epochs of 32 steps."
    assert found.what == "ExponentialDecay leaves next to nothing of the learning rate for 86% of the training"
    assert "multiply decay_steps by the steps of an epoch, which are 32 here" in found.fix


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (DECAY(1e-3, 4, 0.8, staircase=True), ["schedule-ends"]),  # meant for epochs
        (DECAY(1e-3, 4 * 63, 0.8, staircase=True), []),
        (keras.optimizers.schedules.CosineDecay(1e-3, 120), []),  # to the end of the loop, which has 120 steps
        (keras.optimizers.schedules.PolynomialDecay(1e-3, 120, 0), []),
    ],
)
@pytest.mark.parametrize("kind", [LOOP, STEPS])
def test_a_schedule_in_a_loop_of_which_64_steps_were_seen(rate, expected, kind):
    images, labels = np.tile(X, (6, 1, 1, 1))[:512], np.tile(Y, 6)[:512]
    model = network(rule=keras.optimizers.Adam(rate))
    given = subject((images, labels), model=model, training=Training(kind))
    batch = given.train.sample.batches[0]
    sample = dataclasses.replace(given.train.sample, batches=[batch] * 64)
    given = dataclasses.replace(given, train=dataclasses.replace(given.train, sample=sample))
    found = optimizer.schedule(given, Clock(5))
    assert [finding.id for finding in found] == expected
    for finding in found:  # 0.001 * 0.8 ** 16 and 32
        assert finding.evidence == "It is 0.001 at most, 2.81e-05 after 64 steps and 7.92e-07 after 128."


def test_a_summed_loss_is_told_and_its_first_value_is_not():
    summed = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    model = network(loss=summed)
    assert ids(doctor(*optimizer.PROBES, dataset=batches(X, Y), model=model)) == ["loss-summed"]
    assert ids(doctor(initialization.PROBES[0], dataset=batches(X, Y), model=model)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: network(rule=sgd(0.01, momentum=0.9, clipvalue=1e-5)), "clipvalue=1e-05"),
        (lambda: network(rule=sgd(0.1, clipnorm=1e-4)), "clipnorm=0.0001"),
        (lambda: network(layers.Dropout(0.99)), "dropout of 0.99"),
        (lambda: network(layers.RandomBrightness((-0.9, -0.9))), "RandomBrightness"),
        (
            lambda: network(rule=keras.optimizers.Adam(DECAY(1e-4, 1, 0.01))),
            "ExponentialDecay, which falls",
        ),
        (lambda: network(rule=keras.optimizers.AdamW(0.01, weight_decay=50.0)), "weight_decay=50"),
        (lambda: network(kernel_regularizer=keras.regularizers.L2(30.0)), "kernel_regularizer"),
        (lambda: in_float16(keras.optimizers.Adam(1e-3, epsilon=1e-8)), "float16"),
    ],
)
def test_the_thing_that_hinders_one_batch_is_named(model, words):
    found = only(doctor(*overfit_one_batch.PROBES, dataset=batches(X, Y), model=model()), "cannot-memorize")
    assert words in found.what


def test_a_network_with_all_these_things_in_measure_is_left_alone():
    model = network(layers.RandomFlip(), layers.Dropout(0.2), rule=sgd(0.05, momentum=0.9, clipnorm=1.0),
                    kernel_regularizer="l2")  # fmt: skip
    assert ids(doctor(*overfit_one_batch.PROBES, dataset=batches(X, Y), model=model)) == []


def in_float16(rule, policy="float16"):
    """A network whose layers have a policy of their own."""
    keras.utils.set_random_seed(0)
    stack = [layers.Flatten(), layers.Dense(32, "relu", dtype=policy), layers.Dense(2, dtype=policy),
             layers.Activation("softmax", dtype="float32")]  # fmt: skip
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
    model.compile(rule, "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    "model",
    [
        lambda: network(rule=sgd(0.05, momentum=0.95)),
        lambda: network(rule=keras.optimizers.Adam(DECAY(1e-3, 1000, 0.5))),
        lambda: network(rule=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(
            0.0, 5000, warmup_target=1e-3, warmup_steps=1000))),
        lambda: network(rule=keras.optimizers.AdamW(1e-3, weight_decay=0.01)),
        lambda: network(kernel_regularizer=keras.regularizers.L2(1e-3)),
        lambda: in_float16("adam", "mixed_float16"),
    ],
)  # fmt: skip
def test_each_of_them_in_measure_is_left_alone(model):
    assert ids(doctor(*overfit_one_batch.PROBES, dataset=batches(X, Y), model=model())) == []


@pytest.mark.parametrize(("rate", "expected"), [(0.3, []), (1e-6, ["learning-rate-low"])])
def test_an_optimizer_that_scales_the_loss_for_float16(rate, expected):
    """Its scale of 32,768 divides gradients of a loss that was not scaled, and it has no rate among its settings."""
    model = in_float16(keras.optimizers.LossScaleOptimizer(sgd(rate)), "mixed_float16")
    assert ids(doctor(*overfit_one_batch.PROBES, *optimizer.PROBES, dataset=batches(X, Y), model=model)) == expected


@pytest.mark.parametrize(
    ("own", "losses", "rates"),
    [
        (1e-3, [0.7, 0.7], [1e-2, 1e-4, 1e-1]),
        (1e-3, [0.7, 9.0, 0.7], [1e-4, 1e-1, 1e-2]),
        (10.0, [0.7, float("nan")], [1e-1, 1e-2, 1e-3, 1e-4]),
    ],
)
def test_lower_rates_come_first_where_the_loss_jumped(own, losses, rates):
    assert overfit_one_batch.rates_to_try(own, losses) == rates


def test_a_batch_can_be_made_smaller():
    subject = subject_of(dataset=batches(X, Y), model=network())
    twin = model_copy.Twin(subject)
    assert (twin.images, twin.y.numpy().tolist()) == (16, [0, 1] * 8)
    twin.step()
    twin.shrink(4)
    assert (twin.images, twin.y.numpy().tolist()) == (4, [0, 1, 0, 1])
    assert twin.start == pytest.approx(twin.step_loss(), abs=1e-5)
    assert twin.step() == pytest.approx(twin.start, abs=1e-5)
    assert twin.step() < twin.start


@pytest.mark.parametrize(("size", "expected"), [(1, ["batch-norm-alone"]), (2, ["batch-norm-small"]), (16, [])])
def test_batches_that_are_too_small_for_their_statistics(size, expected):
    model = network(layers.Conv2D(4, 3), layers.BatchNormalization())
    probe = probe_of(train_eval_modes, train_eval_modes.lonely)
    assert ids(doctor(probe, dataset=batches(X, Y, size), model=model)) == expected
