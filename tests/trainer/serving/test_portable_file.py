"""TFLite and ONNX files are read only if they bring everything that they need, and need nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainerError
from trainer.serving import portable_file, tflite_onnx

onnx = pytest.importorskip("onnx")
PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


def convert(function, **options):
    spec = tf.TensorSpec((None, 2, 2, 3), tf.uint8, name="pixels")
    served = tf.function(lambda pixels: {"probabilities": function(pixels)}, input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([served.get_concrete_function()], tf.Module())
    for name, value in options.items():
        setattr(converter, name, value)
    return converter.convert()


def plain(pixels):
    return tf.nn.softmax(tf.reshape(tf.cast(pixels, tf.float32), (-1, 12)))


@pytest.fixture(scope="module")
def lite():
    return convert(plain)


def test_a_plain_tflite_file_answers(lite, tmp_path):
    (tmp_path / "m.tflite").write_bytes(lite + b"PK what follows the model")
    assert tflite_onnx.answer_tflite(tmp_path / "m.tflite", PIXELS).sum() == pytest.approx(1)


def test_a_custom_operation_and_one_of_tensorflow_are_refused(tmp_path):
    def special(pixels):
        return tf.math.betainc(plain(pixels), plain(pixels), plain(pixels))

    path = tmp_path / "m.tflite"
    path.write_bytes(convert(special, allow_custom_ops=True))
    with pytest.raises(TrainerError, match=r"the operation 'Betainc' \(code 32\), which is not built into TFLite"):
        tflite_onnx.answer_tflite(path, PIXELS)
    path.write_bytes(path.read_bytes().replace(b"Betainc", b"FlexAbs"))  # operations of TensorFlow have such names
    with pytest.raises(TrainerError, match="the operation 'FlexAbs'"):
        tflite_onnx.answer_tflite(path, PIXELS)


def test_damaged_tflite_files_end_in_an_error_and_not_in_a_crash(lite, tmp_path):
    path, numbers = tmp_path / "m.tflite", np.random.default_rng(0)
    path.write_bytes(lite[:100])
    with pytest.raises((TrainerError, ValueError)):
        tflite_onnx.answer_tflite(path, PIXELS)
    path.write_bytes(b"no model")
    with pytest.raises(TrainerError, match="no header of TFLite"):
        tflite_onnx.answer_tflite(path, PIXELS)
    refused = 0
    for _ in range(40):
        damaged = bytearray(lite)
        for at in numbers.integers(8, 400, 12):
            damaged[at] = 255
        path.write_bytes(damaged)
        try:  # a path instead of the bytes ends the process here
            content = portable_file.tflite(path)
            tf.lite.Interpreter(model_content=content)
        except (TrainerError, ValueError, RuntimeError):
            refused += 1
    assert refused > 30


def node(operation="Cast", domain="", **attributes):
    attributes = attributes or {"to": 1}
    return onnx.helper.make_node(operation, ["pixels"], ["probabilities"], domain=domain, **attributes)


def model(nodes, initializers=(), functions=(), domains=()):
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, (1, 2, 2, 3))
    result = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, (1, 2, 2, 3))
    graph = onnx.helper.make_graph(list(nodes), "g", [pixels], [result], list(initializers))
    opsets = [onnx.helper.make_opsetid(name, 1 if name else 18) for name in ("", *domains)]
    return onnx.helper.make_model(graph, functions=list(functions), opset_imports=opsets, ir_version=9)


def outside(name="w", location="../../../etc/passwd"):
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_branch(inner):
    graph = onnx.helper.make_graph([inner], "inner", [], [])
    return node("If", then_branch=graph, else_branch=graph)


def test_a_plain_onnx_file_answers(tmp_path):
    (tmp_path / "m.onnx").write_bytes(model([node()]).SerializeToString())
    assert tflite_onnx.answer_onnx(tmp_path / "m.onnx", PIXELS).shape == (1, 2, 2, 3)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (model([node()], [outside()]), r"the weights 'w' that lie in another file, '\.\./\.\./\.\./etc/passwd'"),
        (model([node()], [outside(location="beside.bin")]), "the weights 'w' that lie in another file, 'beside.bin'"),
        (model([node("Constant", value=outside("c"))]), "the weights 'c' that lie in another file"),
        (model([node(domain="com.example")], domains=["com.example"]), "the operation 'Cast' of 'com.example'"),
        (model([in_branch(node("Run", "ai.onnx.contrib", a=1))]), "the operation 'Run' of 'ai.onnx.contrib'"),
        (
            model([node()], functions=[onnx.helper.make_function(
                "", "F", ["pixels"], ["probabilities"], [node("Run", "com.x", a=1)], [])]),
            "the operation 'Run' of 'com.x'",
        ),
    ],
)  # fmt: skip
def test_onnx_with_data_or_operations_from_elsewhere_is_refused(tmp_path, made, what):
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(TrainerError, match=what):
        tflite_onnx.answer_onnx(tmp_path / "m.onnx", PIXELS)


def test_files_that_are_not_there_or_no_onnx(tmp_path):
    with pytest.raises(TrainerError, match="There is no such file"):
        portable_file.onnx(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 20)
    with pytest.raises(TrainerError, match="a structure that cannot be read"):
        portable_file.onnx(tmp_path / "m.onnx")
    with pytest.raises(TrainerError, match="There is no such file"):
        portable_file.tflite(tmp_path / "m.tflite")
