"""Defines the part of the SavedModel messages that graph_check.py reads.

The messages are built with protobuf alone, so that `verify` reads a graph without TensorFlow. Names and numbers of the
fields are those of tensorflow/core/protobuf/saved_model.proto and of the files that it imports. The parser is the one
that TensorFlow uses, therefore both see the same message.
"""

from __future__ import annotations

import functools
from typing import Any

_PACKAGE = "shardmill.graph"  # another package than TensorFlow's, so that both can be loaded in one process
_TYPES = {"int32": 5, "int64": 3, "uint32": 13, "string": 9, "bytes": 12}  # of FieldDescriptorProto
_MESSAGE = 11
# A field is "NAME NUMBER TYPE". After the type, "*" means repeated, "{}" a map from strings, and "|" a member of the
# message's oneof, of which a parser keeps the last one only.
_MESSAGES = {
    "SavedModel": "meta_graphs 2 MetaGraphDef*",
    "MetaGraphDef": "graph_def 2 GraphDef, saver_def 3 SaverDef, asset_file_def 6 AssetFileDef*, "
    "object_graph_def 7 SavedObjectGraph",
    "SaverDef": "save_tensor_name 2 string, restore_op_name 3 string",
    "AssetFileDef": "filename 2 string",
    "GraphDef": "node 1 NodeDef*, library 2 FunctionDefLibrary",
    "FunctionDefLibrary": "function 1 FunctionDef*, gradient 2 GradientDef*, "
    "registered_gradients 3 RegisteredGradient*",
    "GradientDef": "function_name 1 string, gradient_func 2 string",
    "RegisteredGradient": "gradient_func 1 string, registered_op_type 2 string",
    "FunctionDef": "signature 1 OpDef, node_def 3 NodeDef*, attr 5 AttrValue{}, arg_attr 7 ArgAttrs*",
    "ArgAttrs": "key 1 uint32, value 2 ArgAttr",
    "ArgAttr": "attr 1 AttrValue{}",
    "OpDef": "name 1 string, input_arg 2 ArgDef*",
    "ArgDef": "name 1 string",
    "NodeDef": "name 1 string, op 2 string, input 3 string*, attr 5 AttrValue{}",
    "AttrValue": "list 1 ListValue, s 2 bytes, tensor 8 TensorProto, placeholder 9 string, func 10 NameAttrList",
    "ListValue": "s 2 bytes*, tensor 8 TensorProto*, func 9 NameAttrList*",
    "NameAttrList": "name 1 string, attr 2 AttrValue{}",
    "TensorProto": "dtype 1 int32, tensor_shape 2 TensorShapeProto",
    "TensorShapeProto": "dim 2 Dim*",
    "Dim": "size 1 int64",
    "SavedObjectGraph": "nodes 1 SavedObject*, concrete_functions 2 SavedConcreteFunction{}",
    "SavedConcreteFunction": "bound_inputs 2 int32*",
    "SavedObject": "user_object 4 SavedUserObject|, asset 5 SavedAsset|, function 6 SavedFunction|, variable 7 Other|, "
    "bare_concrete_function 8 SavedBareConcreteFunction|, constant 9 Other|, resource 10 Other|, "
    "captured_tensor 12 CapturedTensor|, registered_name 13 string, registered_saver 16 string",
    "Other": "unread 1000 bytes",
    "SavedUserObject": "identifier 1 string",
    "SavedAsset": "asset_file_def_index 1 int32",
    "SavedFunction": "concrete_functions 1 string*",
    "SavedBareConcreteFunction": "concrete_function_name 1 string",
    "CapturedTensor": "concrete_function 2 string",
}


@functools.cache
def saved_model() -> Any:
    """Returns the message class of a saved_model.pb."""
    # Imported here: who reads a contract alone does not need protobuf.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="shardmill/graph.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            field_name, number, kind = text.split()
            base = kind.rstrip("*{}|")
            field = message.field.add(name=field_name, number=int(number), label=3 if kind.endswith(("*", "{}")) else 1)
            if kind.endswith("|"):
                if not message.oneof_decl:
                    message.oneof_decl.add(name="kind")
                field.oneof_index = 0
            if kind.endswith("{}"):
                entry = message.nested_type.add(name=_camel(field_name) + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=_TYPES["string"])
                _set_type(entry.field.add(name="value", number=2, label=1), base)
                _set_type(field, f"{name}.{entry.name}")
            else:
                _set_type(field, base)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.SavedModel"))


def _set_type(field: Any, name: str) -> None:
    if name in _TYPES:
        field.type = _TYPES[name]
    else:
        field.type, field.type_name = _MESSAGE, f".{_PACKAGE}.{name}"


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
