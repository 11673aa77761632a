"""Prepared datasets of several labels and of numbers in the doctor: their data, a network for them, a run."""

import re

import keras
import numpy as np
import pytest

from tests.support import tasks
from trainer.doctor import run_probes
from trainer.doctor.clock import Clock
from trainer.doctor.finding import NotApplicable
from trainer.doctor.output import figures
from trainer.doctor.probes import registry
from trainer.doctor.probes.data import conflicting_labels, reference_mismatch
from trainer.doctor.subject import load, state
from trainer.doctor.tools import answer_scores, scores, task

KINDS = ("multi-label", "regression")


@pytest.fixture(scope="module", params=KINDS)
def prepared(request, tmp_path_factory):
    """(kind, directory) of a tiny dataset."""
    directory = tmp_path_factory.mktemp(request.param) / "data"
    tasks.write(directory, request.param)
    return request.param, directory


def head(units, activation=None, loss=None):
    """Returns a function of a contract that builds a network."""

    def build(contract):
        model = keras.Sequential(
            [keras.Input(contract.image_shape), keras.layers.Flatten(), keras.layers.Dense(units, activation)]
        )
        if loss:
            model.compile("adam", loss)
        return model

    return build


def test_the_contract_says_what_is_predicted(prepared):
    kind, directory = prepared
    subject = load.subject_of(str(directory))
    assert subject.kind == kind
    assert task.is_regression(subject) == (kind == "regression")
    assert task.is_multilabel(subject) == (kind == "multi-label")
    assert [len(split.sample) for split in subject.splits] == [48, 16]
    labels = subject.split("train").sample.labels
    if kind == "regression":
        # As a network is trained: mean 0 and deviation 1 in train.
        np.testing.assert_allclose(labels.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(labels.std(axis=0), 1, atol=1e-5)
        assert subject.labels == ()
    else:
        assert set(np.unique(labels)) == {0, 1}
        assert subject.labels == tasks.LABELS


def test_good_data_have_no_findings_and_no_check_of_classes(prepared):
    _, directory = prepared
    report = run_probes.run(load.subject_of(str(directory)), registry.all_probes())
    assert [finding.id for finding in report.findings] == ["validation-small"]  # 16 images
    reasons = dict(report.not_checked)
    assert re.search("several classes may be right|the targets are numbers", reasons["balance of the classes"])
    assert "images in both splits" in report.checked


@pytest.mark.parametrize(
    ("kind", "model", "first"),
    [
        ("multi-label", head(3, "softmax", "categorical_crossentropy"), "softmax-multilabel"),
        ("multi-label", head(5, "sigmoid", "binary_crossentropy"), "label-columns"),
        ("regression", head(2, "relu", "mse"), "head-range"),
    ],
)
def test_a_wrong_head_is_found(kind, model, first, tmp_path):
    tasks.write(tmp_path / "data", kind)
    report = run_probes.run(load.subject_of(str(tmp_path / "data"), model=model), registry.all_probes())
    assert report.findings[0].id == first


def test_a_network_that_is_not_compiled_gets_the_loss_of_its_task(prepared):
    kind, directory = prepared
    subject = load.subject_of(str(directory), model=head(3 if kind == "multi-label" else 2))
    loss = subject.model.loss
    if kind == "multi-label":
        assert isinstance(loss, keras.losses.BinaryCrossentropy)
        assert loss.get_config()["from_logits"]
    else:
        assert isinstance(loss, keras.losses.MeanSquaredError)


def test_a_trained_network_is_scored_beside_a_constant_answer(prepared):
    kind, directory = prepared
    subject = load.subject_of(str(directory), model=head(3 if kind == "multi-label" else 2))
    assert scores.of_any_task(subject) == ()  # it has not been trained
    subject = load.subject_of(str(directory), model=subject.model)
    subject.model.optimizer.iterations.assign(10)
    told = scores.of_any_task(subject)
    assert [score.images for score in told] == [48]  # 16 of validation are too few
    assert all(isinstance(score, answer_scores.AnswerScore) for score in told)
    assert scores.of(subject) == ()
    assert ("R²" if kind == "regression" else "mean average precision") in told[0].sentence


def test_the_score_is_that_of_the_answers(tmp_path):
    directory = tmp_path / "data"
    tasks.write(directory, "regression")
    subject = load.subject_of(str(directory))
    labels = subject.split("train").sample.labels
    right = answer_scores.of(subject, "train", labels, labels)
    assert (right.value, right.interval, right.at_chance) == (1, (1, 1), False)
    constant = answer_scores.of(subject, "train", labels, np.zeros_like(labels))
    assert constant.value == pytest.approx(0, abs=1e-6)
    assert constant.at_chance
    assert "always answering their mean gives 0.000" in constant.sentence
    assert answer_scores.of(subject, "train", labels, labels[:, :1]) is None


def test_labels_are_scored_by_average_precision(tmp_path):
    directory = tmp_path / "data"
    tasks.write(directory, "multi-label")
    subject = load.subject_of(str(directory))
    labels = subject.split("train").sample.labels
    right = answer_scores.of(subject, "train", labels, labels)
    assert (right.value, right.at_chance) == (1, False)  # nobody carries the third label: it is left out
    assert right.constant == pytest.approx(labels[:, :2].mean())
    assert answer_scores.of(subject, "train", labels, np.zeros_like(labels)).at_chance


def test_equal_images_with_other_answers_are_told_with_all_of_them(prepared):
    kind, directory = prepared
    subject = load.subject_of(str(directory))
    sample = subject.split("train").sample
    texts = state.answer_texts(subject, sample)
    a, b = next((i, j) for i in range(48) for j in range(i) if texts[i] != texts[j])
    subject.split("train").sample.images[a] = sample.images[b]
    found = conflicting_labels.contradictory(subject, Clock(60))
    assert [finding.id for finding in found] == ["contradictory-duplicates"]
    assert texts[a] in found[0].evidence
    assert texts[b] in found[0].evidence
    if kind == "multi-label":
        assert set(texts) <= {"top", "bottom", "bottom|top", "no label"}


def test_the_page_counts_labels_and_draws_numbers(prepared):
    kind, directory = prepared
    subject = load.subject_of(str(directory))
    charts = {chart.title: chart for chart in figures.charts(subject)}
    labels = subject.split("train").sample.labels
    if kind == "multi-label":
        chart = charts["train: images of each label seen"]
        assert list(chart.series["images"]) == list(labels.sum(axis=0))
    else:
        chart = charts["train: values of number 2, in standard deviations of train"]
        assert sum(chart.series["images"]) == 48


def test_labels_of_an_own_reader_are_not_compared(prepared):
    _, directory = prepared
    images = load.subject_of(str(directory)).split("train").sample.images
    own = (images, np.arange(len(images)) % 2)
    subject = load.subject_of(str(directory), dataset=lambda: (own, own))
    with pytest.raises(NotApplicable, match="dataset of another task"):
        reference_mismatch.labels(subject, Clock(60))
