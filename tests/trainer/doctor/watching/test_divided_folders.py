"""Calls that divide a folder into training and validation, alike and differently."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer.doctor.watching.places import Places
from trainer.doctor.watching.watcher import Watcher

KINDS = {"image": ".png", "text": ".txt", "audio": ".wav"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of 2 classes of 20 files each of every kind."""
    for name in ("cats", "dogs"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number in range(20):
            file = tmp_path / "animals" / name / f"{number:02}"
            Image.new("RGB", (4, 4), (number, 0, 0)).save(file.with_suffix(".png"))
            file.with_suffix(".txt").write_text(f"{name} {number}")
            sound = tf.audio.encode_wav(np.zeros((8, 1), np.float32), 8000)
            file.with_suffix(".wav").write_bytes(sound.numpy())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "animals"


@pytest.fixture
def watcher():
    made = Watcher(Places({}, "."), lambda *_: None, lambda _: None)
    made.start()
    yield made
    made.stop()


def read(kind, folder, **options):
    more = {"image": {"image_size": (4, 4)}, "text": {}, "audio": {"output_sequence_length": 8}}[kind]
    reader = getattr(keras.utils, f"{kind}_dataset_from_directory")
    return reader(str(folder), **({"validation_split": 0.25, "seed": 1, "verbose": False} | more | options))


def pair(kind, folder, train, other):
    return read(kind, folder, **({"subset": "training"} | train)), read(
        kind, folder, **({"subset": "validation"} | other)
    )


def found(watcher, train, other):
    return watcher.folders.fitted(keras.Sequential(), train, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("train", "other", "told"),
    [
        ({}, {"seed": 2}, "seed=1 and X has seed=2"),
        ({}, {"shuffle": False}, "seed=1 and X has shuffle=False"),
        ({}, {"validation_split": 0.5}, "validation_split=0.25 and X has validation_split=0.5"),
        (
            {},
            {"subset": "training"},
            "validation_split=0.25, subset='training' and X has validation_split=0.25, subset='training'",
        ),
        (
            {"subset": None, "validation_split": None},
            {},
            "validation_split=None, subset=None and X has validation_split=0.25, subset='validation'",
        ),
    ],
)
def test_parts_that_overlap(folder, watcher, kind, train, other, told):
    parts = pair(kind, folder, train, other)
    (finding,) = found(watcher, parts[0].shuffle(9).map(lambda *given: given).prefetch(1), parts[1].cache())
    assert (finding.id, finding.level) == ("folder-divided-twice", "error")
    assert f"Of animals, X has {told}." in re.sub(r"\S*test_divided_folders.py:\d+", "X", finding.evidence)
    assert finding.place.count("test_divided_folders.py:") == 1  # one line reads both
    if kind == "image":
        common = len(set(parts[0].file_paths) & set(parts[1].file_paths))
        assert f" Of {len(parts[1].file_paths)} validation files {common} are also training files." in finding.evidence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("train", "other"),
    [
        ({}, {}),
        ({"shuffle": False}, {"shuffle": False, "seed": 9}),
        ({"validation_split": 0.4}, {"validation_split": 0.2}),  # 60 % and the other end
        ({"subset": "validation"}, {"subset": "training"}),
    ],
)
def test_parts_that_do_not_overlap(folder, watcher, kind, train, other):
    assert found(watcher, *pair(kind, folder, train, other)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_call_and_other_folders(folder, watcher, kind):
    whole = read(kind, folder, validation_split=None)
    again = read(kind, folder, validation_split=None)
    assert found(watcher, whole.take(1), whole.skip(1)) == []
    assert found(watcher, whole.take(1), again.skip(1)) == []
    assert found(watcher, *read(kind, folder, subset="both")) == []
    other = read(kind, folder / "..", validation_split=None)
    assert found(watcher, whole, other) == []
    assert found(watcher, np.zeros((4, 2)), (np.zeros((4, 2)), np.zeros(4))) == []
    (told,) = found(watcher, whole, again)
    assert told.what == "Two calls read the same files of one folder, for training and for validation"


def test_a_half_of_another_order_is_no_part_of_the_rest(folder, watcher):
    train, other = pair("image", folder, {}, {"seed": 2})
    (told,) = found(watcher, train, other.take(1))
    assert told.what.startswith("Two calls divide the same folder with different seeds")


def test_two_imports_of_one_function(folder, watcher):
    options = {"directory": folder, "validation_split": 0.25, "image_size": (4, 4), "verbose": False}
    train = tf.keras.preprocessing.image_dataset_from_directory(seed=1, subset="training", **options)
    other = tf.keras.utils.image_dataset_from_directory(seed=2, subset="validation", **options)
    (told,) = found(watcher, train, other)
    lines = [part.partition(": ")[2] for part in told.place.split("; ")]
    assert lines[0].startswith("train = tf.keras.preprocessing.image_dataset_from_directory(seed=1")
    assert lines[1].startswith("other = tf.keras.utils.image_dataset_from_directory(seed=2")


@pytest.mark.parametrize(
    ("shares", "subsets", "case"),
    [
        ((0.25, 0.25), ("training", "validation"), ""),
        ((0.25, 0.5), ("training", "validation"), "Two calls read the same files"),
        ((0.25, 0.5), ("training", "training"), "Two calls read the same files"),
        ((0.0, 0.25), (None, "validation"), "Two calls read the same files"),
    ],
)
def test_iterators(folder, watcher, shares, subsets, case):
    generator = tf.keras.preprocessing.image.ImageDataGenerator
    parts = [
        generator(validation_split=share).flow_from_directory(folder, (4, 4), subset=subset, seed=seed)
        for share, subset, seed in zip(shares, subsets, (1, 2), strict=True)
    ]
    files = [set(part.filepaths) for part in parts]
    expected = "with different values" if shares == (0.25, 0.5) else case
    finding = found(watcher, *parts)
    assert bool(finding) is bool(files[0] & files[1])
    assert all(expected in one.what for one in finding)


def test_evaluate(folder, watcher):
    """Data that are the validation part by name; training data may be judged on purpose."""
    model = keras.Sequential()
    train, other = pair("image", folder, {}, {"seed": 2})
    watcher.folders.judge(model, other)
    watcher.folders.fitted(model, train, None)
    for data in (train, read("image", folder, validation_split=None, shuffle=False), pair("image", folder, {}, {})[1]):
        watcher.folders.judge(model, data)
    assert watcher.folders.finding is None
    watcher.folders.judge(model, other)
    assert watcher.folders.finding.id == "folder-divided-twice"
