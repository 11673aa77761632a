"""`prepare` with a file of classes: the ids, the counts, the contract, and the comparison with the sources."""

from __future__ import annotations

import json

import pytest

from pipelines import contract
from pipelines.cli import main
from tests.support.files.images import draw_photo

CLASSES = "label,class\nzebra,zebra\nbird,bird\ncat,pet\ndog,pet\nsnake,\n"


@pytest.mark.slow
def test_classes_are_renamed_merged_and_left_out(tmp_path, capsys):
    """Half of the images are of a class that is left out, which is no bad input. A class without images has its id."""
    for label, count in {"cat": 4, "dog": 4, "zebra": 6, "snake": 14}.items():
        for i in range(count):
            draw_photo(tmp_path / "in" / label / f"{i}.jpg", seed=100 * len(label) + i, size=(24, 24))
    (tmp_path / "c.csv").write_text(CLASSES)
    argv = ["prepare", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--size", "8x8"]
    assert main.main([*argv, "--classes", str(tmp_path / "c.csv"), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "rejected 14 (class-left-out 14)" in said
    assert "These classes have an id and no image: bird." in said

    c = contract.load(tmp_path / "out")
    assert c.labels == ("zebra", "bird", "pet")
    assert [sum(split.natural[label] for split in c.splits.values()) for label in c.labels] == [6, 0, 8]
    assert c.classes == {
        "labels": {"zebra": "zebra", "bird": "bird", "cat": "pet", "dog": "pet", "snake": ""},
        "others": None,
    }
    assert (tmp_path / "out/transform_fn/assets/labels").read_text().split() == ["zebra", "bird", "pet"]
    ledger = [json.loads(line) for path in (tmp_path / "out/ledger").iterdir() for line in path.open()]
    assert {(line["uri"].split("/")[-2], line["label"]) for line in ledger} == {
        ("cat", "pet"), ("dog", "pet"), ("zebra", "zebra"),
    }  # fmt: skip

    assert main.main(["verify", str(tmp_path / "out"), "--source"]) == 0
    assert main.main(["inspect", str(tmp_path / "out")]) == 0
    assert "classes     3" in capsys.readouterr().out
