"""The doctor on data: each fault put into real photographs, and its healthy twin."""

from __future__ import annotations

import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.doctor import batches, cnn, doctor, ids, only, photos, probe_of, subject, unit
from trainer.doctor import run_probes
from trainer.doctor.probes.data import augmentation, class_balance, shuffling
from trainer.doctor.probes.splits import leakage
from trainer.doctor.subject import load, state
from trainer.doctor.subject.training import FIT, Training
from trainer.doctor.tools import tfdata_steps

SIDE = 32


@pytest.fixture(scope="module")
def sets(real_data):
    """float32 0..1 (N, 32, 32, 3) and ids, train and validation, of four classes... of six kinds of waste."""
    x, y = photos(real_data, "trashnet", each=20, side=SIDE)
    v, w = photos(real_data, "trashnet", each=8, side=SIDE, start=20)
    return unit(x), y, unit(v), w


def pairs(sets, change=None, validation=None, size=16):
    """(train, validation) datasets; `change` of the unbatched train dataset, `validation` of the other."""
    x, y, v, w = sets
    train = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=1)
    other = tf.data.Dataset.from_tensor_slices((v, w))
    return (change(train) if change else train).batch(size), (validation(other) if validation else other).batch(size)


# ---- augmentation


def coin_in_python(image, label):
    if random.random() < 0.5:
        image = tf.image.flip_left_right(image)
    return image, label


def coin_of_numpy(image, label):
    return image + np.random.uniform(-0.1, 0.1), label


@tf.function
def in_a_tf_function(image, label):
    return tf.image.adjust_brightness(image, random.uniform(-0.2, 0.2)), label


def coin_in_tensorflow(image, label):
    return tf.image.random_flip_left_right(image), label


FROZEN = probe_of(augmentation, augmentation.frozen)


@pytest.mark.parametrize("function", [coin_in_python, coin_of_numpy, in_a_tf_function])
def test_a_coin_that_is_tossed_while_tracing(sets, function):
    found = only(
        doctor(FROZEN, dataset=pairs(sets, lambda d: d.map(function, num_parallel_calls=2))), "augmentation-frozen"
    )
    assert function.__name__.lstrip("_") in found.evidence or "map" in found.evidence
    assert "traced" in found.what


def test_a_coin_that_falls_alike_eight_times(sets):
    """Each element is tried with other tosses than the one before it."""

    def falls(seed):
        random.seed(seed)
        return [random.random() < 0.5 for _ in range(9)]

    state = random.getstate()
    seed = next(seed for seed in range(10_000) if not any(falls(seed)))
    try:
        random.seed(seed)
        train, other = pairs(sets, lambda d: d.map(coin_in_python))  # traced with the first toss
        random.seed(seed)
        only(doctor(FROZEN, dataset=(train, other)), "augmentation-frozen")
    finally:
        random.setstate(state)


def coin_in_python_before_one_in_tensorflow(image, label):
    if random.random() < 0.5:
        image = tf.image.random_flip_left_right(image)
    return image, label


def test_a_coin_that_switches_a_random_flip_on_or_off_for_all_images(sets):
    on, off = (next(seed for seed in range(99) if (random.Random(seed).random() < 0.5) == is_on) for is_on in (1, 0))
    for seed, words in ((on, "switched on or off once"), (off, "drawn once")):
        random.seed(seed)
        dataset = pairs(sets, lambda d: d.map(coin_in_python_before_one_in_tensorflow))
        assert words in only(doctor(FROZEN, dataset=dataset), "augmentation-frozen").what


def test_the_users_generators_are_put_back(sets):
    random.seed(5)
    expected = random.Random(5).random()
    dataset = pairs(sets, lambda d: d.map(coin_in_tensorflow))
    doctor(FROZEN, dataset=dataset)
    assert random.random() == expected


def test_a_cache_behind_the_augmentation(sets):
    found = only(
        doctor(FROZEN, dataset=pairs(sets, lambda d: d.map(coin_in_tensorflow).cache())), "augmentation-frozen"
    )
    assert ".cache() comes after it" in found.evidence


def test_a_seed_that_begins_anew_each_pass(sets):
    x, y, v, w = sets

    def seeded(image, label):
        return tf.image.random_brightness(image, 0.3, seed=3), label

    unshuffled = tf.data.Dataset.from_tensor_slices((x, y)).map(seeded).batch(16)
    found = only(doctor(FROZEN, dataset=(unshuffled, batches(v, w))), "augmentation-frozen")
    assert "two passes over the same" in found.evidence
    assert ids(doctor(FROZEN, dataset=pairs(sets, lambda d: d.map(seeded)))) == []  # shuffled: not the same images


def test_augmentation_that_is_alive_is_left_alone(sets):
    for change in (
        lambda d: d.cache().map(coin_in_tensorflow),
        lambda d: d.map(lambda x, y: (tf.image.random_brightness(x, 0.1), y)),
        lambda d: d.map(lambda x, y: (tf.numpy_function(lambda a: a * random.uniform(0.9, 1), [x], tf.float32), y)).map(
            lambda x, y: (tf.ensure_shape(x, (SIDE, SIDE, 3)), y)
        ),
        lambda d: d.map(lambda x, y: (x * 2 - 1, y)),  # no augmentation
    ):
        assert ids(doctor(*augmentation.PROBES, dataset=pairs(sets, change))) == []


def test_augmented_validation(sets):
    probe = probe_of(augmentation, augmentation.in_validation)
    made = pairs(sets, lambda d: d.map(coin_in_tensorflow), validation=lambda d: d.map(coin_in_tensorflow))
    assert "8 different results" in only(doctor(probe, dataset=made), "augmentation-in-validation").evidence
    assert ids(doctor(probe, dataset=pairs(sets, lambda d: d.map(coin_in_tensorflow)))) == []


RARE = 5


def any_in_the_batch(images, labels):
    if tf.reduce_any(labels == RARE):
        images = tf.image.random_brightness(images, 0.3)
    return images, labels


def only_the_rare(image, label):
    if label == RARE:
        image = tf.image.random_brightness(image, 0.3)
    return image, label


def augment_minority(image, label):
    return tf.image.random_brightness(image, 0.3), label


def test_augmentation_that_was_meant_for_one_class(sets):
    probe = probe_of(augmentation, augmentation.on_all_classes)
    x, y, v, w = sets
    keep = np.flatnonzero((y != RARE) | (np.cumsum(y == RARE) <= 8))
    few = (x[keep], y[keep], v, w)
    train, validation = pairs(few)
    found = only(doctor(probe, dataset=(train.map(any_in_the_batch), validation)), "augmentation-all-classes")
    assert "it asks for labels == RARE" in found.evidence
    found = only(doctor(probe, dataset=pairs(few, lambda d: d.map(augment_minority))), "augmentation-all-classes")
    assert "its name is augment_minority" in found.evidence
    assert "it changes 100% of the tried images" in found.evidence
    assert ids(doctor(probe, dataset=pairs(few, lambda d: d.map(only_the_rare)))) == []
    assert ids(doctor(probe, dataset=pairs(few, lambda d: d.map(coin_in_tensorflow)))) == []  # nothing says so


def test_augmentation_that_destroys(sets):
    probe = probe_of(augmentation, augmentation.destroying)

    def brightened(delta):
        return lambda image, label: (tf.clip_by_value(tf.image.random_brightness(image, delta), 0, 1), label)

    found = only(doctor(probe, dataset=pairs(sets, lambda d: d.map(brightened(50.0)))), "augmentation-destroys")
    assert "of the contrast" in found.evidence
    assert len(found.charts[0].series) > 2
    assert ids(doctor(probe, dataset=pairs(sets, lambda d: d.map(brightened(0.2))))) == []


def test_steps_of_a_dataset():
    dataset = tf.data.Dataset.range(10).map(lambda i: i + 1, num_parallel_calls=2).shuffle(7).batch(2).prefetch(1)
    assert [step.kind for step in tfdata_steps.steps(dataset)] == ["Prefetch", "Batch", "Shuffle", "Map", "Range"]
    assert tfdata_steps.buffer_size(dataset) == 7
    assert tfdata_steps.buffer_size(tf.data.Dataset.range(3)) is None
    [(step, behind)] = tfdata_steps.maps(dataset)
    assert [s.kind for s in behind] == ["Prefetch", "Batch", "Shuffle"]
    assert tfdata_steps.run_traced(step, tf.constant(4, tf.int64), 2) == [5, 5]


# ---- order


MIXED, ANOTHER, ONCE = (probe_of(shuffling, f) for f in (shuffling.mixed, shuffling.shuffled, shuffling.repeated))


def by_class(sets):
    x, y, *_ = sets
    place = np.argsort(y, kind="stable")
    return tf.data.Dataset.from_tensor_slices((x[place], y[place]))


def test_sorted_input(sets):
    found = only(doctor(MIXED, dataset=by_class(sets).batch(10)), "sorted-input")
    assert "there are 6 runs of one class; a random order has about 101" in found.evidence
    assert "100% of the batches are of a single class. No shuffling was found in it" in found.evidence
    found = only(doctor(MIXED, dataset=by_class(sets).shuffle(8).batch(10)), "sorted-input")
    assert "the shuffle buffer is too small" in found.what
    assert ".shuffle(8)" in found.evidence
    assert ids(doctor(MIXED, dataset=by_class(sets).shuffle(120).batch(10))) == []


def test_the_runs_of_a_random_order():
    labels = np.array([0, 0, 1, 1, 0, 1])
    assert shuffling.runs_of(labels)[0] == 4
    assert shuffling.runs_of(labels)[1] == pytest.approx(1 + 6 * 0.5)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [900, 100])
    found = [shuffling.runs_of(rng.permutation(labels))[0] for _ in range(200)]
    _, mean, deviation = shuffling.runs_of(labels)
    assert np.mean(found) == pytest.approx(mean, rel=0.02)
    assert np.std(found) < 1.5 * deviation


def test_one_order_for_all_epochs(sets):
    x, y, *_ = sets
    fixed = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    assert (
        "The first 120 labels of two passes are the same"
        in only(doctor(ANOTHER, dataset=fixed), "order-fixed").evidence
    )
    once = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(120, reshuffle_each_iteration=False).batch(10)
    only(doctor(ANOTHER, dataset=once), "order-fixed")
    assert ids(doctor(ANOTHER, dataset=batches(x, y, 10))) == []


@pytest.mark.slow
def test_repeats(sets):
    x, y, *_ = sets
    endless = load.subject_of(dataset=batches(x, y).repeat())
    assert "how fit is called is not known" in run_probes.run(endless, [ONCE]).not_checked[0][1]
    fitted = dataclasses.replace(endless, training=Training(FIT))
    assert "without end" in only(run_probes.run(fitted, [ONCE]), "repeats").evidence
    cut = dataclasses.replace(endless, training=Training(FIT, steps_per_epoch=4))
    assert ids(run_probes.run(cut, [ONCE])) == []
    assert "It has .repeat(3)" in only(doctor(ONCE, dataset=batches(x, y).repeat(3)), "repeats").evidence
    assert ids(doctor(ONCE, dataset=batches(x, y))) == []
    assert ids(doctor(ONCE, dataset=batches(x, y).repeat(1))) == []


# ---- classes


def unbalanced(sets, keep=4):
    """Two classes: 20 of cardboard, `keep` of glass, five times over with other brightness, so that there are "
    "enough."""
    x, y, *_ = sets
    chosen = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:keep]])
    return np.concatenate([x[chosen] * f for f in (1.0, 0.9, 0.8, 0.7, 0.6)]), np.tile(y[chosen], 5)


def test_imbalance_is_told_beside_the_accuracy(sets):
    probe = probe_of(class_balance, class_balance.imbalance)
    data = batches(*unbalanced(sets))
    found = only(doctor(probe, dataset=data, past={"val_accuracy": (0.8, 0.84)}), "imbalance")
    assert "5.0 images of class 0 to one of class 1" in found.what
    assert "100 and 20 train images. 83.3% accuracy on train is what always answering class 0 gives." in found.evidence
    assert "The history's best val_accuracy is 84.0%." in found.evidence
    assert ids(doctor(probe, dataset=batches(*unbalanced(sets, keep=15)))) == []


def test_an_accuracy_that_is_the_majoritys(sets):
    probe = probe_of(class_balance, class_balance.accuracy_is_majority)
    data = batches(*unbalanced(sets)), batches(*unbalanced(sets))
    found = only(doctor(probe, dataset=data, past={"val_accuracy": (0.8, 0.84)}), "accuracy-is-majority")
    assert "best val_accuracy is 84.0%; 83.3% of the validation images are class 0" in found.evidence
    assert ids(doctor(probe, dataset=data, past={"val_accuracy": (0.8, 0.9)})) == []
    assert ids(doctor(probe, dataset=data[0], past={"val_accuracy": (0.8,)})) == []  # of another split


def test_an_accuracy_near_the_majoritys_of_a_model_that_tells_the_classes_apart():
    """Class weights cost accuracy where one class is common: 80 of 100 right, and 8 of 10 of the rare class."""
    labels = (np.arange(100) % 10 == 0).astype(np.int64)
    wrong = (np.arange(100) % 10 >= 8) | (np.arange(100) % 50 == 0)
    images = np.broadcast_to((labels ^ wrong).astype(np.float32)[:, None, None, None], (100, 2, 2, 3)).copy()
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    model.layers[-1].set_weights([np.float32([[-1, 1]] * 3), np.float32([1.5, -1.5])])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(100)
    probe = probe_of(class_balance, class_balance.accuracy_is_majority)
    past = {"val_accuracy": (0.9,)}
    data = batches(images, labels), batches(images, labels)
    assert ids(doctor(probe, dataset=data, past=past, model=model)) == []
    model.layers[-1].set_weights([np.float32([[-1, 1]] * 3), np.float32([9, -9])])  # one answer
    assert ids(doctor(probe, dataset=data, past=past, model=model)) == ["accuracy-is-majority"]


def test_accuracy_is_the_only_score():
    probe = probe_of(class_balance, class_balance.accuracy_alone)
    images = np.zeros((60, 4, 4, 3), np.float32)

    def found(labels, score="accuracy", **more):
        head = keras.layers.Dense(2, activation="softmax")
        model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), head])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=[score])
        given = subject((images, labels), model=model, training=Training("fit", **more))
        return run_probes.run(given, [probe])

    two_to_one, equal, nine_to_one = np.arange(60) % 3 // 2, np.arange(60) % 2, np.arange(60) % 10 // 9
    told = only(found(two_to_one), "accuracy-alone")
    assert told.level == "info"
    assert "always answering class 0 gives 66.7% already" in told.what
    assert ids(found(two_to_one, "sparse_categorical_accuracy")) == ["accuracy-alone"]
    assert ids(found(equal)) == []
    assert ids(found(nine_to_one)) == []  # another finding says so
    assert ids(found(two_to_one, keras.metrics.SparseTopKCategoricalAccuracy(1))) == []
    assert ids(found(two_to_one, judged=True)) == []
    assert ids(found(two_to_one, class_weight={0: 1.0, 1: 2.0})) == []
    assert ids(found(two_to_one, callbacks=(Scores(),))) == []
    assert ids(found(two_to_one, history={"val_accuracy": (0.5, 0.84)})) == []
    assert ids(found(two_to_one, history={"val_accuracy": (0.5, 0.82)})) == ["accuracy-alone"]
    assert ids(found(two_to_one, history={"accuracy": (1.0,)})) == ["accuracy-alone"]
    assert ids(found(two_to_one, callbacks=(keras.callbacks.EarlyStopping(),))) == ["accuracy-alone"]


class Scores(keras.callbacks.Callback):
    """A callback of the program's own, which may compute other scores."""


def test_one_answer_to_all(sets):
    probe = probe_of(class_balance, class_balance.one_answer)
    x, y, v, w = sets
    model = cnn(6)
    model.layers[-1].bias.assign([0, 0, 50, 0, 0, 0])
    assert ids(doctor(probe, dataset=(batches(x, y), batches(v, w)), model=model)) == []  # nobody trained it
    model.optimizer.iterations.assign(100)
    found = only(doctor(probe, dataset=(batches(x, y), batches(v, w)), model=model), "answers-one-class")
    assert "100.0% of 48 validation images get this answer; 16.7% of them" in found.evidence
    rng = np.random.default_rng(0)
    model.layers[-1].kernel.assign(rng.normal(size=model.layers[-1].kernel.shape) * 30)
    model.layers[-1].bias.assign(np.zeros(6))
    mean = model(v, training=False).numpy().mean(axis=0)
    model.layers[-1].bias.assign(-mean)
    assert ids(doctor(probe, dataset=(batches(x, y), batches(v, w)), model=model)) == []


def test_classes_missing_from_a_split(sets):
    probe = probe_of(class_balance, class_balance.missing)
    x, y, v, w = sets
    found = doctor(probe, dataset=(batches(x[y != 3], y[y != 3]), batches(v, w)))
    assert only(found, "class-missing").what == "The train split has no image of class 3"
    assert found.failed
    found = doctor(probe, dataset=(batches(x, y), batches(v[w < 4], w[w < 4])))
    assert only(found, "class-missing").what == "The validation split has no image of class 4, class 5"
    assert not found.failed
    assert ids(doctor(probe, dataset=(batches(x, y), batches(v, w)))) == []


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [([[0.1, 0.9], [2, 1]], [1, 0]), ([[0.4], [0.6]], [0, 1]), ([[-3.0], [0.4]], [0, 1]), ([0.2, 0.9], [0, 1])],
)
def test_answers_of_any_head(outputs, expected):
    assert state.answers(np.array(outputs)).tolist() == expected


# ---- the same picture in both splits

LEAKS = leakage.PROBES[0]


def test_equal_images_in_both_splits(sets):
    x, y, v, w = sets
    both = np.concatenate([v, x[:4]]), np.concatenate([w, y[:4]])
    found = only(doctor(LEAKS, dataset=(batches(x, y), batches(*both, shuffle=False))), "duplicates-across-splits")
    assert found.what == "4 validation images are also in the training images, byte for byte"
    assert "7.7% of the validation score" in found.cost
    assert ids(doctor(LEAKS, dataset=(batches(x, y), batches(v, w)))) == []


def changed(image, way):
    if way == "brighter":
        return image * 0.8 + 0.05
    if way == "mirrored":
        return image[:, ::-1]
    encoded = tf.io.encode_jpeg(tf.cast(image * 255, tf.uint8), quality=80)
    return tf.cast(tf.io.decode_jpeg(encoded), tf.float32).numpy() / 255


@pytest.mark.parametrize("way", ["brighter", "mirrored", "recompressed"])
def test_nearly_equal_images_in_both_splits(sets, way):
    x, y, v, w = sets
    near = np.stack([changed(image, way) for image in x[:4]])
    both = np.concatenate([v, near]), np.concatenate([w, y[:4]])
    found = only(doctor(LEAKS, dataset=(batches(x, y), batches(*both, shuffle=False))), "near-duplicates-across-splits")
    assert found.what == "4 validation images are nearly the same as training images"


def test_photographs_without_contrast_are_no_duplicates(sets):
    x, y, v, w = sets
    rng = np.random.default_rng(0)
    blank = (0.5 + rng.normal(0, 0.004, (8, SIDE, SIDE, 3))).astype(np.float32)
    train = np.concatenate([x, blank[:4]]), np.concatenate([y, np.zeros(4, np.int64)])
    other = np.concatenate([v, blank[4:]]), np.concatenate([w, np.zeros(4, np.int64)])
    assert ids(doctor(LEAKS, dataset=(batches(*train), batches(*other)))) == []
