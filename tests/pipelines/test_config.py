"""Every option's good and bad values; a message names its option, what it got and what it takes."""

from __future__ import annotations

import dataclasses
import re

import pytest

from pipelines.config import AUGMENT_DEFAULTS, PrepareConfig
from pipelines.core.errors import ConfigError
from pipelines.images.limits import Limits
from pipelines.inputs.classes_file import Classes

# Of this configuration before there were other tasks than classes: datasets of both versions are resumed and compared.
DIGEST_BEFORE_TASKS = "8e2cbefd5864fdb61b8a6cb81372032bf478a9238c8c45047e3f6294706564ff"


def config(**options) -> PrepareConfig:
    return PrepareConfig(**{"input": "in", "output": "out/birds", **options})


GOOD = [
    {"layout": "split"}, {"resize": "pad"}, {"filter": "bilinear"}, {"normalize": "none"}, {"encoding": "png"},
    {"size": (1, 8192)}, {"background": (0, 0, 255)}, {"max_copies": 1}, {"max_copies": 999},
    {"jpeg_quality": 1}, {"jpeg_quality": 100}, {"max_reject_rate": 0}, {"max_reject_rate": 1},
    {"balance": "temperature", "temperature": 5}, {"balance": "counts", "counts": {"a": 0}},
    {"balance": "uniform", "per_class": 7}, {"shards": 99_999}, {"shard_size": 1}, {"workers": 1024},
    {"seed": -(1 << 63)}, {"seed": (1 << 63) - 1}, {"splits": {"train": 1.0}}, {"splits": {"train": 0.5, "test": 0.5}},
    {"splits": {"train": 0.7, "validation": 0.2, "test": 0.1}}, {"splits": {"train": 1.0, "test": 0.0}},
    {"augment": {}}, {"augment": dict.fromkeys(AUGMENT_DEFAULTS, 0)}, {"augment": {"rotate": 180, "scale": 0.9}},
    {"max_pixels": 1, "max_file_bytes": 1}, {"name": "a1_B"},
]  # fmt: skip


@pytest.mark.parametrize("options", GOOD, ids=str)
def test_good_values(options):
    made = config(**options)
    assert {name: getattr(made, name) for name in options} == options


BAD = [
    ({"layout": "flat"}, "--layout should be one of auto, class, split. Received: 'flat'"),
    ({"resize": "zoom"}, "--resize should be one of stretch, crop, pad, none, shorter. Received: 'zoom'"),
    ({"filter": "nearest"}, "--filter should be one of area, bilinear. Received: 'nearest'"),
    ({"normalize": "max"}, "--normalize should be one of"),
    ({"balance": "even"}, "--balance should be one of"),
    ({"encoding": "webp"}, "--encoding should be one of"),
    ({"size": (0, 5)}, "--size should be from 1 to 8192. Received: 0"),
    ({"size": (5, 8193)}, "--size should be from 1 to 8192. Received: 8193"),
    ({"background": (0, 256, 0)}, "--background should be from 0 to 255. Received: 256"),
    ({"background": (-1, 0, 0)}, "--background should be from 0 to 255. Received: -1"),
    ({"max_copies": 0}, "--max-copies should be from 1 to 999. Received: 0"),
    ({"max_copies": 1000}, "--max-copies should be from 1 to 999. Received: 1000"),
    ({"jpeg_quality": 101}, "--jpeg-quality should be from 1 to 100"),
    ({"max_reject_rate": 1.5}, "--max-reject-rate should be from 0 to 1. Received: 1.5"),
    ({"max_reject_rate": float("nan")}, "--max-reject-rate should be from 0 to 1. Received: nan"),
    ({"temperature": 0}, "--balance temperature should be at least"),
    ({"temperature": float("nan")}, "--balance temperature should be at least"),
    ({"per_class": -5}, "--balance uniform should be from 0 to"),
    ({"shards": -1}, "--shards should be from 0 to 99999"),
    ({"shards": 100_000}, "--shards should be from 0 to 99999"),
    ({"workers": -1}, "--workers should be from 0 to 1024"),
    ({"seed": 1 << 63}, "--seed should be from"),
    ({"seed": -(10**80)}, "--seed should be from"),
    ({"shard_size": 0}, "--shard-size should be from 1 to"),
    ({"max_pixels": 0}, "--max-pixels should be from 1 to"),
    ({"max_frames": 0}, "--max-frames should be from 1 to"),
    ({"max_file_bytes": 0}, "--max-file-bytes should be from 1 to"),
    ({"input": ""}, "--input should not be empty."),
    ({"output": ""}, "--output should not be empty."),
    ({"input": "hdfs://h/a"}, "--input 'hdfs://h/a': hdfs:// cannot be read or written. Local paths, gs:// and"),
    ({"output": "s3:///a"}, "--output 's3:///a' should name a bucket: s3://BUCKET/PATH."),
    ({"name": "a-b"}, "--name should be a letter, then letters, digits and _. Received: 'a-b'"),
    ({"name": "1a"}, "--name should be a letter"),
    ({"name": "a\n"}, "--name should be a letter"),
    ({"splits": {"test": 1.0}}, "--splits should give train a share above 0"),
    ({"splits": {"train": 0.0, "test": 1.0}}, "--splits should give train a share above 0"),
    ({"splits": {"train": 0.8, "test": 0.1}}, "--splits should add up to 1"),
    ({"splits": {"train": 1.5, "test": -0.5}}, "--splits train should be from 0 to 1. Received: 1.5"),
    ({"splits": {"train": 0.5, "te/st": 0.5}}, "--splits: a name should be letters, digits and _. Received: 'te/st'"),
    ({"splits": {"train": float("nan")}}, "--splits"),
    ({"augment": {"blur": 1}}, "--augment should be one of flip"),
    ({"augment": {"flip": 1.1}}, "--augment flip should be from 0 to 1. Received: 1.1"),
    ({"augment": {"rotate": 181}}, "--augment rotate should be from 0 to 180"),
    ({"augment": {"scale": 1}}, "--augment scale should be from 0 to 0.9"),  # 1 would zoom by 0
    ({"augment": {"erase": -0.1}}, "--augment erase should be from 0 to 1"),
    ({"balance": "counts"}, "--balance counts should name the classes"),
    ({"balance": "counts", "counts": {"cat": -1}}, "--balance counts, cat should be from 0 to"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda v: str(v)[:50])
def test_bad_values(options, message):
    with pytest.raises(ConfigError) as raised:
        config(**options)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("out/birds", "birds"),
        ("out/birds/", "birds"),
        ("gs://bucket/my-birds.v2", "my_birds_v2"),
        ("out/2024-photos", "dataset_2024_photos"),
        ("out/données", "donn_es"),
        ("out/鳥", "dataset"),
        ("/", "dataset"),
        (".", "dataset"),
    ],
)
def test_the_name_is_made_of_the_folders(output, name):
    assert config(output=output).dataset_name == name
    assert config(output=output, name="given").dataset_name == "given"


CHANGES = [
    {"bit_depth": "12"},
    {"truncated": "fill"},
    {"split_lists": (("train", "a.txt"),)},
    {"label_lists": (("val", "README.md"),)},
    {"color_profile": "ignore"},
    {"split_names": (("seg_train", "train"),)},
    {"label_from": "leaf"},
    {"group_from": "^[a-z]+"},
    {"validation_from": {"train": 0.1}},
    {"include": ("*.jpg",)},
    {"exclude": ("*.jpg",)},
    *({"input": "in.csv", **options} for options in (
        {"path_column": "id"}, {"label_column": "class"}, {"split_column": "none"}, {"group_column": "patient"},
        {"weight_column": "w"}, {"heading": False}, {"delimiter": "tab"}, {"table_encoding": "cp1251"},
        {"image_root": "photos"}, {"suffix": ".jpg"}, {"path_prefix": (("a", "b"),)}, {"windows_paths": True},
        {"find_images": True}, {"path_from": "{a}/{b}"},
        {"single_label": True},
        {"labels": "multi"}, {"labels": "multi", "label_separator": "|"}, {"labels": "multi", "label_columns": ("a",)},
        {"label_columns": ("a",)}, {"label_columns": ("a", "b")},
        {"join": ("pyproject.toml",)}, {"join": ("README.md",)},
        {"target": ("age",)}, {"target": ("age", "x")}, {"keep": ("age",)}, {"keep": ("age", "x")},
    )),
    {"duplicates": "drop"}, {"channels": 1}, {"bands": (4, 3, 2)}, {"bands": (1,)},
    {"layout": "split"}, {"size": (128, 64)}, {"size": (64, 128)}, {"resize": "pad"}, {"filter": "bilinear"},
    {"background": (0, 0, 0)}, {"normalize": "unit"}, {"splits": {"train": 0.9, "test": 0.1}},
    # The same shares in another order are other cuts.
    {"splits": {"test": 0.1, "validation": 0.1, "train": 0.8}},
    {"balance": "uniform"}, {"balance": "uniform", "per_class": 5}, {"balance": "temperature", "temperature": 2.0},
    {"balance": "counts", "counts": {"a": 1}}, {"balance": "counts", "counts": {"a": 2}}, {"max_copies": 3},
    {"augment": {"flip": 1.0}}, {"encoding": "uint8"}, {"jpeg_quality": 90}, {"shards": 3}, {"shard_size": 1 << 20},
    {"quality": "fast"}, {"seed": 1}, {"name": "other"}, {"max_pixels": 5}, {"max_frames": 5}, {"max_file_bytes": 5},
    {"allow_outside": True}, {"classes": Classes("c.txt", ("a", "b"), (("a", "a"), ("b", "b")))},
    {"classes": Classes("c.txt", ("b", "a"), (("b", "b"), ("a", "a")))},
    {"classes": Classes("c.csv", ("a", "b"), (("a", "a"), ("b", "b")), "")},
    {"like": "tests/data/format_1/uint8"}, {"like": "tests/data/format_1/jpeg"},
    {"group_similar": 10}, {"unlabelled": ("new",)}, {"folds": "5"}, {"folds": "5x2"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": "1"}, "--folds should be a number of folds from 2 to 36, or one with repeats"),
        ({"folds": "37"}, "--folds should be a number of folds from 2 to 36"),
        ({"folds": "5x"}, "Received: '5x'."),
        ({"folds": "5x0"}, "Received: '5x0'."),
        ({"folds": "5", "validation_from": {"train": 0.1}}, "--validation-from cuts a validation split out of train"),
        ({"folds": "5", "like": "old"}, "--like keeps the splits of an earlier dataset, but not its folds."),
    ],
)
def test_folds_that_cannot_be_are_refused_by_name(options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(**options)


def test_the_share_of_validation_goes_to_train_with_folds():
    assert config().shares == {"train": 0.8, "validation": 0.1, "test": 0.1}
    assert config(folds="5").shares == {"train": 0.9, "test": 0.1}
    assert config(folds="2", splits={"train": 1.0}).shares == {"train": 1.0}


def test_nothing_is_noted_of_folds_without_folds():
    assert "folds" not in config().noted()
    assert config(folds="5x2").noted()["folds"] == "5x2"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "multi", "target": ("age",)}, "--target is for numbers, and --labels multi for labels."),
        ({"label_columns": ("a",), "target": ("b",)}, "--label-columns is for labels, and --target for numbers."),
        ({"label_separator": "|"}, "--label-separator is for several labels an image: add --labels multi."),
        (
            {"labels": "multi", "label_columns": ("a",), "label_column": "b"},
            "--label-column is for labels in one column, and --label-columns for several.",
        ),
        ({"labels": "multi", "single_label": True}, "--single-label takes each label as one class. Leave it out, or"),
        ({"labels": "multi", "like": "old"}, "--like continues datasets of one class an image, and not those of"),
        ({"target": ("age",), "label_column": "b"}, "--label-column names classes, and --target numbers."),
        ({"target": ("age",), "balance": "uniform"}, "--balance uniform is for classes and labels, and --target has"),
        (
            {"target": ("age",), "classes": Classes("c.txt", ("a",), (("a", "a"),))},
            "--classes is for labels, and --target has numbers.",
        ),
        ({"labels": "several"}, "--labels should be one of one, multi. Received: 'several'."),
    ],
)
def test_what_makes_no_sense_with_a_task_is_refused_by_name(options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(input="in.csv", **options)


@pytest.mark.parametrize("options", [{"labels": "multi"}, {"target": ("age",)}])
def test_tasks_are_for_tables(options):
    with pytest.raises(ConfigError, match=r"--(labels|target) is about tables, and --input 'in' is none"):
        config(**options)


def test_the_digest_of_classes_is_that_of_versions_without_other_tasks():
    assert config().digest() == DIGEST_BEFORE_TASKS


def test_the_digest_changes_with_every_option_that_matters():
    digests = [config(**options).digest() for options in [{}, *CHANGES]]

    assert len(set(digests)) == len(digests)
    in_a_file = {"corrections", "min_confidence"}  # see `test_corrections`: what is in the file decides
    assert {name for options in CHANGES for name in options} | NEUTRAL.keys() | in_a_file == {
        f.name for f in dataclasses.fields(PrepareConfig)
    }


NEUTRAL = {
    "input": "elsewhere",
    "output": "other/birds",
    "workers": 3,
    "max_reject_rate": 0.5,
    "thumbnails": 9,
    "image_timeout": 5.0,
    "image_memory": 1 << 28,
    "allow_lost_classes": True,
}


@pytest.mark.parametrize("option", NEUTRAL)
def test_the_digest_does_not_change_with_what_does_not_matter(option):
    assert config(**{option: NEUTRAL[option]}).digest() == config().digest()


def test_the_digest_does_not_depend_on_the_place_of_the_file_of_classes():
    here, there = (Classes(path, ("a",), (("a", "a"),)) for path in ("c.txt", "elsewhere/d.txt"))
    assert config(classes=here).digest() == config(classes=there).digest()


def test_the_digest_does_not_depend_on_the_order_of_a_mapping_without_one():
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert config(balance="counts", counts=one).digest() == config(balance="counts", counts=other).digest()


def test_settings_hold_every_option_and_the_name():
    settings = config(seed=3).settings()

    assert set(settings) == {f.name for f in dataclasses.fields(PrepareConfig)}
    assert (settings["seed"], settings["name"]) == (3, "birds")


def test_the_defaults_are_the_limits_that_readers_use_without_a_configuration():
    assert config().limits.noted() == Limits().noted()


def test_a_moved_output_keeps_its_name_and_digest_if_the_name_is_kept():
    """So does `prepare` where an engine needs absolute paths."""
    moved = dataclasses.replace(config(), output="/elsewhere/other", name=config().dataset_name)
    assert (moved.dataset_name, moved.digest()) == ("birds", config().digest())
