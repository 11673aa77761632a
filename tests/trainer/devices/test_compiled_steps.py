"""Several steps in one call, XLA, and 16 bits: how steps are run, and what of the result that may change."""

from __future__ import annotations

import csv
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import trainings
from tests.support.datasets import write_dataset
from tests.support.log import logged
from trainer.config import TrainConfig, TrainerError
from trainer.devices import compiled_steps, mixed_precision
from trainer.devices.compiled_steps import MOST_STEPS, Pace
from trainer.models import build
from trainer.training import resume, step, train

# 21 records in batches of 4: 6 steps an epoch, the last one of 1 record.
OPTIONS = {"model": f"{__name__}:small", "epochs": 2, "batch_size": 4, "verify": "off", "checkpoint_minutes": 0.0}


def small(contract):
    """No max pooling: XLA has no deterministic gradient of it."""
    inputs = keras.Input(contract.image_shape)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("execution") / "data"
    write_dataset(path, encoding="uint8", splits={"train": (14, 7), "validation": (4, 3), "test": (3, 2)})
    return path


@pytest.fixture(autouse=True)
def without_pictures_and_export():
    with trainings.without_reports(export=False):
        yield


def run(data, out, **changes):
    with logged() as text:
        train.train(TrainConfig(str(data), str(out), **{**OPTIONS, **changes}))
    rows = list(csv.DictReader((out / "metrics.csv").open(newline="")))
    for row in rows:
        del row["images_per_second"]
    return build.load(out / "model.keras"), rows, text.getvalue()


@pytest.fixture(scope="module")
def one_by_one(data, tmp_path_factory):
    """The run that others are compared with: a call a step, no XLA, float32."""
    with trainings.without_reports(export=False):
        return run(data, tmp_path_factory.mktemp("one") / "run", steps_per_execution=1)


def assert_equal(one, other):
    for given, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.slow
@pytest.mark.parametrize("size", [4, 100])
def test_steps_at_once_change_no_bit_and_stop_at_checkpoints(data, one_by_one, tmp_path, monkeypatch, size):
    calls, after_step = [], resume.Saver.after_step

    def noted(self, epoch_ended):
        calls.append((self._position.epoch, self._position.step))
        after_step(self, epoch_ended)

    monkeypatch.setattr(resume.Saver, "after_step", noted)
    model, rows, _ = run(data, tmp_path / "run", steps_per_execution=size, checkpoint_steps=3 if size > 6 else 0)
    assert calls == [(0, 3 if size > 6 else 4), (1, 0), (1, 3 if size > 6 else 4), (2, 0)]
    assert rows == one_by_one[1]
    assert_equal(model.get_weights(), one_by_one[0].get_weights())


def test_a_pace_by_hand():
    pace = Pace(4, [3, 0])
    assert [pace.steps(done, 10) for done in range(10)] == [3, 2, 1, 3, 2, 1, 3, 2, 1, 1]
    assert [Pace(100, []).steps(done, 10) for done in (0, 9)] == [10, 1]
    free = Pace(0, [])
    assert free.steps(0, 100) == 1
    free.took(16, 30.0, True)  # compiling is in it
    assert free.steps(0, 100) == 1
    free.took(1, 0.01, False)  # 0.02 s a step with what the device had still to do
    free.took(1, 0.03, True)
    assert free.steps(0, 100) == 5
    free.took(10, 0.001, True)
    assert free.steps(0, 100) == MOST_STEPS
    free.took(1, 9.0, True)
    assert free.steps(0, 100) == 1
    fixed = Pace(7, [])
    for _ in range(2):
        fixed.took(1, 9.0, True)
    assert fixed.steps(0, 100) == 7


def made(contract, data, **changes):
    """A model to train, of the same weights each time."""
    keras.utils.set_random_seed(0)
    config = TrainConfig(str(data), "o", **{"model": OPTIONS["model"], "flip": False, **changes})
    network, _ = build.make(config.model, contract)
    return step.training_model(config, contract, mixed_precision.twin(config, contract, network), 6)


def trained(data, jit=False, **changes):
    """Losses of 3 steps, and the model."""
    model = made(train.contracts.load(data), data, **changes)
    run, losses = compiled_steps.compiled(model.train_step, jit), []
    batches = iter(train.dataset.load(data, "train", 4, dequantize=False))
    for _ in range(3):
        model.reset()
        run(batches, tf.constant(1))
        losses.append(model.results()["loss"])
    return losses, model


@pytest.fixture(scope="module")
def plain(data):
    return trained(data)


@pytest.mark.slow
def test_xla_comes_to_the_same_losses(data, plain, tmp_path):
    losses, model = trained(data, jit=True)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    for given, expected in zip(model.get_weights(), plain[1].get_weights(), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-5)
    _, rows, _ = run(data, tmp_path / "run", jit="on", epochs=1, steps=2)  # with flips, from the options to the files
    assert 0.2 < float(rows[0]["loss"]) < 2


@keras.saving.register_keras_serializable("shardmill-tests")
class NoXla(keras.layers.Layer):
    """A layer that uses an operation which XLA has no form of."""

    def call(self, images):
        return tf.ensure_shape(
            tf.image.adjust_contrast(tf.strings.to_number(tf.strings.as_string(images)), 1.0), images.shape
        )


def with_no_xla(contract):
    inputs = keras.Input(contract.image_shape)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(NoXla()(inputs))))


def test_what_xla_cannot_compile_is_told_before_the_first_step(data, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    contract = train.contracts.load(data)
    model = made(contract, data, model=f"{__name__}:with_no_xla")
    spec = train.dataset.load(data, "train", 4, dequantize=False).element_spec
    with pytest.raises(TrainerError, match=r"--jit on: XLA cannot compile this training step \(.*String.*--jit off"):
        compiled_steps.use_xla("on", model, spec, 4)
    assert compiled_steps.use_xla("auto", model, spec, 4) is False  # no GPU: not tried
    monkeypatch.setattr(compiled_steps.tf.config, "list_physical_devices", lambda *_: ["one"])
    assert caplog.messages == []
    assert compiled_steps.use_xla("auto", model, spec, 4) is False
    assert caplog.messages[0].startswith("training without XLA, which cannot compile this step (")
    assert compiled_steps.use_xla("off", model, spec, 4) is False
    assert compiled_steps.use_xla("auto", made(contract, data), spec, 4) is True
    assert len(caplog.messages) == 1
    tf.config.experimental.enable_op_determinism()  # as training does
    with pytest.raises(TrainerError, match=r"MaxPool gradient .* --jit off, or --no-deterministic\."):
        compiled_steps.use_xla("on", made(contract, data, model="cnn"), spec, 4)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_16_bits_come_to_nearly_the_same_losses(data, plain, kind):
    losses, model = trained(data, mixed_precision=kind)
    np.testing.assert_allclose(losses, plain[0], rtol=0.03)
    assert losses != plain[0]  # it did compute in another type
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def own_dtypes(contract):
    inputs = keras.Input(contract.image_shape)
    x = keras.layers.Conv2D(4, 3, dtype="float32", name="own")(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))


def test_layers_with_a_dtype_keep_it_and_logits_are_float32(data):
    contract = train.contracts.load(data)
    config = TrainConfig(str(data), "o", model=f"{__name__}:own_dtypes", mixed_precision="float16")
    network, _ = build.make(config.model, contract)
    mixed = mixed_precision.twin(config, contract, network)
    assert {name: mixed.get_layer(name).compute_dtype for name in ("own", "pool", "logits")} == {
        "own": "float32", "pool": "float16", "logits": "float32",
    }  # fmt: skip
    assert mixed(np.zeros((1, 8, 8, 3), np.float32)).dtype == tf.float32
    assert_equal(mixed.get_weights(), network.get_weights())
    assert keras.config.dtype_policy().name == "float32"


def test_an_overflow_of_float16_halves_the_scale_and_only_a_true_one_stops(data):
    contract = train.contracts.load(data)
    model = made(contract, data, mixed_precision="float16")
    scale = model.optimizer.dynamic_scale
    images, labels = next(iter(train.dataset.load(data, "train", 4, dequantize=False)))
    before = model.trainable_variables[0].numpy()
    scale.assign(1e38)  # the scaled loss is still finite, its gradients are not
    model.train_step((images, labels))
    assert float(scale) == pytest.approx(5e37)
    assert int(model.fault) == 0
    np.testing.assert_array_equal(model.trainable_variables[0].numpy(), before)
    assert int(model.done) == 1
    assert int(model.optimizer.iterations) == 0  # the step was left out
    scale.assign(1.0)
    model.trainable_variables[0].assign(np.full_like(before, 1e38))
    model.train_step((images, labels))
    assert int(model.fault) // step.KINDS == 1  # the step, and not the optimizer's count of them
    assert int(model.fault) & step.GRADIENT


@pytest.mark.slow
def test_a_killed_float16_run_goes_on_to_the_same_float32_model(data, tmp_path, monkeypatch):
    options = {"mixed_precision": "float16", "steps_per_execution": 2, "checkpoint_steps": 2}
    one, rows, said = run(data, tmp_path / "one", **options)
    assert "warning: --mixed-precision float16 without a GPU is several times slower" in said
    assert {layer.dtype_policy.name for layer in one._flatten_layers()} == {"float32"}
    after_step = resume.Saver.after_step

    def dies(self, epoch_ended):
        after_step(self, epoch_ended)
        if (self._position.epoch, self._position.step) == (1, 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.Saver, "after_step", dies)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "two", **options)
    two, same_rows, said = run(data, tmp_path / "two", resume=True, **{**options, "steps_per_execution": 3})
    assert "epoch 2, after 4 of its steps" in said
    assert same_rows == rows
    assert_equal(two.get_weights(), one.get_weights())
