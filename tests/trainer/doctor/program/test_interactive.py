"""A notebook that watches gets the report of each training."""

import keras
import numpy as np
import pytest

import trainer.doctor
from tests.support.doctor import cnn
from trainer.doctor.program import interactive


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
