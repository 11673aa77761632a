"""Each fault between labels, head and loss, on real photographs, beside the same set-up without it."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import batches, cnn, doctor, ids, only, photos, unit
from trainer.doctor.finding import NotApplicable
from trainer.doctor.probes.model import head_and_loss
from trainer.doctor.subject import load
from trainer.doctor.tools import model_head

FROM_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def waste(real_data):
    images, labels = photos(real_data, "trashnet", 8, 32)
    return unit(images), labels


@pytest.fixture(scope="module")
def pets(real_data):
    images, labels = photos(real_data, "dogcat", 16, 32)
    return unit(images), labels


def ask(images, labels, model):
    return doctor(*head_and_loss.PROBES, dataset=batches(images, labels), model=model)


def one_hot(labels, classes):
    return np.eye(classes, dtype=np.float32)[labels]


# ---- set-ups that are right


@pytest.mark.parametrize(
    ("activation", "loss", "form"),
    [
        (None, FROM_LOGITS, "ids"),
        ("softmax", "sparse_categorical_crossentropy", "ids"),
        ("softmax", keras.losses.sparse_categorical_crossentropy, "ids"),
        ("softmax", "sparse_categorical_crossentropy", "column"),
        ("softmax", "categorical_crossentropy", "one-hot"),
        (None, keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), "one-hot"),
        ("softmax", keras.losses.CategoricalFocalCrossentropy(), "one-hot"),
        ("sigmoid", "binary_crossentropy", "one-hot"),
    ],
)
def test_six_classes_that_are_right(waste, activation, loss, form):
    images, labels = waste
    given = {"ids": labels, "column": labels[:, None].astype(np.int32), "one-hot": one_hot(labels, 6)}[form]
    report = ask(images, given, cnn(6, activation=activation, loss=loss))
    assert ids(report) == []
    assert len(report.checked) == 3


@pytest.mark.parametrize(
    ("activation", "loss", "form"),
    [
        ("sigmoid", "binary_crossentropy", np.float32),
        (None, keras.losses.BinaryCrossentropy(from_logits=True), np.int64),
        ("sigmoid", keras.losses.BinaryFocalCrossentropy(), np.int32),
        ("sigmoid", "binary_crossentropy", bool),
    ],
)
def test_two_classes_with_one_unit_that_are_right(pets, activation, loss, form):
    report = ask(pets[0], pets[1].astype(form), cnn(1, activation=activation, loss=loss))
    assert ids(report) == []
    assert len(report.checked) == 3


def test_smoothed_labels_of_one_unit_are_right(pets):
    soft = (0.1 + 0.8 * pets[1]).astype(np.float32)
    assert ids(ask(pets[0], soft, cnn(1, activation="sigmoid", loss="binary_crossentropy"))) == []


# ---- faults


def test_softmax_with_one_unit(pets):
    report = ask(*pets, cnn(1, activation="softmax", loss="binary_crossentropy"))
    assert "gives 1 to 1 for 32 images" in only(report, "softmax-one-unit").evidence


@pytest.mark.parametrize("units", [1, 6])
@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_sigmoid_with_a_categorical_loss(waste, pets, units, loss):
    images, labels = waste if units == 6 else pets
    given = one_hot(labels, 6) if units == 6 and not loss.startswith("sparse") else labels
    given = labels[:, None] if units == 1 else given
    found = ids(ask(images, given, cnn(units, activation="sigmoid", loss=loss)))
    assert found[0] == "sigmoid-categorical" or "sigmoid-categorical" in found
    assert set(found) <= {"sigmoid-categorical", "integers-categorical"}


def test_one_unit_with_a_categorical_loss(pets):
    only(ask(*pets, cnn(1)), "one-unit-categorical")


@pytest.mark.parametrize(
    ("units", "activation", "loss"),
    [(6, "softmax", FROM_LOGITS), (1, "sigmoid", keras.losses.BinaryCrossentropy(from_logits=True))],
)
def test_from_logits_with_an_activation(waste, pets, units, activation, loss):
    report = ask(*(waste if units == 6 else pets), cnn(units, activation=activation, loss=loss))
    finding = only(report, "probabilities-as-logits")
    # -log(e / (e + 5)) and log(1 + 1 / e): the least that the loss can be for probabilities
    assert f"never be less than {1.04 if units == 6 else 0.313}" in finding.evidence


@pytest.mark.parametrize(("units", "loss"), [(6, "sparse_categorical_crossentropy"), (1, "binary_crossentropy")])
def test_no_activation_and_no_from_logits(waste, pets, units, loss):
    finding = only(ask(*(waste if units == 6 else pets), cnn(units, loss=loss)), "logits-as-probabilities")
    assert "from_logits=True" in finding.fix


def test_one_hot_labels_with_a_sparse_loss(waste):
    finding = only(ask(waste[0], one_hot(waste[1], 6), cnn(6)), "one-hot-sparse")
    assert "('batch', 6)" in finding.evidence


def test_integer_labels_with_a_categorical_loss(waste):
    model = cnn(6, activation="softmax", loss="categorical_crossentropy")
    assert "sparse_categorical_crossentropy" in only(ask(*waste, model), "integers-categorical").fix


def test_one_hot_labels_for_one_unit(pets):
    model = cnn(1, activation="sigmoid", loss="binary_crossentropy")
    only(ask(pets[0], one_hot(pets[1], 2), model), "label-columns")


def test_labels_that_count_from_one(waste, pets):
    finding = only(ask(waste[0], waste[1] + 1, cnn(6)), "labels-off-by-one")
    assert "Least label 1, greatest 6" in finding.evidence
    binary = cnn(1, activation="sigmoid", loss="binary_crossentropy")
    only(ask(pets[0], pets[1] + 1, binary), "labels-off-by-one")


def test_labels_outside_the_head(waste, pets):
    finding = only(ask(*waste, cnn(4)), "labels-out-of-range")
    assert "16 of 48 labels are outside 0..3: 4, 5." in finding.evidence
    only(ask(waste[0], waste[1] - 1, cnn(6)), "labels-out-of-range")
    only(ask(*waste, cnn(1, activation="sigmoid", loss="binary_crossentropy")), "labels-out-of-range")


def test_labels_that_are_no_whole_numbers(waste):
    only(ask(waste[0], (waste[1] / 255).astype(np.float32), cnn(6)), "labels-no-integers")
    only(ask(waste[0], np.where(waste[1] == 3, np.nan, waste[1]), cnn(6)), "labels-no-integers")


@pytest.mark.slow
def test_a_head_of_another_size_than_the_classes(real_data, waste):
    report = doctor(*head_and_loss.PROBES, data=str(real_data / "trashnet"), dataset=batches(*waste), model=cnn(10))
    assert "10 units; the classes are cardboard, glass" in only(report, "head-size").evidence


# ---- how a head is read


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ([layers.Dense(3), layers.Softmax()], "softmax"),
        ([layers.Dense(3), layers.Activation("sigmoid")], "sigmoid"),
        ([layers.Dense(3), layers.Activation(keras.ops.softmax)], "softmax"),
        ([layers.Dense(3)], "linear"),
        ([layers.Dense(3, activation=keras.activations.softmax)], "softmax"),
        ([layers.Dense(3, activation="tanh")], "tanh"),
        ([layers.Dense(3, activation=lambda x: keras.ops.softmax(x))], "softmax"),
        ([keras.Sequential([keras.Input((3072,)), layers.Dense(3, activation="softmax")])], "softmax"),
        ([layers.Dense(3), layers.Softmax(), layers.Reshape((3,))], "softmax"),
    ],
)
def test_the_activation_at_the_end(waste, tail, expected):
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Flatten(), *tail])
    found = model_head.head_of(load.subject_of(dataset=batches(*waste), model=model))
    assert (found.units, found.activation) == (3, expected)


class Own(keras.Model):
    """A subclassed model, which has no graph to read."""

    def __init__(self, activation):
        super().__init__()
        self.flat, self.dense = layers.Flatten(), layers.Dense(6, activation=activation)

    def call(self, images):
        return self.dense(self.flat(images))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_a_subclassed_model_is_told_by_its_outputs(waste, activation):
    found = model_head.head_of(load.subject_of(dataset=batches(*waste), model=Own(activation)))
    assert found.activation == (activation or "linear")


def test_what_cannot_be_told_is_said(waste):
    model = cnn(6, loss=lambda y, p: keras.ops.mean(p))
    told = dict(ask(*waste, model).not_checked)
    assert "no cross-entropy of Keras" in told["activation of the head against the loss"]
    pictures = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(3, 3)])
    subject = load.subject_of(dataset=batches(*waste), model=pictures)
    with pytest.raises(NotApplicable, match="not one number a class"):
        model_head.head_of(subject)


def test_a_model_that_is_not_compiled(waste):
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(6)])
    report = ask(*waste, model)
    assert ids(report) == []
    assert ("form of the labels against the loss", "needs a compiled --model with a loss") in report.not_checked
