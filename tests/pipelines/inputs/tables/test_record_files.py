"""TFRecord and Parquet files that hold images: which are read, what their rows say, and the bytes of each image."""

import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.contract import contract_file, tf_example
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, SourceError, StorageError, TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec, TableSpec
from pipelines.inputs.tables import record_files
from pipelines.job import prepare
from tests.support.files.images import draw_photo

LIMIT = 1 << 20


def picture(seed, side=5, form="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 1, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def write_records(path, *records):
    """Writes Examples with TensorFlow: {feature: a value or a list of them}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = {}
            for name, value in record.items():
                values = value if isinstance(value, list) else [value]
                values = [v.encode() if isinstance(v, str) else v for v in values]
                kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])]
                features[name] = tf.train.Feature(
                    **{kind: {"bytes_list": tf.train.BytesList, "int64_list": tf.train.Int64List,
                              "float_list": tf.train.FloatList}[kind](value=values)}
                )  # fmt: skip
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def listed(path, **options):
    return list(listing.list_sources(InputSpec(str(path), **options)))


def sources(path, **options):
    found = listed(path, **options)
    assert all(isinstance(item, Source) for item in found), found
    return found


def pixels_of(source):
    with Image.open(io.BytesIO(storage.read_input(source.uri, LIMIT))) as image:
        return np.asarray(image)


# ---- TFRecord


def test_the_bytes_labels_and_splits_of_records(tmp_path):
    images = [picture(i) for i in range(5)]
    write_records(tmp_path / "pets-train.tfrecord-00000-of-00002",
                  *({"image/encoded": images[i], "image/class/text": "größe|cat"[i % 2 * 6 :], "image/class/label": i}
                    for i in range(3)))  # fmt: skip
    write_records(tmp_path / "pets-train.tfrecord-00001-of-00002",
                  {"image/encoded": images[3], "image/class/text": "cat", "image/class/label": 7})  # fmt: skip
    write_records(tmp_path / "pets-val.tfrecord-00000-of-00001",
                  {"image/encoded": images[4], "image/class/text": "cat", "image/class/label": 7})  # fmt: skip
    found = sources(tmp_path)
    assert [(s.key, s.label, s.split) for s in found] == [
        ("pets-train.tfrecord-00000-of-00002/00000000", "größe|cat", "train"),
        ("pets-train.tfrecord-00000-of-00002/00000001", "cat", "train"),
        ("pets-train.tfrecord-00000-of-00002/00000002", "größe|cat", "train"),
        ("pets-train.tfrecord-00001-of-00002/00000000", "cat", "train"),
        ("pets-val.tfrecord-00000-of-00001/00000000", "cat", "validation"),
    ]
    assert [storage.read_input(s.uri, LIMIT) for s in found] == images
    by_number = sources(tmp_path, table=TableSpec(label_column="image/class/label", split_column="none"))
    assert [(s.label, s.split) for s in by_number] == [("0", ""), ("1", ""), ("2", ""), ("7", ""), ("7", "")]
    assert len(sources(tmp_path, exclude=("*-val.*",))) == 4
    assert [s.label for s in sources(f"{tmp_path}/pets-val.tfrecord*")] == ["cat"]


def test_labels_are_named_by_the_text_that_tfds_writes_beside_them(tmp_path):
    (tmp_path / "label.labels.txt").write_text("ant\nbee\n")
    write_records(tmp_path / "a.tfrecord", *({"image": picture(i + 1), "label": i} for i in (1, 0, -1, 2)))
    found = listed(tmp_path)
    assert [item.label for item in found[:2]] == ["bee", "ant"]
    assert [(item.reason, item.uri.rpartition("/")[2]) for item in found[2:]] == [
        ("no-label", "00000002"), ("no-label", "00000003"),
    ]  # fmt: skip


def test_records_without_a_label_are_told_and_do_no_harm(tmp_path):
    """Kaggle's test set of flowers has images and ids only."""
    write_records(tmp_path / "train/00-2.tfrec", *({"image": picture(i), "class": i, "id": f"a{i}"} for i in range(2)))
    write_records(tmp_path / "test/00-1.tfrec", {"image": picture(9), "id": "t"})
    found = listed(tmp_path)
    assert [item.reason for item in found if isinstance(item, Rejected)] == ["no-label"]
    assert [(item.label, item.split) for item in found if isinstance(item, Source)] == [("0", "train"), ("1", "train")]


@pytest.mark.parametrize(
    ("channels", "shape"),
    [
        (3, {"height": 4, "width": 6, "depth": 3}),
        (1, {"height": 4, "width": 6}),
        (3, {"image/height": 4, "image/width": 6, "image/channels": 3}),
    ],
)
def test_pixels_without_a_header_become_a_picture(tmp_path, channels, shape):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, channels), np.uint8)
    name = "image/raw" if "image/height" in shape else "image_raw"
    write_records(tmp_path / "mnist.tfrecords", {name: pixels.tobytes(), "label": 3, **shape})
    (found,) = sources(tmp_path / "mnist.tfrecords")
    np.testing.assert_array_equal(pixels_of(found).reshape(pixels.shape), pixels)


def test_tensors_of_tfds_are_pixels_if_they_are_uint8(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    said = {"pythonClassName": "Tensor", "tensor": {"dtype": "uint8", "encoding": "bytes",
                                                    "shape": {"dimensions": ["4", "6", "3"]}}}  # fmt: skip
    write_records(tmp_path / "a.tfrecord", {"image": pixels.tobytes(), "label": 3})
    (tmp_path / "features.json").write_text(json.dumps({"featuresDict": {"features": {"image": said}}}))
    (found,) = sources(tmp_path)
    np.testing.assert_array_equal(pixels_of(found), pixels)
    said["tensor"]["dtype"] = "float16"
    (tmp_path / "features.json").write_text(json.dumps({"featuresDict": {"features": {"image": said}}}))
    with pytest.raises(SourceError, match="stores 'image' as numbers of type float16"):
        listed(tmp_path)


def test_a_damaged_record_costs_itself(tmp_path):
    path = write_records(tmp_path / "a.tfrecord", *({"image": picture(i), "label": "x"} for i in range(3)))
    size = path.stat().st_size // 3
    data = bytearray(path.read_bytes())
    data[size + 40] ^= 1
    path.write_bytes(data)
    first, second, third = listed(path)
    assert (first.key, third.key) == ("a.tfrecord/00000000", "a.tfrecord/00000002")
    assert second.reason == "bad-row"
    assert f"is record 2 of {str(path)!r}: its bytes are damaged" in second.detail
    path.write_bytes(bytes(data[: 2 * size + 5]))
    assert [type(item) for item in listed(path)] == [Source, Rejected, Rejected]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(64), "is no TFRecord file: its length is damaged"),
        (gzip.compress(bytes(64)), "is compressed.*gunzip"),
        (b"", "None of the first records"),
    ],
    ids=["zeros", "gzip", "empty"],
)
def test_other_files_of_that_name(tmp_path, data, expected):
    (tmp_path / "data.tfrecord").write_bytes(data)
    with pytest.raises(SourceError, match=expected):
        listing.check(InputSpec(str(tmp_path / "data.tfrecord")))


def test_records_that_are_no_examples(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(b"not an example")
    with pytest.raises(SourceError, match=r"is a tf\.train\.Example"):
        listed(tmp_path / "a.tfrecord")


def test_several_features_of_images_are_asked_for(tmp_path):
    write_records(tmp_path / "a.tfrecord", {"left": picture(1), "right": picture(2), "label": "x"})
    with pytest.raises(
        TableError, match=r"which column of .* is the image: 'left', 'right'\. Name it: --path-column left"
    ):
        listed(tmp_path)
    (found,) = sources(tmp_path, table=TableSpec(path_column="right"))
    assert storage.read_input(found.uri, LIMIT) == picture(2)


def test_several_labels_of_a_record_are_refused(tmp_path):
    write_records(tmp_path / "a.tfrecord", *({"image": picture(i), "label": [1, 2]} for i in range(12)))
    with pytest.raises(TableError, match="holds a list of labels"):
        listed(tmp_path)


# ---- Parquet


def write_parquet(path, columns, names=None, rows=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows)
    return path


def test_images_of_hugging_face_are_read_row_by_row(tmp_path):
    """Names of the classes and of the files, several files and groups of rows; -1 is no class."""
    images = [picture(i, form="JPEG") for i in range(7)]
    cells = [{"bytes": data, "path": f"{i}.jpg"} for i, data in enumerate(images)]
    (tmp_path / "README.md").write_text("A dataset.")
    for name, rows in {
        "train-00000-of-00002": (0, 3),
        "train-00001-of-00002": (3, 5),
        "test-00000-of-00001": (5, 7),
    }.items():
        chosen = slice(*rows)
        labels = [0, 1, 0, 1, 1, -1, 0][chosen]
        write_parquet(tmp_path / f"data/{name}.parquet", {"image": cells[chosen], "label": labels}, ["ant", "bee"])
    found = {item.uri.rpartition("-")[2]: item for item in listed(tmp_path)}
    assert found.pop("5.jpg").reason == "no-label"
    assert {name: (s.key, s.label, s.split) for name, s in found.items()} == {
        "0.jpg": ("data/train-00000-of-00002.parquet/00000000-0.jpg", "ant", "train"),
        "1.jpg": ("data/train-00000-of-00002.parquet/00000001-1.jpg", "bee", "train"),
        "2.jpg": ("data/train-00000-of-00002.parquet/00000002-2.jpg", "ant", "train"),
        "3.jpg": ("data/train-00001-of-00002.parquet/00000000-3.jpg", "bee", "train"),
        "4.jpg": ("data/train-00001-of-00002.parquet/00000001-4.jpg", "bee", "train"),
        "6.jpg": ("data/test-00000-of-00001.parquet/00000001-6.jpg", "ant", "test"),
    }
    for name, source in found.items():
        assert storage.read_input(source.uri, LIMIT) == images[int(name[0])]


def test_a_column_of_bytes_beside_other_columns(tmp_path):
    columns = {"id": ["x", "y", "z"], "img": [picture(1), None, picture(3)], "breed": ["pug", "pug", "akita"]}
    path = write_parquet(tmp_path / "a.parquet", columns | {"weight": [1.0, 1.0, 2.5]})
    found = sources(path)
    assert [(s.label, s.weight, s.split) for s in found] == [("pug", 1.0, ""), ("pug", 1.0, ""), ("akita", 2.5, "")]
    assert storage.read_input(found[2].uri, LIMIT) == picture(3)
    with pytest.raises(StorageError, match="The row holds no image") as caught:
        storage.read_input(found[1].uri, LIMIT)
    assert caught.value.reason == "empty"
    with pytest.raises(StorageError, match=r"Its group of rows holds .* row_group_size=100") as caught:
        storage.read_input(found[0].uri, 100)
    assert caught.value.reason == "too-large"


def test_a_table_of_paths_stays_one(tmp_path):
    (tmp_path / "1.png").write_bytes(picture(1))
    path = write_parquet(tmp_path / "t.parquet", {"path": ["1.png"], "label": ["x"]})
    assert not record_files.find(str(path))
    assert [s.uri for s in sources(path)] == [str(tmp_path / "1.png")]


def test_an_address_in_a_table_of_paths_is_a_path(tmp_path):
    """A row of a stranger's CSV cannot name bytes of another file."""
    (tmp_path / "secret").write_bytes(picture(1))
    (tmp_path / "t.csv").write_text(f"path,label\n{tmp_path}/secret://plain@0+100/a.png,x\n")
    (found,) = listed(tmp_path / "t.csv")
    assert isinstance(found, Rejected)


def test_files_of_other_columns_are_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", {"image": [picture(1)], "label": ["x"]})
    write_parquet(tmp_path / "b.parquet", {"image": [picture(1)], "breed": ["x"]})
    with pytest.raises(SourceError, match=r"b\.parquet' has no column 'label'.*--exclude"):
        listed(tmp_path)


@pytest.mark.parametrize("change", [lambda data: data[:-30], lambda data: data[:200] + bytes(60) + data[260:]])
def test_a_damaged_file_is_an_error_or_damaged_members(tmp_path, change):
    path = write_parquet(tmp_path / "a.parquet", {"image": [picture(i, 20) for i in range(4)], "label": list("xyxy")})
    path.write_bytes(change(path.read_bytes()))
    try:
        found = listed(path)
    except SourceError:
        return
    for source in found:
        try:
            storage.read_input(source.uri, LIMIT)
        except StorageError as e:
            assert e.reason == "damaged-member"  # noqa: PT017


# ---- which inputs they are


def test_a_folder_with_a_picture_is_a_folder_of_pictures(tmp_path):
    write_records(tmp_path / "a.tfrecord", {"image": picture(1), "label": "x"})
    assert record_files.find(str(tmp_path)) == [str(tmp_path / "a.tfrecord")]
    (tmp_path / "cat").mkdir()
    assert record_files.find(str(tmp_path)) == [str(tmp_path / "a.tfrecord")]
    (tmp_path / "b.png").write_bytes(picture(1))
    assert not record_files.find(str(tmp_path))
    assert not record_files.find(str(tmp_path / "cat"))
    (tmp_path / "b.png").rename(tmp_path / "LICENSE")
    assert record_files.find(str(tmp_path)) == [str(tmp_path / "a.tfrecord")]
    (tmp_path / "LICENSE").rename(tmp_path / "000123")  # as collections have them whose pictures have no ending
    assert not record_files.find(str(tmp_path))
    assert not record_files.find("gs://bucket/a.tfrecord")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tfrecord", "TFRecord"), ("a.tfrec", "TFRecord"), ("a.TFRecords", "TFRecord"),
        ("a-train.tfrecord-00000-of-00010", "TFRecord"), ("train-00000-of-01024", "TFRecord"),
        ("train-00000-of-00001.parquet", "Parquet"), ("variables.data-00000-of-00001", ""), ("a.png", ""),
        ("labels", ""),
    ],
)  # fmt: skip
def test_names(name, kind):
    assert record_files.kind(name) == kind


def test_options_of_tables_of_paths_are_refused(tmp_path):
    write_records(tmp_path / "a.tfrecord", {"image": picture(1), "label": "x"})
    with pytest.raises(ConfigError, match="--suffix is about tables of paths"):
        PrepareConfig(input=str(tmp_path), output=str(tmp_path / "o"), suffix=".jpg")
    with pytest.raises(ConfigError, match="--label-column is about tables"):
        PrepareConfig(input=str(tmp_path / "no"), output=str(tmp_path / "o"), label_column="x")


def test_groups_and_sentences(tmp_path):
    write_records(tmp_path / "a.tfrecord", *({"image": picture(i), "label": "x", "patient": f"p{i}"} for i in range(2)))
    spec = InputSpec(str(tmp_path), table=TableSpec(group_column="patient"))
    assert [s.group for s in listing.list_sources(spec)] == ["p0", "p1"]
    (told,) = listing.check(spec).told
    assert told.removeprefix(f"Reads {str(tmp_path)!r} ") == (
        "as TFRecord, 1 file, columns 'image' as path and 'label' as label and 'patient' as group; 2 rows."
    )


@pytest.mark.slow
def test_a_dataset_is_prepared_anew_from_its_own_shards(prepared_uint8, tmp_path):
    """The pixels, labels and splits of the records stay; the order is of the new run."""
    old = prepared_uint8
    new = tmp_path / "new"
    config = PrepareConfig(input=str(old), output=str(new), size=(8, 8), encoding="uint8", shards=3)
    prepare.prepare(config)
    assert contents(new) == contents(old)
    assert contract_file.load(str(new)).labels == contract_file.load(str(old)).labels
    again = [*listing.list_sources(config.input_spec)]
    assert len(again) == sum(map(len, contents(old).values()))


@pytest.fixture(scope="module")
def prepared_uint8(tmp_path_factory):
    root = tmp_path_factory.mktemp("old")
    for number in range(12):
        draw_photo(root / f"in/{'ab'[number % 2]}/{number}.png", number, (8, 8))
    source, splits = str(root / "in"), {"train": 0.5, "test": 0.5}
    config = PrepareConfig(input=source, output=str(root / "out"), size=(8, 8), encoding="uint8", splits=splits)
    prepare.prepare(config)
    return root / "out"


def contents(folder):
    """Split -> the sorted (label, pixels) of its records."""
    found = {}
    for path in sorted(folder.glob("*.tfrecord-*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            example = tf_example.parse(record)
            split = path.name.split("-")[1].split(".")[0]
            found.setdefault(split, []).append((example.label, example.image))
    return {split: sorted(records) for split, records in found.items()}
