"""Each fault between the values of the images and the model, on real photographs, beside healthy twins."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.datasets import make_contract, normalization
from tests.support.doctor import batches, cnn, doctor, ids, only, photos, probe_of, subject, unit
from trainer.doctor import run_probes
from trainer.doctor.probes.model import input_range
from trainer.doctor.subject.load import subject_of
from trainer.doctor.subject.training import Training
from trainer.doctor.tools import keras_applications
from trainer.models import networks

apps = keras.applications
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def waste(real_data):
    return photos(real_data, "trashnet", 8, 32)


def ask(images, labels, model):
    return doctor(*input_range.PROBES, dataset=batches(images, labels), model=model)


def zscore(images):
    x = images.astype(np.float32)
    return (x - x.mean(axis=(0, 1, 2))) / x.std(axis=(0, 1, 2))


def symmetric(images):
    return images.astype(np.float32) / 127.5 - 1


def as_imagenet(images):
    return (unit(images) - MEAN) / DEVIATION


def as_float(images):
    return images.astype(np.float32)


def caffe(images):
    return images[..., ::-1].astype(np.float32) - np.float32([103.939, 116.779, 123.68])


def adapted(images):
    layer = layers.Normalization()
    layer.adapt(images)
    return layer


HEALTHY = {
    "0..1": (unit, lambda x: cnn(6)),
    "-1..1": (symmetric, lambda x: cnn(6)),
    "zscore": (zscore, lambda x: cnn(6)),
    "imagenet": (as_imagenet, lambda x: cnn(6)),
    "0..255 and Rescaling": (as_float, lambda x: cnn(6, [layers.Rescaling(1 / 255)])),
    "uint8 and Rescaling": (lambda x: x, lambda x: cnn(6, [layers.Rescaling(1 / 127.5, offset=-1)])),
    "0..255 and Normalization": (as_float, lambda x: cnn(6, [adapted(x)])),
    "0..1 and Normalization of 0..1": (unit, lambda x: cnn(6, [adapted(unit(x))])),
    "0..1 and Rescaling to -1..1": (unit, lambda x: cnn(6, [layers.Rescaling(2, offset=-1)])),
    "0..255 and BatchNormalization": (as_float, lambda x: cnn(6, [layers.BatchNormalization()])),
    "0..255 and a network of convolution and batch norm": (as_float, lambda x: networks.resnet20((32, 32, 3), 6)),
    "flips and zooms before Rescaling": (
        as_float,
        lambda x: cnn(6, [layers.RandomFlip("horizontal"), layers.RandomZoom(0.1), layers.Rescaling(1 / 255)]),
    ),
    "dark images": (lambda x: unit(x) * 0.4, lambda x: cnn(6)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_ranges_that_are_right(waste, name):
    prepare, make = HEALTHY[name]
    report = ask(prepare(waste[0]), waste[1], make(waste[0]))
    assert ids(report) == []
    assert "value range at the model's first weights" in report.checked


@pytest.mark.parametrize("prepare", [as_float, lambda x: x, lambda x: x.astype(np.float32) - 127.5])
def test_0_255_into_a_model_that_expects_small_values(waste, prepare):
    finding = only(ask(prepare(waste[0]), waste[1], cnn(6)), "range-large")
    assert finding.level == "error"
    assert f"{prepare(waste[0]).astype(np.float32).max():.4g} reach the first weights" in finding.evidence


@pytest.mark.parametrize(
    ("prepare", "front"),
    [
        (unit, lambda x: [layers.Rescaling(1 / 255)]),
        (symmetric, lambda x: [layers.Rescaling(1 / 127.5, offset=-1)]),
        (zscore, lambda x: [layers.Rescaling(1 / 255)]),
        (zscore, lambda x: [adapted(x)]),
        (lambda x: unit(x) / 255, lambda x: []),
        (as_float, lambda x: [layers.Rescaling(1 / 255), layers.Rescaling(1 / 255)]),
        (unit, lambda x: [keras.Sequential([layers.RandomFlip(), layers.Rescaling(1 / 255)])]),
    ],
)
def test_normalized_twice(waste, prepare, front):
    finding = only(ask(prepare(waste[0]), waste[1], cnn(6, front(waste[0]))), "scaled-twice")
    assert "reach the first weights" in finding.evidence


def test_normalized_twice_by_arithmetic_in_the_model(waste):
    inputs = keras.Input((32, 32, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3)(inputs / 255.0))
    model = keras.Model(inputs, layers.Dense(6)(x))
    only(ask(unit(waste[0]), waste[1], model), "scaled-twice")
    assert ids(ask(as_float(waste[0]), waste[1], model)) == []


def of_application(constructor, side=32, rename=False, **options):
    base = constructor(include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg", **options)
    if rename:  # as in Model(base.input, head(base.output))
        return keras.Model(base.input, layers.Dense(6)(base.output), name="mine")
    return keras.Sequential([keras.Input((side, side, 3)), base, layers.Dense(6)], name="mine")


@pytest.mark.slow
@pytest.mark.parametrize("rename", [False, True])
@pytest.mark.parametrize("constructor", [apps.MobileNetV3Small, apps.EfficientNetB0])
def test_an_application_with_its_own_preprocessing(waste, constructor, rename):
    model = of_application(constructor, rename=rename)
    assert ids(ask(as_float(waste[0]), waste[1], model)) == []
    for scaled in (unit, symmetric):
        only(ask(scaled(waste[0]), waste[1], model), "scaled-twice")


@pytest.mark.slow
@pytest.mark.parametrize("rename", [False, True])
def test_an_application_in_the_wrong_range(waste, rename):
    model = of_application(apps.MobileNetV2, rename=rename)
    for right in (symmetric, zscore, as_imagenet):
        assert ids(ask(right(waste[0]), waste[1], model)) == []
    finding = only(ask(unit(waste[0]), waste[1], model), "wrong-range")
    assert "which is 0..1; keras.applications.MobileNetV2 wants -1..1" in finding.evidence
    assert "Rescaling(1 / 127.5, offset=-1)" in finding.fix
    only(ask(as_float(waste[0]), waste[1], model), "wrong-range")


def test_an_application_that_wants_bgr_minus_means(waste):
    model = of_application(apps.VGG16)
    assert ids(ask(caffe(waste[0]), waste[1], model)) == []
    only(ask(unit(waste[0]), waste[1], model), "wrong-range")


def test_preprocessing_as_layers_before_an_application(waste):
    base = apps.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 127.5, offset=-1), base, layers.Dense(6)])
    assert ids(ask(as_float(waste[0]), waste[1], model)) == []
    only(ask(unit(waste[0]), waste[1], model), "scaled-twice")


@pytest.mark.parametrize(
    ("mark", "family"),
    [
        ("bn_Conv1", "MobileNetV2"), ("expanded_conv_3_squeeze_excite_avg_pool", "MobileNetV3"),
        ("block1a_project_bn", "EfficientNetV2"), ("conv2_block1_0_bn", "ResNet"), ("mixed0", "InceptionV3"),
    ],
)  # fmt: skip
def test_applications_are_told_by_a_layer_that_no_other_has(mark, family):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name=mark)], name="mine")
    assert keras_applications.of(model).family == family


def test_an_own_network_is_no_application():
    for model in (cnn(6), networks.resnet20((32, 32, 3), 6), networks.small_cnn((32, 32, 3), 6)):
        assert keras_applications.of(model) is None


def taught(images, scaled):
    """A network whose batch normalization remembers images of this range."""
    keras.utils.set_random_seed(0)
    norm = layers.BatchNormalization(momentum=0.5)
    body = [layers.Conv2D(16, 3), norm, layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(6)]
    model = keras.Sequential([keras.Input((32, 32, 3)), *body])
    for _ in range(12):
        model(scaled(images), training=True)
    return model


RANGES = {"0..1": unit, "-1..1": symmetric, "imagenet": as_imagenet, "0..255": as_float}


@pytest.mark.parametrize("trained", RANGES)
def test_trained_weights_remember_their_range(waste, trained):
    model = taught(waste[0], RANGES[trained])
    for given, scaled in RANGES.items():
        report = ask(scaled(waste[0]), waste[1], model)
        if given == trained:
            assert ids(report) == []
        else:
            finding = only(report, "wrong-range")
            assert finding.level == "error"


def test_a_model_that_has_learnt_on_0_255_is_left_alone(waste):
    images, labels = as_float(waste[0]), waste[1] % 2
    images[labels == 1] *= 0.2
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    only(ask(images, labels, model), "range-large")
    limit = np.sort(images.mean(axis=(1, 2, 3)))[len(images) // 2]
    model.layers[-1].set_weights([np.float32([[1, 0]] * 3) / 3, np.float32([-limit, 0])])  # bright: 0, dark: 1
    assert ids(ask(images, labels, model)) == []
    labels = np.where(np.arange(len(labels)) % 6 == 0, 1 - labels, labels)  # right on five of six
    given = dataclasses.replace(subject_of(dataset=batches(images, labels), model=model), training=Training("fit"))
    found = only(run_probes.run(given, input_range.PROBES), "range-large")
    assert found.level == "warning"  # the program's own training on these values
    assert ids(ask(images, labels, model)) == []  # a finished model


def test_a_model_that_does_not_take_the_images(waste):
    finding = only(ask(unit(waste[0]), waste[1], cnn(6, [layers.Flatten(), layers.Reshape((64, 64, 3))], (64, 64, 3))), "input-shape")  # noqa: E501  # fmt: skip
    assert "(None, 64, 64, 3)" in finding.evidence
    assert "('batch', 32, 32, 3)" in finding.evidence


def test_a_subclassed_model_that_may_scale_is_not_judged(waste):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale, self.conv, self.dense = layers.Rescaling(1 / 255), layers.Conv2D(2, 3), layers.Dense(6)
            self.pool = layers.GlobalAveragePooling2D()

        def call(self, x):
            return self.dense(self.pool(self.conv(self.scale(x))))

    report = ask(as_float(waste[0]), waste[1], Own())
    assert ids(report) == []
    assert "not a graph of layers" in dict(report.not_checked)["value range at the model's first weights"]


def test_a_run_on_another_dataset(waste):
    trained = make_contract()
    swapped = dataclasses.replace(trained, labels=("broken", "ok"))
    probe = probe_of(input_range, input_range.of_run)
    for data, words in (
        (trained, ""),
        (make_contract(normalization=normalization("unit")), "normalized 'zscore'"),
        (swapped, "2 classes (ok, broken); the dataset has 2 (broken, ok)"),
    ):
        report = run_probes.run(subject(waste, trained=trained, contract=data, model=keras.Model()), [probe])
        if words:
            assert words in only(report, "contract-differs").evidence
        else:
            assert ids(report) == []
            assert report.checked
