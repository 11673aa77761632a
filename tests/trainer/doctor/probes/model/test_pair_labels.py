"""Whether a loss of pairs takes the label 1 for the same or for different inputs."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.support.doctor import in_memory
from trainer.doctor import run_probes
from trainer.doctor.probes.model import pair_labels
from trainer.doctor.subject.sample import Batch, Sample, class_ids
from trainer.doctor.subject.subject import Split, Subject

RNG = np.random.default_rng(0)
SAME = np.arange(128) % 2
ONE = RNG.normal(size=(128, 6)).astype("float32")
OTHER = np.where(SAME[:, None] == 1, ONE + 0.3 * RNG.normal(size=ONE.shape), RNG.normal(size=ONE.shape)).astype(
    "float32"
)


def contrastive(of_same):
    def loss(y_true, distance):
        near, far = ops.square(distance), ops.square(ops.maximum(2.0 - distance, 0.0))
        same = y_true if of_same else 1 - y_true
        return ops.mean(same * near + (1 - same) * far)

    return loss


def distance(pair):
    return ops.sqrt(ops.maximum(ops.sum(ops.square(pair[0] - pair[1]), axis=1, keepdims=True), 1e-7))


def likeness(pair):
    return ops.sigmoid(2 - distance(pair))


def told(answer, loss, labels=SAME, other=OTHER):
    keras.utils.set_random_seed(0)
    left, right = keras.Input((6,)), keras.Input((6,))
    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(8)])
    if answer is None:
        outputs = layers.Dense(1, activation="sigmoid")(layers.concatenate([encoder(left), encoder(right)]))
    else:
        outputs = layers.Lambda(answer, output_shape=(1,))([encoder(left), encoder(right)])
    model = keras.Model([left, right], outputs)
    model.compile("sgd", loss)
    sample = Sample((Batch(ONE, labels, inputs=[ONE, other]),), class_ids(labels), True)
    return run_probes.run(Subject(origin="dataset", train=Split("train", sample), model=model), pair_labels.PROBES)


@pytest.mark.parametrize(
    ("answer", "loss", "labels", "pushed"),
    [
        (distance, contrastive(of_same=False), SAME, 1),
        (distance, contrastive(of_same=True), SAME, None),
        (distance, contrastive(of_same=True), 1 - SAME, 0),
        (distance, contrastive(of_same=False), 1 - SAME, None),
        (likeness, "binary_crossentropy", SAME, None),
        (likeness, "binary_crossentropy", 1 - SAME, 0),
        (None, "binary_crossentropy", 1 - SAME, None),  # two heads side by side learn either
    ],
)
def test_which_pairs_are_pushed_apart(answer, loss, labels, pushed):
    report = told(answer, loss, labels)
    assert [finding.id for finding in report.findings] == ([] if pushed is None else ["pair-labels-reversed"])
    if pushed is not None:
        assert report.findings[0].what == f"The loss pushes pairs of label {pushed} apart, and their inputs are alike"
    assert bool(report.not_checked) is (answer is None)


def test_pairs_whose_inputs_tell_nothing_are_left_alone():
    assert told(distance, contrastive(of_same=False), other=RNG.normal(size=ONE.shape).astype("float32")).findings == ()


def test_one_input_is_no_pair():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    subject = Subject(origin="dataset", train=in_memory("train", ONE, SAME), model=model)
    assert run_probes.run(subject, pair_labels.PROBES).not_checked == (
        ("meaning of the labels of pairs", "the inputs are no pairs"),
    )
