"""Learning rates, weight decay, clipping, moving averages, and what is frozen when."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipelines.contract import Split
from pipelines.core.errors import ConfigError
from tests.support.datasets import make_contract, write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.models import build
from trainer.models.backbone import Backbone
from trainer.training import optimizers
from trainer.training.step import training_model

COUNTS = {"ok": 6, "broken": 2}
CONTRACT = make_contract(encoding="uint8", splits={"train": Split(COUNTS, COUNTS, {}, ())})


def rates(steps=10, **options):
    """The learning rate of every step of 4 epochs."""
    config = TrainConfig("d", "o", epochs=4, learning_rate=0.1, **options)
    rate = optimizers.learning_rate(config, steps)
    total = (4 - config.freeze_epochs) * steps
    return [rate] * total if isinstance(rate, float) else [float(rate(step)) for step in range(total)]


def test_learning_rates_by_hand():
    assert rates() == [0.1] * 40
    np.testing.assert_allclose(rates(schedule="cosine"), 0.05 * (1 + np.cos(np.pi * np.arange(40) / 40)), rtol=1e-4)
    warm = 0.1 * np.arange(1, 11) / 11
    np.testing.assert_allclose(rates(warmup_epochs=1.0), [*warm, *[0.1] * 30], rtol=1e-5)
    both = rates(schedule="cosine", warmup_epochs=1.0)
    np.testing.assert_allclose(both, [*warm, *(0.05 * (1 + np.cos(np.pi * np.arange(30) / 30)))], rtol=1e-4)
    assert len(rates(schedule="cosine", freeze_epochs=1)) == 30  # the cosine is of the epochs after those
    assert rates(schedule="cosine", freeze_epochs=1)[-1] < 1e-3
    np.testing.assert_allclose(rates(steps=1, warmup_epochs=0.5, schedule="cosine")[0], 0.1)  # half a step is none


def small(batch_norm=True):
    """Dense behind a convolution and a normalization: takes the tests a moment to train."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=4, name="conv")(inputs)
    if batch_norm:
        x = layers.BatchNormalization(momentum=0.5, name="bn")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="small")


def batch():
    random = np.random.default_rng(0)
    return tf.constant(random.integers(0, 256, (8, 8, 8, 3), np.uint8)), tf.constant(random.integers(0, 2, 8))


def prepared(network=None, steps=2, **options):
    keras.utils.set_random_seed(0)
    network = network or small()
    config = TrainConfig("d", "o", **{"flip": False, "epochs": 4, **options})
    return network, training_model(config, CONTRACT, network, steps)


def test_weight_decay_is_decoupled_and_for_kernels_only():
    """The step of AdamW is that of Adam from kernels that were scaled by 1 - rate * decay first."""
    network, model = prepared(weight_decay=0.3, learning_rate=0.1)
    plain, other = prepared(learning_rate=0.1)
    before = network.get_weights()
    other.train_step(batch())
    changed = [after - start for after, start in zip(plain.get_weights(), before, strict=True)]
    model.train_step(batch())
    for weight, start, change in zip(network.get_weights(), before, changed, strict=True):
        decay = 0.03 * start if start.ndim > 1 else 0
        np.testing.assert_allclose(weight, start - decay + change, atol=1e-6)


def first_gradients(network):
    """The gradients of the first step, by hand."""
    contract_batch, labels = batch()
    _, model = prepared(small_copy(network))
    with tf.GradientTape() as tape:
        scores = model.network(model.dequantize(contract_batch), training=True)
        loss = model.compute_loss(contract_batch, model.targets(labels, None), scores, training=True)
    return [np.asarray(g) for g in tape.gradient(loss, model.network.trainable_variables)]


def small_copy(network):
    copy = small()
    copy.set_weights(network.get_weights())
    return copy


def steps_of(network, model, count=1):
    """The changes of the trainable weights in each of some steps."""
    found = []
    for _ in range(count):
        before = [np.asarray(v) for v in network.trainable_variables]
        model.train_step(batch())
        found.append([np.asarray(v) - b for v, b in zip(network.trainable_variables, before, strict=True)])
    return found


@pytest.mark.parametrize(("momentum", "share"), [(0.0, 1.0), (0.9, 1.9)])
def test_a_step_of_gradient_descent_by_hand(momentum, share):
    """Nesterov's first step is 1 + momentum times the plain one."""
    network, model = prepared(optimizer="sgd", momentum=momentum, learning_rate=0.5)
    expected = first_gradients(network)
    for moved, gradient in zip(steps_of(network, model)[0], expected, strict=True):
        np.testing.assert_allclose(moved, -0.5 * share * gradient, rtol=1e-3, atol=1e-6)


def test_a_step_of_lamb_is_as_long_as_the_rate_times_the_weight():
    network, model = prepared(optimizer="lamb", learning_rate=0.01)
    before = [np.asarray(v) for v in network.trainable_variables]
    for start, moved in zip(before, steps_of(network, model)[0], strict=True):
        if np.linalg.norm(start):  # a bias of 0 has no length
            assert np.linalg.norm(moved) == pytest.approx(0.01 * np.linalg.norm(start), rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "sgd", "lamb"])
def test_rates_rise_from_layer_to_layer(name):
    """The layers are a convolution, a normalization and the head: with 0.04 they have 0.04, 0.2 and 1 of the rate."""
    plain, graded = (
        steps_of(*prepared(optimizer=name, learning_rate=0.01, lowest_rate=rate))[0] for rate in (1.0, 0.04)
    )
    for whole, part, share in zip(plain, graded, [0.04, 0.04, 0.2, 0.2, 1, 1], strict=True):
        np.testing.assert_allclose(part, share * whole, rtol=2e-2, atol=2e-7)
        assert np.abs(part).max() > 0


def test_weights_decay_with_the_rate_of_their_layer():
    plain, graded = (
        steps_of(*prepared(learning_rate=0.1, lowest_rate=0.04, weight_decay=decay))[0] for decay in (0.0, 0.5)
    )
    starts = [np.asarray(v) for v in prepared()[0].trainable_variables]
    for without, with_decay, start, share in zip(plain, graded, starts, [0.04, 0.04, 0.2, 0.2, 1, 1], strict=True):
        decay = 0.05 * share * start if start.ndim > 1 else 0
        np.testing.assert_allclose(with_decay, without - decay, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "lamb"])
def test_other_optimizers_go_with_the_other_options(name):
    network, model = prepared(
        optimizer=name, lowest_rate=0.1, mixed_precision="float16", ema=0.5, clip_norm=1.0, weight_decay=0.01,
        freeze_epochs=1, schedule="cosine",
    )  # fmt: skip
    for epoch in (0, 1):
        model.enter(epoch)
        before = network.get_weights()
        model.train_step(batch())
        assert any((a != b).any() for a, b in zip(network.get_weights(), before, strict=True))
        assert not int(model.fault.numpy())


def test_gradients_are_scaled_to_the_norm():
    """With plain steps, the change of all weights together is the rate times the norm at most."""
    network, model = prepared(clip_norm=0.01)
    assert model.optimizer.global_clipnorm == 0.01
    model.optimizer = keras.optimizers.SGD(1.0, global_clipnorm=model.optimizer.global_clipnorm)
    before = [np.asarray(v) for v in network.trainable_variables]
    model.train_step(batch())
    moved = [np.asarray(v) - b for v, b in zip(network.trainable_variables, before, strict=True)]
    assert np.sqrt(sum((m**2).sum() for m in moved)) == pytest.approx(0.01, rel=1e-4)


def test_the_moving_average_by_hand_and_only_where_it_is_asked_for():
    network, model = prepared(ema=0.75, learning_rate=0.05)
    expected = None
    for _ in range(4):
        model.train_step(batch())
        now = [np.asarray(v) for v in network.trainable_variables]
        expected = [0.75 * e + 0.25 * n for e, n in zip(expected, now, strict=True)] if expected else now
    with model.averaged():
        for variable, average in zip(network.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(variable, average, rtol=1e-4, atol=1e-6)
    for variable, last in zip(network.trainable_variables, now, strict=True):
        np.testing.assert_array_equal(variable, last)  # training goes on from the weights themselves
    network, model = prepared()
    model.train_step(batch())
    before = network.get_weights()
    with model.averaged():
        for weight, same in zip(network.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, same)


def changed(network, model):
    before = {v.path: np.asarray(v) for v in network.variables}
    model.train_step(batch())
    return {v.path.rsplit("small/")[-1] for v in network.variables if not np.array_equal(v, before[v.path])}


def test_frozen_is_all_but_the_head_with_its_statistics():
    network, model = prepared(freeze_epochs=2, head_learning_rate=0.25, learning_rate=0.001)
    everything = {v.path.rsplit("small/")[-1] for v in network.variables}
    head = {name for name in everything if "head" in name}
    assert model.enter(0)
    start = np.asarray(network.get_layer("head").kernel)
    assert changed(network, model) == head
    step = np.abs(np.asarray(network.get_layer("head").kernel) - start).max()
    assert step == pytest.approx(0.25, rel=1e-3)  # Adam's first step is the rate
    assert not model.enter(1)
    assert model.enter(2)
    start = np.asarray(network.get_layer("conv").kernel)
    assert changed(network, model) == everything
    assert np.abs(np.asarray(network.get_layer("conv").kernel) - start).max() == pytest.approx(0.001, rel=1e-2)
    assert not model.enter(3)


def test_what_was_not_to_be_trained_stays_so():
    network = small()
    network.get_layer("conv").trainable = False
    network, model = prepared(network, freeze_epochs=1)
    model.enter(0)
    model.enter(1)
    assert not network.get_layer("conv").trainable
    assert network.get_layer("bn").trainable


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({"unfreeze": "none"}, {"head"}),
        ({"unfreeze": "top=1", "batch_norm": "train"}, {"head", "bn"}),
        ({"unfreeze": "top=2"}, {"head", "bn", "conv"}),
        ({"unfreeze": "top=9"}, {"head", "bn", "conv"}),
        ({"batch_norm": "freeze"}, {"head", "conv"}),
        ({"init_weights": "w.keras"}, {"head", "conv"}),
        ({"init_weights": "w.keras", "batch_norm": "train"}, {"head", "bn", "conv"}),
        ({"unfreeze": "top=1", "batch_norm": "freeze"}, {"head", "conv"}),
        ({"unfreeze": "none", "freeze_epochs": 1}, {"head"}),
    ],
)
def test_which_layers_a_step_trains(options, trained):
    """A frozen batch normalization keeps its statistics, too."""
    network, model = prepared(**options)
    model.enter(0)
    model.enter(1)
    assert {path.split("/")[0] for path in changed(network, model)} == trained


def test_the_head_of_a_nested_network_is_its_last_dense_layer():
    contract = make_contract(image_shape=(32, 32, 3))
    network = build.build("MobileNetV2", contract)
    backbone = Backbone(network)
    assert backbone.head.name == "logits"
    everything = len(network.trainable_variables)
    backbone.freeze()
    assert [v.path for v in network.trainable_variables] == [v.path for v in backbone.head.variables]
    backbone.unfreeze()
    assert len(network.trainable_variables) == everything
    flat = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(TrainerError, match=r"--fit-head need a model that ends in a Dense layer.* Dense last"):
        Backbone(flat)


def test_a_head_of_other_classes_is_left_new(tmp_path):
    three = write_dataset(tmp_path / "three", labels=("a", "b", "c"), splits={"train": (2, 2, 2)})
    source = build.build("cnn", three)
    source.save(tmp_path / "three.keras")
    with pytest.warns(
        UserWarning, match="is for 3 classes and this dataset has 2: the weights of the head are not loaded"
    ):
        network = build.build("cnn", make_contract(), str(tmp_path / "three.keras"))
    for given, taken in zip(source.get_weights()[:-2], network.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(given, taken)
    assert network.get_weights()[-1].shape == (2,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_epochs": 16}, "--freeze-epochs should be from 0 to 15. Received: 16."),
        ({"warmup_epochs": 14, "freeze_epochs": 2}, "--warmup-epochs should be from 0 to 13. Received: 14."),
        ({"head_learning_rate": 0.1}, "--head-learning-rate is of use only with --freeze-epochs."),
        ({"momentum": 0.5}, "--momentum is of use only with --optimizer sgd."),
        ({"lowest_rate": 0.0}, "--lowest-rate should be above 0 and at most 1. Received: 0.0."),
        ({"schedule": "linear"}, "--schedule should be one of constant, cosine. Received: 'linear'."),
        ({"ema": 1.0}, "--ema should be from 0 to 0.99999. Received: 1.0."),
        ({"weight_decay": float("nan")}, "--weight-decay should be from 0 to 100. Received: nan."),
        ({"mixup": 0.01}, "--mixup should be 0 or from 0.1 on. Received: 0.01."),
        ({"focal_gamma": 1.0}, "--focal-gamma is of use only with --loss focal."),
    ],
)
def test_values_out_of_range_are_named(changes, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig("d", "o", **changes)
    assert message in str(error.value)
