"""Other sizes, qualities and crops of one photograph stay in one split with --group-similar."""

from __future__ import annotations

import collections
import hashlib
import json
import re

import pytest
from PIL import Image

from pipelines.config import PrepareConfig
from pipelines.job import prepare
from tests.support.files.images import draw_photo


@pytest.mark.slow
def test_versions_of_a_photograph_stay_together_and_are_told(tmp_path):
    folder = tmp_path / "in"
    for i in range(24):
        label = folder / ("bee" if i % 2 else "wasp")
        draw_photo(label / f"{i}.png", i, (160, 120))
        photo = Image.open(label / f"{i}.png").convert("RGB")
        photo.resize((90, 66)).save(label / f"{i}-small.png")
        photo.save(label / f"{i}-q50.jpg", quality=50)
        other = folder / ("wasp" if i % 2 and i < 4 else label.name)
        photo.crop((2, 1, 158, 119)).save(other / f"{i}-crop.png")
    made = {}
    for workers, name in ((1, "one"), (2, "two")):
        config = PrepareConfig(
            input=str(folder), output=str(tmp_path / name), name="x", size=(16, 16), encoding="uint8", shards=2,
            splits={"train": 0.5, "test": 0.5}, group_similar=10, workers=workers,
        )  # fmt: skip
        made[name] = prepare.prepare(config)
    shards = {
        name: [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / name).glob("x-*"))]
        for name in made
    }
    assert shards["one"] == shards["two"]

    split_of = collections.defaultdict(set)
    for path in (tmp_path / "one" / "ledger").iterdir():
        for line in path.read_text().splitlines():
            number = re.match(r"\d+", json.loads(line)["uri"].rpartition("/")[2]).group()
            split_of[number].add(path.name.split("-")[1].split(".")[0])
    assert len(split_of) == 24
    assert {len(names) for names in split_of.values()} == {1}
    assert {name for names in split_of.values() for name in names} == {"train", "test"}

    summary = made["one"].summary
    assert summary.similar == {"groups": 24, "conflicting": 2, "straddling": 0, "largest": 4}
    assert [len(group.members) for group in summary.similar_first] == [4] * 24
    assert [group.conflicting for group in summary.similar_first[:3]] == [True, True, False]
    [warning] = [w for w in summary.warnings if "look alike" in w]
    assert warning.startswith("2 groups of pictures that look alike are under more than one label.")
    report = (tmp_path / "one" / "report.html").read_text()
    assert "24 groups of pictures that look alike" in report


@pytest.mark.slow
def test_labelled_pictures_that_look_like_one_without_a_label_are_told(tmp_path):
    folder = tmp_path / "in"
    for i in range(12):
        draw_photo(folder / ("bee" if i % 2 else "wasp") / f"{i}.png", i, (160, 120))
    for i in (3, 4, 20):  # 20 has no labelled version
        draw_photo(tmp_path / f"{i}.png", i, (160, 120))
        (folder / "unlabelled").mkdir(exist_ok=True)
        Image.open(tmp_path / f"{i}.png").convert("RGB").resize((90, 66)).save(folder / f"unlabelled/{i}.png")
    config = PrepareConfig(
        input=str(folder), output=str(tmp_path / "out"), size=(16, 16), encoding="uint8", unlabelled=("unlabelled",),
        splits={"train": 1.0}, group_similar=10,
    )  # fmt: skip
    summary = prepare.prepare(config).summary
    assert summary.unlabelled == {"images": 3, "twins": {}, "alike": {"train": 2}}
    assert summary.similar["groups"] == 0  # splits and groups of the labelled ones do not notice
    [warning] = [w for w in summary.warnings if "without a label" in w]
    assert warning.startswith("2 labelled images look like an image without a label: 2 in train.")
