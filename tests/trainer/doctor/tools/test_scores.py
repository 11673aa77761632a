"""The scores of a trained model, and what the doctor says of a model that is no better than chance."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from tests.support.doctor import batches, ids, subject
from trainer.cli.main import main
from trainer.doctor import run_probes
from trainer.doctor.probes.base import Probe
from trainer.doctor.probes.data import label_noise
from trainer.doctor.subject.load import subject_of
from trainer.doctor.subject.training import Training
from trainer.doctor.tools import scores
from trainer.evaluation.scores import intervals


def reader(flip: bool = False) -> keras.Model:
    """A trained model of two classes that answers by the first pixel: over 0.5 is class 1, or class 0 if `flip`."""
    inputs = keras.Input((8, 8, 3))
    first = keras.ops.reshape(inputs[:, 0, 0, 0] - 0.5, (-1, 1))
    head = keras.layers.Dense(2, use_bias=False)
    model = keras.Model(inputs, head(first))
    head.set_weights([np.array([[1.0, -1.0] if flip else [-1.0, 1.0]])])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.iterations.assign(100)
    return model


def pictures(right: float, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of which `reader` is right on this share."""
    x, y = np.random.default_rng(round(1000 * right)).random((count, 8, 8, 3), np.float32), np.arange(count) % 2
    told = np.where(np.random.default_rng(1).permutation(count) < round(right * count), y, 1 - y)
    x[:, 0, 0, 0] = 0.25 + 0.5 * told
    return x, y


def of(right: float) -> scores.Score:
    found = scores.of(subject(pictures(0.9), pictures(right), model=reader()))
    assert [score.split for score in found] == ["train", "validation"]
    return found[1]


def test_the_score_stands_beside_chance_and_majority():
    score = of(0.8)
    assert score.right == 80
    assert score.balanced == pytest.approx(0.8, abs=0.02)
    assert score.interval == intervals.wilson(80, 100)
    assert "accuracy on 100 images is 80.0% (71.1% to 86.7%)" in score.sentence
    assert "guessing gives 50.0%, always answering the commonest class 50.0%" in score.sentence


@pytest.mark.parametrize(
    ("right", "chance", "below"), [(0.8, False, False), (0.52, True, False), (0.45, True, False), (0.3, True, True)]
)
def test_chance_is_decided_by_the_interval(right, chance, below):
    score = of(right)
    assert (score.at_chance, score.below_chance) == (chance, below)


def test_a_model_at_chance_is_not_called_healthy():
    sound = Probe("sound", lambda s, c: [])
    told = run_probes.run(subject(pictures(0.9), pictures(0.5), model=reader()), [sound])
    assert told.verdict == "Could not tell: the trained model is no better than chance on the validation images."
    assert told.text().startswith("train: the model's accuracy")
    healthy = run_probes.run(subject(pictures(0.9), pictures(0.9), model=reader()), [sound])
    assert healthy.verdict == "Healthy: 1 check, nothing found."


@pytest.mark.parametrize(
    ("accuracies", "whole", "rare", "guesses"),
    [
        ((0.4, 0.5, 0.59, 0.5, 0.52), False, 50, True),  # 100 images, of which each class has half: up to 0.6
        ((0.4, 0.5, 0.61, 0.5, 0.52), False, 50, False),
        ((0.5, 0.5, 0.5, 0.5), False, 50, False),  # eight epochs are too few
        ((0.5, 0.5, 0.5, 0.5, 0.5), True, 50, False),  # the model itself was scored
        ((0.8, 0.8, 0.8, 0.8, 0.8), False, 20, False),  # the accuracy tells little where a class is rare
    ],
)
def test_a_training_that_was_cut_short_and_learned_nothing_is_not_called_healthy(accuracies, whole, rare, guesses):
    model = reader()
    model.optimizer.iterations.assign(0)
    training = Training("fit", whole=whole, history={"val_accuracy": 2 * accuracies})
    x, _ = pictures(0.9)
    parts = (x, np.arange(100) % 2), (x, (np.arange(100) < rare).astype(int))
    told = run_probes.run(subject(*parts, model=model, training=training), [Probe("sound", lambda s, c: [])])
    assert told.verdict == (
        "Could not tell: no epoch that ran was better on validation than always answering the commonest class."
        if guesses else "Healthy: 1 check, nothing found."
    )  # fmt: skip


def test_a_model_that_is_not_trained_has_no_score():
    model = reader()
    model.optimizer.iterations.assign(0)
    assert scores.of(subject(pictures(0.9), pictures(0.9), model=model)) == ()


@pytest.mark.parametrize(("right", "expected"), [(0.3, ["labels-other-order"]), (0.37, []), (0.45, []), (0.9, [])])
def test_a_model_below_chance_shows_exchanged_ids(right, expected):
    told = run_probes.run(subject(pictures(0.9), pictures(right), model=reader()), label_noise.PROBES[:1])
    assert ids(told) == expected


def test_the_status_of_a_verdict_that_cannot_be_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_guess.py").write_text(
        "import sys\nfrom tests.trainer.doctor.tools.test_scores import at_chance as data, trained as model\n"
    )
    monkeypatch.chdir(tmp_path)
    status = main(["doctor", "--dataset", "mine_guess:data", "--model", "mine_guess:model", "--json", "-"])
    told = json.loads(capsys.readouterr().out)
    assert told["could_not_tell"] == ["the trained model is no better than chance on the validation images"]
    assert (status, told["healthy"], len(told["scores"])) == (3, False, 2)


def at_chance():
    return batches(*pictures(0.9)), batches(*pictures(0.5), shuffle=False)


def trained():
    return reader()


def test_data_alone_has_no_score():
    assert scores.of(subject_of(dataset=batches(*pictures(0.9)))) == ()
