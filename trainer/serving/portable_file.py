"""Reads TFLite and ONNX files and checks them before a runtime sees them.

A runtime gets the bytes that were checked, and no path: so ONNX finds no other files, and TFLite verifies the structure
of the file first, which it does not do with a path.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

from pipelines.core.files import reading
from pipelines.core.text import first_line
from trainer.config import TrainerError

MAX_BYTES = 2 << 30  # the formats of both have no larger files
_ONNX_DOMAINS = ("", "ai.onnx")


def tflite(path: str | os.PathLike[str]) -> bytes:
    """Reads a TFLite file whose operations are all built into the runtime.

    Raises:
      TrainerError: the file is no TFLite file, or it has an operation or data that the file itself does not bring.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    content, operator = _read(path), schema.BuiltinOperator
    refused = (operator.CUSTOM, operator.DELEGATE, operator.STABLEHLO_CUSTOM_CALL)
    if content[4:8] != b"TFL3":
        raise _refused(path, "no header of TFLite")
    try:
        model = schema.Model.GetRootAs(content)
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        # Files of older converters have the number in a field of 8 bits; the runtime takes the larger one, too.
        found = [(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), code.CustomCode()) for code in codes]
        outside = model.ExternalBuffersLength()
    except (struct.error, TypeError, ValueError, IndexError) as e:
        raise _refused(path, f"a structure that cannot be read ({first_line(e)})") from e
    for code, custom in found:
        if custom or code in refused:
            shown = (custom or b"").decode("utf-8", "replace")
            raise _refused(path, f"the operation {shown!r} (code {code}), which is not built into TFLite")
    if outside:
        raise _refused(path, "weights that lie in another file")
    return content


def onnx(path: str | os.PathLike[str]) -> bytes:
    """Reads an ONNX file of standard operations that brings all of its weights.

    Raises:
      TrainerError: the file is no ONNX file, or it has an operation or data that the file itself does not bring.
      ImportError: the package onnx is not installed.
    """
    import onnx as library
    from google.protobuf.message import DecodeError

    content = _read(path)
    try:
        model = library.load_model_from_string(content)
    except DecodeError as e:
        raise _refused(path, f"a structure that cannot be read ({first_line(e)})") from e
    for item in _messages(model):
        kind = item.DESCRIPTOR.name
        if kind == "TensorProto" and (item.external_data or item.data_location == library.TensorProto.EXTERNAL):
            entries = {entry.key: entry.value for entry in item.external_data}
            raise _refused(path, f"the weights {item.name!r} that lie in another file, {entries.get('location')!r}")
        if kind == "NodeProto" and item.domain not in _ONNX_DOMAINS:
            raise _refused(path, f"the operation {item.op_type!r} of {item.domain!r}, which is not one of ONNX's own")
    return bytes(content)


def _read(path: str | os.PathLike[str]) -> bytes:
    if not os.path.isfile(path):
        raise TrainerError(f"{os.fspath(path)!r} should be the file of a model. There is no such file.")
    with open(path, "rb") as file:
        content = reading.at_most(file, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _refused(path, f"more than {MAX_BYTES >> 30} GiB")
    return content


def _messages(message: Any) -> Iterator[Any]:
    """Yields a protobuf message and all messages in it."""
    waiting = [message]
    while waiting:
        item = waiting.pop()
        yield item
        for field, value in item.ListFields():
            if field.message_type is not None:
                waiting.extend(value if field.is_repeated else [value])


def _refused(path: str | os.PathLike[str], what: str) -> TrainerError:
    return TrainerError(f"{os.fspath(path)!r} is not loaded, because it has {what}: export the model again.")
