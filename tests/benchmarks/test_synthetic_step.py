"""The step of known cost that stands for a device in benchmarks/feed.py."""

import os

import pytest
import tensorflow as tf

from benchmarks.synthetic_step import MAX_ROWS, DeviceStep, MatrixStep, ProcessStep, core_of_its_own


def test_flops_set_the_products_of_a_step():
    step = MatrixStep(64)
    step.set_flops(10 * 2 * 64**2)
    assert (step.rows, step.repeats, step.flops) == (10, 1, 10 * 2 * 64**2)
    step.set_flops(2.5 * MAX_ROWS * 2 * 64**2)
    assert step.repeats == 3
    assert step.flops == pytest.approx(2.5 * MAX_ROWS * 2 * 64**2, rel=1e-3)
    step.set_flops(0.1)
    assert (step.rows, step.repeats) == (1, 1)


@pytest.mark.parametrize("make", [lambda: DeviceStep(64), lambda: ProcessStep(side=64)])
def test_calibration_gives_longer_steps_more_work(make):
    batch = (tf.zeros((4, 8, 8, 3), tf.uint8),)
    short, long = make(), make()
    short.set_milliseconds(1, batch)
    long.set_milliseconds(100, batch)
    assert long.flops > 3 * short.flops  # a hundred times, on an idle machine
    short.close()
    long.close()


def test_a_process_that_multiplies_and_has_ended_is_told():
    step = ProcessStep(side=8)
    step.close()
    with pytest.raises((RuntimeError, ValueError)):
        step((tf.zeros((1, 8, 8, 3), tf.uint8),))


def test_a_core_is_left_to_the_step_and_given_back():
    before = os.sched_getaffinity(0)
    with core_of_its_own() as core:
        meanwhile = os.sched_getaffinity(0)
        assert meanwhile == before - {core}
        assert (core is None) == (len(before) == 1)
    assert os.sched_getaffinity(0) == before
