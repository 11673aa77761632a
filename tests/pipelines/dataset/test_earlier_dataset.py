"""What --like takes from an earlier dataset, and what it refuses."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import shutil

import pytest

from pipelines import contract
from pipelines.config import PrepareConfig
from pipelines.core.errors import ConfigError, ContractError, LedgerError
from pipelines.dataset import earlier_dataset
from pipelines.inputs.classes_file import NO_CLASSES, Classes
from pipelines.options import config_fields

OLD = pathlib.Path(__file__).parents[2] / "data/format_1/uint8"
PIXELS = {
    "size": (8, 8), "resize": "stretch", "filter": "area", "background": (255, 255, 255), "quality": "exact",
    "normalize": "zscore", "encoding": "uint8", "color_profile": "ignore", "bit_depth": "",
    "channels": 3, "bands": (), "truncated": "reject",  # as older versions did
}  # fmt: skip


@pytest.fixture
def old(tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(OLD, tmp_path / "old"))


def test_options_that_are_not_given_are_those_of_the_dataset(old):
    found = earlier_dataset.inherited({"like": str(old), "seed": 7})
    shares = found.pop("splits")
    assert found == {"like": str(old), "seed": 7, **PIXELS}
    assert list(shares) == ["train", "validation", "test"]
    assert shares == json.loads((old / "stats/summary.json").read_text())["settings"]["splits"]
    given = earlier_dataset.inherited({"like": str(old), "splits": {"train": 1.0}, "size": (8, 8)})
    assert given["splits"] == {"train": 1.0}


def test_every_option_about_pixels_is_continued(old):
    made = contract.load(old)
    decode = {**made.decode, "jpeg_quality": 90, "color_profile": "srgb", "jpeg_scaling": "2, 4 or 8"}
    (old / "contract.json").write_text(dataclasses.replace(made, decode=decode).to_json())
    found = earlier_dataset.inherited({"like": str(old)})
    options = {f.name for f in config_fields.options(PrepareConfig) if f.metadata["group"] == "pixels"}
    assert found.keys() == options | {"like", "splits"}
    assert [found[name] for name in ("jpeg_quality", "color_profile", "quality")] == [90, "srgb", "fast"]
    (old / "contract.json").write_text(
        dataclasses.replace(made, decode={**made.decode, "color_profile": "p3"}).to_json()
    )
    with pytest.raises(ContractError, match="decode cannot be continued: color_profile should be one of srgb, ignore"):
        earlier_dataset.inherited({"like": str(old)})


def test_the_classes_of_a_file_are_inherited(old):
    summary = json.loads((old / "stats/summary.json").read_text())
    of = Classes("c.csv", ("cracked",), (("broken", "cracked"),), "*")
    summary["settings"]["classes"] = dataclasses.asdict(of)
    (old / "stats/summary.json").write_text(json.dumps(summary))
    made = dataclasses.replace(contract.load(old), classes=of.noted())
    (old / "contract.json").write_text(made.to_json())
    assert earlier_dataset.inherited({"like": str(old)})["classes"] == of


def test_a_damaged_summary_gives_no_options(old):
    (old / "stats/summary.json").write_text("{")
    assert earlier_dataset.inherited({"like": str(old)}) == {"like": str(old), **PIXELS}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "size",
            (16, 8),
            "--size should be 8x8, as in --like {}: else its models do not fit. Received: 16x8.",
        ),
        ("background", (0, 0, 0), "--background should be 255,255,255, as"),
        ("normalize", "unit", "--normalize should be zscore, as"),
        ("bit_depth", "0..4095", "--bit-depth should be the default, as"),
        ("encoding", "jpeg", "--encoding should be uint8, as"),
        ("quality", "fast", "--quality should be exact, as"),
        ("color_profile", "srgb", "--color-profile should be ignore, as"),
    ],
)
def test_options_that_contradict_are_refused(old, option, value, message):
    for refused in (
        lambda: earlier_dataset.inherited({"like": str(old), option: value}),
        lambda: earlier_dataset.check(str(old), contract.load(old), {**PIXELS, option: value}, NO_CLASSES),
    ):
        with pytest.raises(ConfigError) as raised:
            refused()
        assert str(raised.value).startswith(message.format(repr(str(old))))


def test_the_file_of_classes_begins_with_the_classes_of_the_dataset(old):
    made = contract.load(old)
    assert made.labels == ("cracked", "sound")
    for names in ((), ("cracked",), ("cracked", "sound", "dirty")):
        earlier_dataset.check(str(old), made, PIXELS, Classes("c.txt", names))
        assert earlier_dataset.first_classes(Classes("c.txt", names), made) == (
            names if len(names) > 2 else made.labels
        )
    with pytest.raises(ConfigError, match=r"The id 1 is 'sound' there, and 'dirty' in 'c.txt'\.$"):
        earlier_dataset.check(str(old), made, PIXELS, Classes("c.txt", ("cracked", "dirty", "sound")))
    assert earlier_dataset.first_classes(Classes("c.txt", ("b", "a")), None) == ("b", "a")


def test_a_dataset_does_not_take_the_place_of_the_one_it_is_like(old, tmp_path):
    (tmp_path / "link").symlink_to(old)
    with pytest.raises(ConfigError, match="--like and --output should be two folders"):
        earlier_dataset.open_dataset(str(old), str(tmp_path / "link"))
    assert earlier_dataset.open_dataset(str(old), str(tmp_path / "new")) == contract.load(old)
    with pytest.raises(ContractError):
        earlier_dataset.open_dataset(str(tmp_path), str(tmp_path / "new"))


def test_the_images_are_the_originals_and_those_left_out(old):
    made = contract.load(old)
    left_out = {"uri": "in/a.jpg", "label": "sound", "split": "train", "digest": "a" * 64, "stage": "plan"}
    (old / "rejects/unused.jsonl").write_text(json.dumps({**left_out, "reason": "undersampled", "detail": ""}) + "\n")
    first = old / "ledger" / made.splits["test"].shards[0].file
    ledger = first.with_name(first.name + ".jsonl")
    line = json.loads(ledger.read_text().splitlines()[0])
    ledger.write_text(ledger.read_text() + json.dumps({**line, "copy": 1}) + "\n")

    found = [ref for part in earlier_dataset.parts(made) for ref in earlier_dataset.images(str(old), *part)]

    assert {(ref.key, ref.group, ref.kept) for ref in found} == {("", "", False)}
    assert collections.Counter(ref.split for ref in found) == {"train": 15 + 1, "validation": 7, "test": 8}
    assert (found[-1].uri, found[-1].digest) == ("in/a.jpg", "a" * 64)
    assert line["digest"] in {ref.digest for ref in found if ref.split == "test"}
    ledger.unlink()
    with pytest.raises(LedgerError):
        [ref for part in earlier_dataset.parts(made) for ref in earlier_dataset.images(str(old), *part)]


def test_datasets_of_several_labels_are_not_continued(old):
    made = dataclasses.replace(contract.load(old), task=contract.Task("multi-label"))
    with pytest.raises(ConfigError, match="--like continues datasets of one class an image") as refused:
        earlier_dataset.check(str(old), made, PIXELS, NO_CLASSES)
    assert "has the task multi-label" in str(refused.value)
