"""A dataset that grows: images are added, `prepare --like` continues it, and the old model is evaluated on it."""

from __future__ import annotations

import json
import pathlib

import pytest

from pipelines import contract
from pipelines.cli import main
from tests.support import trainings
from tests.support.files.images import draw_photo
from trainer.cli import main as trainer


def draw(folder: pathlib.Path, label: str, numbers: range) -> None:
    for i in numbers:
        draw_photo(folder / label / f"{i}.jpg", seed=1000 * len(label) + i, size=(24, 24))


def splits_of(dataset: pathlib.Path) -> dict[str, str]:
    """SHA-256 of an image -> its split."""
    found = {}
    for name, split in contract.load(dataset).splits.items():
        for shard in split.shards:
            lines = (dataset / "ledger" / f"{shard.file}.jsonl").read_text().splitlines()
            found |= {json.loads(line)["digest"]: name for line in lines}
    return found


@pytest.mark.slow
def test_a_dataset_grows_and_the_old_model_is_evaluated_on_it(tmp_path, capsys, caplog):
    photos, first, second = tmp_path / "in", tmp_path / "first", tmp_path / "second"
    for label in ("ant", "zebra"):
        draw(photos, label, range(12))
    argv = ["prepare", "--input", str(photos), "--workers", "1"]
    assert main.main([*argv, "--output", str(first), "--size", "8", "--splits", "train=0.5,test=0.5"]) == 0
    old = contract.load(first)

    for i in range(30):  # bright: another mean
        draw_photo(photos / "ant" / f"bright{i}.png", seed=50_000 + i, size=(40, 40))
    (photos / "zebra/0.jpg").unlink()
    (photos / "zebra/1.jpg").rename(photos / "zebra/renamed.jpg")
    capsys.readouterr()
    assert main.main([*argv, "--output", str(second), "--like", str(first), "--size", "16"]) == 2
    assert "--size should be 8x8, as in --like" in capsys.readouterr().err
    assert main.main([*argv, "--output", str(second), "--like", str(first), "--seed", "5"]) == 0
    said = capsys.readouterr().out
    assert "Like first: 23 images of it keep their split, 30 are new." in said
    assert f"1 image of {str(first)!r} is not in the input any more; the first is {photos}/zebra/0.jpg." in said

    new = contract.load(second)
    before, after = splits_of(first), splits_of(second)
    gone = set(before) - set(after)
    assert len(gone) == 1
    assert {digest: after[digest] for digest in before if digest not in gone} == {
        digest: split for digest, split in before.items() if digest not in gone
    }
    added = [split for digest, split in after.items() if digest not in before]
    assert (len(added), set(added)) == (30, {"train", "test"})
    assert abs(added.count("train") - 15) <= 1
    assert (new.labels, new.normalization, new.image_shape) == (old.labels, old.normalization, old.image_shape)
    assert (new.resize, new.decode, new.encoding) == (old.resize, old.decode, old.encoding)
    assert new.like == {"name": "first", "contract_digest": old.digest, "kept": 23, "new": 30, "gone": 1}
    assert main.main(["verify", str(second), "--source"]) == 0

    run = tmp_path / "run"
    train = ["train", "--data", str(first), "--output", str(run), "--epochs", "1", "--validation", "none"]
    with trainings.without_reports(export=False):
        assert trainer.main(train) == 0
    assert trainer.main(["evaluate", "--model", str(run), "--data", str(second), "--split", "test"]) == 0
