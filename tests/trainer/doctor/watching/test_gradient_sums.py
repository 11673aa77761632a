"""Gradients that a loop sums up, and sets back or not."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.doctor.watching import gradient_sums
from trainer.doctor.watching.gradient_sums import LEAST, GradientSums

SHAPES = ((6, 8), (8,), (8, 2), (2,))


def gradients(rng):
    """Draws the gradients of a batch: what all batches have in common, and twice as much that they have not."""
    common = np.random.default_rng(0)
    return [tf.constant(common.normal(size=shape) + 2 * rng.normal(size=shape), tf.float32) for shape in SHAPES]


def grown(change, steps=10, every=4, seed=1):
    """The answer for a loop whose optimizer gets what `change` makes of what it got last and of new gradients."""
    rng, sums, applied, most = np.random.default_rng(seed), GradientSums(), None, 0
    for _ in range(steps):
        new = [tf.zeros(shape) for shape in SHAPES]
        for _ in range(every):
            batch = gradients(rng)
            sums.add(batch)
            new = [a + b for a, b in zip(new, batch, strict=True)]
        applied = new if applied is None else [change(a, b) for a, b in zip(applied, new, strict=True)]
        most = max(most, sums.apply(applied))
    return most


@pytest.mark.parametrize("every", [1, 4])
def test_sums_that_are_never_set_back(every):
    assert grown(lambda old, new: old + new, every=every) == 9  # the first of ten steps has nothing to set back


def test_sums_that_are_clipped_before_they_are_applied_are_told_as_well():
    rng, sums, total = np.random.default_rng(2), GradientSums(), [tf.zeros(shape) for shape in SHAPES]
    for _ in range(8):
        batch = gradients(rng)
        sums.add(batch)
        total = [a + b for a, b in zip(total, batch, strict=True)]
        told = sums.apply(tf.clip_by_global_norm(total, 1.0)[0])
    assert told == 7


def test_a_sum_is_known_from_when_it_was_set_back_the_last_time():
    rng, sums, total, told = np.random.default_rng(3), GradientSums(), [tf.zeros(shape) for shape in SHAPES], []
    for step in range(8):
        batch = gradients(rng)
        sums.add(batch)
        total = batch if step == 5 else [a + b for a, b in zip(total, batch, strict=True)]
        told.append(sums.apply(total))
    assert told == [0, 1, 2, 3, 4, 0, 1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda old, new: new,
        lambda old, new: new / 4,
        lambda old, new: 0.9 * old + new,
        lambda old, new: 0.99 * old + new,
        lambda old, new: 0.9 * old + 0.1 * new,
        lambda old, new: new + 0.01,
    ],
    ids=["set back", "a mean", "momentum 0.9", "momentum 0.99", "a running mean", "with another term"],
)
@pytest.mark.parametrize("every", [1, 4])
def test_gradients_that_are_set_back_and_momentum_are_left_alone(change, every):
    assert max(grown(change, steps=20, every=every, seed=seed) for seed in range(10)) < LEAST


def test_gradients_that_all_have_one_direction_tell_nothing():
    sums = GradientSums()
    one = gradients(np.random.default_rng(4))
    for step in range(1, 10):
        sums.add(one)
        assert sums.apply([step * part for part in one]) == 0


def test_symbols_sparse_gradients_and_weights_without_a_gradient():
    sums, total = GradientSums(), tf.zeros((5, 3))
    for step in range(8):
        rows = tf.IndexedSlices(tf.ones((1, 3)), tf.constant([step % 5]), tf.constant((5, 3)))
        sums.add([rows, None])
        total += tf.convert_to_tensor(rows)
        told = sums.apply([total])
    assert told == 7
    seen = []

    @tf.function
    def traced(x):
        sums.add([x])
        seen.append(sums.apply([x]))
        return x

    traced(tf.ones((2, 2)))
    assert seen == [0]


def test_the_finding_names_the_steps():
    told = gradient_sums.finding(7, None)
    assert (told.id, told.level, told.place) == ("gradients-not-reset", "error", "")
    assert told.what == "The loop adds up gradients and does not set the sums back to 0"
    assert told.evidence.startswith("In 7 steps in a row, the optimizer got the sum of the gradients of all batches")
