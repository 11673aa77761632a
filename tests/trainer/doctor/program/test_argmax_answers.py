"""An argmax over the answers of a model, by the text of the program."""

import textwrap

import pytest

from trainer.doctor.program.argmax_answers import find


def found(code, lines=(1, 2)):
    """The line of the argmax, if predict ran on these lines on a model with one output."""
    return find(textwrap.dedent(code).strip(), lambda called: any(line in called for line in lines))


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("a = np.argmax(model.predict(x), axis=1)", 1),
        ("a = model.predict(x).argmax(axis=-1)", 1),
        ("a = model.predict(x).argmax(1)", 1),
        ("y = model.predict(x)\ny = np.argmax(y, axis=1)", 2),
        ("y = model.predict(\n    x)\nprint()\na = tf.math.argmax(y, -1)", 4),
        ("y = 0\ny = net.predict(x)\na = y.argmax(axis=1)", 3),
    ],
)
def test_an_argmax_along_the_outputs(code, line):
    assert found(code) == line
    assert found(code, lines=()) is None  # the model has several outputs, or predict did not run


@pytest.mark.parametrize(
    "code",
    [
        "a = np.argmax(model.predict(x))",  # the row with the greatest answer
        "a = np.argmax(model.predict(x), axis=0)",
        "y = model.predict(x)\ny = np.hstack([1 - y, y])\na = np.argmax(y, axis=1)",
        "a = np.argmax(labels, axis=1)\ny = model.predict(x)",
        "a = model.predict(x) > 0.5\nb = a.argmax(axis=1)",
        "a = np.argmax()",
        "if True",
    ],
)
def test_others_are_left_alone(code):
    assert found(code) is None
