"""The range of values that networks get in several trainings of one program."""

import keras
import numpy as np
import pytest
from keras import layers

from trainer.doctor.program.backbones import Backbones
from trainer.doctor.subject.training import Place

RAW = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype(np.float32)
LABELS = np.arange(32) % 2
ONE, TWO = (Place("train.py", line, "model.fit(...)") for line in (10, 20))


def backbone(seed=0):
    keras.utils.set_random_seed(seed)
    stack = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((16, 16, 3)), *stack], name="features")


def with_head(network, front=()):
    return keras.Sequential([keras.Input((16, 16, 3)), *front, network, layers.Dense(2)])


def looked(*trainings):
    """The findings on trainings: model, images and line."""
    seen = Backbones()
    return [found for model, x, place in trainings for found in seen.look(model, {"x": x, "y": LABELS}, place, None)]


def copied(network):
    other = backbone(seed=1)
    other.set_weights(network.get_weights())
    return other


@pytest.mark.parametrize("again", [lambda network: network, copied])
def test_a_backbone_that_gets_other_values_in_the_next_training(again):
    network = backbone()
    [found] = looked((with_head(network), RAW, ONE), (with_head(again(network)), RAW / 255, TWO))
    assert found.id == "splits-differ-normalization"
    assert found.what == "features gets values of another size in this training than in the one before"
    assert found.place == "train.py:20: model.fit(...)"
    assert found.evidence == "The training at train.py:10 gives 0..255; this one gives 0..1."


def test_what_the_model_scales_itself_is_told():
    network = backbone()
    double = with_head(network, [layers.Rescaling(1 / 255)])
    [found] = looked((with_head(network), RAW / 255, ONE), (double, RAW / 255, TWO))
    assert found.evidence.endswith("this one gives 0..1, of which 0..0.003922 reaches the first weights.")


SCALED = [layers.Rescaling(1 / 255)]


@pytest.mark.parametrize(
    "trainings",
    [
        lambda network: [(with_head(network), RAW, ONE), (with_head(network), RAW / 2, TWO)],  # darker images
        lambda network: [(with_head(network), RAW / 127.5 - 1, ONE), (with_head(network), RAW / 255, TWO)],
        lambda network: [(with_head(network, SCALED), RAW, ONE), (with_head(network), RAW / 255, TWO)],
        lambda network: [(with_head(network), RAW, ONE), (with_head(backbone(seed=1)), RAW / 255, TWO)],  # another one
        lambda network: [(with_head(network), RAW, ONE), (with_head(network), RAW / 255, ONE)],  # in a loop
        lambda network: [(with_head(network), RAW, ONE), (with_head(network, [layers.Conv2D(3, 1)]), RAW / 255, TWO)],
        lambda network: [(keras.Sequential([keras.Input((4,)), layers.Dense(2)]), RAW[:, 0, 0], ONE)],
    ],
)  # fmt: skip
def test_networks_that_get_what_they_know(trainings):
    assert looked(*trainings(backbone())) == []


@pytest.mark.parametrize(("x", "expected"), [(RAW / 255, []), (RAW, ["wrong-range"])])
def test_a_training_that_is_only_noted_is_held_against_what_the_network_remembers(x, expected):
    network = backbone()
    network.layers[1].momentum = 0.0
    network(RAW / 255, training=True)
    assert [found.id for found in looked((with_head(network), x, ONE))] == expected
