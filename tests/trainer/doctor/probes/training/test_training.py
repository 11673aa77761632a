"""The doctor on model and training: each fault put into a small network on real photographs, and its healthy twin."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support.doctor import batches, cnn, doctor, ids, only, photos, probe_of, subject, unit
from trainer.doctor import run_probes
from trainer.doctor.copies import model_copy
from trainer.doctor.probes.training import initialization, learning_curves, overfit_one_batch, train_eval_modes
from trainer.doctor.subject.load import subject_of
from trainer.doctor.subject.training import Training

SIDE = 32
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def data(real_data):
    """A dataset of 72 photographs of six kinds of waste, 0..1."""
    x, y = photos(real_data, "trashnet", each=12, side=SIDE)
    return batches(unit(x), y, 24)


def network(*stack, optimizer="adam"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *stack, layers.Dense(6)])
    model.compile(optimizer, SPARSE)
    return model


def with_rate(rate):
    model = cnn(6)
    model.compile(keras.optimizers.Adam(rate), SPARSE)
    return model


# ---- one batch

ONE_BATCH = overfit_one_batch.PROBES[0]


def test_a_network_that_learns_is_left_alone_and_unchanged(data):
    model = cnn(6)
    before, steps = model.get_weights(), int(model.optimizer.iterations)
    assert ids(doctor(ONE_BATCH, dataset=data, model=model)) == []
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(model.optimizer.iterations) == steps
    assert model.compiled


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "expected"), [(1e-7, "learning-rate-low"), (30.0, "learning-rate-high")])
def test_a_learning_rate_far_off(data, rate, expected):
    found = only(doctor(ONE_BATCH, dataset=data, model=with_rate(rate)), expected)
    assert f"{rate:g} with adam" in found.what
    assert "guessing: 1.79" in found.evidence


@pytest.mark.parametrize(("own", "expected"), [((4.0, 0.1), []), ((4.0, 3.9, 3.8, 3.7), ["learning-rate-low"])])
def test_a_trial_that_ended_with_the_batch_learned_is_not_too_slow(data, monkeypatch, own, expected):
    """The median of the two losses is above guessing, 1.79, and the last one far below. The model begins above 4."""
    model = cnn(6)
    model.layers[-1].bias.assign([5.0, 0, 0, 0, 0, 0])
    tried = {None: list(own), 1e-2: [4.0, 2.0, 0.5]}
    monkeypatch.setattr(overfit_one_batch, "_train", lambda twin, rate, *_: tried.get(rate, [4.0, 3.0]))
    found = dataclasses.replace(subject_of(dataset=data, model=model), training=Training("fit", epochs=2, steps=3))
    assert ids(run_probes.run(found, [ONE_BATCH])) == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((1.0, 1.0, 0.46), []),  # lower than the other, in fewer steps
        ((1.0, 5.0, 4.0, 3.0, 3.0, 2.0), ["learning-rate-high"]),
    ],
)
def test_a_rate_that_learns_the_batch_in_three_steps_is_not_too_high(monkeypatch, own, expected):
    """The loss is no cross-entropy: guessing is the first loss, 1."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    y = np.sign(x[:, 0])
    tried = {None: list(own), 1e-4: [1.0, 0.9, 0.8, 0.7, 0.6, 0.49]}
    monkeypatch.setattr(overfit_one_batch, "_train", lambda twin, rate, *_: tried.get(rate, [1.0, 1.0]))
    assert ids(run_probes.run(subject((x, y), model=model), [ONE_BATCH])) == expected


@pytest.mark.parametrize(("last", "expected"), [(0.4, []), (0.9, ["cannot-memorize"])])
def test_a_trained_model_whose_guessing_is_not_known_is_judged_by_its_history(monkeypatch, last, expected):
    """After a training its loss on one batch is as small as it gets."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = x[:, 0] + x[:, 1]
    model.fit(x, y, verbose=0)
    monkeypatch.setattr(overfit_one_batch, "_train", lambda twin, *_: [twin.start] * 80)
    given = subject((x, y), model=model, history={"loss": (1.0, last)})
    assert ids(run_probes.run(given, [ONE_BATCH])) == expected


def test_everything_is_frozen(data):
    model = cnn(6)
    model.trainable = False
    model.compile("adam", SPARSE)
    assert (
        "0 of 1,494 parameters are trainable"
        in only(doctor(ONE_BATCH, dataset=data, model=model), "nothing-to-train").evidence
    )


@keras.saving.register_keras_serializable("test_doctor")
class Rounded(layers.Layer):
    def call(self, x):
        return tf.round(x * 4)


def test_no_gradient(data):
    stack = [layers.Conv2D(8, 3, activation="tanh"), layers.Conv2D(8, 3), Rounded(), layers.GlobalAveragePooling2D()]
    model = network(*stack)
    model.layers[-1].trainable = False
    model.compile("adam", SPARSE)
    assert (
        "Of 2 trainable kernels 2 get none"
        in only(doctor(ONE_BATCH, dataset=data, model=model), "no-gradient").evidence
    )


def test_dead_units(data):
    dead = layers.Conv2D(8, 3, activation="relu", bias_initializer=keras.initializers.Constant(-100))
    model = network(layers.Conv2D(8, 3, activation="relu"), dead, layers.GlobalAveragePooling2D())
    assert dead.name in only(doctor(ONE_BATCH, dataset=data, model=model), "dead-units").evidence


@pytest.mark.parametrize(("rate", "expected"), [(3.0, "learning-rate-high"), (1e-3, "dead-units")])
def test_units_that_a_training_killed(data, rate, expected):
    """The bias that makes them dead has come in the training; only the rate can have done that."""
    model = network(layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D())
    model.compile(keras.optimizers.Adam(rate), SPARSE)
    first = model.get_weights()
    model.layers[0].bias.assign(np.full(8, -100.0))
    model.optimizer.iterations.assign(40)
    training = Training("fit", first_weights=first, final_weights=model.get_weights(), whole=True)
    given = dataclasses.replace(subject_of(dataset=data, model=model), training=training)
    found = only(run_probes.run(given, [ONE_BATCH]), expected)
    assert ("Before the training every ReLU layer answered" in found.evidence) is (expected == "learning-rate-high")


def test_no_capacity(data):
    nothing = network(layers.AveragePooling2D(SIDE), layers.Rescaling(0.0, 0.5), layers.Flatten())
    found = only(doctor(ONE_BATCH, dataset=data, model=nothing), "cannot-memorize")
    assert "80 steps on the same 16 images" in found.evidence


def test_a_model_that_knows_the_images_is_left_alone(data):
    model = cnn(6)
    model.compile(keras.optimizers.Adam(0.01), SPARSE)
    x, y = next(iter(data))
    for _ in range(40):
        model.train_on_batch(x, y)
    model.compile(keras.optimizers.Adam(1e-9), SPARSE)
    subject = subject_of(dataset=tf.data.Dataset.from_tensors((x, y)), model=model)
    if model_copy.Twin(subject).start < overfit_one_batch.KNOWS * math.log(6):
        assert ids(doctor(ONE_BATCH, dataset=tf.data.Dataset.from_tensors((x, y)), model=model)) == []


def test_the_batch_takes_turns_of_the_classes(data):
    made = model_copy.Twin(subject_of(dataset=data, model=cnn(6)))
    assert sorted(np.bincount(made.y.numpy()).tolist()) == [2, 2, 3, 3, 3, 3]
    assert made.chance == pytest.approx(math.log(6))


# ---- before the first step

FIRST_LOSS, GRADIENTS, CAPACITY = (
    probe_of(initialization, f) for f in (initialization.first_loss, initialization.gradients, initialization.capacity)
)


def test_a_class_of_each_pixel_is_one_of_as_many_as_the_model_gives():
    """The labels (N, 8, 8) have no axis of classes, of which the greatest would be the class."""
    rng = np.random.default_rng(0)
    images, masks = rng.random((64, 8, 8, 3)).astype("float32"), rng.integers(0, 3, (64, 8, 8))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1, name="head")])
    model.compile("adam", SPARSE)
    assert ids(run_probes.run(subject((images, masks), model=model), [FIRST_LOSS])) == []
    model.get_layer("head").bias.assign([40, 0, 0])
    found = only(run_probes.run(subject((images, masks), model=model), [FIRST_LOSS]), "loss-at-start")
    assert "ln(3)" in found.evidence


def test_the_loss_before_training(data):
    loud = cnn(6)
    loud.layers[-1].bias.assign([40, 0, 0, 0, 0, 0])
    found = only(doctor(FIRST_LOSS, dataset=data, model=loud), "loss-at-start")
    assert "far too high" in found.what
    assert "ln(6) = 1.79" in found.evidence
    assert ids(doctor(FIRST_LOSS, dataset=data, model=cnn(6))) == []
    loud.optimizer.iterations.assign(10)
    assert ids(doctor(FIRST_LOSS, dataset=data, model=loud)) == []  # trained: there is no first loss to see


@pytest.mark.parametrize(("weight", "expected"), [(0.5, []), (1.6, []), (16.0, ["loss-at-start"])])
def test_a_first_loss_that_other_draws_of_the_weights_do_not_have(weight, expected):
    """A column of 0 and 10: Glorot's draws of the weight lie within 1.7, and most of them give less than the limit."""
    x = np.tile([0.0, 10.0], 16).astype(np.float32)[:, None]
    y = (x[:, 0] == 0).astype(int)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.layers[-1].kernel.assign([[weight]])
    report = run_probes.run(subject((x, y), model=model), [FIRST_LOSS])
    assert ids(report) == expected
    assert model.layers[-1].kernel.numpy() == np.float32(weight)
    assert all("Weights drawn anew give" in finding.evidence for finding in report.findings)


def test_gradients_that_vanish(data):
    deep = network(layers.Flatten(), *[layers.Dense(32, activation="sigmoid") for _ in range(12)])
    assert "times as much" in only(doctor(GRADIENTS, dataset=data, model=deep), "gradients-vanish").evidence
    healthy = network(layers.Flatten(), *[layers.Dense(32, "relu", kernel_initializer="he_normal") for _ in range(12)])
    assert ids(doctor(GRADIENTS, dataset=data, model=healthy)) == []
    assert ids(doctor(GRADIENTS, dataset=data, model=cnn(6))) == []


def test_gradients_that_explode(data):
    wild = keras.initializers.RandomNormal(stddev=1.5, seed=0)
    deep = network(layers.Flatten(), *[layers.Dense(64, activation="relu", kernel_initializer=wild) for _ in range(4)])
    assert "is usual" in only(doctor(GRADIENTS, dataset=data, model=deep), "gradients-explode").evidence


def test_a_model_too_large(data):
    large = network(layers.Conv2D(64, 3, activation="relu"), layers.Flatten(), layers.Dense(64, activation="relu"))
    found = only(doctor(CAPACITY, dataset=data, model=large), "capacity-large")
    assert "for 72 train images" in found.evidence
    assert "100% of them are in" in found.evidence
    assert ids(doctor(CAPACITY, dataset=data, model=cnn(6))) == []


def test_a_model_too_narrow(data):
    narrow = network(
        layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(2, name="neck")
    )
    found = only(doctor(CAPACITY, dataset=data, model=narrow), "capacity-small")
    assert "passes through 2 outputs of neck; there are 6 classes" in found.evidence


# ---- modes

EVALUATION, LAGGING, LONELY = (
    probe_of(train_eval_modes, f)
    for f in (train_eval_modes.evaluation, train_eval_modes.lagging, train_eval_modes.lonely)
)


@keras.saving.register_keras_serializable("test_doctor")
class AlwaysTraining(layers.Layer):
    """A layer that forgets to pass the mode on."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x, training=True)


def functional(wrap=lambda layer: layer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, activation="relu", strides=2)(inputs)
    x = wrap(layers.BatchNormalization(name="norm"))(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = wrap(layers.Dropout(0.5, name="dropout"))(x)
    model = keras.Model(inputs, layers.Dense(6)(x))
    model.compile("adam", SPARSE)
    return model


def wrapping(kind):
    return lambda layer: AlwaysTraining(layer) if isinstance(layer, kind) else layer


class Noisy(layers.Layer):
    """A layer that draws at random, as a variational autoencoder does."""

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), stddev=0.1)


@pytest.mark.parametrize(("units", "expected"), [(6, []), (3, ["dropout-at-evaluation"])])
def test_a_model_that_makes_its_inputs_again_may_draw_at_random(units, expected):
    x = np.random.default_rng(0).random((40, 6), np.float32)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2), Noisy(), layers.Dense(units)])
    model.compile("adam", "mse")
    assert ids(run_probes.run(subject((x, x[:, :units]), model=model), [EVALUATION])) == expected


def test_modes_at_evaluation(data):
    dropped = functional(wrapping(layers.Dropout))
    found = only(doctor(EVALUATION, dataset=data, model=dropped), "dropout-at-evaluation")
    assert "Layers of dropout: dropout" in found.evidence
    normed = functional(wrapping(layers.BatchNormalization))
    found = only(doctor(EVALUATION, dataset=data, model=normed), "batch-statistics-at-evaluation")
    assert "Batch-normalization layers: norm" in found.evidence
    assert ids(doctor(EVALUATION, dataset=data, model=functional())) == []


def test_moving_averages_that_lag(data):
    model = functional()
    model.optimizer.iterations.assign(20)
    assert ids(doctor(LAGGING, dataset=data, model=model)) == []
    model.get_layer("norm").moving_mean.assign(np.full(8, 30.0))
    found = only(doctor(LAGGING, dataset=data, model=model), "batch-norm-lags")
    assert "Momentum 0.99, 20 steps" in found.evidence
    assert np.array_equal(model.get_layer("norm").moving_mean, np.full(8, 30.0))  # the twin's only were touched


UNMOVED = probe_of(train_eval_modes, train_eval_modes.unmoved)
COLUMNS = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


def after_training(rows, layer, moved, in_training=None):
    """Examines a training of which the kernels, and the statistics if they `moved`, have other values at its end."""
    model = keras.Sequential([keras.Input((4,)), layer, layers.Dense(2)])
    first = model.get_weights()
    final = [value + (1 if value.ndim > 1 or (moved and "moving" in weight.path) else 0)
             for weight, value in zip(model.weights, first, strict=True)]  # fmt: skip
    training = Training("GradientTape", first_weights=first, final_weights=final, in_training=in_training)
    found = run_probes.run(subject((rows, np.arange(64) % 2), model=model, training=training), [UNMOVED]).findings
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), first, strict=True))
    return found


@pytest.mark.parametrize(
    ("rows", "moved", "expected"),
    [
        (100 * COLUMNS + [0, 0, 300, 0], False, ["inference-mode-in-training"]),
        (100 * COLUMNS + [0, 0, 300, 0], True, []),
        (COLUMNS, False, []),  # they are about 0 and 1 as they are
    ],
    ids=["still", "moved", "fitting"],
)
def test_statistics_that_no_step_has_moved(rows, moved, expected):
    found = after_training(rows, layers.BatchNormalization(name="norm"), moved)
    assert [one.id for one in found] == expected
    if found:
        mean, variance = rows.mean(axis=0)[2], rows.var(axis=0)[2]
        assert (found[0].level, found[0].evidence) == (
            "error",
            "After the training the moving mean of norm is still 0 and the variance 1. Column 2 of what reaches norm "
            f"has a mean of {mean:.3g} and a variance of {variance:.3g}.",
        )


@pytest.mark.parametrize(("mode", "expected"), [(False, ["inference-mode-in-training"]), (True, []), (None, [])])
def test_dropout_that_drops_nothing_in_a_loop(mode, expected):
    found = after_training(COLUMNS, layers.Dropout(0.5), True, mode)
    assert [one.id for one in found] == expected
    assert all(one.level == "warning" for one in found)


def test_batch_norm_on_one_image(data):
    alone = data.unbatch().batch(1)
    assert "one image each" in only(doctor(LONELY, dataset=alone, model=functional()), "batch-norm-alone").evidence
    assert ids(doctor(LONELY, dataset=alone, model=cnn(6))) == []  # no batch norm
    assert ids(doctor(LONELY, dataset=data, model=functional())) == []


# ---- the course of a training

COURSE = learning_curves.PROBES[0]
FALLING = tuple(2 * 0.8**i for i in range(12))


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ({"loss": (1.8, 1.2, math.nan, math.nan)}, "diverged"),
        ({"loss": (1.8, 1.5, 2.4, 1.6, 2.6, 1.7, 2.5)}, "learning-rate-high"),
        ({"loss": (1.8, 1.9, 2.1, 2.4, 2.9, 3.5)}, "learning-rate-high"),
        ({"loss": FALLING, "val_loss": (2, 1.5, 1.2, 1.1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8)}, "overfitting"),
        ({"loss": tuple(1.8 - 0.002 * i for i in range(10))}, "learning-rate-low"),
        ({"loss": (2.5, 1.81, 1.8, 1.79, 1.79, 1.8, 1.79, 1.79)}, "underfitting"),
    ],
)
def test_courses(data, past, expected):
    assert ids(doctor(COURSE, dataset=data, past=past)) == [expected]


@pytest.mark.parametrize(
    "past",
    [
        {"loss": FALLING, "val_loss": tuple(v + 0.1 for v in FALLING)},
        {"loss": (2.0, 1.5, 1.2, 1.0, 0.9, 0.95, 0.85, 0.8)},
        {"loss": (1.7, 1.2, 0.9, 0.7, 0.6, 0.5, 0.45, 0.4), "val_loss": (1.6, 1.3, 1.1, 1.0, 0.95, 0.97, 0.94, 0.99)},
        {"loss": (0.3, 0.21, 0.2, 0.2, 0.2, 0.2, 0.2)},  # has come to its end, far below guessing
        # What it lost near 0 is nothing beside what it gained.
        {"loss": (0.9, 0.2, 0.05, 0.02, 0.004, 0.001), "val_loss": (0.8, 0.2, 0.06, 0.02, 0.009, 0.0155)},
        # As under a Poisson loss, whose least is below 0.
        {"loss": (0.5, -1.5, -2.2, -2.5, -2.6, -2.66), "val_loss": (0.3, -1.9, -2.5, -2.8, -2.88, -2.89)},
    ],
)
def test_courses_that_are_well(data, past):
    assert ids(doctor(COURSE, dataset=data, past=past)) == []


OVERFITTED = {"loss": FALLING, "val_loss": (2, 1.5, 1.2, 1.1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8)}


@pytest.mark.parametrize(("kept", "expected"), [(None, ["overfitting"]), (12, ["overfitting"]), (6, []), (4, [])])
def test_epochs_after_the_kept_weights_do_not_count(data, kept, expected):
    """The least validation loss is that of epoch 4; a run may have kept the weights of that epoch."""
    found = dataclasses.replace(subject_of(dataset=data, past=OVERFITTED), kept=kept)
    assert ids(run_probes.run(found, [COURSE])) == expected


ROWS = np.random.default_rng(0).random((120, 6), np.float32)
RIGHT = (ROWS.sum(axis=1) > 3).astype(np.int64)


@pytest.mark.parametrize(("flipped", "expected"), [("validation", ["overfitting"]), ("both", []), ("train", [])])
def test_a_model_that_is_no_better_on_training_rows_does_not_overfit(flipped, expected):
    """A fifth of the labels is wrong where it is flipped, so that the model is right on 80 % there."""
    noisy = np.where(np.arange(60) % 5 == 0, 1 - RIGHT[:60], RIGHT[:60])
    train = noisy if flipped in ("train", "both") else RIGHT[:60]
    other = np.where(np.arange(60) % 5 == 0, 1 - RIGHT[60:], RIGHT[60:]) if flipped != "train" else RIGHT[60:]
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)])
    model.compile("adam", SPARSE)
    model.set_weights([np.tile([[-1.0, 1.0]], (6, 1)), np.array([3.0, -3.0])])
    model.optimizer.iterations.assign(1)  # it is trained
    found = subject((ROWS[:60], train), (ROWS[60:], other), model=model, history=OVERFITTED)
    assert ids(run_probes.run(found, [COURSE])) == expected


@pytest.mark.parametrize(("wrong", "expected"), [(1, []), (2, ["overfitting"])])
def test_a_model_that_is_right_on_nearly_all_validation_rows_loses_nothing(wrong, expected):
    """One wrong row of 60 leaves 98.3 %, two 96.7 %."""
    other = RIGHT[60:].copy()
    other[:wrong] = 1 - other[:wrong]
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)])
    model.compile("adam", SPARSE)
    model.set_weights([np.tile([[-1.0, 1.0]], (6, 1)), np.array([3.0, -3.0])])
    model.optimizer.iterations.assign(1)  # it is trained
    found = subject((ROWS[:60], RIGHT[:60]), (ROWS[60:], other), model=model, history=OVERFITTED)
    assert ids(run_probes.run(found, [COURSE])) == expected


@pytest.mark.parametrize(("restores", "expected"), [(True, []), (False, ["overfitting"])])
def test_weights_that_a_callback_restored_are_those_that_count(data, restores, expected):
    stopping = keras.callbacks.EarlyStopping(restore_best_weights=restores)
    stopping.best_epoch, stopping.best_weights = 3, [np.zeros(1)]
    found = subject_of(dataset=data, past=OVERFITTED)
    found = dataclasses.replace(found, training=Training("fit", callbacks=(stopping,)))
    assert ids(run_probes.run(found, [COURSE])) == expected


def test_a_course_that_is_too_short_tells_nothing(data):
    report = doctor(COURSE, dataset=data, past={"loss": (1.8, 1.7)})
    assert report.not_checked == ((COURSE.name, "the history has fewer than 5 epochs"),)
