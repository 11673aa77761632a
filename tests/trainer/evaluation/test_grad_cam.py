"""Where a network looked: the map of the class that lies where the class is."""

from __future__ import annotations

import base64
import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from tests.support.datasets import make_contract, write_dataset
from trainer.evaluation import grad_cam, inference
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores.calibration import UNCALIBRATED
from trainer.models import build, ensemble, view
from trainer.reporting import class_page


def bright_and_dark(activation=None, shape=(8, 8, 3)):
    """Answers class 0 by what is above 0 in an image, and class 1 by what is below, from maps of 4x4 places."""
    inputs = keras.Input(shape)
    x = layers.AveragePooling2D(2)(inputs)
    kernel = np.array([[[[1, -1]] * 3]], np.float32) / 3
    x = layers.Conv2D(2, 1, activation="relu", kernel_initializer=keras.initializers.Constant(kernel), name="conv")(x)
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(x))
    made = layers.Dense(2, activation, kernel_initializer=keras.initializers.Constant(np.eye(2, dtype=np.float32)))
    return keras.Model(inputs, made(x))


def corner():
    """Bright at the top left and dark at the bottom right, float32 (1, 8, 8, 3)."""
    image = np.zeros((1, 8, 8, 3), np.float32)
    image[0, :4, :4], image[0, 4:, 4:] = 1, -2
    return tf.constant(np.repeat(image, 3, axis=0))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_map_lies_where_the_class_is(activation):
    network = bright_and_dark(activation)
    layer = grad_cam.last_feature_map(network, corner()[:1])
    assert layer.name == "conv"  # and not the pooling behind it, whose map is coarser
    size, maps = grad_cam.maps(network, layer, corner(), np.array([0, 1, 0]))
    assert size == (4, 4)
    bright, dark = np.zeros((4, 4)), np.zeros((4, 4))
    bright[:2, :2], dark[2:, 2:] = 1, 1
    np.testing.assert_allclose(maps, [bright, dark, bright], atol=1e-6)
    assert "call" not in vars(layer)  # nothing is left in the network


def test_a_nested_network_behind_a_view_is_drawn_as_it_sees_the_image():
    contract = make_contract(image_shape=(12, 16, 3))
    network = view.viewed(bright_and_dark(), contract)
    stored = tf.zeros((1, 12, 16, 3))
    assert grad_cam.last_feature_map(network, stored).name == "conv"
    assert grad_cam._seen(network, contract, stored).shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("name", "side", "layer", "size"),
    [("cnn", 32, "conv2d_3", (4, 4)), ("resnet20", 32, "re_lu_18", (8, 8)), ("MobileNetV2", 64, "out_relu", (2, 2))],
)
def test_the_networks_that_train_builds_have_maps(name, side, layer, size):
    keras.utils.clear_session()
    network = build.build(name, make_contract(image_shape=(side, side, 3)))
    images = tf.random.normal((3, side, side, 3), seed=0)
    found = grad_cam.last_feature_map(network, images[:1])
    assert found.name == layer
    measured, maps = grad_cam.maps(network, found, images, np.array([0, 1, 1]))
    assert (measured, maps.shape) == (size, (3, *size))
    assert maps.min() >= 0
    assert set(np.unique(maps.max(axis=(1, 2)))) <= {0.0, 1.0}


def test_what_has_no_map_is_a_sentence(tmp_path):
    write_dataset(tmp_path, splits={"test": (3, 2)})
    flat = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    joined = ensemble.mean([bright_and_dark(), bright_and_dark()], "softmax", make_contract())
    for network, reason in (
        (flat, "The network has no feature map with a height and a width, as those of convolutions are."),
        (joined, "The model is the mean of several networks, of which each looks elsewhere."),
    ):
        found = Assessment("test", inference.predict(network, tmp_path, "test", 4), UNCALIBRATED)
        looked = grad_cam.looks(network, found, tmp_path, 4)
        assert looked == grad_cam.Looks(reason=reason)
        assert f"Nothing is drawn. {reason}" in class_page.render("run", {}, [found], {}, None, {"test": looked})


class Hue(layers.Layer):
    """An operation for which TensorFlow has no gradient."""

    def call(self, images):
        return tf.reshape(tf.image.adjust_hue(images, 0.1), (-1, 192))


def test_an_operation_without_a_gradient_does_not_end_a_training(tmp_path):
    write_dataset(tmp_path, splits={"test": (3, 2)})
    hue = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1), Hue(), layers.Dense(2)])
    found = Assessment("test", inference.predict(hue, tmp_path, "test", 4), UNCALIBRATED)
    assert grad_cam.looks(hue, found, tmp_path, 4).reason == (
        "The gradient of the network could not be computed (gradient registry has no entry for: AdjustHue)."
    )


def test_mistakes_have_two_maps_and_right_answers_one(tmp_path):
    write_dataset(tmp_path, splits={"test": (5, 4)})
    network = bright_and_dark()
    found = Assessment("test", inference.predict(network, tmp_path, "test", 4), UNCALIBRATED)
    looked = grad_cam.looks(network, found, tmp_path, 4)
    wrong = found.records - int(found.matrix.trace())
    assert (len(looked.mistakes), len(looked.right)) == (wrong, 9 - wrong)
    assert wrong
    assert all(look.answer != look.label and look.for_label for look in looked.mistakes)
    assert all(look.answer == look.label and not look.for_label for look in looked.right)
    assert (looked.layer, looked.size, looked.reason) == ("conv", (4, 4), "")
    text = class_page.render("run", {}, [found], {}, None, {"test": looked})
    assert text.count("what speaks for") == 2 * wrong + (9 - wrong)


def test_the_overlay_colours_the_place_and_leaves_the_rest_gray():
    pixels = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8))
    heat[:4] = 1
    drawn = grad_cam.overlaid(pixels, heat)
    assert drawn.shape == (192, 192, 3)
    assert drawn[-1, 0].tolist() == [100, 100, 100]
    red, _, blue = drawn[0, 0].tolist()  # plasma ends in yellow
    assert red > 180 > 100 > blue
    assert grad_cam.overlaid(np.zeros((300, 200, 1), np.uint8), heat).shape == (300, 200, 3)
    header, content = grad_cam.mistakes.data_uri(drawn).split(",")
    assert header == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (192, 192)
