"""Reads what a program would train on, if it stops before its first training.

The call of fit is read in the code, and its data are looked up among the variables that the program had made.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from trainer.doctor.program import fitted
from trainer.doctor.subject.subject import DATASET, Subject
from trainer.doctor.watching.watcher import Watcher

UNKNOWN = object()
POSITIONAL = "x", "y", "batch_size", "epochs", "verbose", "callbacks", "validation_split", "validation_data"


def subject(watcher: Watcher, code: str, file: str, variables: Mapping[str, Any], deep: bool) -> Subject | None:
    """Returns the subject of the first call of fit in the code; None without one.

    Arguments whose values are not known yet are left out, except that validation data count as given.
    """
    call = _fit_call(code)
    if call is None:
        return None
    given = dict(zip(POSITIONAL, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    values = {str(name): _value(node, variables) for name, node in given.items()}
    known = {name: value for name, value in values.items() if value is not UNKNOWN}
    model = _value(call.func.value, variables) if isinstance(call.func, ast.Attribute) else UNKNOWN
    model = model if isinstance(model, keras.Model) else None
    training = fitted.describe(watcher, model, known, watcher.places.of(file, call.lineno))
    if "x" not in known or ("y" in values and "y" not in known):
        known = {}
    training, train, validation, problems = fitted.with_data(training, known, deep)
    if "validation_data" in values and not training.validation_form:
        training = dataclasses.replace(training, validation_form="given")
    return Subject(
        origin=DATASET, train=train, validation=validation, model=model, training=training, deep=deep,
        problems=problems, part=None if model is not None else _part(watcher.unbuilt),
    )  # fmt: skip


def _part(unbuilt: Any) -> keras.Model | None:
    """Returns the layers before the one that could not be built, as a model.

    The result is None if they are not known.
    """
    return None if unbuilt is None else keras.Model(keras.utils.get_source_inputs(unbuilt), unbuilt)


def _fit_call(code: str) -> ast.Call | None:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fit"
    ]
    # A scaler or an encoder has a fit as well, of one argument.
    named = [call for call in calls if len(call.args) > 1 or call.keywords]
    return min(named, key=lambda call: call.lineno, default=None)


def _value(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    """Returns the value of a name, a constant or a tuple of them; else UNKNOWN."""
    if isinstance(node, ast.Name):
        return variables.get(node.id, UNKNOWN)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        parts = tuple(_value(part, variables) for part in node.elts)
        return UNKNOWN if UNKNOWN in parts else parts
    return UNKNOWN
