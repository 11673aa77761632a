"""A notebook that watches gets the report of each training."""

import asyncio
import concurrent.futures
import tempfile

import keras
import numpy as np
import pytest

import trainer.doctor
from tests.support.doctor import cnn
from trainer.doctor.program import interactive
from trainer.doctor.watching.places import Places
from trainer.doctor.watching.watcher import Watcher


def fitted(_=None):
    x = np.zeros((64, 8, 8, 3), np.float32)
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return network.fit(x, np.arange(64) % 2, epochs=1, verbose=0)


def in_threads(function, number):
    with concurrent.futures.ThreadPoolExecutor(number) as threads:
        return list(threads.map(function, range(number)))


@pytest.mark.slow
def test_trainings_in_several_threads_are_examined_each():
    trainer.doctor.watch()
    try:
        assert all(len(history.history["loss"]) == 1 for history in in_threads(fitted, 3))
        [(examination, _)] = interactive._watching
        assert len(examination.reports) == 3
        assert sorted(training.number for training in examination.trainings) == [1, 2, 3]
    finally:
        interactive.stop()


def test_what_one_thread_does_inside_keras_is_the_users_in_another():
    watcher = Watcher(Places({}, "."), lambda *_: None, lambda _: None)
    with watcher.inside():
        assert watcher._here.inside == 1
        assert in_threads(lambda _: watcher._here.inside, 1) == [0]
    assert watcher._here.inside == 0


def test_several_threads_that_watch_leave_one_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = keras.Model.fit, keras.layers.Layer.__new__
    try:
        in_threads(lambda _: trainer.doctor.watch(), 8)
        assert len(interactive._watching) == len(list(tmp_path.iterdir())) == 1
    finally:
        interactive.stop()
    assert (keras.Model.fit, keras.layers.Layer.__new__) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_notebook_whose_event_loop_runs_can_watch():
    async def cell():
        trainer.doctor.watch()
        return fitted()

    try:
        asyncio.run(cell())
        assert trainer.doctor.report() is not None
    finally:
        interactive.stop()


@pytest.mark.slow
def test_each_fit_after_watch_is_examined_and_keras_is_as_before_after_stop(capsys):
    before = keras.Model.fit, keras.Model.compile, keras.layers.Layer.__new__
    assert trainer.doctor.report() is None
    trainer.doctor.watch()
    try:
        x, y = np.random.default_rng(0).random((64, 32, 32, 3), np.float32), np.arange(64) % 2
        history = cnn(2).fit(x * 255, y, epochs=2, verbose=0)
        assert len(history.history["loss"]) == 2
        report = trainer.doctor.report()
        assert "range-large" in [finding.id for finding in report.findings]
        assert "[range-large]" in capsys.readouterr().out
        (found,) = (finding for finding in report.findings if finding.id == "range-large")
        assert "tests/trainer/doctor/program/test_interactive.py" in found.place
    finally:
        interactive.stop()
    assert (keras.Model.fit, keras.Model.compile, keras.layers.Layer.__new__) == before
