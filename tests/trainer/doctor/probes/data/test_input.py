"""Faults of the images themselves, between train and validation, and against what they were made of."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.datasets import write_dataset
from tests.support.doctor import CLASSES, CONTRADICTORY, doctor, ids, in_memory, only, photos, subject, unit
from tests.support.files.images import draw_photo
from trainer.doctor import run_probes
from trainer.doctor.clock import Clock
from trainer.doctor.probes.data import aspect_ratio, pixel_values, reference_mismatch
from trainer.doctor.probes.splits import train_validation_skew
from trainer.doctor.subject import folder
from trainer.doctor.tools import match_images


@pytest.fixture(scope="module")
def waste(real_data):
    return photos(real_data, "trashnet", 8, 32)


@pytest.fixture(scope="module")
def pets(real_data):
    return photos(real_data, "dogcat", 40, 32)


def ask(images, labels, module=pixel_values, **more):
    return run_probes.run(subject((images, labels), **more), module.PROBES)


# ---- the images themselves


@pytest.mark.parametrize(
    "change",
    [lambda x: x, unit, lambda x: unit(x).astype(np.float16), lambda x: x.astype(np.float32) / 127.5 - 1,
     lambda x: unit(x.mean(axis=-1, keepdims=True)), lambda x: unit(x)[..., 0]],
)  # fmt: skip
def test_sound_images(waste, change):
    report = ask(change(waste[0]), waste[1])
    assert ids(report) == []
    assert len(report.checked) == 4


def test_black_and_white_drawings_are_sound(waste):
    drawings = (waste[0].mean(axis=-1, keepdims=True) > 128).astype(np.float32)
    for images in (drawings, np.repeat(drawings, 3, axis=-1)):
        assert "integer-division" not in ids(ask(images, waste[1]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(waste, value):
    images = unit(waste[0])
    images[3, 5, 5, 1] = value
    images[9] = value
    finding = only(ask(images, waste[1]), "not-finite")
    numbers = 1 + 32 * 32 * 3
    nan, infinite = (numbers, 0) if np.isnan(value) else (0, numbers)
    assert finding.evidence == f"2 of 48 images: {nan:,} values are NaN and {infinite:,} are infinite."


def test_constant_images(waste):
    images = waste[0].copy()
    images[[2, 7]] = (200,)
    finding = only(ask(images, waste[1]), "constant-images")
    assert finding.level == "warning"
    assert "numbers in the pass, counted from 0, are 2, 7" in finding.evidence
    images[::4] = 90
    assert only(ask(images, waste[1]), "constant-images").level == "error"
    nearly = unit(waste[0])
    nearly[5] = 0.5 + nearly[5] * 0.003
    only(ask(nearly, waste[1]), "constant-images")


@pytest.mark.parametrize(
    ("change", "values"),
    [
        (lambda x: x // 255, "0, 1"),
        (lambda x: (x // 255).astype(np.float32), "0, 1"),
        (lambda x: (x / 256).astype(np.uint8), "0"),
        (lambda x: x.astype(np.float32) // 127.5 - 1, "-1, 0, 1"),
    ],
)
def test_integer_division(waste, change, values):
    finding = only(ask(change(waste[0]), waste[1]), "integer-division")
    assert f"Values found: {values} (" in finding.evidence


def test_float64(waste):
    finding = only(ask(waste[0] / 255, waste[1]), "float64")
    assert "An image takes 24,576 bytes; as float32 it would take 12,288" in finding.evidence
    assert finding.level == "warning"


def test_channels_first(waste):
    images = np.moveaxis(unit(waste[0]), -1, 1)
    assert "the shape (3, 32, 32)" in only(ask(images, waste[1]), "channels-first").evidence
    import keras

    turning = keras.Sequential([keras.Input((3, 32, 32)), keras.layers.Permute((2, 3, 1))])
    assert ids(ask(images, waste[1], model=turning)) == []


# ---- train against validation


def compare(train, validation):
    return run_probes.run(subject(train, validation), train_validation_skew.PROBES)


@pytest.mark.parametrize("change", [lambda x: x, unit, lambda x: unit(x) * 2 - 1])
def test_splits_that_are_prepared_alike(real_data, pets, change):
    x, y = photos(real_data, "dogcat", 40, 32, start=40)
    report = compare((change(pets[0]), pets[1]), (change(x), y))
    assert ids(report) == []
    assert report.checked


def test_other_shares_of_the_classes_are_no_difference(real_data):
    waste, labels = photos(real_data, "trashnet", 16, 32)
    x, y = photos(real_data, "trashnet", 8, 32, start=16)
    few = (labels > 3) | (np.arange(len(labels)) % 4 == 0)
    assert ids(compare((unit(waste[few]), labels[few]), (unit(x), y))) == []


def test_augmented_training_images_are_no_difference(real_data, pets):
    x, y = photos(real_data, "dogcat", 40, 32, start=40)
    turned = tf.keras.layers.RandomRotation(0.08, seed=1)(unit(pets[0]), training=True).numpy()
    lit = np.clip(turned * np.random.default_rng(0).uniform(0.8, 1.2, (len(turned), 1, 1, 1)), 0, 1)
    made = subject((lit.astype(np.float32), pets[1]), (unit(x), y))
    object.__setattr__(made.train, "second", in_memory("train", unit(pets[0]), pets[1]).sample)  # another draw
    assert ids(run_probes.run(made, train_validation_skew.PROBES)) == []


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (unit, lambda x: x.astype(np.float32)),
        (lambda x: x.astype(np.float32), unit),
        (lambda x: unit(x) * 2 - 1, unit),
        (lambda x: (unit(x) - 0.45) / 0.225, unit),
        (lambda x: (unit(x) - 0.45) / 0.225, lambda x: unit(x) * 2 - 1),
    ],
)
def test_splits_that_are_normalized_differently(real_data, pets, train, validation):
    x, y = photos(real_data, "dogcat", 40, 32, start=40)
    only(compare((train(pets[0]), pets[1]), (validation(x), y)), "splits-differ-normalization")


def test_validation_in_bgr(real_data, pets):
    x, y = photos(real_data, "dogcat", 40, 32, start=40)
    finding = only(compare((unit(pets[0]), pets[1]), (unit(x)[..., ::-1], y)), "splits-differ-channels")
    assert "standard errors apart" in finding.evidence


def resized(root, method, count, start):
    images, labels = [], []
    for label, name in enumerate(CLASSES["dogcat"]):
        for file in sorted((root / "dogcat" / name).iterdir())[start : start + count]:
            with Image.open(file) as image:
                images.append(np.asarray(image.convert("RGB").resize((32, 32), method)))
            labels.append(label)
    return unit(np.stack(images)), np.array(labels)


def test_validation_resized_by_another_method(real_data):
    smooth, jagged = Image.Resampling.BOX, Image.Resampling.NEAREST
    train = resized(real_data, smooth, 25, 0)
    assert ids(compare(train, resized(real_data, smooth, 25, 25))) == []
    finding = only(compare(train, resized(real_data, jagged, 25, 25)), "splits-differ-resize")
    assert "of validation images" in finding.evidence
    mirrored = resized(real_data, jagged, 25, 0), resized(real_data, smooth, 25, 25)
    finding = only(compare(*mirrored), "splits-differ-resize")
    assert "of training images" in finding.evidence


def test_splits_of_different_sizes_and_small_ones(pets):
    x, y = unit(pets[0]), pets[1]
    assert (
        "(32, 32, 3), validation (16, 16, 3)"
        in only(compare((x, y), (x[:, ::2, ::2], y)), "splits-differ-size").evidence
    )
    report = compare((x, y), (x[:5], y[:5]))
    assert "fewer than 16 images" in report.not_checked[0][1]


# ---- against the folder


@pytest.fixture(scope="module")
def waste_folder(real_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("waste")
    for name in CLASSES["trashnet"]:
        (root / name).mkdir()
        here = [f for f in sorted((real_data / "trashnet" / name).iterdir()) if f.name not in CONTRADICTORY]
        for file in here[:8]:
            shutil.copy(file, root / name / file.name)
    return root, folder.scan(str(root), Clock(60), 100)


def beside(waste_folder, images, labels):
    root, found = waste_folder
    made = subject((images, labels), folder=found, directory=str(root), labels=found.labels)
    object.__setattr__(made.train, "dataset", ())
    return run_probes.run(made, reference_mismatch.PROBES)


@pytest.mark.parametrize("change", [unit, lambda x: x, lambda x: unit(x)[:, :, ::-1], lambda x: (unit(x) - 0.5) / 0.2])
def test_images_and_labels_that_agree_with_the_folder(waste_folder, waste, change):
    report = beside(waste_folder, change(waste[0]), waste[1])
    assert ids(report) == []
    assert len(report.checked) == 2


def test_photos_that_are_stretched(waste_folder, waste):
    root, found = waste_folder

    def ask(photos_):
        made = subject(
            (unit(waste[0]), waste[1]), folder=dataclasses.replace(found, photos=photos_), directory=str(root),
            labels=found.labels,
        )  # fmt: skip
        object.__setattr__(made.train, "dataset", ())
        return run_probes.run(made, aspect_ratio.PROBES)

    report = ask(found.photos)
    assert ids(report) == []
    assert report.checked
    wide = tuple(dataclasses.replace(p, size=(2000, 500)) if i % 6 == 0 else p for i, p in enumerate(found.photos))
    finding = only(ask(wide), "aspect-destroyed")
    assert "17% of 48 photos looked at" in finding.evidence


@pytest.mark.slow
def test_a_prepared_dataset_is_judged_by_its_photos(tmp_path):
    contract = write_dataset(tmp_path / "data", splits={"train": (20, 20)}, shards=1)
    for i in range(40):
        draw_photo(tmp_path / f"{i}.jpg", i, (120, 30) if i % 5 == 0 else (40, 30))
    lines = [json.dumps({"uri": str(tmp_path / f"{i}.jpg")}) for i in range(40)]
    ledger = tmp_path / "data/ledger" / f"{contract.splits['train'].shards[0].file}.jsonl"
    ledger.parent.mkdir()
    ledger.write_text("\n".join(lines) + "\n")
    finding = only(doctor(*aspect_ratio.PROBES, data=str(tmp_path / "data")), "aspect-destroyed")
    assert "20% of 40 photos looked at" in finding.evidence
    ledger.write_text("\n".join(line for i, line in enumerate(lines) if i % 5) + "\n")
    assert ids(doctor(*aspect_ratio.PROBES, data=str(tmp_path / "data"))) == []


@pytest.mark.parametrize("change", [unit, lambda x: (unit(x) - 0.5) / 0.2])
def test_bgr_against_the_folder(waste_folder, waste, change):
    finding = only(beside(waste_folder, change(waste[0])[..., ::-1], waste[1]), "channel-order")
    assert "100% have red and blue exchanged" in finding.evidence


def test_ids_in_another_order_than_the_folders(waste_folder, waste):
    for order in ([0, 2, 1, 3, 4, 5], [3, 0, 5, 1, 2, 4]):
        finding = only(beside(waste_folder, unit(waste[0]), np.array(order)[waste[1]]), "labels-other-order")
    assert "cardboard has 3 and not 0; glass has 0 and not 1" in finding.evidence


def test_labels_of_other_images_than_the_folders(waste_folder, waste):
    shuffled = np.random.default_rng(0).permutation(waste[1])
    only(beside(waste_folder, unit(waste[0]), shuffled), "labels-shuffled")


def test_classes_that_were_chosen_or_put_together_are_no_fault(waste_folder, waste):
    together = np.array([0, 1, 1, 0, 1, 1])[waste[1]]
    assert ids(beside(waste_folder, unit(waste[0]), together)) == []
    some = waste[1] >= 2
    assert ids(beside(waste_folder, unit(waste[0][some]), waste[1][some] - 2)) == []


def test_photos_that_are_not_in_the_folder(real_data, waste_folder, pets):
    report = beside(waste_folder, unit(pets[0]), pets[1])
    assert ids(report) == []
    assert all("images were found again" in reason for _, reason in report.not_checked)


def test_no_other_photo_is_taken_for_the_same(real_data):
    first, second = (photos(real_data, "trashnet", 16, 32, start)[0] for start in (0, 16))
    near, _ = match_images._nearest(*(unit(x).reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)) for x in (first, second)))
    assert (near < match_images.ALIKE).mean() > 0.97
