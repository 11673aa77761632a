import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import trainings
from tests.support.datasets import make_contract, write_dataset
from trainer.config import CLASS_LOSSES, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.evaluation import evaluate
from trainer.models import build
from trainer.tasks import class_weights
from trainer.tasks.classes import Classes
from trainer.tasks.losses import ClassLoss
from trainer.training import train
from trainer.training.step import training_model

SCORES = np.array([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0], [-3.0, 4.0, 0.0]], np.float32)
LABELS = np.array([0, 2, 1])
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
PRIORS = (0.7, 0.2, 0.1)


def value(kind, targets=ONE_HOT, scores=SCORES, priors=PRIORS, from_logits=True, **options):
    return float(ClassLoss(kind, priors, from_logits=from_logits, **options)(targets, scores))


def softmax(scores):
    e = np.exp(np.asarray(scores, np.float64))
    return e / e.sum(axis=-1, keepdims=True)


def test_class_weights_by_hand():
    assert class_weights.class_weights([9 / 12, 3 / 12]) == [12 / (2 * 9), 12 / (2 * 3)]
    assert class_weights.class_weights([9 / 12, 3 / 12, 0.0]) == [12 / (2 * 9), 12 / (2 * 3), 0.0]


def test_each_loss_by_hand():
    p = softmax(SCORES)[np.arange(3), LABELS]
    assert value("ce") == pytest.approx(-np.log(p).mean(), rel=1e-6)
    weights = np.array([1 / (3 * share) for share in PRIORS])[LABELS]
    assert value("weighted") == pytest.approx(-(weights * np.log(p)).mean(), rel=1e-6)
    assert value("focal") == pytest.approx(-((1 - p) ** 2 * np.log(p)).mean(), rel=1e-5)
    adjusted = softmax(SCORES + np.log(PRIORS))[np.arange(3), LABELS]
    assert value("logit-adjusted") == pytest.approx(-np.log(adjusted).mean(), rel=1e-6)


def test_smoothing_spreads_the_weight_of_a_record_and_no_more():
    """Under equal scores each class costs ln 2, however a target of 2 is spread."""
    even, target = np.zeros((1, 2), np.float32), np.float32([[2, 0]])
    assert value("ce", target, even, (0.5, 0.5), smoothing=0.2) == pytest.approx(2 * np.log(2), rel=1e-6)
    # Of the target, 1.8 is on the first class and 0.2 on the second, whose log-probability is lower by 1.
    sloped = np.float32([[1, 0]])
    expected = 2 * np.log(1 + np.exp(-1)) + 0.2
    assert value("ce", target, sloped, (0.5, 0.5), smoothing=0.2) == pytest.approx(expected, rel=1e-6)


def test_they_agree_with_those_of_keras():
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
    assert value("ce", smoothing=0.3) == pytest.approx(float(smoothed(ONE_HOT, SCORES)), rel=1e-5)
    focal = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=1.5, from_logits=True, label_smoothing=0.2)
    assert value("focal", gamma=1.5, smoothing=0.2) == pytest.approx(float(focal(ONE_HOT, SCORES)), rel=1e-4)


@pytest.mark.parametrize("kind", CLASS_LOSSES)
def test_a_target_counts_as_its_parts_and_probabilities_as_their_logits(kind):
    parts = [value(kind, ONE_HOT * share[:, None]) for share in np.array([[2.0, 0.5, 0], [1, 0, 3]], np.float32)]
    assert value(kind, ONE_HOT * np.array([[3.0], [0.5], [3]], np.float32)) == pytest.approx(sum(parts), rel=1e-5)
    flipped = ONE_HOT[::-1].copy()
    mixed = 0.3 * ONE_HOT + 0.7 * flipped
    assert value(kind, mixed) == pytest.approx(0.3 * value(kind) + 0.7 * value(kind, flipped), rel=1e-5)
    given = softmax(SCORES).astype(np.float32)
    assert value(kind, scores=given, from_logits=False) == pytest.approx(value(kind), rel=1e-5)


def test_without_imbalance_and_without_focus_all_are_cross_entropy():
    even = (1 / 3, 1 / 3, 1 / 3)
    for kind in ("weighted", "logit-adjusted"):
        assert value(kind, priors=even) == pytest.approx(value("ce"), rel=1e-6)
    assert value("focal", gamma=0.0) == pytest.approx(value("ce"), rel=1e-6)


@pytest.mark.parametrize("kind", CLASS_LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_losses_and_slopes_are_finite_where_the_network_is_certain(kind, gamma):
    scores = tf.constant([[200.0, -200, 0], [-200, 200, 0]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = ClassLoss(kind, (0.9, 0.1, 0.0), from_logits=True, gamma=gamma)(ONE_HOT[:2], scores)
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, scores)).all()


def test_the_best_scores_under_logit_adjustment_are_of_equal_classes():
    """Of records that nothing tells apart, 9 of class 0 to 1 of class 1: the best scores are equal, and not 9 to 1."""
    targets = np.array([[1.0, 0]] * 9 + [[0, 1.0]], np.float32)
    for kind, best in (("ce", np.log(9)), ("logit-adjusted", 0.0), ("weighted", 0.0)):
        score = tf.constant([best, 0.0], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(score)
            loss = ClassLoss(kind, (0.9, 0.1), from_logits=True)(targets, tf.tile(score[None], (10, 1)))
        np.testing.assert_allclose(tape.gradient(loss, score), 0, atol=1e-6, err_msg=kind)


def test_the_step_weighs_records_and_classes(tmp_path):
    """A weighted dataset: the loss of a step is the mean of class weight times own weight times cross-entropy."""
    contract = write_dataset(tmp_path / "d", splits={"train": (9, 3)}, weighted=True)
    network = build.build("cnn", contract)
    model = training_model(TrainConfig(str(tmp_path / "d"), "o", loss="weighted"), contract, network, 1)
    batch = next(iter(dataset.load(tmp_path / "d", "train", 12)))
    images, labels, own = (part.numpy() for part in batch)
    p = softmax(network(images, training=False))[np.arange(12), labels]
    factors = np.where(labels == 0, 12 / 18, 2.0)
    assert float(model.test_step(batch)["loss"]) == pytest.approx(-(factors * own * np.log(p)).mean(), rel=1e-5)


def test_the_ordinal_loss_asks_of_each_cut_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32)
    targets = np.float32([[1, 0, 0], [0, 1, 0]])
    # Record 0 is below both cuts; record 1 is above the first one and below the second one.
    expected = [-np.log(0.5) - np.log(0.8), -np.log(0.9) - np.log(0.3)]
    assert value("ordinal", targets, np.log(p)) == pytest.approx(np.mean(expected), rel=1e-5)
    weighted = value("ordinal", targets * np.float32([[3], [1]]), np.log(p))
    assert weighted == pytest.approx((3 * expected[0] + expected[1]) / 2, rel=1e-5)


def test_the_ordinal_loss_of_two_classes_is_cross_entropy_and_a_far_answer_costs_more():
    two = np.array([[2.0, -1.0], [0.5, 1.0]], np.float32)
    labels = np.eye(2, dtype=np.float32)
    assert value("ordinal", labels, two) == pytest.approx(value("ce", labels, two), rel=1e-5)
    near, far = (np.log(np.float32([row])) for row in ([0.1, 0.8, 0.1], [0.1, 0.1, 0.8]))
    first = np.float32([[1, 0, 0]])
    assert value("ordinal", first, near) < value("ordinal", first, far)
    assert value("ce", first, near) == pytest.approx(value("ce", first, far), rel=1e-5)


def test_the_slope_of_the_ordinal_loss_is_finite_for_sure_answers():
    scores = tf.Variable([[100.0, -100.0, 0.0], [0.0, 200.0, -200.0]])
    with tf.GradientTape() as tape:
        loss = ClassLoss("ordinal", PRIORS, from_logits=True)(np.float32([[0, 1, 0], [0, 0, 1]]), scores)
    assert np.isfinite(loss.numpy())
    assert np.isfinite(tape.gradient(loss, scores).numpy()).all()


def test_grades_are_named_in_their_order_and_too_many_are_refused(tmp_path):
    contract = write_dataset(tmp_path, splits={"train": (2, 2)})
    config = TrainConfig(str(tmp_path), "o", loss="ordinal", validation="none")
    assert Classes().check(config, contract)[0].startswith("the classes are grades in this order: ok < broken.")
    many = make_contract(labels=tuple(map(str, range(101))))
    with pytest.raises(TrainerError, match=r"at most 100 grades.*prepare so many steps as numbers, with --target"):
        Classes().check(config, many)


@pytest.mark.slow
def test_a_run_of_grades_shows_their_scores_and_evaluation_finds_them(tmp_path):
    write_dataset(tmp_path / "data", encoding="uint8")
    with trainings.without_reports():
        made = train.train(TrainConfig(str(tmp_path / "data"), str(tmp_path / "o"), loss="ordinal", epochs=3))
    assert set(made["splits"]["test"]["grades"]) == {
        "quadratic_kappa", "quadratic_kappa_interval", "mean_absolute_error", "mean_absolute_error_interval",
        "constant_answer",
    }  # fmt: skip
    again = evaluate.evaluate(tmp_path / "o", tmp_path / "data", "test")
    assert again.to_dict()["grades"] == made["splits"]["test"]["grades"]
    assert (tmp_path / "o/saved_model/saved_model.pb").is_file()
