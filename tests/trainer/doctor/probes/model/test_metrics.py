"""Metrics that do not fit the labels and the answers, and those that do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.doctor import ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.probes.model import metrics
from trainer.doctor.probes.training import arguments_of_fit
from trainer.doctor.subject.training import FIT, Training
from trainer.doctor.tools import metrics as asked

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4)).astype(np.float32)
KINDS = X.argmax(axis=1)
SIGNS = np.sign(X[:, 0])
PROBE = probe_of(metrics, metrics.of_answers)


def knowing(outputs, loss, given):
    """A trained model whose outputs are the first columns of its input."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs, use_bias=False)])
    model.layers[0].set_weights([np.eye(4, outputs, dtype=np.float32)])
    model.compile("adam", loss, metrics=given)
    model.train_on_batch(X[:8], KINDS[:8] if outputs == 4 else SIGNS[:8])  # builds the metrics
    model.layers[0].set_weights([np.eye(4, outputs, dtype=np.float32)])
    return model


def look(model, labels):
    return run_probes.run(subject((X, labels), model=model), [PROBE])


def of_kinds(*given):
    return knowing(4, keras.losses.SparseCategoricalCrossentropy(from_logits=True), list(given))


@pytest.mark.parametrize("given", ["categorical_accuracy", keras.metrics.CategoricalAccuracy("acc")])
@pytest.mark.parametrize("labels", [KINDS, KINDS[:, None]])
def test_an_accuracy_for_one_hot_labels_gets_class_ids(given, labels):
    told = only(look(of_kinds(given), labels), "metric-misfits")
    assert told.evidence == (
        f"The labels are class ids of shape {labels.shape}, and the outputs have the shape (100, 4). It takes the "
        "argmax of the labels for the class."
    )
    assert "SparseCategoricalAccuracy" in told.fix


def test_metrics_that_fit_class_ids():
    model = of_kinds(
        "accuracy", keras.metrics.SparseCategoricalAccuracy(), keras.metrics.SparseTopKCategoricalAccuracy(2)
    )
    assert ids(look(model, KINDS)) == []


def right(t, s):
    return tf.reduce_mean(tf.cast(tf.sign(s) == t, tf.float32))


def right_of_rows(t, s):
    return tf.reduce_mean(tf.cast(tf.sign(tf.squeeze(s, -1)) == t, tf.float32))


def explained(t, s):
    return 1 - tf.reduce_sum((t - s) ** 2) / tf.reduce_sum((t - tf.reduce_mean(t)) ** 2)


class Right(keras.metrics.Mean):
    def update_state(self, t, s, sample_weight=None):
        super().update_state(right(t, s))


@pytest.mark.parametrize("given", [right, Right(name="right"), explained])
def test_a_metric_of_ones_own_that_compares_each_label_with_all_outputs(given):
    told = only(look(knowing(1, "squared_hinge", [given]), SIGNS), "metric-misfits")
    assert told.what == f"The metric {asked.name(given)} does not fit the labels and the answers"
    assert told.evidence.startswith("It gets labels of shape (100,) and outputs of shape (100, 1), and says ")
    assert ids(look(knowing(1, "squared_hinge", [given]), SIGNS[:, None])) == []


def test_a_metric_that_takes_the_axis_away_itself():
    assert ids(look(knowing(1, "squared_hinge", [right_of_rows]), SIGNS)) == []


def test_an_accuracy_of_keras_that_the_answers_contradict():
    """Keras takes labels of -1 for wrong answers always."""
    told = only(look(knowing(1, "hinge", ["accuracy"]), SIGNS), "metric-misfits")
    share = np.mean(SIGNS == 1) - np.mean((SIGNS == 1) & (X[:, 0] <= 0.5))
    assert told.evidence.startswith(f"It says {share:.1%} of 100 train rows, and 100.0% of the answers are right.")
    zero_one = knowing(1, "binary_crossentropy", [keras.metrics.BinaryAccuracy(threshold=0.9)])
    assert ids(look(zero_one, (SIGNS > 0).astype(np.float32))) == []


def test_metrics_keep_what_they_have_counted():
    model = of_kinds("accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True))
    before = {name: float(value) for name, value in model.get_metrics_result().items()}
    look(model, KINDS)
    assert {name: float(value) for name, value in model.get_metrics_result().items()} == before


def test_what_a_metric_that_fails_says():
    def fails(t, s):
        raise RuntimeError

    assert asked.value(fails, SIGNS, X) is None
    assert asked.value(lambda t, s: tf.constant([1.0, 3.0]), SIGNS, X) == 2.0
    assert asked.value(lambda t, s: tf.constant(np.nan), SIGNS, X) is None


@pytest.mark.parametrize(("labels", "expected"), [(KINDS, []), (np.roll(KINDS, 1), ["few-steps"])])
def test_a_model_that_has_learned_had_steps_enough(labels, expected):
    """The history's accuracy says that nothing was learned."""
    training = Training(FIT, steps=100, epochs=1, samples=3200, whole=True)
    given = subject((X, labels), model=of_kinds("accuracy"), training=training, history={"accuracy": (0.1,)})
    assert ids(run_probes.run(given, [probe_of(arguments_of_fit, arguments_of_fit.steps)])) == expected
