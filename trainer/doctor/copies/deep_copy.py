"""Copies models of a program's own class with all that they hold.

Keras copies a model by its configuration, which a class has only if its `__init__` takes all of it. Most programs write
`def __init__(self)`, so their models are copied here attribute by attribute.
"""

from __future__ import annotations

import contextlib
import copy
import copyreg
import types
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import keras
import tensorflow as tf
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils.backend_utils import DynamicBackend
from keras.src.utils.tracking import Tracker

LOOKUPS = (
    keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup, keras.layers.Hashing,
)  # fmt: skip
# What compile makes. A copy is compiled again.
COMPILED = (
    "optimizer", "train_function", "test_function", "predict_function", "_compile_loss", "_compile_metrics",
)  # fmt: skip


def deep_copy(model: Any) -> Any:
    """Returns a copy of a built model with weights of its own, not compiled.

    Tables of lookup layers are shared, because a training does not change them. Parts of the model that stand in
    several places stand there in the copy, too.

    Raises:
      Exception: an attribute cannot be copied, such as an open file.

    Example:
      twin = deep_copy(model)  # twin(images) equals model(images), and twin.fit leaves model as it is
    """
    memo: dict[int, Any] = {id(made): None for name in COMPILED if (made := getattr(model, name, None)) is not None}
    parts = list(model._flatten_layers(include_self=True))
    memo |= {id(part): part for part in parts if isinstance(part, LOOKUPS)}
    with _by_attributes():
        for graph in parts:
            _copy_graph(getattr(graph, "_functional", None) or graph, memo)
        twin = copy.deepcopy(model, memo)
    twin.compiled = False
    return twin


def _copy_graph(graph: Any, memo: dict[int, Any]) -> None:
    """Copies the layers of a functional model one after the other.

    Each leads to its neighbours, and a deep network would take more levels of recursion than Python has. So links to
    the layers behind it are left out, which only matter where a network is built on.
    """
    operations = getattr(graph, "_operations", ())
    for operation in operations:
        memo[id(operation._outbound_nodes)] = []
    for operation in operations:
        if id(operation) not in memo:
            _copy_graph(getattr(operation, "_functional", None) or operation, memo)
            copy.deepcopy(operation, memo)


@contextlib.contextmanager
def _by_attributes() -> Iterator[None]:
    """Has deepcopy copy Keras's objects by their attributes."""
    whole = {types.ModuleType: _name, DynamicBackend: _name, type(tf.distribute.get_strategy()): _name}
    before = {kind: copyreg.dispatch_table.get(kind) for kind in whole}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(KerasSaveable, "__deepcopy__", _copied, create=True))
        stack.enter_context(mock.patch.object(keras.optimizers.Optimizer, "__deepcopy__", _anew, create=True))
        # A built layer refuses new parts; the copy has the list of its parts from the other one.
        stack.enter_context(mock.patch.object(Tracker, "track", lambda _, attribute: attribute))
        stack.callback(_set_reductions, before)
        _set_reductions(whole)
        yield


def _set_reductions(of_kinds: Mapping[Any, Any]) -> None:
    for kind, reduction in of_kinds.items():
        if reduction is None:
            copyreg.dispatch_table.pop(kind, None)
        else:
            copyreg.dispatch_table[kind] = reduction


def _name(thing: Any) -> str:
    """Tells deepcopy, by giving a name, that the thing itself stands in the copy."""
    return type(thing).__name__


def _copied(thing: Any, memo: dict[int, Any]) -> Any:
    kind: Any = type(thing)
    twin = memo[id(thing)] = kind.__new__(kind)
    for name, value in vars(thing).items():
        twin.__dict__[name] = copy.deepcopy(value, memo)
    return twin


def _anew(optimizer: Any, memo: dict[int, Any]) -> Any:
    del memo
    return type(optimizer).from_config(optimizer.get_config())
