"""The doctor on the order of the data: batches that come again, labels that move, rows that were copied."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.support.doctor import batches, ids, only, probe_of, subject
from trainer.doctor import run_probes
from trainer.doctor.clock import Clock
from trainer.doctor.probes.data import class_balance, conflicting_labels, label_noise, shuffling
from trainer.doctor.probes.splits import leakage
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import Batch, Sample, class_ids, draw
from trainer.doctor.subject.subject import Split, Subject
from trainer.doctor.subject.training import FIT, Training

RNG = np.random.default_rng(0)
X = RNG.random((96, 4, 4, 3)).astype(np.float32)
Y = np.arange(96) % 3
PROBE = {probe.look: probe for module in (label_noise, leakage, shuffling) for probe in module.PROBES}


def sample(*batches):
    return Sample(tuple(Batch(x, y) for x, y in batches), np.concatenate([class_ids(y) for _, y in batches]), True)


def of_passes(first, second=None):
    return Subject(origin="dataset", train=Split("train", sample(*first), None if second is None else sample(*second)))


def ask(function, given):
    return run_probes.run(given, [PROBE[function]])


def cut(*places, size=8):
    return [(X[i : i + size], Y[i : i + size]) for i in places]


# ---- batches


@pytest.mark.parametrize(
    ("places", "different"),
    [((0,) * 6, 1), ((0, 8) * 3, 2), ((0, 8, 16) * 3, 3)],
)
def test_a_few_batches_come_again_and_again(places, different):
    found = only(ask(shuffling.same_batches, of_passes(cut(*places))), "batches-repeat")
    assert f"{different} {'is' if different == 1 else 'are'} different" in found.evidence
    assert f"with {8 * different} different images" in found.evidence


@pytest.mark.parametrize(
    "places",
    [tuple(range(0, 96, 8)), (0, 8, 16, 24) * 3, (0, 8, 16, 24, 32, 0), (0, 8) * 2 + (16, 24)],
)
def test_batches_that_differ_or_that_come_once_an_epoch(places):
    assert ids(ask(shuffling.same_batches, of_passes(cut(*places)))) == []


def test_few_batches_show_nothing():
    report = ask(shuffling.same_batches, of_passes(cut(0, 0, 0)))
    assert (ids(report), len(report.not_checked)) == ([], 1)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.tile(np.repeat(np.arange(3), 4), 8), []),  # four images of each class in each batch of 12
        (np.repeat(np.arange(3), 32), ["sorted-input"]),
        (np.tile(np.repeat(np.arange(3), 12), 3)[:96], ["sorted-input"]),  # each batch is of one class
    ],
)
def test_classes_in_order_within_batches_are_mixed(labels, expected):
    batches = [(X[i : i + 12], labels[i : i + 12]) for i in range(0, 96, 12)]
    assert ids(ask(shuffling.mixed, of_passes(batches))) == expected


def in_batches(x, y, size, **training):
    """A subject that fits without shuffling: sorted by class, and two equal passes."""
    order = np.argsort(y, kind="stable")
    given = [(x[order][i : i + size], y[order][i : i + size]) for i in range(0, len(y), size)]
    told = Training(FIT, form="arrays", samples=len(y), steps=len(given), shuffle=False, **training)
    return dataclasses.replace(of_passes(given, given), training=told)


@pytest.mark.parametrize(
    ("x", "size", "expected"),
    [
        (X, 96, []),  # one batch of all, whatever its order
        (X, 48, ["order-fixed"]),
        (X[:, 0, 0], 96, []),
        (X[:12, 0, 0], 12, []),
    ],
)
def test_an_order_that_never_changes_matters_where_an_epoch_has_several_batches(x, size, expected):
    given = in_batches(x, Y[: len(x)], size, batch_size=size)
    assert ids(ask(shuffling.shuffled, given)) == expected
    if expected == []:
        assert ids(ask(shuffling.mixed, given)) == []
    else:
        assert ids(ask(shuffling.mixed, in_batches(x, Y, 12, batch_size=12))) == ["sorted-input"]


def test_one_step_of_an_epoch_is_not_all_rows():
    """fit(steps_per_epoch=1) of a dataset of more batches."""
    given = in_batches(X, Y, 32)
    given = dataclasses.replace(given, training=dataclasses.replace(given.training, steps=1, form="tf.data"))
    part = dataclasses.replace(given.train.sample, batches=given.train.sample.batches[:1], complete=False)
    given = dataclasses.replace(given, train=dataclasses.replace(given.train, sample=part))
    assert ids(ask(shuffling.mixed, given)) == ["sorted-input"]


@pytest.mark.parametrize(
    ("in_turn", "label_of_batch", "expected"),
    [
        (True, lambda at: at % 2, []),  # a discriminator
        (True, lambda at: 1, []),  # a generator
        (True, lambda at: Y[:8] // 2 if at else 0, ["sorted-input"]),
        (False, lambda at: at // 6, ["sorted-input"]),
    ],
)
def test_batches_of_one_class_by_intention(in_turn, label_of_batch, expected):
    labels = [np.resize(label_of_batch(at), 8) for at in range(12)]
    if in_turn and expected:
        labels = list(np.sort(np.concatenate(labels)).reshape(12, 8))
        labels[5] = labels[5][::-1].copy()
    given = of_passes([(X[8 * at : 8 * at + 8], labels[at]) for at in range(12)])
    given = dataclasses.replace(given, training=Training("GradientTape", in_turn=in_turn))
    assert ids(ask(shuffling.mixed, given)) == expected


# ---- labels


def test_images_that_are_shuffled_without_their_labels():
    order = np.random.default_rng(1).permutation(96)
    report = ask(shuffling.steady_labels, of_passes([(X, Y)], [(X[order], Y)]))
    moved = int((Y[order] != Y).sum())
    assert f"Of 96 images that were seen in two passes over the training data, {moved} have another label" in (
        only(report, "labels-move").evidence
    )


def test_pairs_that_are_shuffled_together_stay_together():
    order = np.random.default_rng(1).permutation(96)
    assert ids(ask(shuffling.steady_labels, of_passes([(X, Y)], [(X[order], Y[order])]))) == []


def test_an_image_that_has_two_labels_in_one_pass_is_no_witness():
    """Equal images under different labels are another fault; here 24 of 48 images are each of two classes."""
    x, y = np.concatenate([X[:48], X[:24]]), np.concatenate([Y[:48], Y[:24] + 1])
    order = np.random.default_rng(1).permutation(72)
    assert ids(ask(shuffling.steady_labels, of_passes([(x, y)], [(x[order], y[order])]))) == []


def test_images_that_change_are_not_compared():
    report = ask(shuffling.steady_labels, of_passes([(X, Y)], [(X + 0.1, Y[::-1])]))
    assert (ids(report), len(report.not_checked)) == ([], 1)


# ---- copies over both splits


ROWS = RNG.normal(size=(200, 5)).astype(np.float32)
KINDS = (np.arange(200) % 10 == 0).astype(np.int64)


def test_rows_that_were_copied_before_the_split():
    rare = np.flatnonzero(KINDS)
    order = np.random.default_rng(2).permutation(np.concatenate([np.flatnonzero(KINDS == 0), np.repeat(rare, 9)]))
    train, other = order[:270], order[270:]
    report = ask(leakage.across, subject((ROWS[train], KINDS[train]), (ROWS[other], KINDS[other])))
    copies = sum(j in train for j in other)
    assert f"{copies} are also among the 270 training rows" in only(report, "copied-before-split").evidence


def test_rows_that_are_in_both_splits_once():
    report = ask(leakage.across, subject((ROWS[:150], KINDS[:150]), (ROWS[140:], KINDS[140:])))
    assert "Of 60 validation rows 10 are also among" in only(report, "duplicates-across-splits").evidence


def test_copies_in_train_alone_are_no_fault():
    train = np.concatenate([np.arange(150), np.repeat(np.flatnonzero(KINDS[:150]), 8)])
    assert ids(ask(leakage.across, subject((ROWS[train], KINDS[train]), (ROWS[150:], KINDS[150:])))) == []


def test_rows_of_few_values_may_be_equal():
    rows = RNG.integers(0, 3, (200, 3)).astype(np.float32)
    report = ask(leakage.across, subject((rows[:100], KINDS[:100]), (rows[100:], KINDS[100:])))
    assert (ids(report), len(report.not_checked)) == ([], 1)


def test_rows_that_were_cut_at_a_limit_may_be_equal():
    """The first column tells rows apart, but where it was cut at -1.6: there, only two columns of 0 and 1 are left."""
    rows = np.stack([np.maximum(ROWS[:, 0], -1.6), ROWS[:, 1] > 0, ROWS[:, 2] > 0], axis=1).astype(np.float32)
    train, other = rows[:100], rows[100:]
    equal = sum(row.tobytes() in {one.tobytes() for one in train} for row in other)
    assert equal >= 2
    assert ids(ask(leakage.across, subject((train, KINDS[:100]), (other, KINDS[100:])))) == []
    both = np.concatenate([train[:10], other])
    report = ask(leakage.across, subject((train, KINDS[:100]), (both, KINDS[90:])))
    assert "Of 110 validation rows " in only(report, "duplicates-across-splits").evidence


# ---- classes of the answers


def test_answers_are_not_renamed_to_classes_that_training_lacks():
    """Training has classes 0 to 2, and validation 3 and 4: the answers 0 and 1 are not an exchange of their names."""
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5)])
    model.layers[-1].set_weights([np.float32([[0, 1, 0, 0, 0]] * 3), np.float32([0, -1.5, -9, -9, -9])])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(100)
    bright = np.repeat(np.float32([0, 1]), 40)
    images = np.broadcast_to(bright[:, None, None, None], (80, 4, 4, 3)).copy()

    def given(train):
        labels = (3 + bright).astype(np.int64)
        return subject((X[: len(train)], train), (images, labels), model=model)

    assert "labels-other-order" in ids(ask(label_noise.permuted, given(np.arange(90) % 5)))
    report = ask(label_noise.permuted, given(np.arange(90) % 3))
    assert "training has not all classes" in report.not_checked[0][1]


def answering(classes, answers):
    """A trained model of one-pixel images that answers `answers[red]`."""
    model = keras.Sequential([keras.Input((1, 1, 3)), keras.layers.Flatten(), keras.layers.Dense(classes)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(100)
    # Of the line 2 k x - k^2 the one of the nearest k is the greatest at x.
    weights = np.zeros((3, classes), np.float32)
    places = {answer: red for red, answer in enumerate(answers)}
    weights[0] = [2 * places.get(k, -99) for k in range(classes)]
    model.layers[-1].set_weights([weights, np.float32([-(places.get(k, -99) ** 2) for k in range(classes)])])
    return model


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((np.arange(80) % 4 + 1) % 4, ["labels-other-order"]),  # each class is answered as another one
        (np.where(np.arange(80) % 4 < 3, 1, (np.arange(80) // 4) % 4), []),  # three kinds are one class
    ],
)
def test_a_model_below_chance_is_not_always_right_in_another_order(labels, expected):
    images = np.zeros((80, 1, 1, 3), np.float32)
    images[:, 0, 0, 0] = np.arange(80) % 4
    given = subject((images, labels), (images, labels), model=answering(4, (0, 2, 3, 1) if not expected else range(4)))
    assert ids(ask(label_noise.permuted, given)) == expected


# ---- pairs of images under one label


def test_an_image_of_a_pair_has_no_label_of_its_own():
    order = np.random.default_rng(1).permutation(96)
    passes = [Sample((Batch(X[at], Y, inputs=[X[at], X[::-1]]),), class_ids(Y), True) for at in (np.arange(96), order)]
    given = Subject(origin="dataset", train=Split("train", *passes), validation=Split("validation", *passes))
    probes = [PROBE[f] for f in (shuffling.steady_labels, leakage.across, label_noise.shuffled, label_noise.mislabeled)]
    report = run_probes.run(given, [*probes, *conflicting_labels.PROBES])
    assert ids(report) == []
    assert {why for _, why in report.not_checked} == {"the labels are those of several inputs together"}
    assert len(report.not_checked) == 5


@pytest.mark.parametrize(
    ("weights", "expected"),
    [({0: 0.55, 1: 5.0}, []), ({0: 1.0, 1: 3.0}, []), ({0: 1.0, 1: 1.5}, ["imbalance"]), (None, ["imbalance"])],
)
def test_class_weights_make_up_for_an_imbalance(weights, expected):
    """Nine images of class 0 to one of class 1; a ratio below 5 is no finding."""
    labels = (np.arange(90) % 10 == 0).astype(np.int64)
    given = subject((X[:90], labels), training=Training(FIT, class_weight=weights))
    assert ids(run_probes.run(given, [probe_of(class_balance, class_balance.imbalance)])) == expected


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        (np.arange(40) % 4 + 2, "Of 40 images that evaluate gets, 50% are of 2 classes that training never has. "
                                "Training has 4 classes, and the head of the model has 6 units."),
        (np.arange(40) % 2, ""),  # fewer classes are no fault of data that only judge
    ],
)  # fmt: skip
def test_classes_of_evaluate_that_training_never_has(tested, expected):
    given = subject((X[:80], np.arange(80) % 4), (X[:40], tested), model=answering(6, range(6)))
    assert [told.evidence for told in run_probes.run(given, [class_balance.UNSEEN]).findings] == [expected][
        : bool(expected)
    ]


def test_labels_are_all_known_where_not_all_images_are_kept():
    """Of 4,096 images 2,048 are kept; the last class is among the others."""
    images, labels = np.zeros((4096, 1, 1, 3), np.float32), np.arange(4096) // 1024
    data = batches(images, labels, 256, shuffle=False)
    read = [draw(data, Clock(30.0)), draw(data.repeat(), Clock(30.0), max_labels=3072)]
    assert [(len(one), one.complete, one.ended) for one in read] == [(2048, False, True), (2048, False, False)]
    told = [state.counts(Subject(), Split("train", one)) for one in read]
    assert told == [({0: 1024, 1: 1024, 2: 1024, 3: 1024}, True), ({0: 1024, 1: 1024, 2: 1024}, False)]
