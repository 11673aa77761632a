"""Images without a label, from a table or a folder to a dataset, and their labels back into the next one."""

from __future__ import annotations

import csv
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipelines import contract
from pipelines.cli import main
from pipelines.config import PrepareConfig
from pipelines.core import hashing
from pipelines.core.errors import DuplicatesError
from pipelines.dataset import describe, source_changes, verify
from pipelines.job import prepare
from tests.support import trainings
from tests.support.files.images import draw_photo
from trainer import dataset
from trainer.cli import main as trainer

pytestmark = pytest.mark.slow  # each test prepares a dataset

LABELLED, WITHOUT = 40, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Pictures 00.png to 51.png. 51.png is equal to the labelled 00.png, and 50.png to 49.png."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(LABELLED + WITHOUT):
        draw_photo(root / f"{number:02d}.png", number, (24, 24))
    shutil.copy(root / "00.png", root / "51.png")
    shutil.copy(root / "49.png", root / "50.png")
    return root


ANSWERS = {
    "classes": lambda n: "cat" if n % 2 else "dog",
    "multi": lambda n: "|".join(name for name, every in (("cat", 2), ("dog", 3)) if n % every == 0) or "[]",
    "numbers": lambda n: f"{n / 4:g}",
}
OPTIONS: dict[str, dict] = {"classes": {}, "multi": {"labels": "multi"}, "numbers": {"target": ("label",)}}


def table(folder: pathlib.Path, name: str, kind: str, without: bool) -> pathlib.Path:
    rows = [(f"{n:02d}.png", ANSWERS[kind](n)) for n in range(LABELLED)]
    rows += [(f"{n:02d}.png", "") for n in range(LABELLED, LABELLED + WITHOUT) if without]
    rows = sorted(rows, key=lambda row: row[0][::-1])  # those without a label are among the others
    with open(folder / name, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return folder / name


def run(path: pathlib.Path, out: pathlib.Path, **options):
    options = {"size": (8, 8), "encoding": "uint8", "thumbnails": 1, "workers": 2, "name": "d"} | options
    return prepare.prepare(PrepareConfig(input=str(path), output=str(out), **options))


def digests(out: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.tfrecord-*"))}


def names(out: pathlib.Path, split: str) -> list[str]:
    """The names of the pictures of a split, by its ledger."""
    return [
        json.loads(line)["uri"].rsplit("/", 1)[-1]
        for shard in contract.load(out).split(split).shards
        for line in (out / "ledger" / f"{shard.file}.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize("kind", ANSWERS)
def test_labelled_shards_are_the_same_bytes_with_and_without(folder, tmp_path, kind):
    plain = run(table(folder, f"plain-{kind}.csv", kind, False), tmp_path / "plain", **OPTIONS[kind])
    path = table(folder, f"all-{kind}.csv", kind, True)
    result = run(path, tmp_path / "all", unlabelled=("rows",), encoding="uint8", **OPTIONS[kind])

    made = digests(tmp_path / "all")
    beside = made.pop("d-unlabelled.tfrecord-00000-of-00001")
    assert made == digests(tmp_path / "plain")
    assert beside
    c, before = result.contract, plain.contract
    assert (c.splits, c.normalization, c.task) == (before.splits, before.normalization, before.task)
    assert contract.load(tmp_path / "all") == c
    assert before.unlabelled is None
    assert "unlabelled" not in before.to_json()
    assert c.unlabelled is not None
    assert c.unlabelled.records == WITHOUT
    assert sorted(names(tmp_path / "all", "unlabelled")) == [f"{n}.png" for n in range(40, 52)]
    assert result.summary.unlabelled["images"] == WITHOUT
    assert sum(result.summary.unlabelled["twins"].values()) == 1

    images, labels = next(iter(dataset.load(tmp_path / "all", "unlabelled", WITHOUT)))
    assert images.shape == (WITHOUT, 8, 8, 3)
    unknown = {"classes": np.full(WITHOUT, -1), "multi": np.full((WITHOUT, 2), np.nan)}
    np.testing.assert_array_equal(labels, unknown.get(kind, np.full((WITHOUT, 1), np.nan)))

    assert verify.verify(str(tmp_path / "all")) == []
    assert source_changes.find(str(tmp_path / "all")).changes == []
    assert f"unlabelled\n{WITHOUT} images without a label" in describe.describe(tmp_path / "all")
    assert json.loads(describe.describe_json(tmp_path / "all"))["unlabelled"]["records"] == WITHOUT
    describe.contact_sheet(tmp_path / "all", tmp_path / "sheet.png", split="unlabelled", columns=2, rows=2)
    report = (tmp_path / "all/report.html").read_text()
    assert f"Beside them, {WITHOUT} images without a label are the split unlabelled." in report
    assert "copies balance" not in report
    if kind != "multi":
        read = tfds.builder_from_directory(str(tmp_path / "all")).as_dataset(split="unlabelled")
        assert len(list(read)) == WITHOUT


def test_verify_finds_a_label_where_there_should_be_none(folder, tmp_path):
    run(table(folder, "all.csv", "classes", True), tmp_path / "d", unlabelled=("rows",))
    shutil.copy(tmp_path / "d/d-test.tfrecord-00000-of-00001", tmp_path / "d/d-unlabelled.tfrecord-00000-of-00001")
    assert any("it should have no label, and has one" in problem for problem in verify.verify(str(tmp_path / "d")))


def test_equal_images(folder, tmp_path):
    path = table(folder, "all.csv", "classes", True)
    kept = run(path, tmp_path / "kept", unlabelled=("rows",)).summary
    [split] = kept.unlabelled["twins"]
    assert (
        f"Also among the images without a label: 1 labelled image, 1 in {split}. --duplicates drop" in kept.warnings[-1]
    )
    assert (kept.duplicate_groups, kept.conflicting_groups) == (1, 0)

    dropped = run(path, tmp_path / "dropped", unlabelled=("rows",), duplicates="drop")
    assert dropped.summary.rejected == {"duplicate": 1, "has-a-label": 1}
    assert dropped.contract.unlabelled is not None
    assert dropped.contract.unlabelled.records == WITHOUT - 2
    assert {"50.png", "51.png"} & set(names(tmp_path / "dropped", "unlabelled")) == set()
    assert dropped.contract.splits == kept_splits(tmp_path / "kept")

    with pytest.raises(DuplicatesError, match="2 pictures occur more than once, 0 of them with more than one label"):
        run(path, tmp_path / "failed", unlabelled=("rows",), duplicates="fail")


def kept_splits(out: pathlib.Path):
    return contract.load(out).splits


@pytest.mark.slow
def test_a_person_labels_and_the_next_version_takes_it(tmp_path, capsys):
    photos, first, second = tmp_path / "photos", tmp_path / "first", tmp_path / "second"
    for number, label in enumerate(("ant", "zebra")):
        for i in range(20):
            draw_photo(photos / label / f"{i}.png", seed=1000 * number + i, size=(24, 24))
    for i in range(8):
        draw_photo(photos / "unlabeled" / f"{i}.png", seed=5000 + i, size=(24, 24))
    form = ["--size", "8", "--encoding", "uint8", "--unlabelled", "unlabeled"]
    prepared = ["prepare", "--input", str(photos), "--workers", "2", *form]
    assert main.main([*prepared, "--output", str(first)]) == 0
    assert "Without a label: 8 images, the split unlabelled." in capsys.readouterr().out

    key = hashing.record_key("unlabeled/1.png", 0)
    mended = tmp_path / "labels.csv"
    mended.write_text(f"key,path,label,split\n,unlabeled/0.png,ant,train\n{key},,zebra,\n,ant/3.png,zebra,\n")
    argv = [*prepared, "--output", str(second), "--like", str(first), "--corrections", str(mended)]
    assert main.main(argv) == 0
    assert "Like first: 40 images of it keep their split, 2 are new." in capsys.readouterr().out

    old, new = contract.load(first), contract.load(second)
    assert new.unlabelled is not None
    assert new.unlabelled.records == 6
    counts = {label: sum(split.natural[label] for split in new.splits.values()) for label in new.labels}
    assert counts == {"ant": 20, "zebra": 22}
    assert set(names(first, "test")) <= set(names(second, "test"))
    assert (new.normalization, new.labels) == (old.normalization, old.labels)
    assert main.main(["verify", str(second), "--source"]) == 0
    mended.write_text("path,label\nant/1.png,zebra\n")
    capsys.readouterr()
    assert main.main(["verify", str(second), "--source"]) == 1
    said = capsys.readouterr().out
    assert "changed: ant/1.png (its class was ant and is zebra)" in said

    mended.write_text("path,label\nunlabeled/99.png,ant\n")
    assert main.main(argv) == 2
    assert "1 row that names no image of the input: 'unlabeled/99.png' (row 1)" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_trains_or_scores_on_what_has_no_label(folder, tmp_path, capsys):
    out, model = tmp_path / "d", tmp_path / "run"
    run(table(folder, "all.csv", "classes", True), out, unlabelled=("rows",))
    train = ["train", "--data", str(out), "--output", str(model), "--epochs", "1"]
    assert trainer.main([*train, "--validation", "unlabelled"]) == 1
    assert "There is no split 'unlabelled' to choose the best epoch by" in capsys.readouterr().err
    with trainings.without_reports(export=False, page=True):
        assert trainer.main(train) == 0
    with open(model / "predictions-test.csv", newline="") as file:
        sources = [row["source"] for row in csv.DictReader(file)]
    assert sorted(pathlib.Path(source).name for source in sources) == sorted(names(out, "test"))
    assert not (model / "predictions-unlabelled.csv").exists()
    assert trainer.main(["evaluate", "--model", str(model), "--data", str(out), "--split", "unlabelled"]) == 1
    assert "has images without a label: there is nothing to score answers by" in capsys.readouterr().err
