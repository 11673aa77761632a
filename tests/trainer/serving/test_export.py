"""What is exported gives the answers of the trained network, or nothing is written."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import contract as contracts
from pipelines import formats
from tests.support.datasets import make_contract, picture, write_dataset
from trainer.config import TrainerError
from trainer.evaluation.scores.abstention import Abstention
from trainer.evaluation.scores.calibration import Calibration, Threshold, softmax
from trainer.models import view
from trainer.models.outputs import probabilities_function
from trainer.serving import export, export_check, portable_file, predict, quantized, tflite_onnx
from trainer.serving.serving_module import INPUT_SCOPE

WARM = Calibration(0.5, Threshold("broken", 1, 0.3), "validation", 12)


def brightness(side=8):
    """Answers "broken" for bright images and "ok" for dark ones, by the mean of the normalized values."""
    inputs = keras.Input((side, side, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    kernel = keras.initializers.Constant(np.array([[-1, 1]] * 3, np.float32))
    return keras.Model(inputs, keras.layers.Dense(2, kernel_initializer=kernel)(mean))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(data directory, contract, network, SavedModel)."""
    folder = tmp_path_factory.mktemp("export")
    contract = write_dataset(folder / "data", encoding="float16", splits={"test": (9, 8)})
    network = brightness()
    found = export.write(network, str(folder / "data"), contract, str(folder / "saved"))
    assert (found.records, found.originals, found.tolerance) == (17, 0, export_check.EXACT)
    assert found.difference < 1e-5
    return folder / "data", contract, network, str(folder / "saved")


@pytest.fixture(scope="module")
def warm(made, tmp_path_factory):
    """The SavedModel of the same network with a temperature."""
    path = tmp_path_factory.mktemp("warm") / "saved"
    export.write(made[2], str(made[0]), made[1], str(path), WARM)
    return path


def served(path, encoded):
    return tf.saved_model.load(path).signatures["serving_default"](image_bytes=tf.constant(encoded))


def encode(pixels, format_, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format_, **options)
    return out.getvalue()


def test_signature_and_a_batch_of_sizes_and_formats(made):
    _, contract, network, saved = made
    serve = tf.saved_model.load(saved).signatures["serving_default"]
    (spec,) = serve.structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.as_list()) == ("image_bytes", tf.string, [None])
    flat = [np.full((20 + 4 * i, 30, 3), 40 * i, np.uint8) for i in range(5)]
    encoded = [
        encode(pixels, format_, **({"lossless": True} if format_ == "WEBP" else {}))
        for pixels, format_ in zip(flat, ("JPEG", "PNG", "WEBP", "GIF", "BMP"), strict=True)
    ]
    out = serve(image_bytes=tf.constant([formats.canonical(content) for content in encoded]))
    small = np.stack([pixels[:8, :8] for pixels in flat])
    alone = probabilities_function(network)(contracts.normalize(contract, tf.constant(small)))
    np.testing.assert_allclose(out["probabilities"], alone, atol=1e-3)
    assert out["label_id"].numpy().tolist() == alone.numpy().argmax(axis=1).tolist()
    assert [text.decode() for text in out["label"].numpy()] == [contract.labels[i] for i in out["label_id"].numpy()]


@pytest.mark.parametrize(("format_", "received"), [("GIF", "a GIF"), ("BMP", "a BMP"), ("AVIF", "an AVIF or HEIC")])
def test_one_unreadable_image_ends_its_batch_with_a_sentence(made, format_, received):
    good = encode(picture(1, 0), "PNG")
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"The model reads JPEG, PNG and WebP .* Received: {received}\. Convert it",
    ):
        served(made[3], [good, encode(np.zeros((32, 32, 3), np.uint8), format_), good])


def test_what_a_saved_model_says_of_itself(made, warm):
    data, contract, _, saved = made
    digest = json.loads((data / "contract.json").read_text())["contract_digest"]
    assert contract.digest == digest
    about = tf.saved_model.load(saved).signatures["about"]()
    assert about["contract_digest"].numpy().decode() == digest
    assert [label.decode() for label in about["labels"].numpy()] == ["ok", "broken"]
    said = json.loads((warm / export.ABOUT).read_text())
    assert (said["contract_digest"], said["labels"], said["image_shape"]) == (digest, ["ok", "broken"], [8, 8, 3])
    assert (said["temperature"], said["threshold"]["probability"]) == (0.5, 0.3)


def test_the_probabilities_are_the_calibrated_ones(made, warm):
    data, contract, _, plain = made
    encoded = export_check.samples(str(data), contract).encoded
    one, other = served(plain, encoded), served(str(warm), encoded)
    np.testing.assert_array_equal(one["label_id"], other["label_id"])
    np.testing.assert_allclose(other["probabilities"], softmax(np.log(one["probabilities"].numpy()), 0.5), atol=1e-5)


def test_a_model_that_abstains_says_which_images_it_answers(made, tmp_path):
    data, contract, network, _ = made
    chosen = Abstention(0.6, 0.05, 80, 0, True, "validation", 100)
    export.write(network, str(data), contract, str(tmp_path / "saved"), Calibration(abstention=chosen))
    encoded = export_check.samples(str(data), contract).encoded
    out = served(str(tmp_path / "saved"), encoded)
    largest = out["probabilities"].numpy().max(axis=1)
    assert 0 < (largest >= 0.6).sum() < len(largest)
    assert out["answered"].numpy().tolist() == (largest >= 0.6).tolist()
    said = json.loads((tmp_path / "saved" / export.ABOUT).read_text())
    assert said["abstention"] == {
        "probability": 0.6, "wanted": 0.05, "answered": 80, "wrong": 0, "promised": True, "split": "validation",
        "records": 100,
    }  # fmt: skip
    model = predict.load(str(tmp_path / "saved"))
    at = int(np.argmin(largest))
    answer = predict.Answer("x.png", out["probabilities"].numpy()[at])
    assert predict.text_line(model, answer) == f"x.png\t(none)\t{largest[at]:.4f}"
    assert json.loads(predict.json_line(model, answer))["label"] is None
    sure = predict.Answer("x.png", out["probabilities"].numpy()[int(np.argmax(largest))])
    assert json.loads(predict.json_line(model, sure))["label"] in contract.labels


@pytest.mark.parametrize("encoding", contracts.ENCODINGS)
def test_samples_are_the_records_and_their_pixels(tmp_path, encoding):
    contract = write_dataset(tmp_path, encoding=encoding, splits={"train": (1, 0), "test": (5, 4)})
    drawn = export_check.samples(str(tmp_path), contract)
    assert (drawn.images.shape, drawn.pixels.shape, len(drawn.encoded)) == ((9, 8, 8, 3), (9, 8, 8, 3), 9)
    assert not drawn.originals.any()
    for pixels, encoded, image in zip(drawn.pixels, drawn.encoded, drawn.images, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(encoded), pixels)
        np.testing.assert_allclose(contracts.normalize(contract, tf.constant(pixels)), image, rtol=1e-3, atol=1e-3)
        if encoding != "jpeg":
            index = int(pixels[0, 0, 0])
            assert any(np.array_equal(pixels, picture(index, label)) for label in (0, 1))
    assert len(export_check.samples(str(tmp_path), contract, 3).encoded) == 3


@pytest.mark.parametrize("mode", contracts.NORMALIZATIONS)
def test_pixels_come_back_from_every_normalization(mode, tmp_path):
    contract = write_dataset(tmp_path, encoding="float16", mode=mode, splits={"test": (2, 2)})
    for pixels in export_check.samples(str(tmp_path), contract).pixels:
        assert any(np.array_equal(pixels, picture(int(pixels[0, 0, 0]), label)) for label in (0, 1))


def test_source_files_are_sent_where_they_are_as_the_ledger_says(tmp_path):
    contract = write_dataset(tmp_path / "d", encoding="uint8", splits={"test": (3, 3)}, shards=1)
    shard = contract.split("test").shards[0].file
    lines, contents = [], []
    for i, (name, kept) in enumerate(
        [("a.png", 1), ("b.png", 1), ("copy.png", 1), ("changed.png", 0), ("gone.png", None), ("e.gif", 1)]
    ):
        content = encode(np.full((30 + i, 40, 3), i, np.uint8), name[-3:].upper())
        contents.append(content)
        if kept is not None:
            (tmp_path / name).write_bytes(content if kept else b"other")
        digest = hashlib.sha256(content).hexdigest()
        lines.append(
            {"key": name, "uri": str(tmp_path / name), "label": "ok", "digest": digest, "copy": int(name == "copy.png")}
        )
    (tmp_path / "d" / "ledger").mkdir()
    (tmp_path / "d" / "ledger" / f"{shard}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn = export_check.samples(str(tmp_path / "d"), contract)
    assert drawn.originals.tolist() == [True, True, False, False, False, False]
    assert drawn.encoded[:2] == contents[:2]
    with pytest.raises(TrainerError, match=r"on 6 records \(2 from their source files\) the export differs"):
        export.write(brightness(), str(tmp_path / "d"), contract, str(tmp_path / "e"))  # the files are darker


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_drift_of_the_served_preprocessing_is_refused_and_what_was_there_stays(made, tmp_path, monkeypatch):
    data, contract, network, saved = made
    path = tmp_path / "saved"
    shutil.copytree(saved, path)
    before, load = contents(tmp_path), contracts.load_transform

    def brighter(directory):
        resource, images = load(directory)
        return resource, lambda encoded: images(encoded) + 0.05

    monkeypatch.setattr(contracts, "load_transform", brighter)
    with pytest.raises(TrainerError, match=r"Nothing is written to .* differs from the trained network by 0\.\d+"):
        export.write(network, str(data), contract, str(path))
    assert contents(tmp_path) == before


def test_a_drift_of_a_converted_model_is_refused_and_what_was_there_stays(made, tmp_path, monkeypatch):
    data, contract, network, _ = made
    path, normalize = tmp_path / "model.tflite", contracts.normalize
    path.write_bytes(b"an earlier one")
    monkeypatch.setattr(contracts, "normalize", lambda c, pixels: normalize(c, pixels) + 0.05)
    with pytest.raises(TrainerError, match=r"Nothing is written to .* differs from the trained network by 0\.\d+"):
        export.write(network, str(data), contract, str(path), kind="tflite")
    assert contents(tmp_path) == {pathlib.Path("model.tflite"): b"an earlier one"}


@pytest.mark.parametrize(
    ("kind", "other"), [("tflite", "Export it in another format."), ("tflite-int8", "Export it with --format tflite.")]
)
def test_a_file_that_cannot_be_run_is_refused_with_a_sentence(made, tmp_path, monkeypatch, kind, other):
    def broken(path, drawn, output):
        raise RuntimeError("failed to create XNNPACK runtime\nNode number 77 failed to prepare.")

    data, contract, network, _ = made
    monkeypatch.setitem(export.FORMATS, kind, export.FORMATS["tflite"]._replace(answer=broken))
    with pytest.raises(TrainerError, match=rf"cannot be run \(failed to create XNNPACK runtime\)\. {other}"):
        export.write(network, str(data), contract, str(tmp_path / "m.tflite"), kind=kind)
    assert not list(tmp_path.iterdir())


def test_the_greatest_difference_of_all_records_counts_up_to_the_tolerance():
    """One probability of 32 records differs by 1/64, all others not at all."""
    expected = np.full((32, 2), 0.5)
    given = expected.copy()
    given[31, 1] += 1 / 64
    drawn = export_check.Samples(np.zeros((32, 1)), np.zeros((32, 1)), [b""] * 32, np.arange(32) < 3)
    assert export_check.judge(given, expected, drawn, 1 / 64) == (1 / 64, 1 / 64, 32, 3, 1 / 64)
    export_check.refuse(export_check.judge(given, expected, drawn, 1 / 64), "x")
    with pytest.raises(
        TrainerError, match=r"on 32 records \(3 from their source files\) .* by 0\.0156 in a probability"
    ):
        export_check.refuse(export_check.judge(given, expected, drawn, 1 / 65), "x")
    assert export_check.judge(given[:, :1], expected, drawn, 1).difference == np.inf  # of another number of classes


def test_the_average_of_the_records_counts_in_8_bits():
    """Half of the records differ by 1/4 in one answer and by 1/16 in another: that is 1/8 on average."""
    expected = np.full((32, 3), 0.25)
    given = expected.copy()
    given[::2] += [1 / 4, -1 / 16, 0]
    drawn = export_check.Samples(np.zeros((32, 1)), np.zeros((32, 1)), [b""] * 32, np.arange(32) < 3)
    found = export_check.judge(given, expected, drawn, 1 / 8, on_average=True)
    assert found == (1 / 8, 1 / 8, 32, 3, 1 / 4)
    export_check.refuse(found, "x")
    assert found.sentence().endswith("differ from the trained network's by 0.12 on average (allowed: 0.125), and by at "
                                     "most 0.25")  # fmt: skip
    with pytest.raises(
        TrainerError, match=r"differs from the trained network by 0\.125 in a probability on average; 0\.1"
    ):
        export_check.refuse(export_check.judge(given, expected, drawn, 0.1, on_average=True), "x")
    given[1, 0] = np.nan
    with pytest.raises(TrainerError, match="Nothing is written"):
        export_check.refuse(export_check.judge(given, expected, drawn, 1, on_average=True), "x")


@pytest.mark.parametrize(
    ("kind", "encoding", "originals", "expected"),
    [
        ("savedmodel", "float16", False, 1e-3),  # the graph rounds as the records are
        ("savedmodel", "jpeg", True, 1e-3),
        ("savedmodel", "jpeg", False, 1e-2),  # the pixels of the records are compressed once more
        ("tflite", "uint8", False, 1e-3),
        ("tflite-int8", "uint8", True, 0.05),  # steps of 1/255 of the range of each layer
        ("tflite", "float16", False, 1e-2),  # normalized pixels that are not rounded to half precision
    ],
)
def test_the_tolerance_is_what_rounding_explains(kind, encoding, originals, expected):
    contract = make_contract(encoding=encoding)
    drawn = export_check.Samples(np.zeros(2), np.zeros(2), [b""] * 2, np.array([True, originals]))
    assert export_check.tolerance(kind, contract, brightness(), drawn) == expected


def test_a_difference_that_is_no_number_is_refused():
    drawn = export_check.Samples(np.zeros(1), np.zeros(1), [b""], np.array([False]))
    for given in (np.array([[np.nan, 1]]), np.zeros((1, 3))):
        with pytest.raises(TrainerError, match="Nothing is written"):
            export_check.refuse(export_check.judge(given, np.array([[0.5, 0.5]]), drawn, 0.01), "x")
    export_check.refuse(export_check.judge(np.array([[0.495, 0.505]]), np.array([[0.5, 0.5]]), drawn, 0.01), "x")


def test_only_an_earlier_export_is_replaced(made, tmp_path):
    data, contract, network, saved = made
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(TrainerError, match="holds something else: choose another path"):
        export.write(network, str(data), contract, str(home))
    assert (home / "letter.txt").read_text() == "dear"
    shutil.copytree(saved, tmp_path / "new" / "saved")
    export.write(network, str(data), contract, str(tmp_path / "new" / "saved"), WARM)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["saved"]
    assert json.loads((tmp_path / "new" / "saved" / export.ABOUT).read_text())["temperature"] == 0.5
    with pytest.raises(TrainerError, match=r"should be a file that ends in \.tflite\. Received: .*saved'"):
        export.write(network, str(data), contract, str(tmp_path / "new" / "saved"), kind="tflite")


def test_tflite_answers_pixels_and_carries_labels_and_digest(made, tmp_path):
    data, contract, network, _ = made
    path = tmp_path / "model.tflite"
    found = export.write(network, str(data), contract, str(path), WARM, "tflite")
    assert (found.tolerance, found.records) == (export_check.ROUNDED, 17)  # float16 records are rounded, pixels are not
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt") == b"ok\nbroken\n"
        said = json.loads(archive.read(tflite_onnx.ABOUT))
    assert said == export.about(contract, WARM)
    pixels = np.stack([picture(i, i % 2) for i in range(3)])
    runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    assert {name: d["dtype"] for name, d in runner.get_input_details().items()} == {"pixels": np.uint8}
    expected = probabilities_function(network, 0.5)(contracts.normalize(contract, tf.constant(pixels)))
    np.testing.assert_allclose(runner(pixels=pixels)["probabilities"], expected, atol=1e-5)


def test_an_8_bit_file_is_calibrated_on_train_and_measured_beside_the_network(tmp_path):
    data = str(tmp_path / "data")
    contract = write_dataset(tmp_path / "data", encoding="uint8", splits={"train": (40, 30), "test": (9, 8)})
    network, path = convolved(), tmp_path / "model.tflite"
    found = export.write(network, data, contract, str(path), WARM, "tflite-int8")
    assert (found.tolerance, found.records) == (export_check.QUANTIZED, 17)
    assert 0 < found.difference < found.greatest < 0.1
    with zipfile.ZipFile(path) as archive:
        said = json.loads(archive.read(tflite_onnx.ABOUT))
    assert said == export.about(contract, WARM) | {"quantization": {"bits": 8, "calibrated_on": 70}}
    interpreter = tf.lite.Interpreter(model_content=portable_file.tflite(path))
    assert np.int8 in {detail["dtype"] for detail in interpreter.get_tensor_details()}
    runner = interpreter.get_signature_runner()
    assert runner.get_input_details()["pixels"]["dtype"] == np.uint8
    assert runner.get_output_details()["probabilities"]["dtype"] == np.float32
    loss = quantized.loss(path, network, data, WARM)
    assert (loss.split, loss.records, loss.greatest) == ("test", 17, pytest.approx(found.greatest, abs=1e-6))
    assert (loss.accuracy, loss.balanced, loss.same) == ((1.0, 1.0), (1.0, 1.0), 1.0)
    assert loss.sentence("in a probability").endswith(
        "Accuracy 1.000 (float: 1.000), balanced accuracy 1.000 (float: 1.000); 100.0% of the records have the same "
        "answer."
    )


def test_an_8_bit_file_makes_the_view_in_float(tmp_path):
    data = str(tmp_path / "data")
    contract = write_dataset(tmp_path / "data", encoding="uint8", splits={"train": (40, 30), "test": (9, 8)})
    network, paths = view.viewed(brightness(6), contract), [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    found = [export.write(network, data, contract, str(path), WARM, "tflite-int8") for path in paths]
    assert found[0].greatest < 0.01  # 0.18 where the view is made in 8 bits
    assert paths[0].read_bytes() == paths[1].read_bytes()
    details = tf.lite.Interpreter(model_content=portable_file.tflite(paths[0])).get_tensor_details()
    kinds = {detail["name"]: detail["dtype"] for detail in details}
    products = [name for name in kinds if name.startswith(f"{INPUT_SCOPE}/MatMul")]
    assert [kinds[name] for name in products] == [np.float32, np.float32]  # of the rows, and of the columns
    assert np.int8 in kinds.values()  # the network itself


def test_an_8_bit_file_that_answers_otherwise_is_refused(made, tmp_path, monkeypatch):
    data, contract, network, _ = made
    with pytest.raises(TrainerError, match="tflite-int8 is calibrated on records of train"):
        export.write(network, str(data), contract, str(tmp_path / "x.tflite"), kind="tflite-int8")
    only_train = write_dataset(tmp_path / "d", encoding="uint8", splits={"train": (3, 2)})
    with pytest.raises(TrainerError, match="An 8-bit file is measured on records of test or validation"):
        export.write(network, str(tmp_path / "d"), only_train, str(tmp_path / "x.tflite"), kind="tflite-int8")
    shutil.rmtree(tmp_path / "d")
    monkeypatch.setattr(quantized, "calibrating_pixels", lambda *_: np.zeros((4, 8, 8, 3), np.uint8))  # only black
    with pytest.raises(TrainerError, match="too coarse for this network: export it with --format tflite"):
        export.write(convolved(), str(data), contract, str(tmp_path / "x.tflite"), kind="tflite-int8")
    assert not list(tmp_path.iterdir())


def convolved():
    """Tells bright tops from bright bottoms by a convolution over the whole image."""
    inputs = keras.Input((8, 8, 3))
    kernel = np.zeros((8, 8, 3, 2), np.float32)
    kernel[:4, ..., 0], kernel[4:, ..., 0] = 0.01, -0.01
    kernel[..., 1] = -kernel[..., 0]
    x = keras.layers.Conv2D(2, 8, kernel_initializer=keras.initializers.Constant(kernel))(inputs)
    return keras.Model(inputs, keras.layers.Flatten()(x))


def test_onnx_answers_pixels_and_carries_labels_and_digest(made, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    data, contract, network, _ = made
    path = tmp_path / "model.onnx"
    export.write(network, str(data), contract, str(path), WARM, "onnx")
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert properties["contract_digest"] == contract.digest
    assert json.loads(properties["labels"]) == ["ok", "broken"]
    assert json.loads(properties["temperature"]) == 0.5
    pixels = np.stack([picture(i, i % 2) for i in range(3)])
    given = runtime.InferenceSession(str(path)).run(["probabilities"], {"pixels": pixels})[0]
    expected = probabilities_function(network, 0.5)(contracts.normalize(contract, tf.constant(pixels)))
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_onnx_without_its_packages_is_one_sentence(made, tmp_path, monkeypatch):
    data, contract, network, _ = made
    monkeypatch.setitem(__import__("sys").modules, "tf2onnx", None)
    with pytest.raises(TrainerError, match=r"--format onnx needs the packages tf2onnx, onnx and onnxruntime"):
        export.write(network, str(data), contract, str(tmp_path / "m.onnx"), kind="onnx")
    assert not list(tmp_path.iterdir())
