"""Colours, rotation and erasing: by hand where it is arithmetic, and which images and tasks they go with."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract.task import Task
from pipelines.core.errors import ConfigError
from tests.support import tasks, trainings
from tests.support.datasets import make_contract, normalization, picture, write_dataset
from tests.support.log import logged
from trainer.config import TrainConfig
from trainer.models import build
from trainer.tasks import kinds
from trainer.training.augment import changes
from trainer.training.augment.draws import Draws
from trainer.training.augment.standard import Standard
from trainer.training.train import train

STEP = tf.constant(0, tf.int64)
DRAWS = Draws(0, STEP)
LEVELS = tf.constant(np.random.default_rng(0).uniform(60, 180, (64, 12, 10, 3)).astype(np.float32))


def factors(strength, count=64):
    return DRAWS.uniform(changes.COLOURS, tf.constant(count), 3, 1 - strength, 1 + strength).numpy()


def test_colours_by_hand():
    """Weak changes clip nothing: the luma of the result is brightness and contrast alone, as saturation keeps it."""
    found = changes.jitter(LEVELS, 0.2, DRAWS).numpy()
    luma = np.array(changes.LUMA, np.float32)
    brightness, contrast, saturation = factors(0.2).T[:, :, None, None]
    gray = (LEVELS.numpy() @ luma) * brightness
    mean = gray.mean(axis=(1, 2), keepdims=True)
    expected = mean + contrast * (gray - mean)
    np.testing.assert_allclose(found @ luma, expected, atol=1e-3)
    own = (brightness * contrast)[..., None] * (LEVELS.numpy() - (LEVELS.numpy() @ luma)[..., None])
    np.testing.assert_allclose(found - (found @ luma)[..., None], saturation[..., None] * own, atol=1e-3)
    for column in factors(0.2, 3000).T:
        assert (column.min(), column.max()) == pytest.approx((0.8, 1.2), abs=0.01)
        assert column.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(changes.jitter(LEVELS, 0.0, DRAWS), LEVELS, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_than_three_have_no_saturation(channels):
    levels = tf.tile(LEVELS[..., :1], (1, 1, 1, channels))
    brightness, contrast, _ = factors(0.2).T[:, :, None, None, None]
    scaled = levels.numpy() * brightness
    mean = scaled.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(changes.jitter(levels, 0.2, DRAWS), mean + contrast * (scaled - mean), atol=1e-3)


def test_colours_stay_levels():
    found = changes.jitter(LEVELS, 0.9, DRAWS).numpy()
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("shape", [(9, 9), (8, 12)])
def test_a_quarter_and_no_turn_are_exact(shape, monkeypatch):
    images = LEVELS[:3, : shape[0], : shape[1]]
    np.testing.assert_array_equal(changes.rotate(images, 0.0, DRAWS), images)
    square = LEVELS[:3, :9, :9]
    monkeypatch.setattr(Draws, "uniform", lambda *_: tf.fill((3, 1), np.float32(np.pi / 2)))
    np.testing.assert_allclose(changes.rotate(square, 90.0, DRAWS), tf.image.rot90(square, 3), atol=1e-3)


def test_a_turned_plane_is_the_plane_in_the_turned_direction():
    """The levels are 2 times the row plus the column: linear interpolation is exact, away from the border."""
    down, right = np.meshgrid(np.arange(21) - 10.0, np.arange(21) - 10.0, indexing="ij")
    plane = np.repeat((2 * down + right)[None, :, :, None], 50, axis=0).astype(np.float32)
    found = changes.rotate(tf.constant(plane), 30.0, DRAWS).numpy()
    angles = DRAWS.uniform(changes.ANGLE, tf.constant(50), 1, -np.pi / 6, np.pi / 6).numpy()[:, 0]
    assert angles.min() < -0.45
    assert angles.max() > 0.45
    for image, angle in zip(found, angles, strict=True):
        rows = np.cos(angle) * down - np.sin(angle) * right
        columns = np.sin(angle) * down + np.cos(angle) * right
        inner = slice(4, -4)
        np.testing.assert_allclose(image[inner, inner, 0], (2 * rows + columns)[inner, inner], atol=1e-3)
    assert np.abs(found).max() <= 30 + 1e-3  # outside is the mirror image, and nothing black


def test_erasing_covers_rectangles_of_the_papers_areas_in_as_many_images_as_asked():
    levels = tf.fill((1000, 40, 50, 3), -1.0)
    found = changes.erase(levels, 0.4, DRAWS).numpy()
    covered = (found != -1).all(axis=-1)
    np.testing.assert_array_equal(covered, (found != -1).any(axis=-1))
    some = covered.any(axis=(1, 2))
    assert some.mean() == pytest.approx(0.4, abs=0.04)
    areas = covered[some].mean(axis=(1, 2))
    assert 0.015 < areas.min() < 0.04
    assert 0.36 < areas.max() < 0.41
    for image in covered[some]:
        assert image[np.ix_(image.any(axis=1), image.any(axis=0))].all()
    tall, wide = covered[some].any(axis=2).sum(axis=1), covered[some].any(axis=1).sum(axis=1)
    assert (tall / wide).min() < 0.4
    assert (tall / wide).max() > 2.5
    assert covered[:, 0].any()  # up to the border
    assert covered[:, -1].any()
    noise = found[found != -1]
    assert noise.mean() == pytest.approx(127.5, abs=1)
    assert (noise.min(), noise.max()) == pytest.approx((0, 255), abs=0.5)
    assert (changes.erase(levels, 1.0, DRAWS).numpy() != -1).any(axis=(1, 2, 3)).all()


def standard(contract, **options):
    return Standard(TrainConfig("d", "o", **options), contract)


ALL = {"color_jitter": 0.3, "rotate": 20.0, "random_erasing": 0.9}


@pytest.mark.parametrize("name", ALL)
def test_two_steps_differ_and_two_runs_agree_whatever_the_normalization(name):
    made = []
    for mode in ("none", "zscore"):
        contract = make_contract(normalization=normalization(mode))
        pixels = np.stack([picture(i, i % 2) for i in range(8)])
        images, labels = contracts.normalize(contract, tf.constant(pixels)), tf.zeros(8, tf.int64)
        steps = [standard(contract, **{name: ALL[name]}).change(images, labels, STEP + i) for i in (0, 0, 1)]
        np.testing.assert_array_equal(steps[0], steps[1])
        assert (np.asarray(steps[0]) != np.asarray(steps[2])).any(axis=(1, 2, 3)).mean() > 0.5
        made.append((steps[0] - tf.constant(contract.normalization.offset)) / tf.constant(contract.normalization.scale))
    np.testing.assert_allclose(made[0], made[1], atol=1e-2)


@pytest.mark.parametrize("name", ALL)
def test_only_the_classes_named_are_changed(name):
    contract, labels = make_contract(), tf.constant([0, 1] * 4, tf.int64)
    images = contracts.normalize(contract, tf.constant(np.stack([picture(i, i % 2) for i in range(8)])))
    changed = standard(contract, **{name: 1.0 if name == "random_erasing" else ALL[name]}, augment_classes="broken")
    found = changed.change(images, labels, STEP).numpy()
    same = (found == images.numpy()).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(same, labels.numpy() == 0)


@pytest.mark.parametrize(
    ("changes_asked", "message"),
    [
        ({"color_jitter": 1.0}, "--color-jitter should be from 0 to 0.99. Received: 1.0."),
        ({"rotate": 181.0}, "--rotate should be from 0 to 180. Received: 181.0."),
        ({"random_erasing": 1.5}, "--random-erasing should be from 0 to 1. Received: 1.5."),
    ],
)
def test_values_out_of_range_are_named(changes_asked, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig("d", "o", **changes_asked)
    assert message in str(error.value)
    TrainConfig("d", "o", flip=False, augment_classes="broken", rotate=5.0)


def test_labels_and_numbers_are_told_of_by_name():
    config = TrainConfig("d", "o", flip=False, **ALL)
    numbers = kinds.of(make_contract(task=Task("regression"))).check(config, make_contract(task=Task("regression")))
    assert [sentence.split()[0] for sentence in numbers] == ["--color-jitter", "--rotate", "--random-erasing"]
    labels = kinds.of(make_contract(task=Task("multi-label"))).check(config, make_contract(task=Task("multi-label")))
    assert [s.split()[0] for s in labels] == ["--random-erasing"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "gray", "multi-label", "regression"])
def test_runs_of_every_kind(tmp_path, kind):
    if kind in ("classes", "gray"):
        splits = {"train": (16, 8), "validation": (3, 3)}
        write_dataset(tmp_path / "data", encoding="uint8", shape=(12, 10, 1 if kind == "gray" else 3), splits=splits)
    else:
        tasks.write(tmp_path / "data", kind)
    options = {"epochs": 1, "batch_size": 8, "train_size": 6, "mixup": 0.2, **ALL}
    outs = ("one", "two") if kind == "classes" else ("one",)  # that draws agree is tested above
    with logged(), trainings.without_reports(export=False):
        for out in outs:
            made = train(TrainConfig(str(tmp_path / "data"), str(tmp_path / out), **options))
            assert made["epochs"]["run"] == 1
    first, *others = (build.load(tmp_path / out / "last.keras").get_weights() for out in outs)
    assert all(np.isfinite(weights).all() for weights in first)
    for other in others:
        for given, same in zip(first, other, strict=True):
            np.testing.assert_array_equal(given, same)
