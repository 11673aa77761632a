"""The head that is fitted on the features of a frozen network."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy import special

from pipelines.core.errors import ConfigError
from tests.support import tasks, trainings
from tests.support.datasets import make_contract, write_dataset
from tests.support.log import logged
from trainer.config import TrainConfig, TrainerError
from trainer.models import build
from trainer.tasks import head_problems
from trainer.tasks.head_problems import ClassHead, LabelHead, NumberHead
from trainer.training import linear_head, train
from trainer.training.augment import crop
from trainer.training.augment.draws import Draws
from trainer.training.linear_head import Features


def features(values, labels, weights=None):
    values, labels = np.asarray(values, np.float32), np.asarray(labels)
    return Features(values, labels, np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64))


def drawn(seed=0, count=60, classes=3, width=5):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    return features(random.normal(size=(count, width)) * 3 + 2 * labels[:, None] * np.arange(width) / width, labels)


def plain(classes=3):
    return ClassHead(np.ones(classes), np.zeros(classes))


def test_one_feature_and_two_classes_by_hand():
    """The features -1 and 1 are standardized already. By symmetry the bias is 0 and the kernel is (-w, w).

    The loss is log(1 + exp(-2 w)) + penalty * w ** 2, so its slope -2 / (1 + exp(2 w)) + 2 * penalty * w is 0.
    """
    found = linear_head.solve(features([[-1], [1]] * 10, [0, 1] * 10), None, plain(2))
    w = found.kernel[0, 1]
    assert found.penalty == linear_head.DEFAULT
    assert found.kernel[0, 0] == pytest.approx(-w, abs=1e-4)
    assert found.bias == pytest.approx([0, 0], abs=1e-4)
    assert 1 / (1 + np.exp(2 * w)) == pytest.approx(found.penalty * w, abs=1e-3)


def test_the_slope_at_the_solution_is_zero():
    train = drawn()
    found = linear_head.solve(train, None, plain())
    mean, deviation = train.values.mean(0), train.values.std(0)
    error = special.softmax(train.values @ found.kernel + found.bias, axis=1) - np.eye(3)[train.labels]
    z = (train.values - mean) / deviation
    slope = z.T @ error / len(z) + found.penalty * found.kernel * deviation[:, None]
    np.testing.assert_allclose(slope, 0, atol=1e-3)
    np.testing.assert_allclose(error.mean(0), 0, atol=1e-3)


def test_the_unit_of_a_feature_does_not_matter():
    train = drawn()
    other = train._replace(values=train.values * np.float32([10, 1, 0.1, 5, 1]) + np.float32(100))
    scores = [f.values @ s.kernel + s.bias for f in (train, other) for s in [linear_head.solve(f, None, plain())]]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-2)


def test_a_class_that_counts_double_is_as_one_whose_images_come_twice():
    train = drawn()
    rare = train.labels == 2
    twice = features(
        np.concatenate([train.values, train.values[rare]]), np.concatenate([train.labels, [2] * rare.sum()])
    )
    # The statistics of the features have to be equal, too, for the penalty to mean the same.
    weighted = linear_head.solve(train, None, ClassHead(np.array([1.0, 1.0, 2.0]), np.zeros(3)))
    doubled = linear_head.solve(twice, None, plain())
    a, b = (special.softmax(train.values @ s.kernel + s.bias, axis=1) for s in (weighted, doubled))
    np.testing.assert_allclose(a, b, atol=0.05)
    alone = linear_head.solve(train, None, plain())
    c = special.softmax(train.values @ alone.kernel + alone.bias, axis=1)
    assert c[:, 2].mean() < a[:, 2].mean() - 0.05


def test_a_constant_feature_gets_no_weight_and_no_nan():
    train = drawn()
    train.values[:, 1] = 7
    found = linear_head.solve(train, None, plain())
    assert np.isfinite(found.kernel).all()
    np.testing.assert_allclose(found.kernel[1], 0, atol=1e-6)


def test_noise_asks_for_a_strong_penalty_and_a_clear_case_for_a_weak_one():
    random = np.random.default_rng(1)
    noise = [features(random.normal(size=(40, 30)), random.integers(0, 2, 40)) for _ in range(2)]
    assert linear_head.solve(*noise, plain(2)).penalty == max(linear_head.PENALTIES)
    clear = [features([[-1.0], [1.0]] * 20, [0, 1] * 20) for _ in range(2)]
    assert linear_head.solve(*clear, plain(2)).penalty == min(linear_head.PENALTIES)


HEADS = {
    "classes": (ClassHead(np.array([1.0, 2.0, 0.5]), np.log([0.5, 0.3, 0.2]), 0.1), np.array([0, 2, 1, 2])),
    "labels": (LabelHead(np.array([1.0, 3.0]), 0.2), np.float32([[1, 0], [0, 0], [1, 1], [0, 1]])),
    "mse": (NumberHead((5.0,), (2.0,)), np.float32([[5], [7], [1], [4]])),
    "huber": (NumberHead((5.0,), (2.0,), head_problems.HUBER), np.float32([[5], [7], [1], [4]])),
    "mae": (NumberHead((5.0,), (2.0,), head_problems.NEARLY_ABSOLUTE), np.float32([[5], [7], [1], [4]])),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_slope_is_that_of_the_loss(name):
    problem, labels = HEADS[name]
    scores = np.random.default_rng(3).normal(size=(4, problem.outputs))
    weights = problem.weights(labels, np.array([1.0, 2.0, 1.0, 4.0]))
    assert weights.sum() == pytest.approx(1)
    targets = problem.targets(labels)
    _, slope = problem.objective(scores, targets, weights)
    for place in np.ndindex(scores.shape):
        step = np.zeros_like(scores)
        step[place] = 1e-5
        up, down = (problem.objective(scores + s, targets, weights)[0] for s in (step, -step))
        assert slope[place] == pytest.approx((up - down) / 2e-5, abs=1e-6)


def test_each_label_is_fitted_as_if_it_were_alone():
    train = drawn()
    labels = np.stack([train.labels == 2, train.labels > 0], axis=1).astype(np.float32)
    both = linear_head.solve(train._replace(labels=labels), None, LabelHead(np.array([1.0, 2.0])))
    for k, factor in enumerate((1.0, 2.0)):
        alone = linear_head.solve(train._replace(labels=labels[:, k : k + 1]), None, LabelHead(np.array([factor])))
        np.testing.assert_allclose(both.kernel[:, k], alone.kernel[:, 0], atol=2e-3)
        assert both.bias[k] == pytest.approx(alone.bias[0], abs=5e-3)


def test_the_head_of_a_number_by_hand():
    """The features are -1 and 1, and the standardized numbers, too: (w - 1) + penalty * w is 0."""
    train = features([[-1], [1]] * 10, np.float32([[10], [20]] * 10))
    found = linear_head.solve(train, None, NumberHead((15.0,), (5.0,)))
    assert found.kernel[0, 0] == pytest.approx(1 / (1 + linear_head.DEFAULT), abs=1e-4)
    assert found.bias[0] == pytest.approx(0, abs=1e-4)
    off = train._replace(labels=np.concatenate([train.labels, [[1000.0]]]), values=np.float32([*train.values, [0]]))
    off = off._replace(weights=np.ones(21))
    of_mean, of_median = (
        linear_head.solve(off, None, NumberHead((15.0,), (5.0,), bend)).bias[0]
        for bend in (np.inf, head_problems.NEARLY_ABSOLUTE)
    )
    assert of_mean == pytest.approx(197 / 21, abs=0.1)  # the mean of the standardized numbers, of which one is 197
    assert abs(of_median) < 1.1  # one number that is far off does not matter


def test_the_scores_of_heads_by_hand():
    labels = np.float32([[1], [0], [1]])
    found = LabelHead(np.array([1.0])).scored(np.log([[3.0], [1 / 3], [1 / 3]]), labels, np.ones(3))
    assert found["loss"] == pytest.approx(-np.log([0.75, 0.75, 0.25]).mean())
    assert found["mean_average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    numbers = NumberHead((10.0,), (2.0,)).scored(np.array([[0.0], [2.0]]), np.float32([[12], [14]]), np.ones(2))
    assert numbers == {"loss": pytest.approx(0.5), "mean_absolute_error": pytest.approx(0.5)}


def test_balanced_accuracy_by_hand():
    scores = np.array([[2, 1], [2, 1], [1, 2], [2, 1]])
    assert head_problems.balanced_accuracy(scores, np.array([0, 0, 1, 1])) == 0.75
    assert head_problems.balanced_accuracy(scores[:2], np.array([0, 0])) == 1


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, [1, 1]),
        ({"resample": "uniform"}, [8 / 12, 8 / 4]),
        ({"loss": "weighted"}, [16 / (2 * 12), 16 / (2 * 4)]),
        ({"loss": "logit-adjusted"}, [1, 1]),
    ],
)
def test_how_much_a_record_of_each_class_counts(tmp_path, options, factors):
    contract = write_dataset(tmp_path, splits={"train": (12, 4)})
    config = TrainConfig(str(tmp_path), "o", **options)
    assert head_problems.class_factors(config, contract) == pytest.approx(factors)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "data"
    write_dataset(path, encoding="uint8")
    return path


def test_the_features_are_those_of_the_layer_below_the_head(data):
    contract = write_dataset(data.parent / "one", splits={"train": (2, 1), "validation": (1, 1)}, shards=1)
    network = build.build("cnn", contract)
    config = TrainConfig(str(data.parent / "one"), "o", flip=True)
    function = linear_head._function(network, network.layers[-1])
    records = contract.split("train").records
    found = linear_head._features(function, records, config.data, "train", lambda labels: labels == 0)
    # Two views of the two images of class 0, each of half the weight, and one of the image of class 1.
    assert sorted(zip(found.labels.tolist(), found.weights.tolist(), strict=True)) == [
        (0, 0.5), (0, 0.5), (0, 0.5), (0, 0.5), (1, 1.0),
    ]  # fmt: skip
    assert found.values.shape == (5, 128)
    assert len(np.unique(found.values.round(4), axis=0)) == 5


@pytest.mark.parametrize("encoding", ["uint8", pytest.param("jpeg", marks=pytest.mark.slow)])
def test_random_views_are_those_of_training_and_share_the_weight_of_their_image(tmp_path, encoding):
    """Class 0 is mirrored: its image has four views, and that of class 1 three."""
    contract = write_dataset(tmp_path, encoding=encoding, splits={"train": (1, 1), "validation": (1, 1)}, shards=1)
    config = TrainConfig(str(tmp_path), "o", crop_scale="0.3-0.6", fit_head=True, head_views=3, seed=4)
    network, flips = build.build("cnn", contract), lambda labels: labels == 0
    function, below = (of(network, network.layers[-1]) for of in (linear_head._function, linear_head._below))
    changes = linear_head._changes(config, contract, below, flips)
    found, again = (linear_head._features(function, 2, config.data, "train", flips, changes) for _ in range(2))
    np.testing.assert_array_equal(found.values, again.values)
    assert sorted(zip(found.labels.tolist(), found.weights.tolist(), strict=True)) == [
        *[(0, 0.25)] * 4, *[(1, pytest.approx(1 / 3))] * 3,
    ]  # fmt: skip
    images, labels = next(iter(linear_head.dataset.load(tmp_path, "train", 2)))
    # The views of a batch come one after the other: both images, the mirrored one of class 0, and twice both.
    for number, rows in ((1, slice(3, 5)), (2, slice(5, 7))):
        draws = Draws(4, tf.constant(number, tf.int64))
        cut = crop.random_crop(images, (0.3, 0.6), (8, 8), draws).numpy()
        if number == 1:
            cut[labels.numpy() == 0] = cut[labels.numpy() == 0][:, :, ::-1]
        np.testing.assert_allclose(found.values[rows], below(cut), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"crop_scale": "0.5-1"}, "--fit-head"),
        ({"fit_head": True}, "--train-size, --crop-scale, --color-jitter, --rotate or --random-erasing"),
    ],
)
def test_views_without_a_head_or_a_change_are_refused(options, needed):
    with pytest.raises(ConfigError, match=f"--head-views is of use only with {needed}"):
        TrainConfig("d", "o", head_views=2, **options)


def rows(out):
    with open(out / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_of_no_epochs_keeps_the_fitted_head(data, tmp_path):
    options = {"fit_head": True, "epochs": 0, "head_views": 3, "color_jitter": 0.1}
    with logged() as text, trainings.without_reports():
        metrics = train.train(TrainConfig(str(data), str(tmp_path / "o"), **options))
    assert metrics["epochs"] == {"asked": 0, "run": 0, "kept": 0}
    assert metrics["splits"]["test"]["balanced_accuracy"] == 1  # bright on top against bright at the bottom
    assert "kept the weights of the fitted head, before the first epoch" in text.getvalue()
    [row] = rows(tmp_path / "o")
    assert row["epoch"] == "0"
    assert float(row["val_balanced_accuracy"]) == 1
    assert (tmp_path / "o/saved_model/saved_model.pb").is_file()
    assert json.loads((tmp_path / "o/metrics.json").read_text()) == metrics


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loss"), [("multi-label", "weighted"), ("regression", "mae")])
def test_the_head_of_labels_and_of_numbers_is_fitted(tmp_path, kind, loss):
    tasks.write(tmp_path / "data", kind)
    with trainings.without_reports():
        metrics = train.train(
            TrainConfig(str(tmp_path / "data"), str(tmp_path / "o"), fit_head=True, epochs=0, loss=loss)
        )
    assert metrics["epochs"] == {"asked": 0, "run": 0, "kept": 0}
    test = metrics["splits"]["test"]
    [row] = rows(tmp_path / "o")
    if kind == "multi-label":
        assert test["mean_average_precision"] > 0.9
        assert float(row["val_mean_average_precision"]) > 0.9
    else:
        assert test["r2"] > 0.5
        assert float(row["mean_absolute_error"]) < 0.5
    assert (tmp_path / "o/saved_model/saved_model.pb").is_file()


@pytest.mark.slow
def test_epochs_go_on_from_the_fitted_head(data, tmp_path):
    options = {"fit_head": True, "batch_size": 8, "learning_rate": 1e-5}
    with trainings.without_reports(export=False):
        train.train(TrainConfig(str(data), str(tmp_path / "o"), epochs=2, **options))
    found = rows(tmp_path / "o")
    assert [row["epoch"] for row in found] == ["0", "1", "2"]
    losses = [float(row["val_loss"]) for row in found]
    assert max(losses) < 0.05  # small steps from there, and not from a random head, whose loss is near log(2)


def test_only_a_head_on_a_graph_can_be_fitted(data, tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.below, self.head = layers.Dense(3), layers.Dense(2)

        def call(self, images):
            return self.head(self.below(layers.Flatten()(images)))

    network = Own()
    network(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(TrainerError, match="needs a functional or sequential model"):
        linear_head.fit(TrainConfig(str(data), "o"), make_contract(), network)


def test_features_beyond_the_memory_are_refused(data, monkeypatch):
    monkeypatch.setattr(linear_head, "MAX_BYTES", 1000)
    network = build.build("cnn", make_contract())
    contract = train.contracts.load(str(data))
    with pytest.raises(TrainerError, match="Use --freeze-epochs, which reads them in batches"):
        linear_head.fit(TrainConfig(str(data), "o"), contract, network)
