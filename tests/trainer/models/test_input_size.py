"""A network at another input size: the same layers and weights, and refusals of what takes one size only."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.datasets import make_contract
from trainer.config import TrainerError
from trainer.models import build, input_size
from trainer.models.input_size import at_size


def flattening(contract):
    """Builds a network whose last layer has weights for each place of the image."""
    inputs = keras.Input(contract.image_shape)
    features = layers.Flatten()(layers.Conv2D(2, 3, strides=2, padding="same")(inputs))
    return keras.Model(inputs, layers.Dense(len(contract.labels), name="logits")(features), name="flattening")


def images(size, count=3):
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "name", ["cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet20", "MobileNetV2"))]
)
def test_it_answers_as_a_network_that_was_built_for_this_size(name):
    large, _ = build.make(name, make_contract(image_shape=(64, 64, 3)))
    small, _ = build.make(name, make_contract(image_shape=(32, 32, 3)))
    small.set_weights(large.get_weights())
    found = at_size(large, 32)
    np.testing.assert_allclose(found(images(32)), small(images(32)), rtol=1e-5, atol=1e-5)
    assert [id(w) for w in found.weights] == [id(w) for w in large.weights]
    assert large(images(64)).shape == (3, large.output_shape[1])


def test_the_same_size_is_the_network_itself():
    network, _ = build.make("cnn", make_contract(image_shape=(16, 16, 3)))
    assert at_size(network, 16) is network


def mean(inputs):
    return layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(inputs))


@pytest.mark.parametrize("kind", ["sequential", "nested", "operations"])
def test_other_ways_of_building_a_network(kind):
    """A mean of pixels has no size: the constant image gives the same at both sizes."""
    inputs = keras.Input((16, 16, 3))
    if kind == "sequential":
        network = keras.Sequential([inputs, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    elif kind == "nested":
        inner = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 1), layers.BatchNormalization()])
        network = keras.Model(inputs, mean(inner(inputs, training=False)))
    else:
        network = keras.Model(inputs, mean(keras.ops.relu(inputs * 2.0) + 1.0))
    ones = np.ones((1, 16, 16, 3), np.float32)
    np.testing.assert_allclose(at_size(network, 8)(ones[:, :8, :8]), network(ones), rtol=1e-4, atol=1e-5)


def test_a_step_at_one_size_is_learned_at_the_other():
    network, _ = build.make("cnn", make_contract(image_shape=(16, 16, 3)))
    small = at_size(network, 8)
    before = network(images(16)).numpy()
    small.trainable_variables[-1].assign_add(np.full(small.output_shape[1], 3.0))  # the biases of the head
    np.testing.assert_allclose(network(images(16)), before + 3, rtol=1e-5, atol=1e-5)


REFUSED = {
    "a layer of one size": (lambda x: layers.Dense(2, name="logits")(layers.Flatten()(x)), "'logits' does not: Input"),
    "a fixed shape": (
        lambda x: mean(layers.Reshape((8, 32, 3), name="wide")(x)),
        "'wide' does not: The total size of the tensor must be unchanged",
    ),
    "a large kernel": (
        lambda x: mean(layers.Conv2D(1, 12, name="large")(x)),
        "'large' does not: Computed output size would be zero or negative",
    ),
    "a map": (lambda x: layers.Conv2D(2, 3)(x), r"its outputs have the shape \(6, 6, 2\) at this size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_takes_one_size_is_refused_by_name(name):
    make, told = REFUSED[name]
    inputs = keras.Input((16, 16, 3))
    with pytest.raises(TrainerError, match=f"needs a network that takes images of every size.*At 8x8 pixels.*{told}"):
        at_size(keras.Model(inputs, make(inputs)), 8)


def test_a_network_without_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs[:, 0, 0]

    own = Own(name="own")
    own(images(16))
    with pytest.raises(TrainerError, match=r"functional or sequential network .*'own' is built otherwise"):
        at_size(own, 8)


def test_two_inputs_are_refused():
    one, other = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    with pytest.raises(TrainerError, match="one input"):
        input_size.at_size(keras.Model([one, other], mean(one + other)), 8)
