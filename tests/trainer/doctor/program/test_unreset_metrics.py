"""Metrics of a loop that are set back between its passes, or not."""

import pytest

from trainer.doctor.program import unreset_metrics

LOOP = """
accuracy = keras.metrics.SparseCategoricalAccuracy()
def step(x, y):
    accuracy.update_state(y, model(x))
for epoch in range(9):
    {begin}
    for x, y in data:
        step(x, y)
        {within}
    {end}
"""


def found(begin="pass", within="pass", end="print(float(accuracy.result()))", before=""):
    return unreset_metrics.find(before + LOOP.format(begin=begin, within=within, end=end))


def test_a_metric_that_is_never_set_back():
    assert found() == ("accuracy", 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"begin": "accuracy.reset_state()"},
        {"end": "print(accuracy.result()); accuracy.reset_states()"},
        {"begin": "accuracy = keras.metrics.SparseCategoricalAccuracy()", "before": "x = 1"},
        {"begin": "for m in metrics: m.reset_state()"},
        {"within": "print(accuracy.result())", "end": "pass"},  # a running mean
        {"end": "pass"},
        {"before": "model.compile(metrics=[accuracy])"},
        {"before": "if True\n"},
    ],
    ids=str,
)
def test_others_are_left_alone(changes):
    if "begin" in changes and "keras" in changes["begin"]:
        code = LOOP.format(begin=changes["begin"], within="pass", end="print(accuracy.result())")
        assert (
            unreset_metrics.find(code.replace("accuracy = keras.metrics.SparseCategoricalAccuracy()\ndef", "def"))
            is None
        )
        return
    assert found(**changes) is None


def test_a_loop_of_steps_has_no_passes():
    loop = "for step in range(9):\n    mean.update_state(train(step))\n    print(mean.result())"
    code = "mean = tf.keras.metrics.Mean()\n" + loop
    assert unreset_metrics.find(code) is None
