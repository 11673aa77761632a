"""Columns of a table that travel along: from every kind of table into records, side files, loader and report."""

from __future__ import annotations

import csv
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf

from pipelines import contract
from pipelines.config import PrepareConfig
from pipelines.contract import tf_example
from pipelines.contract.metadata import MISSING_INTEGER
from pipelines.dataset import describe, source_changes, verify
from pipelines.job import prepare
from tests.support import trainings
from tests.support.files.images import draw_photo
from trainer import dataset
from trainer.cli import main
from trainer.config import TrainConfig
from trainer.evaluation import compare
from trainer.training import train

pytestmark = pytest.mark.slow  # each test reads a prepared dataset

IMAGES = 40
HEADING = ("path", "label", "x", "age", "site", "score")
KEEP = ("site", "age", "score")


def row(number: int) -> tuple:
    """Every seventh picture has no age, and every fifth no site."""
    return (
        f"{number:02d}.png",
        "cat" if number % 4 else "dog",
        number / 8,
        None if number % 7 == 0 else number,
        None if number % 5 == 0 else ("Zürich", "Bern")[number % 2],
        number * 0.1,
    )


def kept(number: int) -> tuple:
    """What a reader of the dataset finds of a picture: site, age, score."""
    _, _, _, age, site, score = row(number)
    return (site or "", MISSING_INTEGER if age is None else age, float(np.float32(score)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("pictures")
    for number in range(IMAGES):
        draw_photo(root / f"{number:02d}.png", number, (24, 24))
    return root


def table(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Writes the table in the form of its name."""
    path, rows = folder / name, [row(number) for number in range(IMAGES)]
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table(dict(zip(HEADING, zip(*rows, strict=True), strict=True))), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(dict(zip(HEADING, values, strict=True))) + "\n" for values in rows))
    elif "tfrecord" in name:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for values in rows:
                writer.write(_example(folder, values))
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t" if name.endswith(".tsv") else ",").writerows([HEADING, *rows])
    return path


def _example(folder: pathlib.Path, values: tuple) -> bytes:
    features = {"image/encoded": tf.train.Feature(bytes_list={"value": [(folder / values[0]).read_bytes()]})}
    for name, value in zip(HEADING[1:], values[1:], strict=True):
        if isinstance(value, str):
            features[name] = tf.train.Feature(bytes_list={"value": [value.encode()]})
        elif isinstance(value, int):
            features[name] = tf.train.Feature(int64_list={"value": [value]})
        elif value is not None:
            features[name] = tf.train.Feature(float_list={"value": [value]})
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def run(path: pathlib.Path, out: pathlib.Path, **options):
    options = {"keep": KEEP, "size": (8, 8), "encoding": "uint8", "thumbnails": 1, "workers": 2} | options
    return prepare.prepare(PrepareConfig(input=str(path), output=str(out), **options))


def records(out: pathlib.Path, split: str):
    """Yields (name of the picture, copy, parsed record) of a split."""
    for shard in contract.load(out).splits[split].shards:
        ledger = (out / "ledger" / f"{shard.file}.jsonl").read_text().splitlines()
        frames = tf.data.TFRecordDataset(str(out / shard.file)).as_numpy_iterator()
        for line, record in zip(map(json.loads, ledger), frames, strict=True):
            yield line["uri"], line["copy"], tf_example.parse(record), line


def digests(out: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.tfrecord-*"))}


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """A dataset of classes with augmented copies of the rare class."""
    out = tmp_path_factory.mktemp("kept") / "pets"
    return out, run(table(folder, "table.csv"), out, balance="uniform")


def test_records_and_ledger_hold_the_values_of_their_picture(made):
    out, result = made
    c = result.contract
    assert contract.load(out) == c
    told = [(column.name, column.dtype, column.missing, column.different) for column in c.metadata]
    assert told == [("site", "string", 8, 2), ("age", "int64", 6, None), ("score", "float32", 0, None)]
    seen, copies = set(), 0
    for split in c.splits:
        for uri, copy, record, line in records(out, split):
            number = int(pathlib.Path(uri).stem)
            values = tuple(record.metadata[f"metadata/{name}"] for name in KEEP)
            assert values == kept(number)
            _, _, _, age, site, score = row(number)
            assert line["metadata"] == {"site": site, "age": age, "score": score}
            seen.add(number)
            copies += copy > 0
    assert seen == set(range(IMAGES))
    assert copies
    assert verify.verify(str(out)) == []
    assert list(source_changes.find(str(out)).changes) == []


def test_report_summary_and_inspect_say_the_columns(made):
    out, result = made
    site, age, score = json.loads((out / "stats/summary.json").read_text())["metadata"]
    assert site == {
        "name": "site", "dtype": "string", "images": IMAGES, "missing": 8, "different": 2,
        "values": [["Bern", 16], ["Zürich", 16]],
    }  # fmt: skip
    assert (age["least"], age["median"], age["greatest"], age["missing"]) == (1, 19.0, 39, 6)
    assert score["different"] == IMAGES
    assert any(
        said.startswith("Keeps 'site' as text (2 values, 8 cells empty); 'age'") for said in result.summary.reading
    )
    page = (out / "report.html").read_text()
    assert 'id="metadata"' in page
    assert "Zürich" in page
    assert "metadata/site    string                  8                 2" in describe.describe(out)


@pytest.mark.parametrize("name", ["table.tsv", "metadata.jsonl", "table.parquet", "table.tfrecord"])
def test_every_kind_of_table_gives_the_same_columns(folder, tmp_path, name):
    place = tmp_path / "in"
    shutil.copytree(folder, place)
    result = run(table(place, name), tmp_path / "out")

    assert [(c.name, c.dtype, c.missing) for c in result.contract.metadata] == [
        ("site", "string", 8), ("age", "int64", 6), ("score", "float32", 0),
    ]  # fmt: skip
    found = sorted(
        tuple(record.metadata.values()) for split in result.contract.splits
        for *_, record, _ in records(tmp_path / "out", split)
    )  # fmt: skip
    wanted = sorted(tuple(dict(sorted(zip(KEEP, kept(n), strict=True))).values()) for n in range(IMAGES))
    assert found == wanted


@pytest.mark.parametrize(
    "options", [{"labels": "multi", "label_column": "label", "balance": "uniform"}, {"target": ("x",)}]
)
def test_labels_and_numbers_take_columns_along(folder, tmp_path, options):
    run(table(folder, "table.csv"), tmp_path / "out", **options)
    for uri, _, record, _ in records(tmp_path / "out", "train"):
        values = tuple(record.metadata[f"metadata/{name}"] for name in KEEP)
        assert values == kept(int(pathlib.Path(uri).stem))
    assert verify.verify(str(tmp_path / "out")) == []
    images, targets, columns = next(iter(dataset.load(tmp_path / "out", "train", 4, with_metadata=True)))
    assert len(images) == len(targets) == len(columns["age"]) == 4


@pytest.mark.parametrize("encoding", ["float16", "png"])  # `made` has uint8
def test_every_encoding_holds_the_same_values(made, folder, tmp_path, encoding):
    out, _ = made
    run(table(folder, "table.csv"), tmp_path / "out", encoding=encoding, balance="uniform")

    def of(place):
        return [(uri, copy, dict(record.metadata)) for uri, copy, record, _ in records(place, "train")]

    assert of(tmp_path / "out") == of(out)
    assert verify.verify(str(tmp_path / "out")) == []


def test_other_workers_other_rows_and_a_resumed_run_give_the_same_bytes(made, folder, tmp_path):
    out, _ = made
    rows = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    (folder / "turned.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]) + "\n", encoding="utf-8")
    run(folder / "turned.csv", tmp_path / "pets", balance="uniform", workers=1)
    assert digests(tmp_path / "pets") == digests(out)


def test_a_changed_value_makes_the_shard_anew(made, folder, tmp_path):
    out, _ = made
    text = (folder / "table.csv").read_text(encoding="utf-8")
    (folder / "older.csv").write_text(text.replace("03.png,cat,0.375,3,", "03.png,cat,0.375,4,"), encoding="utf-8")
    run(folder / "older.csv", tmp_path / "pets", balance="uniform")
    before, after = digests(out), digests(tmp_path / "pets")
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in before) == 1


def test_without_the_option_nothing_changes(made, folder, tmp_path):
    """The records are those with columns but for the columns, and no file names them."""
    out, _ = made
    result = run(folder / "table.csv", tmp_path / "pets", keep=(), balance="uniform")
    told = json.loads((tmp_path / "pets/contract.json").read_text())
    assert "metadata" not in told
    for name in ("stats/summary.json", "features.json", "schema.pbtxt"):
        assert '"metadata' not in (tmp_path / "pets" / name).read_text()
    assert "keep" not in json.loads((tmp_path / "pets/stats/summary.json").read_text())["settings"]
    for split in result.contract.splits.values():
        for shard in split.shards:
            with_columns = list(tf.data.TFRecordDataset(str(out / shard.file)).as_numpy_iterator())
            without = list(tf.data.TFRecordDataset(str(tmp_path / "pets" / shard.file)).as_numpy_iterator())
            assert [_plain(record) for record in with_columns] == without
            lines = (tmp_path / "pets/ledger" / f"{shard.file}.jsonl").read_text().splitlines()
            assert all(
                json.loads(line).keys() == {"key", "uri", "label", "digest", "copy", "width", "height"}
                for line in lines
            )


def _plain(record: bytes) -> bytes:
    """Returns a record without its columns, as protobuf writes it."""
    example = tf.train.Example.FromString(record)
    for name in [name for name in example.features.feature if name.startswith("metadata/")]:
        del example.features.feature[name]
    return example.SerializeToString(deterministic=True)


def test_verify_finds_a_value_that_the_ledger_does_not_say(made, tmp_path):
    out, result = made
    copy = tmp_path / "pets"
    shutil.copytree(out, copy)
    path = copy / "ledger" / f"{result.contract.splits['test'].shards[0].file}.jsonl"
    first, *others = path.read_text().splitlines()
    line = json.loads(first)
    line["metadata"]["site"] = "Genf"
    path.write_text("\n".join([json.dumps(line), *others]) + "\n")

    problem, changed = verify.verify(str(copy))

    assert "its metadata/site is " in problem
    assert problem.endswith("The ledger says 'Genf'.")
    assert changed.startswith("ledger/")


def test_verify_wants_the_columns_of_the_contract(made, tmp_path):
    out, _ = made
    copy = tmp_path / "pets"
    shutil.copytree(out, copy)
    told = json.loads((copy / "contract.json").read_text())
    told["metadata"] = told["metadata"][:2]
    (copy / "contract.json").write_text(json.dumps(told))
    said = verify.verify(str(copy))
    assert any(
        "it should have the features ['metadata/age', 'metadata/site'] of --keep." in problem for problem in said
    )


def test_tfds_reads_the_columns(made):
    tfds = pytest.importorskip("tensorflow_datasets")
    out, _ = made
    builder = tfds.builder_from_directory(str(out))
    rows = list(tfds.as_numpy(builder.as_dataset(split="validation")))
    found = {(r["metadata"]["site"].decode(), int(r["metadata"]["age"]), float(r["metadata"]["score"])) for r in rows}
    assert found == {kept(int(pathlib.Path(uri).stem)) for uri, *_ in records(out, "validation")}


def test_a_schema_names_the_columns(made):
    out, _ = made
    schema = (out / "schema.pbtxt").read_text()
    assert schema.count('name: "metadata/') == 3


def test_training_and_evaluation_show_parts_of_the_data(made, tmp_path, capsys):
    out, _ = made
    run_of = tmp_path / "run"
    with trainings.without_reports(export=False, page=True):
        train.train(TrainConfig(data=str(out), output=str(run_of), epochs=1, batch_size=8, slice_size=2))

    told = json.loads((run_of / "metrics.json").read_text())["splits"]["validation"]["by_slice"]
    assert {row["column"] for row in told["slices"]} <= set(KEEP)
    assert all(row["records"] >= 2 for row in told["slices"])
    for split in ("test", "validation"):
        with open(run_of / f"predictions-{split}.csv", newline="", encoding="utf-8") as file:
            rows = {row["key"]: row for row in csv.DictReader(file)}
        for uri, _, record, _ in records(out, split):
            site, age, score = kept(int(pathlib.Path(uri).stem))
            row_of = rows[record.key]
            assert row_of["metadata/site"] == site
            assert row_of["metadata/age"] == ("" if age == MISSING_INTEGER else str(age))
            assert np.float32(row_of["metadata/score"]) == np.float32(score)
    arguments = [
        "evaluate",
        "--model",
        str(run_of),
        "--data",
        str(out),
        "--slice-size",
        "3",
        "--output",
        f"{tmp_path}/e",
    ]
    assert main.main(arguments) == 0
    assert "Parts of the split by column, the worst first" in capsys.readouterr().out
    assert json.loads((tmp_path / "e/metrics.json").read_text())["splits"]["test"]["by_slice"]["smallest"] == 3
    assert compare.compare([str(run_of), str(tmp_path / "e")], "test")  # it reads the columns that it knows
