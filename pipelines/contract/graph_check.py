"""Checks a SavedModel without running any of it, and loads it.

`tf.saved_model.load` runs functions of the file: it creates the lookup tables, fills them and restores their content.
Every later call runs others. The check therefore looks at all nodes of the graph and of all functions in its library,
whether they can be reached or not. Each has to be an operation of `graph_ops.ALLOWED` or a call of a function in the
library. Two kinds of operations read or write files and occur in every SavedModel:

- A table may be filled from a file. Its name must come from an asset, along captured inputs and calls, and an asset
  must lie in the SavedModel's own folder.
- The saver's two functions may save and restore. No other function, attribute or object may name them, so that nothing
  that this program calls can reach them.

The format of TensorFlow 1, which runs the graph itself while it is loaded, is refused.
"""

from __future__ import annotations

import hashlib
import math
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.contract import graph_messages
from pipelines.contract.graph_ops import ALLOWED, SAVER, TABLE_FROM_FILE
from pipelines.core.errors import GraphError
from pipelines.core.files import reading, wildcards
from pipelines.core.files.urls import is_remote

GRAPH_FILE = "saved_model.pb"
MAX_GRAPH_BYTES = 1 << 30
MAX_CONSTANT_ELEMENTS = 1 << 31  # of one constant, which a few bytes of a file may describe
# Kinds and classes of objects that tf.saved_model.load makes itself. Others would be classes that a library registered.
_KINDS = {
    *("", "_generic_user_object", "signature_map", "trackable_list_wrapper", "trackable_dict_wrapper"),
    *("trackable_tuple_wrapper",),
}
_CLASSES = ("", "tf.StaticHashTable", "tf.TrackableConstant")
_VARIANT, _RESOURCE = 21, 20  # tensorflow.DataType
_CALLS = {"PartitionedCall": 0, "StatefulPartitionedCall": 0, "If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}


def load(folder: str, digests: Mapping[str, str]) -> Any:
    """Checks the SavedModel in a folder as `check_folder` does, and loads it.

    Returns:
      The object that tf.saved_model.load returns.

    Raises:
      GraphError, OSError: As `check_folder`.
    """
    check_folder(folder, digests)
    import tensorflow as tf

    return tf.saved_model.load(wildcards.hidden(folder))


def check_folder(folder: str, digests: Mapping[str, str]) -> None:
    """Checks the digests, the graph and the places of a SavedModel's files.

    Args:
      folder: A local folder, or one that TensorFlow's file systems can read.
      digests: Maps names of files in the folder to the SHA-256, in hex, that they should have.

    Raises:
      GraphError: A digest differs, or as `check`, or a local file of the SavedModel is a link that leads out of the
        folder or a special file.
      OSError: There is no such folder, or a file cannot be read.
    """
    if not is_remote(folder):
        _check_files(folder)
    for name, digest in sorted(digests.items()):
        path = os.path.join(folder, name)
        found = hashlib.sha256(_read(path)).hexdigest()
        if found != digest:
            raise GraphError(
                f"{path} should have the SHA-256 {digest[:12]}… that is recorded for it. It has {found[:12]}…, so it "
                "was changed or damaged: copy it again, or prepare the dataset again."
            )
    path = os.path.join(folder, GRAPH_FILE)
    check(_read(path), path)


def check(content: bytes, path: str) -> None:
    """Checks the content of a saved_model.pb.

    Args:
      content: All bytes of the file.
      path: Name of the file, for the message of an error.

    Raises:
      GraphError: The file is no SavedModel of TensorFlow 2, or it has something that is not on the list of what a graph
        may have. The message names it.
    """
    from google.protobuf.message import DecodeError

    parsed = graph_messages.saved_model()()
    try:
        parsed.ParseFromString(content)
    except DecodeError as e:
        raise GraphError(f"{path} is not a SavedModel that can be parsed ({e}): prepare or export again.") from e
    if len(parsed.meta_graphs) != 1 or not parsed.meta_graphs[0].HasField("object_graph_def"):
        raise GraphError(f"{path} should hold one graph in the format of TensorFlow 2: prepare or export again.")
    _Graph(parsed.meta_graphs[0], path).check()


def _read(path: str) -> bytes:
    if not is_remote(path):
        with open(path, "rb") as file:
            content = reading.at_most(file, MAX_GRAPH_BYTES + 1)
    else:
        import tensorflow as tf

        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                content = file.read(MAX_GRAPH_BYTES + 1)
        except tf.errors.OpError as e:
            raise OSError(f"{path} cannot be read: {e.message}") from e
    if len(content) > MAX_GRAPH_BYTES:
        raise GraphError(f"{path} should have at most {MAX_GRAPH_BYTES >> 20} MiB: it is not loaded.")
    return content


def _check_files(folder: str) -> None:
    """Checks that no file below a local folder is special or leads out of the folder.

    Raises:
      GraphError: A file does. A vocabulary could otherwise be any file of the machine.
    """
    root = os.path.realpath(folder)
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            inside = os.path.realpath(path).startswith(root + os.sep)
            if not inside or not (os.path.isfile(path) or os.path.isdir(path)):
                raise GraphError(
                    f"{path} should be a file in the folder of its SavedModel. It is a link out of it or a special "
                    "file, so the SavedModel is not loaded: copy the files themselves."
                )


class _Graph:
    """Holds a parsed graph while it is checked."""

    def __init__(self, meta: Any, path: str) -> None:
        self.meta, self._path = meta, path
        self._objects = meta.object_graph_def
        self._functions = {f.signature.name: f for f in meta.graph_def.library.function}
        self._nodes = {name: {n.name: n for n in f.node_def} for name, f in self._functions.items()}

    def check(self) -> None:
        if len(self._functions) != len(self.meta.graph_def.library.function):
            raise self._refused("two functions of one name")
        for asset in self.meta.asset_file_def:
            self._check_asset(asset.filename)
        self._check_objects()
        saver = self._saver()
        for owner, node in self._all_nodes():
            self._check_node(owner, node, saver)
        for name, function in self._functions.items():
            for attrs in (function.attr, *(a.value.attr for a in function.arg_attr)):
                self._check_attrs(f"function {name!r}", attrs, [])
        for name, function in self._functions.items():
            for node in function.node_def:
                if node.op == TABLE_FROM_FILE:
                    self._check_table(name, node)

    def _refused(self, what: str) -> GraphError:
        return GraphError(
            f"{self._path} is not loaded, because it has {what}. A graph that this program made only decodes, "
            "computes, resizes and looks up. Prepare the dataset or export the model again yourself; a model of your "
            "own can also be loaded with tf.saved_model.load in a program of your own."
        )

    def _all_nodes(self) -> Iterator[tuple[str, Any]]:
        """Yields every node with the name of its function, "" for the graph itself."""
        for node in self.meta.graph_def.node:
            yield "", node
        for name, function in self._functions.items():
            for node in function.node_def:
                yield name, node

    def _check_node(self, owner: str, node: Any, saver: set[str]) -> None:
        where = f"node {node.name!r}" + (f" of function {owner!r}" if owner else "")
        called: list[str] = []
        self._check_attrs(where, node.attr, called)
        if node.op in self._functions:
            called.append(node.op)
        elif node.op in SAVER:
            if owner not in saver:
                raise self._refused(f"the operation {node.op} in {where}, outside the functions that save variables")
        elif node.op not in ALLOWED and (node.op != TABLE_FROM_FILE or not owner):
            raise self._refused(f"the operation {node.op!r} in {where}, which is not on the list of allowed operations")
        for name in called:
            if name not in self._functions:
                raise self._refused(f"a call of {name!r} in {where}, a function that is not in the file")

    def _check_attrs(self, where: str, attrs: Any, called: list[str]) -> None:
        """Checks attributes and adds the functions that they name to `called`."""
        if "api_implements" in attrs:  # TensorFlow may replace a function by another one with an equal value
            raise self._refused(f"the attribute 'api_implements' in {where}")
        for value in attrs.values():
            for tensor in (value.tensor, *value.list.tensor):
                elements = math.prod(max(dim.size, 0) for dim in tensor.tensor_shape.dim)
                if tensor.dtype in (_VARIANT, _RESOURCE) or elements > MAX_CONSTANT_ELEMENTS:
                    raise self._refused(f"a constant that is not a plain tensor, or a very large one, in {where}")
            if value.placeholder:
                raise self._refused(f"an attribute that depends on the caller in {where}")
            for function in (value.func, *value.list.func):
                if function.name:
                    called.append(function.name)
                nested: list[str] = []
                self._check_attrs(where, function.attr, nested)
                if nested:  # tf.saved_model.load would look for this name among the functions of the whole process
                    raise self._refused(f"a call of {nested[0]!r} inside an attribute of a call in {where}")

    def _check_asset(self, name: str) -> None:
        normal = posixpath.normpath(name)
        if not name or name.startswith("/") or is_remote(name) or "\\" in name or normal.split("/")[0] in ("..", "."):
            raise self._refused(f"the asset {name!r}, which is not in its folder")

    def _check_objects(self) -> None:
        for item in self._objects.nodes:
            if item.user_object.identifier not in _KINDS:
                raise self._refused(f"an object of the kind {item.user_object.identifier!r}")
            if item.registered_name not in _CLASSES:
                raise self._refused(f"an object of the class {item.registered_name!r}")
            if item.registered_saver:
                raise self._refused(f"the saver {item.registered_saver!r}")

    def _saver(self) -> set[str]:
        """Returns the functions that save variables, if nothing else names them.

        Raises:
          GraphError: Something else does.
        """
        definition = self.meta.saver_def
        callers = {definition.save_tensor_name.partition(":")[0], definition.restore_op_name.partition(":")[0]}
        found = {n.attr["f"].func.name for n in self.meta.graph_def.node if n.name in callers and "f" in n.attr}
        found &= set(self._functions)
        named = set(self._entries())
        for owner, node in self._all_nodes():
            if owner or node.name not in callers:
                named |= {node.op, *_texts(node.attr)}
        for function in self._functions.values():
            for attrs in (function.attr, *(a.value.attr for a in function.arg_attr)):
                named.update(_texts(attrs))
        for name in sorted(found & named):
            if any(node.op in SAVER for node in self._nodes[name].values()):
                raise self._refused(f"a second use of the function {name!r}, which saves or restores variables")
        return found - named

    def _entries(self) -> Iterator[str]:
        """Yields the names of functions that objects or gradients name."""
        for gradient in self.meta.graph_def.library.gradient:
            yield from (gradient.function_name, gradient.gradient_func)
        for gradient in self.meta.graph_def.library.registered_gradients:
            yield from (gradient.gradient_func, gradient.registered_op_type)
        yield from self._objects.concrete_functions
        for item in self._objects.nodes:
            yield from item.function.concrete_functions
            yield item.bare_concrete_function.concrete_function_name
            yield item.captured_tensor.concrete_function

    def _check_table(self, owner: str, node: Any) -> None:
        inputs = [name for name in node.input if not name.startswith("^")]
        if len(inputs) != 2 or not self._from_asset(owner, inputs[1], ()):
            raise self._refused(
                f"the operation {node.op} in node {node.name!r} of function {owner!r}, which reads a file that is not "
                "an asset of the SavedModel"
            )

    def _from_asset(self, owner: str, tensor: str, path: tuple[tuple[str, str], ...]) -> bool:
        """Tells whether a tensor of a function can only be the path of an asset."""
        if (owner, tensor) in path:
            return False
        path = (*path, (owner, tensor))
        node = self._nodes[owner].get(tensor.partition(":")[0])
        if node is not None:
            return node.op == "Identity" and bool(node.input) and self._from_asset(owner, node.input[0], path)
        names = [argument.name for argument in self._functions[owner].signature.input_arg]
        if tensor not in names:
            return False
        index = names.index(tensor)
        return self._captures_asset(owner, index - len(names)) and all(
            caller is not None and self._from_asset(caller[0], caller[1], path) for caller in self._given(owner, index)
        )

    def _captures_asset(self, name: str, from_end: int) -> bool:
        """Tells whether the objects that call a function give an asset for an input.

        Captured inputs are the last ones. It is also true if no object names the function.
        """
        if name not in set(self._entries()):
            return True
        bound = self._objects.concrete_functions[name].bound_inputs if name in self._objects.concrete_functions else ()
        if len(bound) < -from_end or not 0 <= bound[from_end] < len(self._objects.nodes):
            return False
        item = self._objects.nodes[bound[from_end]]
        return item.WhichOneof("kind") == "asset" and not item.registered_name  # a name would decide before the kind

    def _given(self, name: str, index: int) -> Iterator[tuple[str, str] | None]:
        """Yields what each call of a function gives for an input: (caller, tensor).

        It yields None for a call that cannot be followed. Calls in the graph itself are left out, because
        tf.saved_model.load runs functions only.
        """
        for owner, node in self._all_nodes():
            if not owner or (node.op != name and name not in set(_texts(node.attr))):
                continue
            inputs = [text for text in node.input if not text.startswith("^")]
            at = index + (0 if node.op == name else _CALLS.get(node.op, len(inputs)))
            yield (owner, inputs[at]) if at < len(inputs) else None


def _texts(attrs: Any) -> Iterator[str]:
    """Yields every text of attributes: names of functions, and strings."""
    for value in attrs.values():
        for text in (value.s, *value.list.s):
            yield text.decode("utf-8", "replace")
        for function in (value.func, *value.list.func):
            yield function.name
            yield from _texts(function.attr)
