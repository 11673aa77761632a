"""Augmentation of all classes in a program whose comment calls them unbalanced."""

import dataclasses
import random

import numpy as np
import tensorflow as tf

from tests.support.doctor import ids, only, probe_of
from trainer.doctor import run_probes
from trainer.doctor.probes.data import augmentation
from trainer.doctor.subject import load
from trainer.doctor.subject.training import Training


# The classes of the next tests are unbalanced.
def like_every_other(image, label):
    return tf.image.random_brightness(image, 0.3), label


def switched_off_by_python(image, label):
    return (tf.image.random_brightness(image, 0.3) if random.random() < 0.5 else image), label


def test_augmentation_of_all_classes_that_the_program_calls_unbalanced(monkeypatch):
    probe = probe_of(augmentation, augmentation.on_all_classes)
    images = np.random.default_rng(0).random((12, 8, 8, 3)).astype(np.float32)
    labels = np.arange(12) % 3 // 2  # 8 and 4

    def report(function, ids=labels, **more):
        monkeypatch.setattr(random, "random", lambda: 0.9)  # off, where the graph is traced
        data = tf.data.Dataset.from_tensor_slices((images, ids)).map(function).batch(4)
        monkeypatch.undo()
        random.seed(0)  # each trial of the map in Python begins here
        given = dataclasses.replace(load.subject_of(dataset=data), training=Training("fit", **more))
        return run_probes.run(given, [probe])

    for function in (like_every_other, switched_off_by_python):
        found = only(report(function), "augmentation-all-classes")
        assert found.level == "info"
        assert "says 'The classes of the next tests are unbalanced.'" in found.evidence
        assert "100% of the tried images of class 0, the commonest class, and 100%" in found.evidence
    assert ids(report(like_every_other, np.arange(12) % 2)) == []  # they are balanced, whatever the comment says
    assert ids(report(like_every_other, class_weight={0: 1.0, 1: 2.0})) == []
