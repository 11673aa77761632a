"""What a network sees of larger stored images, in the saved model and as products of matrices."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.support.datasets import make_contract
from trainer.config import TrainerError
from trainer.models import alignment, build, view


def images(height, width, channels=3, count=2):
    return tf.constant(np.random.default_rng(0).normal(size=(count, height, width, channels)).astype(np.float32))


@pytest.mark.parametrize(
    ("stored", "size", "shape"),
    [
        ((256, 256), 224, (256, 256)),  # ImageNet's: nothing is resized
        ((512, 384), 224, (341, 256)),
        ((96, 96), 64, (73, 73)),
        ((70, 100), 64, (70, 100)),  # the shorter side is not enlarged to 73
        ((64, 64), 64, (64, 64)),
    ],
)
def test_the_shorter_side_is_an_eighth_more_than_the_view(stored, size, shape):
    assert view.resized_shape(*stored, size) == shape


def test_without_resizing_the_view_is_the_pixels_of_the_centre():
    stored = images(10, 12)
    np.testing.assert_allclose(view.central(stored, 9), stored[:, 0:9, 1:10], atol=1e-5)
    network = view.viewed(
        build.build("cnn", make_contract(image_shape=(9, 9, 3))), make_contract(image_shape=(10, 12, 3))
    )
    np.testing.assert_array_equal(network.get_layer(view.CENTRE)(stored), stored[:, 0:9, 1:10])


@pytest.mark.parametrize(("height", "width", "size"), [(96, 96, 64), (40, 100, 31), (100, 37, 16), (33, 33, 32)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_layers_and_the_matrices_are_equal(height, width, size, channels):
    stored = images(height, width, channels)
    small = keras.Sequential([keras.Input((size, size, channels)), layers.Activation("linear")])
    network = view.viewed(small, make_contract(image_shape=(height, width, channels)))
    np.testing.assert_allclose(network(stored), view.central(stored, size), atol=1e-4)
    np.testing.assert_array_equal(view.shown(network, stored), view.central(stored, size))
    assert view.core(network) is small
    assert view.core(small) is small
    assert view.shown(small, stored) is stored


def test_resampling_by_hand():
    """Four pixels to two: each takes 3 of its own two and 1 of the next, since the filter is two pixels wide."""
    whole = view.resampling(tf.constant([0.0]), tf.constant([4.0]), 2, 4)
    np.testing.assert_allclose(whole[0], np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7, atol=1e-6)
    part = view.resampling(tf.constant([1.0, 0.5]), tf.constant([2.0, 2.0]), 2, 4)
    np.testing.assert_allclose(part[0], [[0, 1, 0, 0], [0, 0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(part[1], [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]], atol=1e-6)


def test_the_network_takes_stored_images_and_its_weights_are_those_of_the_core(tmp_path):
    contract = make_contract(image_shape=(24, 20, 3))
    network = build.build("cnn", contract, train_size=16)
    assert network.input_shape == (None, 24, 20, 3)
    assert view.core(network).input_shape == (None, 16, 16, 3)
    alignment.check_model(network, contract)
    network.save(tmp_path / "model.keras")
    again = build.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again(images(24, 20)), network(images(24, 20), training=False)
    )  # no dropout by default
    whole = build.build("cnn", make_contract(image_shape=(16, 16, 3)), str(tmp_path / "model.keras"))
    for given, taken in zip(whole.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(given, taken)
    three = make_contract(image_shape=(24, 20, 3), labels=("a", "b", "c"))
    with pytest.warns(UserWarning, match="the weights of the head are not loaded"):
        other = build.build("cnn", three, str(tmp_path / "model.keras"), train_size=16)
    np.testing.assert_array_equal(other.get_weights()[0], network.get_weights()[0])
    assert build.build("cnn", make_contract(image_shape=(16, 16, 3)), train_size=16).name == "cnn"  # nothing in front


def test_published_weights_keep_their_conversion():
    """The range of the pixels is not checked again behind the view: the layer was made from the contract."""
    contract = make_contract(image_shape=(40, 40, 3))
    network, _ = build.make("MobileNetV2", contract, "weights.h5", train_size=32)
    assert "to_pretrained_range" in [layer.name for layer in view.core(network).layers]
    alignment.check_model(network, contract)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(
        TrainerError, match=r"at most the shorter side of the stored images, 60\. Received: 64\. .* --size 73x73"
    ):
        view.contract_of_view(make_contract(image_shape=(60, 90, 3)), 64)
