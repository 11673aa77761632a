"""Changes of a user's file: one expression each, as a unified diff."""

from __future__ import annotations

import subprocess

import pytest

from trainer.doctor.prove.source import AfterInput, Edit, patch
from trainer.doctor.subject.training import Place

HEAD = "import keras\nfrom keras.layers import Dense\n"


def at(text, call):
    line = next(number for number, code in enumerate(text.splitlines(), 1) if call in code)
    return Place("train.py", line)


def changed(text, edits, tmp_path):
    """The file after `patch` has applied what was written."""
    written = patch("train.py", text, edits)
    if not written:
        return ""
    (tmp_path / "train.py").write_text(text)
    subprocess.run(["git", "apply", "-p1", "-"], cwd=tmp_path, input=written, text=True, check=True)
    return (tmp_path / "train.py").read_text()


@pytest.mark.parametrize(
    ("code", "call", "name", "value", "expected"),
    [
        ("model.compile('adam', 'mse')", "compile", "loss", "'mae'", "model.compile('adam', 'mae')"),
        ("model.compile('adam', loss='mse')", "compile", "loss", "'mae'", "model.compile('adam', loss='mae')"),
        ("model.compile('adam')", "compile", "loss", "'mae'", "model.compile('adam', loss='mae')"),
        ("model.compile(\n    'adam',\n)", "compile", "loss", "'mae'", "model.compile(\n    'adam', loss='mae')"),
        ("model.fit(x, y, 32, 5)", "fit", "epochs", "50", "model.fit(x, y, 32, 50)"),
        ("model.fit(x, y, shuffle=False)", "fit", "shuffle", "True", "model.fit(x, y, shuffle=True)"),
        ("model.fit(x, y, class_weight=w, epochs=3)", "fit", "class_weight", None, "model.fit(x, y, epochs=3)"),
        ("model.add(Dense(1, 'softmax'))", "Dense", "activation", "'sigmoid'", "model.add(Dense(1, 'sigmoid'))"),
        ("ä = model.add(Dense(1))", "Dense", "activation", "'relu'", "ä = model.add(Dense(1, activation='relu'))"),
        ("model.fit(*data)", "fit", "epochs", "50", ""),
        ("model.fit(x, y, **options)", "fit", "epochs", "50", ""),
        ("model.fit(x, y)", "compile", "loss", "'mae'", ""),
        ("model.add(Dense(1)); model.add(Dense(2))", "Dense", "activation", "'relu'", ""),  # which of the two?
    ],
)
def test_one_argument(code, call, name, value, expected, tmp_path):
    text = f"{HEAD}{code}\n"
    place = Place("train.py", 3)
    assert changed(text, [Edit(place, call, name, value)], tmp_path) == (f"{HEAD}{expected}\n" if expected else "")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("model.compile('adam', 'mse')", "model.compile(keras.optimizers.Adam(learning_rate=0.01), 'mse')"),
        ("model.compile(Adam(1e-5), 'mse')", "model.compile(Adam(0.01), 'mse')"),
        ("model.compile(optimizer=Adam(beta_1=0.8))", "model.compile(optimizer=Adam(beta_1=0.8, learning_rate=0.01))"),
        (
            "rule = Adam(learning_rate=1e-5)\nmodel.compile(rule)",
            "rule = Adam(learning_rate=0.01)\nmodel.compile(rule)",
        ),
        ("rule = Adam()\nrule = SGD()\nmodel.compile(rule)", ""),
        ("model.compile(optimizers[0])", ""),
    ],
)
def test_the_rate_of_an_optimizer(code, expected, tmp_path):
    text = f"{HEAD}{code}\n"
    edit = Edit(at(text, "compile("), "compile", "optimizer", "0.01", "learning_rate", "Adam")
    assert changed(text, [edit], tmp_path) == (f"{HEAD}{expected}\n" if expected else "")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("model.add(keras.Input((3,)))", "model.add(keras.Input((3,)))\nmodel.add(keras.layers.Rescaling(1 / 255))"),
        (
            "m = f([keras.Input((3,)), Dense(1)])",
            "m = f([keras.Input((3,)), keras.layers.Rescaling(1 / 255), Dense(1)])",
        ),
        (
            "m = f([\n    keras.Input((3,)),\n    Dense(1),\n])",
            "m = f([\n    keras.Input((3,)),\n    keras.layers.Rescaling(1 / 255),\n    Dense(1),\n])",
        ),
        (
            "given = keras.Input((3,))\nx = Dense(1)(given)",
            "given = keras.Input((3,))\nx = Dense(1)(keras.layers.Rescaling(1 / 255)(given))",
        ),
        ("given = keras.Input((3,))\nx = Dense(1)(given) + Dense(2)(given)", ""),
    ],
)
def test_a_layer_behind_the_input(code, expected, tmp_path):
    text = f"{HEAD}{code}\n"
    edit = AfterInput(at(text, "Input("), "Rescaling(1 / 255)")
    assert changed(text, [edit], tmp_path) == (f"{HEAD}{expected}\n" if expected else "")


def test_two_edits_make_one_patch_and_one_that_fails_makes_none(tmp_path):
    text = f"{HEAD}model.add(Dense(3, activation='tanh'))\nmodel.compile('adam', 'mse')\n"
    head = Edit(Place("train.py", 3), "Dense", "activation", "'softmax'")
    loss = Edit(Place("train.py", 4), "compile", "loss", "'categorical_crossentropy'")
    assert "softmax" in changed(text, [head, loss], tmp_path)
    assert patch("train.py", text, [head, Edit(None, "compile", "loss", "'mae'")]) == ""


def test_the_name_of_keras_is_that_of_the_program(tmp_path):
    text = "import tensorflow as tf\nmodel.compile('sgd')\n"
    edit = Edit(Place("train.py", 2), "compile", "optimizer", "0.1", "learning_rate", "SGD")
    assert "tf.keras.optimizers.SGD(learning_rate=0.1)" in changed(text, [edit], tmp_path)
