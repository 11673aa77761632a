"""Faults of the labels that only the images can tell."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.doctor import ids, only, photos, probe_of, subject, unit
from trainer.doctor import run_probes
from trainer.doctor.clock import Clock
from trainer.doctor.probes.data import conflicting_labels, label_noise
from trainer.doctor.subject import load
from trainer.doctor.tools import image_features, kernel_classifier


@pytest.fixture(scope="module")
def waste(real_data):
    return photos(real_data, "trashnet", 60, 32)  # 354 images


@pytest.fixture(scope="module")
def waste_and_pets(real_data):
    waste, pets = photos(real_data, "trashnet", 60, 32)[0], photos(real_data, "dogcat", 177, 32)[0]
    order = np.random.default_rng(0).permutation(len(waste) + len(pets))
    return np.concatenate([waste, pets])[order], np.array([0] * len(waste) + [1] * len(pets))[order]


def ask(images, ids_, look, **more):
    return run_probes.run(subject((unit(images), ids_), **more), [probe_of(label_noise, look)])


# ---- shuffled


def test_labels_that_belong_to_their_images(waste):
    report = ask(*waste, label_noise.shuffled)
    assert ids(report) == []
    assert report.checked


def test_shuffled_labels(waste):
    for seed in range(2):
        labels = np.random.default_rng(seed).permutation(waste[1])
        finding = only(ask(waste[0], labels, label_noise.shuffled), "labels-shuffled")
    assert "where guessing gives 16.7%" in finding.evidence


def test_few_images_tell_nothing(waste):
    report = ask(waste[0][:100], waste[1][:100], label_noise.shuffled)
    assert ids(report) == []
    assert "are too few to tell" in report.not_checked[0][1]
    assert "fewer than two classes" in ask(waste[0][:30], np.arange(30), label_noise.shuffled).not_checked[0][1]


def test_a_model_that_knows_the_classes_is_believed(waste):
    """Where simple features see nothing, the user's own model may."""
    images, labels = waste[0].copy(), np.random.default_rng(0).integers(0, 6, len(waste[0]))
    images[:, 0, 0] = (250 + labels)[:, None]  # one pixel of 1,024, by one gray level a class
    only(ask(images, labels, label_noise.shuffled), "labels-shuffled")
    corner = keras.Sequential([keras.Input((32, 32, 3)), layers.Cropping2D(((0, 31), (0, 31))), layers.Flatten(),
                               layers.Dense(6)])  # fmt: skip
    classes = np.arange(6, dtype=np.float32)  # c * level - c * c / 2 is greatest for the c nearest to the level
    levels = np.stack([classes * 255 / 3] * 3)
    corner.layers[-1].set_weights([levels, -250 * classes - classes**2 / 2])
    assert ids(ask(images, labels, label_noise.shuffled, model=corner)) == []


# ---- some wrong


def test_clean_labels_are_not_doubted(waste_and_pets):
    report = ask(*waste_and_pets, label_noise.mislabeled)
    assert ids(report) == []
    assert report.checked


def test_some_wrong_labels(waste_and_pets):
    images, labels = waste_and_pets
    wrong = np.random.default_rng(1).random(len(labels)) < 0.05
    finding = only(ask(images, np.where(wrong, 1 - labels, labels), label_noise.mislabeled), "labels-doubtful")
    named = {int(part.split()[0]) for part in finding.evidence.split("number ")[1:]}
    assert len(named) >= 4
    assert sum(wrong[i] for i in named) >= len(named) - 1


def test_classes_that_simple_features_cannot_tell_are_not_judged(waste):
    report = ask(*waste, label_noise.mislabeled)
    assert ids(report) == []
    assert "simple features tell these classes apart in" in report.not_checked[0][1]


# ---- the same image under two labels


def test_an_image_under_two_labels(waste):
    probe = conflicting_labels.PROBES
    images, labels = unit(waste[0]), waste[1]
    assert ids(run_probes.run(subject((images, labels)), probe)) == []
    twice = subject((images, labels), (images[:3], np.where(np.arange(3) == 1, (labels[:3] + 1) % 6, labels[:3])))
    finding = only(run_probes.run(twice, probe), "contradictory-duplicates")
    assert f"train 1 ({labels[1]}) = validation 1 ({(labels[1] + 1) % 6})" in finding.evidence


@pytest.mark.parametrize(("several", "expected"), [(3, []), (4, ["contradictory-duplicates"])])  # of 400
def test_a_few_rows_may_be_equal_by_chance(several, expected):
    rows = np.random.default_rng(0).random((400, 5), np.float32)
    rows[:several] = rows[200 : 200 + several]
    assert ids(run_probes.run(subject((rows, np.arange(400) // 200)), conflicting_labels.PROBES)) == expected


def test_equal_files_of_a_folder_under_two_labels(tmp_path, real_data):
    import shutil

    for label, files in {"metal": ("metal91", "metal1"), "glass": ("glass115", "glass1")}.items():
        (tmp_path / label).mkdir()
        for file in files:
            shutil.copy(real_data / "trashnet" / label / f"{file}.jpg", tmp_path / label)
    report = run_probes.run(load.subject_of(str(tmp_path)), conflicting_labels.PROBES)
    finding = only(report, "contradictory-duplicates")
    assert "glass/glass115.jpg (glass) = metal/metal91.jpg (metal)" in finding.evidence
    (tmp_path / "metal/metal91.jpg").unlink()
    assert ids(run_probes.run(load.subject_of(str(tmp_path)), conflicting_labels.PROBES)) == []


# ---- a trained model and the order of the classes


def brightness(images, labels):
    """A trained model that tells the brighter half from the darker one, and the labels that it gives."""
    limit = float(np.median(unit(images).mean(axis=(1, 2, 3))))
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model.layers[-1].set_weights([np.float32([[0, 1]] * 3) / 3, np.float32([0, -limit])])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, (unit(images).mean(axis=(1, 2, 3)) > limit).astype(int)


def test_answers_in_another_order_than_the_labels(waste):
    model, labels = brightness(*waste)
    assert "the model is not trained" in ask(waste[0], 1 - labels, label_noise.permuted, model=model).not_checked[0][1]
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(100)
    assert ids(ask(waste[0], labels, label_noise.permuted, model=model)) == []
    finding = only(ask(waste[0], 1 - labels, label_noise.permuted, model=model, labels=("dark", "light")),
                   "labels-other-order")  # fmt: skip
    assert "light is answered as dark" in finding.evidence
    guessed = np.random.default_rng(0).permutation(np.arange(len(labels)) % 2)
    assert ids(ask(waste[0], guessed, label_noise.permuted, model=model)) == []  # a bad model is no permutation


# ---- the classifier itself


def test_out_of_sample_probabilities_by_hand():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, (60, 2)), rng.normal(3, 1, (40, 2))])
    y = np.repeat([4, 9], [60, 40])
    found = kernel_classifier.judge(x, y, Clock(60))
    assert found.classes.tolist() == [4, 9]
    assert found.balanced_accuracy > 0.99
    assert np.allclose(found.probabilities.sum(axis=1), 1)
    # sqrt((1/4 / 60 + 1/4 / 40)) / 2
    assert found.standard_error == pytest.approx(0.05103, abs=1e-4)


def test_features_do_not_depend_on_the_range(waste):
    a = image_features.describe(image_features.thumbnails(waste[0][:40], Clock(60)))
    b = image_features.describe(image_features.thumbnails(unit(waste[0][:40]) * 2 - 1, Clock(60)))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.999
