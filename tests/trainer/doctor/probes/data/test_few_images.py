"""The doctor on few train images: of a class, and for a network that begins with random weights."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tests.support.doctor import batches, cnn, doctor, ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.clock import Clock
from trainer.doctor.finding import NotApplicable
from trainer.doctor.probes.data import few_images
from trainer.doctor.subject.subject import Subject
from trainer.doctor.subject.training import FIT, Training

OF_A_CLASS, AT_RANDOM = (probe_of(few_images, look) for look in (few_images.of_a_class, few_images.at_random))


@pytest.fixture(scope="module")
def images():
    """float32 0..1 (120, 32, 32, 3), and 20 of each of 6 ids."""
    rng = np.random.default_rng(0)
    return rng.random((120, 32, 32, 3)).astype(np.float32), np.repeat(np.arange(6), 20)


def test_too_few_images_of_a_class(images):
    x, y = images
    keep = np.flatnonzero((y != 2) | (np.cumsum(y == 2) <= 9))
    found = only(doctor(OF_A_CLASS, dataset=batches(x[keep], y[keep])), "few-images")
    assert (found.level, found.what) == ("warning", "A class has too few train images to be learned")
    assert "Fewer than 10: class 2 9." in found.evidence
    assert ids(doctor(OF_A_CLASS, dataset=batches(x, y))) == []


def test_a_run_with_few_images_began_with_random_weights():
    few = "32 train images for each class on average"

    def told(*accuracies, few=few):
        past = {"val_accuracy": accuracies} if accuracies else None
        found = few_images.of_a_run(Subject(few_images=few, history=past), Clock(1.0))
        return [(finding.id, finding.level, finding.evidence) for finding in found]

    assert told(0.5, 0.75, 0.7) == [("few-images", "info", f"It had {few}. The best val_accuracy was 75.0%.")]
    assert told() == [("few-images", "info", f"It had {few}.")]
    assert told(0.5, 0.96) == []
    with pytest.raises(NotApplicable):  # published weights, enough images, or no run of `train`
        told(0.5, few="")


def normalized():
    """A network whose convolution has a batch normalization and no bias, and whose head has a bias."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(6),
        ]
    )


@pytest.mark.parametrize("network", [lambda: cnn(6), normalized])
def test_a_network_that_begins_at_random(images, network):
    found = only(doctor(AT_RANDOM, dataset=batches(*images), model=network()), "few-images")
    assert (found.level, found.what) == ("info", "The network begins with random weights and has few images")
    assert found.evidence == "It had 20 train images for each class on average."
    assert 'weights="imagenet"' in found.fix
    assert "--recipe transfer" in found.fix


@pytest.mark.parametrize("name", ["bias", "beta", "moving_mean"])
def test_a_network_with_given_weights_is_left_alone(images, name):
    model = normalized()
    variable = next(v for v in model.weights if v.path.endswith(name))
    variable.assign(np.linspace(-1, 1, variable.shape[0]))
    assert ids(doctor(AT_RANDOM, dataset=batches(*images), model=model)) == []


def test_statistics_of_the_data_are_no_given_weights(images):
    front = keras.layers.Normalization()
    front.adapt(images[0])
    assert ids(doctor(AT_RANDOM, dataset=batches(*images), model=cnn(6, [front]))) == ["few-images"]


def trained(images, first, **fields):
    """A subject whose model has taken 10 steps, and whose weights before them were `first`."""
    model = cnn(6)
    before = first(model)
    model.layers[-1].bias.assign(np.arange(6.0))
    model.optimizer.iterations.assign(10)
    training = Training("fit", form=FIT, first_weights=before, samples=120)
    return dataclasses.replace(subject(images, model=model), training=dataclasses.replace(training, **fields))


def of(given):
    return run_probes.run(given, [AT_RANDOM])


def test_what_a_training_moved_says_nothing_of_its_start(images):
    assert ids(of(trained(images, lambda model: model.get_weights()))) == ["few-images"]
    moved = of(
        trained(
            images,
            lambda model: [weight + np.arange(weight.size).reshape(weight.shape) for weight in model.get_weights()],
        )
    )
    assert ids(moved) == []
    unknown = of(trained(images, lambda model: None))
    assert ids(unknown) == []
    assert unknown.not_checked == (
        ("weights that a network began with", "the weights before the training are not known"),
    )


def test_a_high_accuracy_needs_no_other_weights(images):
    for accuracy, expected in ((0.94, ["few-images"]), (0.95, [])):
        history = {"val_accuracy": (0.5, accuracy)}
        assert ids(of(trained(images, lambda model: model.get_weights(), history=history))) == expected


def test_enough_images_and_small_ones_are_left_alone(images):
    x, y = images
    many = subject((np.resize(x, (6000, 32, 32, 3)), np.resize(y, 6000)), model=cnn(6))
    assert ids(of(many)) == []
    assert ids(of(subject((x, y), model=cnn(6), origin="folder"))) == []  # the advice beside the findings says it
    assert ids(of(subject((x, y), model=cnn(6)))) == ["few-images"]
    assert ids(of(subject((x[:, :31], y), model=cnn(6, shape=(31, 32, 3))))) == []
    assert ids(of(subject((x[:, :, :, [0, 0]], y), model=cnn(6, shape=(32, 32, 2))))) == []


def test_a_cut_pass_takes_the_number_of_images_from_the_training(images):
    given = trained(images, lambda model: model.get_weights())
    cut = dataclasses.replace(given.train, sample=dataclasses.replace(given.train.sample, complete=False))
    for samples, expected in ((120, ["few-images"]), (6000, []), (None, [])):
        training = dataclasses.replace(given.training, samples=samples)
        assert ids(of(dataclasses.replace(given, train=cut, training=training))) == expected
