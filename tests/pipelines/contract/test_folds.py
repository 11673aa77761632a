"""folds.json: what is read back, what is refused, and the counts of each part."""

import dataclasses
import hashlib
import json
import re

import pytest

from pipelines.contract import Contract, ContractError, Shard, Split
from pipelines.contract import folds as fold_files
from pipelines.contract.folds import Fold, Folds
from pipelines.contract.task import Task
from tests.support.datasets import DIGEST, make_contract

# Records of train: ok, ok, a copy of the second, broken | broken, ok. Their folds are 0, 1, 1, 0 | 1, 0.
FOLDS = Folds(
    2, 1, {"a": ("0110",), "b": ("10",)}, {"a": "0010", "b": "00"},
    (Fold({"ok": 2, "broken": 1}, {}, (3, 0)), Fold({"ok": 2, "broken": 1}, {"ok": 1}, (3, 1))),
)  # fmt: skip


def contract(**changes) -> Contract:
    shards = (Shard("a", 4, 40, DIGEST), Shard("b", 2, 20, DIGEST))
    train = Split({"ok": 4, "broken": 2}, {"ok": 4, "broken": 2}, {"ok": 1, "broken": 0}, shards)
    return make_contract(splits={"train": train}, folds={"count": 2, "repeats": 1}, **changes)


def test_what_is_written_is_read_back():
    assert fold_files.from_json(FOLDS.to_json(), contract()) == FOLDS


def test_the_contract_states_the_folds_and_nothing_without_them():
    assert Contract.to_json(contract()).count('"folds": {\n    "count": 2,\n    "repeats": 1\n  }') == 1
    assert '"folds"' not in dataclasses.replace(contract(), folds={}).to_json()


def test_the_part_that_is_held_out_has_no_copies_and_the_rest_has_those_of_its_own_images():
    held, rest = (part(contract(), FOLDS, 1) for part in (fold_files.held_out, fold_files.rest))

    assert (held.natural, held.stored, sum(held.copies.values())) == ({"ok": 1, "broken": 1}, {"ok": 1, "broken": 1}, 0)
    assert [shard.records for shard in held.shards] == [1, 1]
    # One image of ok was left out by the balance: it counts for what is trained on.
    assert (rest.natural, rest.stored, rest.copies) == (
        {"ok": 3, "broken": 1}, {"ok": 2, "broken": 1}, {"ok": 0, "broken": 0},
    )  # fmt: skip
    assert [shard.records for shard in rest.shards] == [2, 1]
    assert [shard.records for shard in fold_files.rest(contract(), FOLDS, 0).shards] == [2, 1]
    assert fold_files.rest(contract(), FOLDS, 0).copies == {"ok": 1, "broken": 0}


def test_a_view_has_the_counts_of_all_images_of_each_part():
    images = {"train": {"natural": 6, "stored": 6, "copies": 1}}
    found = fold_files.view(contract(task=Task("multi-label", images=images)), FOLDS, 1, "fold-1")

    assert found.task.images == {
        "train": {"natural": 4, "stored": 3, "copies": 0}, "fold-1": {"natural": 2, "stored": 2, "copies": 0},
    }  # fmt: skip
    assert (found.split("train").records, found.split("fold-1").records) == (3, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(count=3), "it should have {'count': 2, 'repeats': 1} folds, as the contract says"),
        (lambda d: d["folds"].pop(), "folds should be 2 in number. Received: 1"),
        (lambda d: d["shards"].pop("b"), "shards has no 'b'"),
        (lambda d: d["shards"]["a"].update(folds=["011"]), "shards.a should have 1 texts of 4 folds"),
        (lambda d: d["shards"]["a"].update(folds=["0112"]), "shards.a should have folds from 0 to 1"),
        (lambda d: d["shards"]["a"].update(copies="001x"), "shards.a should have folds from 0 to 1, and copies 0 or 1"),
        (lambda d: d["shards"]["a"].update(folds=["0111"]), "folds[0] counts 3 records, and 2 are in it"),
        (lambda d: d["folds"][0]["stored"].update(owl=1), "folds count labels that are not in the contract: ['owl']"),
        (lambda d: d["folds"][0]["records"].update(copies=-1), "should be a whole number from 0"),
    ],
)
def test_a_file_that_does_not_fit_the_contract_is_refused_by_name(change, said):
    data = json.loads(FOLDS.to_json())
    change(data)
    with pytest.raises(ContractError, match=re.escape(said)):
        fold_files.from_json(json.dumps(data), contract())


def test_only_the_file_that_the_contract_names_is_read(tmp_path):
    text = FOLDS.to_json()
    (tmp_path / "folds.json").write_text(text)
    named = contract(files={"folds.json": hashlib.sha256(text.encode()).hexdigest()})

    assert fold_files.load(tmp_path, named) == FOLDS
    with pytest.raises(ContractError, match="has no folds: prepare it with --folds"):
        fold_files.load(tmp_path, dataclasses.replace(named, folds={}))
    (tmp_path / "folds.json").write_text(text.replace("0110", "1001"))
    with pytest.raises(ContractError, match="is not the file that the contract names"):
        fold_files.load(tmp_path, named)
    (tmp_path / "folds.json").write_bytes(b"\xff")
    with pytest.raises(ContractError, match=r"folds.json is not UTF-8 text"):
        fold_files.load(tmp_path, contract(files={"folds.json": hashlib.sha256(b"\xff").hexdigest()}))
    (tmp_path / "folds.json").unlink()
    with pytest.raises(ContractError, match=r"folds.json cannot be read \(FileNotFoundError\)"):
        fold_files.load(tmp_path, named)
