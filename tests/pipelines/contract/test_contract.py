"""The contract: what is written is read back, and what is malformed is refused by the name of its field."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import contract
from pipelines.contract import Contract, ContractError, Shard, Split
from tests.support import datasets
from tests.support.files import images

SPLITS = {
    "train": Split(
        natural={"ok": 6, "broken": 2}, stored={"ok": 4, "broken": 4}, copies={"ok": 0, "broken": 2},
        shards=(Shard("tiny-train.tfrecord-00000-of-00002", 5, 500, "a" * 64),
                Shard("tiny-train.tfrecord-00001-of-00002", 3, 300, "b" * 64)),
    ),
    "test": Split(
        natural={"ok": 1}, stored={"ok": 1}, copies={"ok": 0},
        shards=(Shard("tiny-test.tfrecord-00000-of-00001", 1, 100, "c" * 64),),
    ),
}  # fmt: skip


def made(**changes) -> Contract:
    return datasets.make_contract(splits=SPLITS, rejected={"empty": 1}, **changes)


def test_round_trip():
    original = made(labels=("ok", "broken"), balance={"mode": "uniform"}, augmentation={"flip": 1.0}, weighted=True)

    text = original.to_json()

    assert contract.from_json(text) == original
    assert contract.from_json(text).to_json() == text
    assert text.endswith("}\n")


finite = st.floats(-1e6, 1e6)
triples = st.tuples(finite, finite, finite)
above_zero = st.floats(1e-6, 1e6)
positive = st.tuples(above_zero, above_zero, above_zero)
labels = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4, unique=True)


@settings(max_examples=50)
@given(labels, positive, triples, st.sampled_from(contract.ENCODINGS), st.integers(-(2**63), 2**63), st.data())
def test_any_contract_makes_the_round_trip(names, scale, offset, encoding, seed, data):
    counts = {label: data.draw(st.integers(0, 10**9)) for label in names}
    original = datasets.make_contract(
        labels=tuple(names), encoding=encoding, seed=seed,
        normalization=contract.Normalization("zscore", offset, scale, scale, offset),
        splits={"train": Split(counts, counts, {}, (Shard("x", sum(counts.values()), 0, "0" * 64),))},
    )  # fmt: skip

    assert contract.from_json(original.to_json()) == original


def test_the_json_states_what_follows_too():
    data = json.loads(made().to_json())

    assert data["value_range"] == [-2.0, 255 / 64 - 2.0]
    assert data["splits"]["train"]["records"] == 8
    assert data["splits"]["train"]["priors"] == {
        "natural": {"ok": 0.75, "broken": 0.25},
        "stored": {"ok": 0.5, "broken": 0.5},
    }


def test_equal_contracts_are_equal_bytes():
    one, other = made(versions={"a": "1", "b": "2"}), made(versions={"b": "2", "a": "1"})
    assert one.to_json() == other.to_json()


def test_the_digest_is_of_the_text_without_it():
    text = made(files={"a/b": "0" * 64}).to_json()
    digest = json.loads(text)["contract_digest"]
    without = text.replace(f'  "contract_digest": "{digest}",\n', "")
    assert hashlib.sha256(without.encode()).hexdigest() == digest
    assert made(files={"a/b": "0" * 64}).to_json(sealed=False) == without
    assert '"files"' not in made().to_json()
    assert contract.from_json(without) == contract.from_json(text)


def test_load(tmp_path):
    (tmp_path / "contract.json").write_text(made().to_json(), encoding="utf-8")

    assert contract.load(tmp_path) == contract.load(str(tmp_path)) == made()


@pytest.mark.parametrize("content", [None, b"\xff\xfe{"])
def test_a_folder_without_a_readable_contract(content, tmp_path):
    if content is not None:
        (tmp_path / "contract.json").write_bytes(content)
    with pytest.raises(
        ContractError,
        match=r"No readable contract\.json in .*prepare them into another folder first: `python -m pipelines prepare",
    ):
        contract.load(tmp_path)


def test_a_contract_of_absurd_size_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.contract.contract_file.MAX_CONTRACT_BYTES", 10)
    (tmp_path / "contract.json").write_text(made().to_json(), encoding="utf-8")
    with pytest.raises(ContractError, match="it is not a contract"):
        contract.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' * 17 + "1" + "}" * 17, "at most 16 levels deep"),
        ('{"a": 1, "b": 2, "a": 3}', "should occur once. This one occurs twice: 'a'"),
        ('{"a": 1e999}', "format_version should be 1"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[]", "it should be an object. Received: \\[\\]"),
        ("{}", "format_version should be 1. Received: None"),
        ('{"format_version": 2}', "format_version should be 1. Received: 2"),
        ('{"format_version": "1"}', "format_version should be 1"),
    ],
)
def test_texts_that_are_no_contract(text, message):
    with pytest.raises(ContractError, match=message):
        contract.from_json(text)


def changed(path: str, value: object) -> str:
    """The text of a good contract with one field, such as splits.train.shards.0.file, replaced or taken out (...)."""
    data = copy.deepcopy(json.loads(made().to_json()))
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    place = data
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


REQUIRED = [
    "name", "image_shape", "encoding", "labels", "splits", "normalization", "resize", "decode", "balance",
    "augmentation", "seed", "weighted", "config_digest", "source_digest", "transform_digest", "rejected", "versions",
    "channel_order", "dtype", "splits.train.natural", "splits.train.stored", "splits.train.copies",
    "splits.train.shards", "splits.train.shards.0.file", "splits.train.shards.0.records",
    "splits.train.shards.0.bytes", "splits.train.shards.0.sha256", "normalization.mode", "normalization.mean",
    "normalization.std", "normalization.scale", "normalization.offset",
]  # fmt: skip


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_field_is_named(path):
    with pytest.raises(ContractError, match=path.rpartition(".")[2]):
        contract.from_json(changed(path, ...))


MALFORMED = [
    ("name", 5, "name should be text"),
    ("encoding", "webp", "encoding should be one of float16"),
    ("encoding", 5, "encoding should be one of"),
    ("seed", "5", "seed should be a whole number"),
    ("seed", True, "seed should be a whole number"),
    ("weighted", 1, "weighted should be true or false"),
    ("channel_order", "BGR", "channel_order should be one of RGB, bands"),
    ("channel_order", "bands", "decode.bands should name 3 bands. Received: None"),
    ("dtype", "float16", "dtype should be one of float32"),
    ("source_digest", None, "source_digest should be a SHA-256"),
    ("resize", [], "resize should be an object"),
    ("decode", "x", "decode should be an object"),
    ("balance", None, "balance should be an object"),
    ("augmentation", 1, "augmentation should be an object"),
    ("versions", [], "versions should be an object"),
    ("rejected", [], "rejected should be an object"),
    ("image_shape", [8, 8], "image_shape should be"),
    ("image_shape", [8, 8, 65], "image_shape should be (H, W, C)"),
    ("image_shape", [8, 8, 2], "normalization.mean should be 2 finite numbers"),
    ("image_shape", [8, 8, 1], "normalization.mean should be a list of one finite number"),
    ("channel_order", "L", "channel_order should be one of RGB, bands"),
    ("channel_order", "bands", "decode.bands should name 3 bands. Received: None"),
    ("image_shape", [0, 8, 3], "image_shape should be"),
    ("labels", [], "labels should be distinct names, at least one"),
    ("labels", ["ok", "broken", "ok"], "labels should be distinct names"),
    ("labels", ["ok"], "counts labels that are not in `labels`: ['broken']"),
    ("normalization.mode", "maximum", "normalization.mode should be one of"),
    ("normalization.scale", [1, 2], "scale should be three finite numbers"),
    ("normalization.scale", [1, 2, "x"], "scale should be three finite numbers"),
    ("normalization.scale", [1, 2, None], "scale should be three finite numbers"),
    ("normalization.std", [1, 2, float("nan")], "std should be three finite numbers"),
    ("normalization.offset", [1, 2, float("inf")], "offset should be three finite numbers"),
    ("normalization.mean", [1, 2, 10**400], "mean should be three finite numbers"),
    ("splits", [], "splits should be an object"),
    ("splits", {}, "splits should be an object with at least one field"),
    ("splits.train", None, "splits.train should be an object"),
    ("splits.train.natural", {"ok": -1}, "should be an object of whole numbers"),
    ("splits.train.natural", {"ok": 1.5}, "should be an object of whole numbers"),
    ("splits.train.copies", {"ok": True}, "should be an object of whole numbers"),
    ("splits.train.stored", {"ok": 4, "broken": 5}, "stores 9 records by class but its shards hold 8"),
    ("splits.train.stored", {"ok": 4, "other": 4}, "counts labels that are not in `labels`: ['other']"),
    ("splits.train.shards.0.records", 6, "stores 8 records by class but its shards hold 9"),
    ("splits.train.shards.0.records", "5", "splits.train.shards[0].records should be a whole number from 0"),
    ("splits.train.shards.0.bytes", -1, "shards[0].bytes should be a whole number from 0"),
    ("splits.train.shards.0.sha256", "abc", "shards[0].sha256 should be a SHA-256 of 64 hex digits"),
    ("splits.train.shards.0.file", "../../etc/passwd", "file should be a plain name"),
    ("splits.train.shards.0.file", "/etc/passwd", "file should be a plain name"),
    ("splits.train.shards.0.file", "..", "file should be a plain name"),
    ("splits.train.shards.0.file", "", "file should be a plain name"),
    ("splits.train.shards.0.file", "tiny-test.tfrecord-00000-of-00001", "two shards should not have one file"),
    ("splits.train.copies", {"ok": 5}, "splits.train.copies should be part of stored"),
    ("format_version", True, "format_version should be 1. Received: True"),
    ("format_version", 1.0, "format_version should be 1. Received: 1.0"),
    ("labels", {"ok": 1}, "labels should be distinct names"),
    ("labels", ["ok", ""], "labels should be distinct names"),
    ("normalization.scale", "123", "scale should be three finite numbers"),
    ("normalization.scale", [1, 0, 1], "normalization.scale not 0"),
    ("normalization.std", [1, -1, 1], "normalization.std should be at least 0"),
    ("config_digest", 5, "config_digest should be a SHA-256"),
    ("rejected", {"empty": 1.5}, "rejected should be an object of whole numbers"),
    ("image_shape", [8, 10**9, 3], "image_shape should be"),
    ("splits.train.shards.0.file", 5, "file should be text"),
    ("seed", 10**30, "seed should be a whole number"),
    ("splits.train.shards.0.bytes", 10**30, "shards[0].bytes should be a whole number from 0"),
    ("normalization.scale", [1e308, 1, 1], "should map pixels 0..255 to finite numbers"),
    ("decode", {"background": [1, float("inf")]}, "decode should be an object of finite numbers"),
    ("versions", {"a": {"b": float("nan")}}, "versions should be an object of finite numbers"),
    ("labels", ["ok", "\ud800"], "text should be such that UTF-8 can encode it"),
    ("files", [], "files should be an object"),
    ("files", {"a": "b"}, "files.a should be a SHA-256"),
    ("files", {"../a": "0" * 64}, "files should be an object whose names are relative paths"),
    ("files", {"/a": "0" * 64}, "files should be an object whose names are relative paths"),
]


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED, ids=lambda v: str(v)[:40])
def test_a_malformed_field_is_refused(path, value, message):
    with pytest.raises(ContractError) as raised:
        contract.from_json(changed(path, value))
    assert message in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(REQUIRED), json_values)
def test_any_value_in_any_field_is_read_or_refused(path, value):
    try:
        read = contract.from_json(changed(path, value))
    except ContractError:
        return
    assert contract.from_json(read.to_json()) == read or not math.isfinite(sum(json_numbers(value)))


def json_numbers(value: object) -> list[float]:
    """All numbers in a JSON value: those that are not finite equal nothing, themselves included."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in json_numbers(item)]
    return [float(value)] if isinstance(value, float) else []


@given(st.text() | st.binary().map(repr) | json_values.map(json.dumps))
def test_any_text_is_refused_in_one_way(text):
    with pytest.raises(ContractError):
        contract.from_json(text)


def test_splits_are_found_by_name():
    assert made().split("test").records == 1
    with pytest.raises(ContractError, match="No split 'val' in dataset 'tiny': it has train, test"):
        made().split("val")


def test_shard_paths():
    assert made().shard_paths("/data/tiny", "train") == [
        "/data/tiny/tiny-train.tfrecord-00000-of-00002",
        "/data/tiny/tiny-train.tfrecord-00001-of-00002",
    ]


def test_priors_are_in_the_order_of_the_ids():
    assert made().priors("train") == (0.75, 0.25)
    assert made().priors("train", "stored") == (0.5, 0.5)
    assert made().priors("test") == (1.0, 0.0)
    assert made(labels=("broken", "ok")).priors("train") == (0.25, 0.75)
    empty = datasets.make_contract(splits={"train": Split({}, {}, {}, ())})
    assert empty.priors("train") == (0.0, 0.0)


@pytest.mark.parametrize(
    ("mode", "low", "high"),
    [("none", 0.0, 255.0), ("unit", 0.0, 1.0), ("symmetric", -1.0, 1.0), ("zscore", -2.0, 1.984375),
     ("imagenet", -2.1179, 255 / 57.375 - 1.8044)],
)  # fmt: skip
def test_value_range(mode, low, high):
    assert made(normalization=datasets.normalization(mode)).value_range == pytest.approx((low, high))


def test_the_value_range_of_a_negative_scale():
    inverted = contract.Normalization("unit", (0,) * 3, (1,) * 3, (-1 / 255, 1.0, 0.0), (1.0, -5.0, 9.0))
    assert inverted.value_range == pytest.approx((-5.0, 250.0))


PIXELS = np.stack([datasets.picture(i, i % 2) for i in range(3)])


@pytest.mark.parametrize("mode", sorted(datasets.AFFINES))
@pytest.mark.parametrize("encoding", contract.ENCODINGS)
def test_records_of_every_encoding_read_back_as_the_same_tensor(encoding, mode):
    the_contract = made(encoding=encoding, normalization=datasets.normalization(mode))
    scale, offset = datasets.AFFINES[mode]
    expected = PIXELS.astype(np.float64) * scale + offset
    stored = tf.constant([datasets.encode(the_contract, p) for p in PIXELS])
    read = tf.function(lambda b: contract.images_from_records(the_contract, b))

    got = contract.images_from_records(the_contract, stored)

    assert (got.dtype, got.shape) == (tf.float32, (3, 8, 8, 3))
    np.testing.assert_array_equal(read(stored), got)
    if encoding == "jpeg":  # lossy: what Pillow decodes, exactly
        expected = np.stack([images.decode(b.numpy()) for b in stored]) * np.array(scale) + offset
    steps = {"float16": 2.0**-10}.get(encoding, 2.0**-22)  # a half or a float rounds by at most half of this
    np.testing.assert_allclose(got, expected, rtol=steps, atol=steps * 4)


@pytest.mark.parametrize("encoding", ["float32", "uint8", "png"])
def test_images_of_another_size_are_an_error(encoding):
    other = datasets.picture(0, 0, (8, 4, 3))
    data = datasets.encode(made(encoding=encoding), other)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        contract.images_from_records(made(encoding=encoding), tf.constant([data]))


@pytest.mark.parametrize(("shape", "centre"), [((8, 13), np.s_[:, 2:10]), ((11, 8), np.s_[1:9]), ((8, 8), np.s_[:])])
def test_of_images_of_unequal_size_the_centres_are_read(shape, centre):
    """Of an odd rest, the larger part is cut off at the end."""
    uneven = made(encoding="jpeg", resize={"mode": "shorter"}, normalization=datasets.normalization("none"))
    data = datasets.encode(uneven, datasets.picture(0, 0, (*shape, 3)))
    got = contract.images_from_records(uneven, tf.constant([data]))
    np.testing.assert_array_equal(got[0], images.decode(data)[centre])


def test_of_an_image_with_another_shorter_side_nothing_is_read():
    uneven = made(encoding="jpeg", resize={"mode": "shorter"})
    data = datasets.encode(uneven, datasets.picture(0, 0, (9, 13, 3)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="The shorter side of an image should have 8 pixels"):
        contract.images_from_records(uneven, tf.constant([data]))


def test_normalize_is_a_float32_product_and_sum():
    the_contract = made(normalization=datasets.normalization("imagenet"))
    scale, offset = (np.float32(v) for v in datasets.AFFINES["imagenet"])

    got = contract.normalize(the_contract, tf.constant(PIXELS))

    np.testing.assert_array_equal(got, PIXELS.astype(np.float32) * scale + offset)


def test_the_feature_spec_reads_a_record():
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"\0\1"])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"k"])),
    }
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    parsed = tf.io.parse_example([record], contract.feature_spec(made()))

    assert {name: value.numpy().tolist() for name, value in parsed.items()} == {
        "image": [b"\0\1"], "label": [1], "weight": [0.5], "key": [b"k"],
    }  # fmt: skip


def test_reading_a_contract_imports_no_tensorflow(tmp_path):
    (tmp_path / "contract.json").write_text(made().to_json(), encoding="utf-8")
    program = (
        "import sys; from pipelines import contract; contract.load(sys.argv[1])\n"
        "assert not {'tensorflow', 'numpy', 'apache_beam', 'tensorflow_transform'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("scheme", "how"),
    [("s3://", "aws s3 cp --recursive s3://b/data DIR"), ("hdfs://", "from hdfs://b/data to DIR")],
)
def test_what_tensorflow_cannot_open_is_a_sentence(scheme, how):
    with pytest.raises(contract.ContractError) as raised:
        contract.load(f"{scheme}b/data")
    said = str(raised.value)
    assert said == f"TensorFlow cannot read {scheme}. Copy the dataset to a local folder and name that: {how}"


def test_who_reads_elsewhere_opens_the_file():
    @contextlib.contextmanager
    def opened(path):
        if path != "s3://b/data/contract.json":
            raise FileNotFoundError(path)
        yield io.StringIO(made().to_json())

    assert contract.load("s3://b/data", opened) == made()
    with pytest.raises(contract.ContractError, match=r"No readable contract.json in 's3://b' \(FileNotFoundError\)"):
        contract.load("s3://b", opened)


TASK_SPLIT = Split(
    natural={"ok": 6, "broken": 3}, stored={"ok": 6, "broken": 3}, copies={}, shards=(Shard("x", 8, 0, "0" * 64),)
)
IMAGES = {"train": {"natural": 8, "stored": 8, "copies": 0}}
SEVERAL = contract.Task("multi-label", images=IMAGES)
NUMBERS = contract.Task(
    "regression", ("age",), mean=(30.0,), std=(2.5,), median=(31.0,), least=(1.0,), greatest=(90.0,), images=IMAGES
)


def test_a_task_makes_the_round_trip_and_classes_have_none():
    several = datasets.make_contract(splits={"train": TASK_SPLIT}, task=SEVERAL)
    numbers = datasets.make_contract(labels=(), splits={"train": Split({}, {}, {}, TASK_SPLIT.shards)}, task=NUMBERS)

    assert contract.from_json(several.to_json()) == several
    assert contract.from_json(numbers.to_json()) == numbers
    assert json.loads(several.to_json())["task"] == {"kind": "multi-label", "images": IMAGES}
    assert "task" not in json.loads(made().to_json())
    assert several.priors("train") == (6 / 8, 3 / 8)
    assert (made().target_width, several.target_width, numbers.target_width) == (0, 2, 1)
    assert contract.feature_spec(several)["target"].shape == [2]
    assert "label" not in contract.feature_spec(several)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "ranking"}, "task.kind should be one of multi-label, regression. Received: 'ranking'"),
        ({"std": [0.0]}, "task.std should be above 0. Received: (0.0,)"),
        ({"mean": [1.0, 2.0]}, "task.mean should be a list of one finite number. Received: [1.0, 2.0]"),
        ({"least": [91.0]}, "task.least should be at most task.greatest"),
        ({"images": {"test": IMAGES["train"]}}, "task.images.train stores 0 records but its shards hold 8"),
        ({"images": {"train": {"natural": 8, "stored": 7, "copies": 0}}}, "task.images.train stores 7 records"),
        ({"images": {"train": {"natural": 8, "stored": 8, "copies": 9}}}, "copies should be part of stored"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused_by_name(change, said):
    numbers = datasets.make_contract(labels=(), splits={"train": Split({}, {}, {}, TASK_SPLIT.shards)}, task=NUMBERS)
    data = json.loads(numbers.to_json())
    data["task"] |= change

    with pytest.raises(ContractError) as refused:
        contract.from_json(json.dumps(data))

    assert said in str(refused.value)
