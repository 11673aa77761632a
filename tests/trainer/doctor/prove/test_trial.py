"""Trainings with and without a remedy: what helps, what does not, and what cannot be tried."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import subject
from trainer.doctor import catalogue, run_probes
from trainer.doctor.probes.model import head_and_loss, head_range, input_range
from trainer.doctor.probes.training import overfit_one_batch
from trainer.doctor.prove import setup as setups
from trainer.doctor.prove import trial
from trainer.doctor.prove.remedies import REMEDIES, Case
from trainer.doctor.subject.training import Place, Training

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (400, 2)).astype(np.float32)
Y = (np.hypot(X[:, 0], X[:, 1]) < 0.7).astype(np.int64)
PHOTO_LABELS = np.arange(200) % 2
PHOTOS = (RNG.random((200, 8, 8, 3)) * 100 + 100 * PHOTO_LABELS[:, None, None, None]).astype(np.float32)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 300.0)  # other work may run beside the tests


def network(head="sigmoid", loss="binary_crossentropy", rule=None, shape=(2,), front=(), units=1):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *front, layers.Dense(16, activation="relu"),
                              layers.Dense(units, activation=head)])  # fmt: skip
    model.compile(rule or keras.optimizers.Adam(0.01), loss)
    return model


def made(model, x=X, y=Y, validation=True, **training):
    count = 3 * len(x) // 4
    train, kept = (x[:count], y[:count]), (x[count:], y[count:])
    given = subject(train if validation else (x, y), kept if validation else None, model=model)
    told = {"steps": 20, "epochs": 10, "batch_size": 16, "shuffle": True, "place": Place("train.py", 9)} | training
    return dataclasses.replace(given, training=Training("fit", **told))


FINDERS = (*head_and_loss.PROBES, *head_range.PROBES, *input_range.PROBES, *overfit_one_batch.PROBES)


def proof(given, *ids):
    found = [finding for finding in run_probes.run(given, FINDERS).findings if finding.id in ids]
    assert [finding.id for finding in found] == list(ids)
    return trial.prove(given, found, lambda file: None)


def test_a_remedy_that_helps():
    found = proof(made(network("softmax")), "softmax-one-unit")
    assert found.helps
    assert found.before.last == pytest.approx(np.full(3, 0.5))
    assert (found.after.last > 0.8).all()
    assert found.before.scores.shape == (3, trial.POINTS)
    assert found.points[-1] == 200
    assert "own validation" in found.held_out
    assert "helps" in found.lines()[-1]


def test_the_score_is_measured_on_a_part_set_apart_without_a_validation():
    given = made(network("softmax"), validation=False)
    own = setups.of(given)
    assert len(own.held_y) == 100
    assert len(own.x) == 300
    assert not {row.tobytes() for row in own.x} & {row.tobytes() for row in own.held_x}
    assert own.held_y.mean() == pytest.approx(Y.mean(), abs=0.01)  # stratified


def test_a_remedy_that_does_not_help_is_told(monkeypatch):
    monkeypatch.setattr(trial, "SEEDS", (0, 1))
    twin = made(network("softmax"), y=RNG.integers(0, 2, 400), epochs=4)  # labels of chance: no head can learn them
    found = trial.prove(twin, [catalogue.found("softmax-one-unit", "e")], lambda file: None)
    assert not found.helps
    assert "did not help" in found.sentence


def test_equal_trainings_are_equal():
    own = setups.of(made(network(), epochs=2))
    one, same, other = (trial._train(own, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_trained_weights_are_kept_and_drawn_ones_are_drawn_anew():
    model = network(front=[layers.Dense(64)])
    model.layers[0].kernel.assign(RNG.normal(size=(2, 64)) * 3)  # 128 numbers: too few to tell
    big = network(front=[layers.Dense(256)])
    big.layers[0].kernel.assign(RNG.normal(size=(2, 256)) * 3)
    for source, kept in ((model, False), (big, True)):
        copy = trial._compiled(setups.of(made(source)), 5)
        assert np.allclose(copy.layers[0].kernel, source.layers[0].kernel) == kept
        assert not np.allclose(copy.layers[1].kernel, source.layers[1].kernel)


@pytest.mark.parametrize(
    ("model", "x", "y", "id_", "told"),
    [
        (
            lambda: network(rule=keras.optimizers.SGD(1e-6)),
            X,
            (X[:, 0] > 0) * 1,
            "learning-rate-low",
            "a learning rate of",
        ),
        (lambda: network("relu", "binary_crossentropy"), X, Y, "head-activation", "sigmoid in the last layer"),
        (lambda: network(shape=(8, 8, 3), front=[layers.Flatten()]), PHOTOS, PHOTO_LABELS, "range-large", "by 255"),
        (lambda: network(None, "mse"), X, 1000 * X[:, :1] + 500, "targets-unscaled", "targets standardized"),
    ],
)
def test_remedies(model, x, y, id_, told, monkeypatch):
    monkeypatch.setattr(trial, "SEEDS", (0, 1))
    found = proof(made(model(), x, y), id_)
    assert told in found.remedy
    assert found.helps, found.lines()


def normalized():
    """Batch normalization behind what has a mean of 5, far from the 0 that its averages begin with."""
    return network(front=[layers.Rescaling(1, 5), layers.Dense(16), layers.BatchNormalization(momentum=0.999)])


@pytest.mark.parametrize(
    ("model", "x", "y", "id_", "told", "training"),
    [
        (normalized, X, Y, "batch-norm-lags", "momentum of 0.9", {}),
        (network, X, Y, "class-weights-reversed", "class_weight={0: 0.", {"class_weight": {0: 1.0, 1: 0.01}}),
    ],
)
def test_remedies_of_findings_that_are_given(model, x, y, id_, told, training, monkeypatch):
    monkeypatch.setattr(trial, "SEEDS", (0, 1))
    given = dataclasses.replace(catalogue.found("softmax-one-unit", "e"), id=id_)
    found = trial.prove(made(model(), x, y, **training), [given], lambda file: None)
    assert told in found.remedy
    assert found.helps, found.lines()


def test_padding_is_masked():
    model = network(shape=(40,), front=[layers.Embedding(4, 8), layers.GRU(8)])
    given = made(model, np.ones((400, 40), np.int32))
    remedy = REMEDIES["padding-unmasked"](Case(given, catalogue.found("softmax-one-unit", "e"), setups.of(given)))
    changed = [remedy.setup.change(layer) for layer in model.layers]
    assert [layer.get_config().get("mask_zero") for layer in changed] == [True, None, None, None]
    assert [edit.value for edit in remedy.edits] == ["True"]


def test_of_two_scalings_one_is_taken_back():
    given = made(network(shape=(8, 8, 3), front=[layers.Flatten()]), PHOTOS / 255 / 255, PHOTO_LABELS)
    own = setups.of(given)
    remedy = REMEDIES["scaled-twice"](Case(given, catalogue.found("softmax-one-unit", "e"), own))
    np.testing.assert_allclose(remedy.setup.x, PHOTOS[:150] / 255, rtol=1e-6)
    np.testing.assert_allclose(remedy.setup.held_x, PHOTOS[150:] / 255, rtol=1e-6)
    assert own.x.max() < 0.004


def test_the_shares_of_the_records_add_up_to_the_score():
    own = setups.of(made(network(), X[:80], np.r_[np.zeros(60, int), np.tile([0, 0, 0, 1], 5)]))  # held out: 15 and 5
    outputs = np.zeros((20, 1), np.float32)
    outputs[3] = 1  # the first of class 1
    found = setups.shares(own, outputs)
    np.testing.assert_allclose(found[:4], [1 / 30, 1 / 30, 1 / 30, 1 / 10])
    assert setups.score(own, outputs) == pytest.approx(found.sum()) == pytest.approx((1 + 1 / 5) / 2)
    numbers = setups.of(made(network(None, "mse"), X, X[:, :1] * 4 + 0.5))
    told = numbers.held_y + np.linspace(-1, 1, 100)[:, None]
    assert setups.score(numbers, told) == pytest.approx(
        1 - np.mean(np.linspace(-1, 1, 100) ** 2) / numbers.held_y.var()
    )
    assert setups.score(numbers, told * 1000) == -1
    assert setups.score(numbers, np.full_like(told, np.nan)) == pytest.approx(-1)


def test_the_error_of_a_gain():
    """Of 16 records, the remedy makes three right that were wrong; all others stay as they were."""
    right = np.zeros(16), 1.0 * (np.arange(16) < 3)
    before, after = (trial._Course((0.0,), tuple(values / 16)) for values in right)
    assert trial._error([before], [after]) == pytest.approx(np.sqrt(3 / 16 * 13 / 16 / 16))  # of a binomial share
    assert trial._error([before, before], [before, after]) == pytest.approx(np.sqrt(3 / 16 * 13 / 16 / 16) / 2)
    far = trial._Course((-1.0,), (-1000.0, *after.shares[1:]))  # numbers: as if it were -1 / 16
    assert trial._error([far], [after]) == pytest.approx(np.std([1 / 8, *[0] * 15]) * 4)


def test_what_has_no_remedy_is_named_and_the_next_is_tried(monkeypatch):
    monkeypatch.setattr(trial, "SEEDS", (0,))
    findings = [catalogue.found("no-validation", "e"), catalogue.found("softmax-one-unit", "e")]
    found = trial.prove(made(network("softmax"), epochs=2), findings, lambda file: None)
    assert found.passed[0][0] == "no-validation"
    assert "mechanically" in found.passed[0][1]
    assert found.finding == "softmax-one-unit"
    nothing = trial.prove(made(network()), findings[:1], lambda file: None)
    assert nothing.before is None
    assert "no finding has a remedy" in nothing.sentence


def test_a_subclassed_model_is_not_rebuilt():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = layers.Dense(1, activation="softmax")

        def call(self, given):
            return self.layer(given)

    model = Own()
    model.compile("adam", "binary_crossentropy")
    model(X[:1])
    found = trial.prove(made(model), [catalogue.found("softmax-one-unit", "e")], lambda file: None)
    assert found.before is None
    assert found.passed[0][0] == "softmax-one-unit"


def test_every_remedy_is_for_a_finding_of_the_catalogue():
    assert set(REMEDIES) <= set(catalogue.entries())
