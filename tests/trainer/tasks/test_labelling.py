"""The loop of people who label: answers in a table, doubts in a table and on a page, for every kind of task."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Shard, Split, tf_example, tfrecord
from pipelines.core.elements import Source
from pipelines.inputs import corrections
from pipelines.inputs.rules import InputSpec, TableSpec
from tests.support import datasets, tasks, trainings
from trainer.cli.main import main
from trainer.config import TrainConfig
from trainer.evaluation import held_out_predictions
from trainer.training import train

pytestmark = pytest.mark.slow  # each task is trained

KINDS = ("classes", "multi-label", "regression")
TABLES = {
    "classes": TableSpec(), "multi-label": TableSpec(labels="multi"), "regression": TableSpec(targets=tasks.NUMBERS),
}  # fmt: skip


def ledgers(data, contract) -> None:
    """Writes ledgers that name an image photos/KEY.png for each record, and the input of the dataset."""
    for name, split in contract.all_splits.items():
        for shard in split.shards:
            path = data / "ledger" / f"{shard.file}.jsonl"
            path.parent.mkdir(exist_ok=True)
            lines = [
                {"key": key, "uri": f"photos/{name}/{key[:16]}.png", "label": "", "digest": "0" * 64, "copy": 0}
                for key in keys(data / shard.file, contract)
            ]
            path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (data / "stats").mkdir(exist_ok=True)
    (data / "stats/summary.json").write_text(json.dumps({"settings": {"input": "photos", "image_root": ""}}))


def keys(path, contract) -> list[str]:
    spec = contracts.feature_spec(contract)
    return [
        tf.io.parse_single_example(record, spec)["key"].numpy().decode()
        for record in tf.data.TFRecordDataset(str(path))
    ]


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    """(kind, data, run): a short training. The split unlabelled has no records yet."""
    folder = tmp_path_factory.mktemp(request.param)
    data = folder / "data"
    if request.param == "classes":
        numbers, record = itertools.count(), datasets.record  # no two splits have a key in common
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(datasets, "record", lambda contract, _, label: record(contract, next(numbers), label))
            splits = {"train": (24, 24), "validation": (9, 9), "test": (15, 15)}
            contract = datasets.write_dataset(data, encoding="uint8", splits=splits)
    else:
        contract = tasks.write(data, request.param)
    ledgers(data, contract)
    with trainings.without_reports(export=False, page=True):
        train.train(TrainConfig(str(data), str(folder / "run"), epochs=12, batch_size=8, learning_rate=0.01))
    return request.param, data, folder / "run"


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path, found) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)


def without_labels(data, folder):
    """A copy of a dataset whose test split is the one of the images without a label."""
    shutil.copytree(data, folder)
    contract = contracts.load(folder)
    shards = []
    for shard in contract.splits["test"].shards:
        with open(folder / shard.file, "rb") as file:
            frames = [frame.data for frame in tfrecord.frames(file.read, 1 << 20)]
        unknown = (float("nan"),) * contract.target_width or -1
        made = b"".join(
            tfrecord.framed(tf_example.serialize(r.image, unknown, 1.0, r.key)) for r in map(tf_example.parse, frames)
        )
        (folder / shard.file).write_bytes(made)
        shards.append(Shard(shard.file, shard.records, len(made), hashlib.sha256(made).hexdigest()))
    splits = {name: split for name, split in contract.splits.items() if name != "test"}
    images = {name: counts for name, counts in contract.task.images.items() if name != "test"}
    task = dataclasses.replace(contract.task, images=images)
    changed = dataclasses.replace(contract, splits=splits, task=task, unlabelled=Split({}, {}, {}, tuple(shards)))
    (folder / contracts.FILE_NAME).write_text(changed.to_json())
    return folder


def test_answers_become_a_table_that_prepare_reads(run, tmp_path, capsys):
    kind, data, directory = run
    bare, path = without_labels(data, tmp_path / "bare"), tmp_path / "labels.csv"

    assert main(["predict", "--model", str(directory), "--data", str(bare), "--table", str(path)]) == 0
    assert f"answers of unlabelled are in {path}, the least sure first" in capsys.readouterr().out

    found = rows(path)
    assert len(found) == contracts.load(data).splits["test"].records
    assert all(row["label"] == row["answer"] and row["split"] == "train" for row in found)
    assert {row["path"] for row in found} == {f"test/{row['key'][:16]}.png" for row in found}
    sure = [row["confidence"] for row in found]
    if kind == "regression":
        assert set(sure) == {""}
        assert all(len(row["label"].split(",")) == 2 for row in found)
    else:
        assert [float(value) for value in sure] == sorted(map(float, sure))
    # As the evaluation of the same records with their labels has it.
    judged = {row["key"]: row for row in rows(directory / "predictions-test.csv")}
    for row in found:
        before = judged[row["key"]]
        if kind == "classes":
            assert (row["label"], row["confidence"]) == (before["predicted"], before["probability"])
        elif kind == "multi-label":
            named = [name for name in tasks.LABELS if before[f"answer {name}"] == "1"]
            assert row["label"] == ("|".join(sorted(named)) or "|")
        else:
            answers = [float(before[f"answer {name}"]) for name in tasks.NUMBERS]
            np.testing.assert_allclose([float(part) for part in row["label"].split(",")], answers, rtol=1e-5)

    read = corrections.Corrections(InputSpec("photos", table=TABLES[kind], corrections=str(path)))
    assert f"{len(found)} rows, {len(found)} give a label." in read.describe()


def test_what_predict_needs_for_a_table_is_said(run, tmp_path, capsys):
    _, data, directory = run
    model = ["predict", "--model", str(directory)]
    for argv, why in (
        ([], "predict should have image files, or a dataset with --data DIR"),
        (["--table", "x.csv", "photo.jpg"], "are about a dataset"),
        (["--data", str(data)], "predict --data DIR should have --table FILE"),
        (["--data", str(data), "--table", "x.csv", "photo.jpg"], "neither image files nor --json"),
    ):
        assert main([*model, *argv]) == 2
        assert why in capsys.readouterr().err
    assert main([*model, "--data", str(data), "--table", str(tmp_path / "x.csv")]) == 1
    assert "No split 'unlabelled' in dataset" in capsys.readouterr().err
    assert main([*model, "--data", str(data), "--split", "test", "--table", str(tmp_path / "x.csv")]) == 0
    assert "split" not in rows(tmp_path / "x.csv")[0]  # of images with a label it follows from the input


def test_the_answers_of_several_views_are_those_of_an_evaluation(run, tmp_path, capsys):
    kind, data, directory = run
    arguments = ["--model", str(directory), "--data", str(data), "--split", "test", "--tta"]
    assert main(["evaluate", *arguments, "flip", "--output", str(tmp_path / "out")]) == 0
    assert main(["predict", *arguments, "flip", "--table", str(tmp_path / "x.csv")]) == 0
    assert capsys.readouterr().out.count("leave it out if a number depends on the side") == 2 * (kind == "regression")
    before = "answer " if kind == "regression" else "probability of "
    found, expected = (
        {row["key"]: {name: float(row[name]) for name in row if name.startswith(before)} for row in rows(path)}
        for path in (tmp_path / "x.csv", tmp_path / "out/predictions-test.csv")
    )
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-4)
    assert main(["predict", *arguments, "crops", "--table", str(tmp_path / "x.csv")]) == 1
    assert "--tta crops is for models that see a part of each image" in capsys.readouterr().err


def test_doubts_become_a_page_and_a_table_that_prepare_reads(run, tmp_path, capsys):
    kind, _, directory = run
    copy = tmp_path / "run"
    shutil.copytree(directory, copy)
    planted = plant(copy / "predictions-test.csv", kind)

    assert main(["label-check", str(copy), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Judged" in said
    assert "test of run, validation of run. Images that a model was trained on are not judged by it." in said

    found = rows(tmp_path / "out/corrections.csv")
    assert planted in {row["key"] for row in found[:3]}
    row = next(row for row in found if row["key"] == planted)
    assert (row["keep"], row["of_split"], row["path"]) == ("", "test", f"test/{planted[:16]}.png")
    assert row["label"] != row["suggested"]
    page = (tmp_path / "out/label-check.html").read_text()
    assert page.count("data:image/") == len(found)
    assert f"1. {found[0]['label'] if kind != 'multi-label' else ''}" in page

    spec = InputSpec("photos", table=TABLES[kind], corrections=str(tmp_path / "out/corrections.csv"))
    assert f"{len(found)} row" in corrections.Corrections(spec).describe()
    image = Source(row["path"], f"photos/{row['path']}", row["label"], "", "", 1.0)
    row["key"] = ""  # the keys of these records are no hashes of a path
    spec = dataclasses.replace(spec, corrections=str(tmp_path / "mended.csv"))
    write_rows(tmp_path / "mended.csv", found)
    assert corrections.Corrections(spec).apply(image) == image
    row["keep"] = "no"
    write_rows(tmp_path / "mended.csv", found)
    mended = corrections.Corrections(spec).apply(image)
    assert isinstance(mended, Source)
    assert mended.label != row["label"]


def plant(path, kind: str) -> str:
    """Turns a label in predictions around; returns the key of its record, of which the model is the surest."""
    found = rows(path)
    if kind == "classes":
        sure = max((r for r in found if r["label"] == r["predicted"]), key=lambda r: float(r["probability"]))
        sure["label"] = next(r["label"] for r in found if r["label"] != sure["label"])
    elif kind == "multi-label":
        sure = max((r for r in found if r["is top"] == "1"), key=lambda r: float(r["probability of top"]))
        sure["is top"] = "0"
    else:
        sure = found[0]
        sure["true light"] = str(float(sure["true light"]) + 500)
    write_rows(path, found)
    return sure["key"]


def test_several_runs_judge_together_and_out_of_fold_predictions_are_of_train(run, tmp_path, capsys):
    kind, data, directory = run
    one, two, folds = tmp_path / "one", tmp_path / "two", tmp_path / "folds"
    for folder, name in ((one, "validation"), (two, "test")):
        folder.mkdir()
        shutil.copy(directory / f"predictions-{name}.csv", folder)
    argv = ["label-check", str(one), str(two), "--data", str(data), "--output", str(tmp_path / "out")]
    assert main(argv) == 0
    both = [contracts.load(data).splits[name].records for name in ("validation", "test")]
    assert f"Judged {sum(both)} images: validation of one, test of two." in capsys.readouterr().out

    shutil.copytree(directory, folds)
    (folds / "predictions-test.csv").rename(folds / "predictions-out-of-fold.csv")
    found = held_out_predictions.read([str(folds)])
    assert found.splits == ("out-of-fold of folds", "validation of folds")
    assert {split for _, split in found.places} == {"train", "validation"}
    assert len(found.keys) == sum(both)
    if kind == "classes":
        again = held_out_predictions.read([str(one), str(one)], str(data))  # the mean of equal predictions
        np.testing.assert_allclose(again.given, held_out_predictions.read([str(one)], str(data)).given)


def test_what_cannot_be_judged_is_said(run, tmp_path, capsys):
    _, data, directory = run
    (tmp_path / "empty").mkdir()
    assert main(["label-check", str(tmp_path / "empty"), "--data", str(data)]) == 1
    assert "It has no predictions" in capsys.readouterr().err
    shutil.copy(directory / "predictions-test.csv", tmp_path / "empty")
    assert main(["label-check", str(tmp_path / "empty")]) == 1
    assert "does not say which dataset it was made of: name it with --data DIR" in capsys.readouterr().err
