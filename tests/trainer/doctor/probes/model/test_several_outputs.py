"""The doctor on models with several outputs: each by itself, and a loss that drowns another."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import ids, only, probe_of
from trainer.doctor import run_probes
from trainer.doctor.probes.data import few_images
from trainer.doctor.probes.model import several_outputs
from trainer.doctor.subject.sample import Batch, Sample, class_ids
from trainer.doctor.subject.subject import Split, Subject
from trainer.doctor.tools import output_parts, scores

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 6)).astype(np.float32)
KIND = (ROWS[:, 0] > 0).astype(np.int64) + 2 * (ROWS[:, 1] > 0)
AGE = (40 + 9 * ROWS[:, 2]).astype(np.float32)
EACH, DROWNED = several_outputs.PROBES


def model_of(form, loss, activation="softmax", **options):
    keras.utils.set_random_seed(0)
    entry = keras.Input((6,))
    shared = layers.Dense(16, activation="relu")(entry)
    kind, age = layers.Dense(4, activation=activation, name="kind")(shared), layers.Dense(1, name="age")(shared)
    model = keras.Model(entry, {"kind": kind, "age": age} if form is dict else [kind, age])
    model.compile(keras.optimizers.Adam(0.01), loss, **options)
    return model


def given(model, targets, **more):
    first = keras.tree.flatten(targets)[0]
    sample = Sample((Batch(ROWS, first, None, None, targets),), class_ids(first), True)
    return Subject(origin="dataset", train=Split("train", sample, sample), model=model, **more)


CROSS = "sparse_categorical_crossentropy"
FORMS = {dict: lambda kind, age: {"kind": kind, "age": age}, list: lambda kind, age: [kind, age]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("activation", "kind", "age", "expected"),
    [
        ("softmax", KIND, (AGE - 40) / 9, []),
        ("sigmoid", KIND, (AGE - 40) / 9, ["sigmoid-categorical"]),
        ("softmax", KIND + 1, (AGE - 40) / 9, ["labels-off-by-one"]),
        ("softmax", KIND, 1000 * AGE, ["targets-unscaled"]),
        ("softmax", np.where(np.arange(200) < 190, KIND % 2, 3), (AGE - 40) / 9, ["imbalance"]),
    ],
)
def test_each_output_is_checked_by_its_own_labels_and_loss(form, activation, kind, age, expected):
    made = FORMS[form]
    model = model_of(form, made(CROSS, "mse"), activation)
    report = run_probes.run(given(model, made(kind, age)), [EACH])
    assert ids(report) == expected
    if expected:
        name = "age" if expected == ["targets-unscaled"] else "kind"
        assert report.findings[0].evidence.startswith(f"Output {name!r}: ")


def test_losses_labels_and_weights_go_to_their_output_by_name():
    model = model_of(dict, {"age": "mae", "kind": CROSS}, loss_weights={"age": 0.1}, metrics={"kind": "accuracy"})
    found = {one.name: one for one in output_parts.of(given(model, {"age": AGE, "kind": KIND}))}
    assert {name: (one.subject.model.loss, one.weight) for name, one in found.items()} == {
        "kind": (CROSS, 1.0),
        "age": ("mae", 0.1),
    }
    assert np.array_equal(found["kind"].subject.train.sample.labels, KIND)
    assert np.array_equal(found["age"].subject.train.sample.labels, AGE)


def test_a_model_with_one_output_and_one_without_labels_are_not_taken_apart():
    assert output_parts.of(given(model_of(dict, {"kind": CROSS, "age": "mse"}), KIND)) == ()
    single = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    single.compile("sgd", "mse")
    assert output_parts.of(given(single, [AGE])) == ()


def test_classes_are_not_looked_for_in_the_first_of_several_labels():
    report = run_probes.run(
        given(model_of(list, [CROSS, "mse"]), [KIND, AGE]), [probe_of(few_images, few_images.of_a_class)]
    )
    assert report.not_checked == (("rows of each class", "there are several outputs, and each is judged by itself"),)


@pytest.mark.parametrize(
    ("kind_loss", "age_loss", "weights", "expected"),
    [
        ((1.4, 1.5, 1.7), (9e9, 8e9, 7e9), None, ["output-drowned"]),
        ((1.4, 1.0, 0.7), (9e9, 8e9, 7e9), None, []),  # both learn
        ((1.4, 1.5, 1.7), (9e9, 8e9, 7e9), {"age": 1e-9}, []),
        ((1.4, 1.5, 1.7), (90.0, 80.0, 70.0), None, []),
        ((1.4, 1e-5, 1e-6), (0.9, 0.8, 0.7), None, []),  # the smaller one is learned
        ((1.4, 1.5), (9e9, 8e9), None, []),
    ],
)
def test_a_loss_that_drowns_the_other(kind_loss, age_loss, weights, expected):
    model = model_of(dict, {"kind": CROSS, "age": "mse"}, loss_weights=weights)
    history = {"loss": age_loss, "kind_loss": kind_loss, "age_loss": age_loss}
    report = run_probes.run(given(model, {"kind": KIND, "age": AGE}, history=history), [DROWNED])
    assert ids(report) == expected
    if expected:
        found = only(report, "output-drowned")
        assert found.what == "The loss of the output 'age' drowns that of 'kind', which learns nothing"
        assert found.evidence == (
            "In epoch 3 the loss of 'age' is 7e+09 and that of 'kind' 1.7: 4.1e+09 times as much. The second one was "
            "1.4 after the first epoch."
        )
        assert "compile(loss_weights=dict(age=2e-10, kind=1))" in found.fix


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sure"), [(KIND, True), (RNG.permutation(KIND), False)])
def test_a_trained_output_at_chance_is_no_healthy_program(kind, sure):
    model = model_of(dict, {"kind": CROSS, "age": "mse"})
    targets = {"kind": kind, "age": (AGE - 40) / 9}
    model.fit(ROWS, {"kind": KIND, "age": targets["age"]}, epochs=30, verbose=0)
    made = given(model, targets)
    assert [len(scores.of_any_task(one.subject)) for one in output_parts.of(made)] == [1, 1]
    report = run_probes.run(made, [EACH])
    assert [line.partition(": the model's ")[0] for line in report.scores] == [
        "train, output 'kind'", "train, output 'age'",
    ]  # fmt: skip
    doubt = "the trained model is no better than chance on the train rows, output 'kind'"
    assert report.uncertain is not sure
    assert (doubt in report.verdict) is not sure
