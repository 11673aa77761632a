"""Folds from prepare to verify: the same shards, whole groups, copies with their source, and what a change does."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import pathlib
import shutil

import pytest

from pipelines import contract as contracts
from pipelines.config import PrepareConfig
from pipelines.contract import folds as fold_files
from pipelines.contract import ledger
from pipelines.dataset import describe, verify
from pipelines.job import prepare
from tests.support.files.images import draw_photo

pytestmark = pytest.mark.slow  # each test prepares a dataset

CLASSES = {"ant": 24, "bee": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """36 pictures of two classes, three of each patient: ant00.png is of patient a0."""
    root = tmp_path_factory.mktemp("pictures")
    for label, count in CLASSES.items():
        (root / label).mkdir()
        for number in range(count):
            name = f"{label}-{label[0]}{number // 3}-{number:02d}.png"
            draw_photo(root / label / name, number + 100 * (label == "bee"), (12, 12))
    return root


def run(folder: pathlib.Path, out: pathlib.Path, **options):
    options = {
        "size": (8, 8), "encoding": "uint8", "thumbnails": 1, "workers": 2, "balance": "uniform", "shards": 3,
        "group_from": r"-([ab]\d+)-", "name": "pets", "splits": {"train": 0.75, "test": 0.25}, "folds": "3x2",
    } | options  # fmt: skip
    return prepare.prepare(PrepareConfig(input=str(folder), output=str(out), **options))


@pytest.fixture(scope="module")
def divided(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("divided") / "pets"
    return out, run(folder, out)


def digests(out: pathlib.Path) -> dict[str, str]:
    found = [*out.glob("*.tfrecord-*"), *out.glob("folds.json")]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(found)}


def lines(out: pathlib.Path):
    """(ledger line, its folds) of each record of train."""
    contract = contracts.load(out)
    folds = fold_files.load(out, contract)
    for shard in contract.split("train").shards:
        texts = zip(*folds.records[shard.file], strict=True)
        yield from zip(ledger.lines(str(out), shard.file), texts, strict=True)


def test_groups_and_copies_are_in_one_fold_and_each_fold_has_each_class(divided):
    out, result = divided
    of_group, of_fold = collections.defaultdict(set), collections.defaultdict(collections.Counter)
    for line, folds in lines(out):
        of_group[line.uri.split("-")[-2]].add(folds)
        if not line.copy:
            of_fold[folds[0]][line.label] += 1

    assert len(of_group) == 9
    assert all(len(folds) == 1 for folds in of_group.values())
    assert dict(of_fold) == {fold: {"ant": 6, "bee": 3} for fold in "012"}
    assert result.contract.folds == {"count": 3, "repeats": 2}
    assert [dict(fold) for fold in result.summary.folds] == [{"": 9, "ant": 6, "bee": 3}] * 6
    folds = fold_files.load(out, result.contract)
    assert sum(fold.copies["bee"] for fold in folds.folds[:3]) == result.contract.split("train").copies["bee"] > 0


def test_folds_change_no_byte_of_the_shards(divided, folder, tmp_path):
    run(folder, tmp_path / "pets", folds="")

    assert not (tmp_path / "pets/folds.json").exists()
    assert digests(tmp_path / "pets") == {k: v for k, v in digests(divided[0]).items() if k != "folds.json"}
    assert contracts.load(tmp_path / "pets").folds == {}
    assert "folds" not in json.loads((tmp_path / "pets/stats/summary.json").read_text())


def test_a_run_that_was_stopped_and_other_workers_give_the_same_folds(divided, folder, tmp_path, monkeypatch):
    out = tmp_path / "pets"

    def stop(*_):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(prepare.publish, "publish", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(folder, out, workers=1)
    run(folder, out, workers=1)

    assert digests(out) == digests(divided[0])


def test_a_dataset_without_folds_takes_the_place_of_one_with_them(divided, folder, tmp_path):
    out = tmp_path / "pets"
    shutil.copytree(divided[0], out)
    run(folder, out, folds="")

    assert not (out / "folds.json").exists()
    assert verify.verify(str(out)) == []


def test_report_and_inspect_name_the_folds(divided):
    out, _ = divided
    assert "folds       3 of train, 2 times" in describe.describe(out)
    assert "Folds of train" in (out / "report.html").read_text()


def test_fewer_groups_than_folds_are_said(folder, tmp_path):
    result = run(folder, tmp_path / "pets", folds="8", balance="none")

    assert "Some folds have no image of: ant (2 of 8), bee (5 of 8). Their scores leave that out." in (
        result.summary.warnings
    )


def change(out: pathlib.Path, edit) -> None:
    """Changes folds.json, and the contract so that it names the new one."""
    data = json.loads((out / "folds.json").read_text())
    edit(data)
    text = json.dumps(data)
    (out / "folds.json").write_text(text)
    contract = contracts.load(out)
    files = {**contract.files, "folds.json": hashlib.sha256(text.encode()).hexdigest()}
    (out / "contract.json").write_text(dataclasses.replace(contract, files=files).to_json())


def swap(data) -> None:
    """Exchanges folds 0 and 1 of the first repeat in one shard, with the counts of both."""
    text = data["shards"]["pets-train.tfrecord-00000-of-00003"]["folds"]
    text[0] = text[0].translate(str.maketrans("01", "10"))


def mark(data) -> None:
    own = data["shards"]["pets-train.tfrecord-00000-of-00003"]
    own["copies"] = own["copies"].translate(str.maketrans("01", "10"))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (mark, "records otherwise than the ledger whether they are copies."),
        (swap, "folds.json"),
        (lambda d: d["folds"][0]["stored"].update(ant=5), "Fold 0 should hold {'ant': 5, "),
    ],
)
def test_verify_finds_folds_that_are_not_those_of_the_records(divided, tmp_path, edit, said):
    out = tmp_path / "pets"
    shutil.copytree(divided[0], out)
    assert verify.verify(str(out)) == []
    change(out, edit)

    found = verify.verify(str(out))
    assert any(said in sentence for sentence in found), found


def test_verify_finds_another_file_of_folds(divided, tmp_path):
    out = tmp_path / "pets"
    shutil.copytree(divided[0], out)
    (out / "folds.json").write_text("{}")

    assert "folds.json has another content than when it was written (SHA-256 differs)." in verify.verify(str(out))
