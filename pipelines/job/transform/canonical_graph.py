"""Gives functions and tables of a transform graph names of their own.

TensorFlow numbers functions by a counter of its process. So their names depend on how much the process did before,
which differs with the number of labels and of rows, and with a job before it. Their order does not: they get their
places in it as numbers. TensorFlow Transform names the table of the labels after a temporary file in the output folder;
it is named after its content. So equal data and options give an equal graph, wherever it is made.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

TABLE = "HashTableV2"
_NUMBERED = re.compile(r"(.*_)(\d+)", re.DOTALL)
# TensorFlow names an argument that no operation of a loop's condition reads after the function itself.
_UNREAD = "___redundant_placeholder"
_USER_NAME = "_user_specified_name"  # of an argument; that of a captured resource is a number of the process


def canonical(data: bytes, vocabulary: bytes, folder: str) -> bytes:
    """Returns a transform graph in which functions and tables have other names.

    Args:
      data: a SavedModel with one graph.
      vocabulary: the content of the file of labels.
      folder: the folder in which TensorFlow Transform made the graph.

    Raises:
      ValueError: a function is not named as TensorFlow names it, or one of the names stands in other places, too.
    """
    graph = saved_model_pb2.SavedModel.FromString(data)
    [meta] = graph.meta_graphs
    library = meta.graph_def.library
    new = _names([function.signature.name for function in library.function])
    _rename_calls(meta.graph_def.node, new)
    for function in library.function:
        _rename_function(function, new)
    for gradient in library.gradient:
        gradient.function_name = new.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = new.get(gradient.gradient_func, gradient.gradient_func)
    by_name = sorted(library.function, key=lambda function: function.signature.name)
    functions = [type(function).FromString(function.SerializeToString()) for function in by_name]
    del library.function[:]
    library.function.extend(functions)
    _rename_objects(meta.object_graph_def, new)
    for node in all_nodes(meta.graph_def):
        if node.op == TABLE:
            node.attr["shared_name"].s = table_name(vocabulary)
    renamed: bytes = graph.SerializeToString(deterministic=True)
    if any(form in renamed for form in _forms_of(folder)):
        raise ValueError("The graph names the folder in which it was made.")
    before = [name for name in new if name != new[name]]
    if left := [name for name in before if re.search(re.escape(name.encode()) + rb"(?!\d)", renamed)]:
        raise ValueError(f"{len(left)} function names stand in other places, too, such as {min(left)!r}.")
    return renamed


def table_name(vocabulary: bytes) -> bytes:
    """Returns the name of the table of labels.

    TensorFlow shares the tables of one name in a process: those of equal labels are equal.
    """
    return b"labels_" + hashlib.sha256(vocabulary).hexdigest()[:32].encode()


def all_nodes(definition: Any) -> Iterator[Any]:
    """Yields the nodes of a graph and of its functions."""
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _forms_of(folder: str) -> set[bytes]:
    """Returns the path of a folder in the forms that a graph has it in.

    The name of a table has escapes for what is not ASCII.
    """
    path = os.fsencode(folder)
    return {path, repr(path)[2:-1].encode()}


def _names(names: Iterable[str]) -> dict[str, str]:
    """Returns name -> name with its place in the order.

    The numbers have four digits, with zeros in front, so that no name is that of another function before.
    """
    numbered = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if found is None:
            raise ValueError(f"The function {name!r} has no number.")
        numbered[name] = int(found[2]), found[1]
    in_order = sorted(numbered, key=lambda name: numbered[name])
    return {name: f"{numbered[name][1]}{place:04d}" for place, name in enumerate(in_order)}


def _rename_function(function: Any, new: Mapping[str, str]) -> None:
    before, after = function.signature.name, new[function.signature.name]
    function.signature.name = after
    _rename_attributes(function.attr, new)
    _rename_calls(function.node_def, new)
    for attributes in function.arg_attr.values():
        given = attributes.attr.get(_USER_NAME)
        if given is not None and given.s.isdigit():
            given.s = b"captured"
    for argument in function.signature.input_arg:
        argument.name = argument.name.replace(before + _UNREAD, after + _UNREAD)


def _rename_calls(nodes: Iterable[Any], new: Mapping[str, str]) -> None:
    for node in nodes:
        node.op = new.get(node.op, node.op)
        _rename_attributes(node.attr, new)


def _rename_attributes(attributes: Mapping[str, Any], new: Mapping[str, str]) -> None:
    for value in attributes.values():
        kind = value.WhichOneof("value")
        for function in [value.func] if kind == "func" else value.list.func if kind == "list" else ():
            function.name = new.get(function.name, function.name)
            _rename_attributes(function.attr, new)


def _rename_objects(objects: Any, new: Mapping[str, str]) -> None:
    for node in objects.nodes:
        if node.WhichOneof("kind") == "function":
            node.function.concrete_functions[:] = [new.get(name, name) for name in node.function.concrete_functions]
        elif node.WhichOneof("kind") == "bare_concrete_function":
            concrete = node.bare_concrete_function
            concrete.concrete_function_name = new.get(concrete.concrete_function_name, concrete.concrete_function_name)
    concrete_functions = {new.get(name, name): value for name, value in objects.concrete_functions.items()}
    copies = {name: type(value).FromString(value.SerializeToString()) for name, value in concrete_functions.items()}
    objects.concrete_functions.clear()
    for name, value in copies.items():
        objects.concrete_functions[name].CopyFrom(value)
