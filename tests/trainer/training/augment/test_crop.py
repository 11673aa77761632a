"""Random resized crops: Inception's parts, drawn for each record of each step, and runs that are trained on them."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.contract.task import Task
from pipelines.core.errors import ConfigError
from tests.support import tasks, trainings
from tests.support.datasets import make_contract, write_dataset
from tests.support.log import logged
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.models import build, view
from trainer.tasks import kinds
from trainer.training.augment import crop
from trainer.training.augment.draws import Draws
from trainer.training.augment.standard import Standard
from trainer.training.resume import Saver
from trainer.training.train import train

SHAPE = (48, 64)
LABELS = tf.zeros(4, tf.int64)


def draws(step=0, seed=0):
    return Draws(seed, tf.constant(step, tf.int64))


def boxes(count=3000, shape=SHAPE, scale=(0.25, 1.0)):
    return [part.numpy() for part in crop.boxes(tf.constant([shape] * count, tf.float32), scale, draws())]


def test_parts_have_inceptions_areas_and_ratios_and_lie_within_the_image():
    top, left, height, width = boxes()
    area, ratio = height * width / (48 * 64), width / height
    assert (min(top), min(left)) >= (0, 0)
    assert max(top + height) <= 48 + 1e-3
    assert max(left + width) <= 64 + 1e-3
    assert 0.25 - 1e-4 <= area.min() < 0.26
    assert area.max() > 0.9
    assert (ratio.min(), ratio.max()) == pytest.approx((3 / 4, 4 / 3), abs=0.01)
    small = boxes(scale=(0.1, 0.2))  # of small parts none is drawn again, so both draws show as they are
    area, ratio = small[2] * small[3] / (48 * 64), small[3] / small[2]
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.125, 0.15, 0.175], atol=0.003)
    np.testing.assert_allclose(
        np.quantile(np.log(ratio), [0.25, 0.5, 0.75]), np.array([-0.5, 0, 0.5]) * np.log(4 / 3), atol=0.03
    )
    free = small[0] / (48 - small[2])
    np.testing.assert_allclose(np.quantile(free, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_where_no_part_fits_it_is_the_largest_centre_of_an_allowed_ratio():
    top, left, height, width = boxes(count=2, shape=(30, 90), scale=(1.0, 1.0))
    assert (height[0], width[0]) == pytest.approx((30, 40))
    assert (top[0], left[0]) == pytest.approx((0, 25))


def test_a_crop_of_the_whole_image_is_the_image():
    images = tf.random.stateless_uniform((3, 8, 8, 3), (1, 2))
    rows = view.resampling(tf.zeros(3), tf.fill((3,), 8.0), 8, 8)
    np.testing.assert_allclose(view.resample(images, rows, rows), images, atol=1e-6)


def test_a_ramp_shows_which_part_was_taken():
    """Columns hold their place: the result rises evenly from the left side of the part to its right side."""
    ramp = tf.tile(tf.range(64, dtype=tf.float32)[None, None, :, None] + 0.5, (5, 48, 1, 1))
    found = crop.random_crop(ramp, (0.2, 0.5), 16, draws()).numpy()[..., 0]
    _, left, _, width = (part.numpy() for part in crop.boxes(tf.constant([SHAPE] * 5, tf.float32), (0.2, 0.5), draws()))
    expected = left[:, None] + (np.arange(16) + 0.5) * width[:, None] / 16
    inner = slice(2, -2)  # at the border of the image the filter has one side only
    np.testing.assert_allclose(found[:, 5, inner], expected[:, inner], atol=0.06)  # of up to 40 columns


def test_draws_are_of_the_seed_the_step_and_the_place_in_the_batch():
    def drawn(step=0, seed=0, stream=0, count=4):
        return draws(step, seed).uniform(stream, tf.constant(count), 3).numpy()

    np.testing.assert_array_equal(drawn(), drawn())
    np.testing.assert_array_equal(drawn(count=2), drawn()[:2])
    others = [drawn(step=1), drawn(seed=1), drawn(stream=1)]
    for other in others:
        assert not np.isin(other, drawn()).any()
    assert len(np.unique(drawn())) == 12
    assert 2 <= draws().uniform(0, tf.constant(9), 2, 2.0, 3.0).numpy().min() <= 3


def test_one_contract_many_options():
    contract = make_contract(image_shape=(48, 64, 3))
    images = tf.random.stateless_uniform((4, 48, 64, 3), (1, 2))

    def changed(**options):
        return Standard(TrainConfig("d", "o", **options), contract).change(images, LABELS, tf.constant(0, tf.int64))

    assert changed() is images
    assert changed(train_size=40).shape == (4, 40, 40, 3)
    np.testing.assert_array_equal(changed(train_size=40, crop_scale="none"), view.central(images, 40))
    assert changed(crop_scale="0.5-1").shape == images.shape
    np.testing.assert_array_equal(changed(train_size=40), changed(train_size=40, crop_scale="0.25-1"))


@pytest.mark.parametrize("text", ["1-0.5", "0-1", "0.5", "0.5-", "0.5-1.5", "nan-1", "a-b", ""])
def test_ranges_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match=r"--crop-scale should be auto, none, or .*such as 0\.25-1\. Received"):
        TrainConfig("d", "o", crop_scale=text)
    assert TrainConfig("d", "o", crop_scale="0.08-1").crop_range() == (0.08, 1.0)
    assert TrainConfig("d", "o").crop_range() is None


@pytest.mark.parametrize(
    ("kind", "told"),
    [("multi-label", ["may leave out what a label is about"]), ("regression", ["--no-flip", "--crop-scale none if a"])],
)
def test_labels_and_numbers_are_told_of_by_name(kind, told):
    contract = make_contract(task=Task(kind))
    assert not any("crop" in s for s in kinds.of(contract).check(TrainConfig("d", "o"), contract))
    found = kinds.of(contract).check(TrainConfig("d", "o", crop_scale="0.5-1"), contract)
    assert [any(part in sentence for sentence in found) for part in told] == [True] * len(told)
    assert len(found) == len(told)


@pytest.fixture(scope="module", params=["uint8", "jpeg"])
def run(request, tmp_path_factory):
    """(data, run) of a training on crops of 8 pixels of images of 12x10, which the device cuts, or the loader."""
    folder = tmp_path_factory.mktemp("crop")
    write_dataset(folder / "data", encoding=request.param, shape=(12, 10, 3))
    options = {"epochs": 3, "batch_size": 8, "train_size": 8, "steps_per_execution": 1}
    with trainings.without_reports(export=False):
        train(TrainConfig(str(folder / "data"), str(folder / "run"), **options))
    return folder, options


@pytest.mark.slow
@pytest.mark.parametrize("form", ["savedmodel", "tflite"])
def test_an_export_takes_stored_images_and_agrees(run, form, tmp_path, capsys):
    folder, _ = run
    target = str(tmp_path / ("m.tflite" if form == "tflite" else "saved"))
    arguments = [
        "export",
        "--model",
        str(folder / "run"),
        "--data",
        str(folder / "data"),
        "--format",
        form,
        "--output",
        target,
    ]
    assert main(arguments) == 0
    assert "differ from the trained network's by at most" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_draws_the_same_crops(run, tmp_path, monkeypatch):
    folder, options = run
    after_step = Saver.after_step

    class Killed(BaseException):
        pass

    def dies(self, epoch_ended):
        after_step(self, epoch_ended)
        if (self._position.epoch, self._position.step) == (1, 2):
            raise Killed

    again = {**options, "checkpoint_steps": 1}
    with trainings.without_reports(export=False), monkeypatch.context() as patch:
        patch.setattr(Saver, "after_step", dies)
        with pytest.raises(Killed):
            train(TrainConfig(str(folder / "data"), str(tmp_path / "run"), **again))
    with trainings.without_reports(export=False):
        train(TrainConfig(str(folder / "data"), str(tmp_path / "run"), **again, resume=True))
    one, other = (build.load(d / "run" / "last.keras").get_weights() for d in (folder, tmp_path))
    for given, expected in zip(other, one, strict=True):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.slow
def test_evaluation_again_gives_the_scores_of_the_run(run, capsys):
    folder, _ = run
    assert (
        main(
            [
                "evaluate",
                "--model",
                str(folder / "run"),
                "--data",
                str(folder / "data"),
                "--output",
                str(folder / "e.json"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    again, first = (json.loads((folder / name).read_text()) for name in ("e.json", "run/metrics.json"))
    assert again["splits"]["test"]["confusion_matrix"] == first["splits"]["test"]["confusion_matrix"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"mixed_precision": "bfloat16", "fit_head": True}, {"crop_scale": "0.5-1", "train_size": 0}], ids=str
)
def test_other_options_go_with_crops(run, tmp_path, changes):
    folder, options = run
    with trainings.without_reports(export=False):
        made = train(TrainConfig(str(folder / "data"), str(tmp_path / "run"), **{**options, **changes}))
    assert made["epochs"]["run"] == 3
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open(newline="")))
    assert float(rows[-1]["loss"]) > 0
    network = build.load(tmp_path / "run" / "model.keras")
    assert network.input_shape == (None, 12, 10, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_labels_and_numbers_are_trained_on_crops(tmp_path, kind):
    tasks.write(tmp_path / "data", kind)
    with logged() as text, trainings.without_reports():
        train(TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), epochs=1, batch_size=8, train_size=6))
    assert "--crop-scale" in text.getvalue()
    assert (tmp_path / "run" / "saved_model" / "saved_model.pb").is_file()


def test_stored_images_that_are_too_small_are_refused_before_any_work(tmp_path):
    write_dataset(tmp_path / "d", encoding="uint8")
    with pytest.raises(TrainerError, match="--train-size should be at most the shorter side of the stored images, 8"):
        train(TrainConfig(str(tmp_path / "d"), str(tmp_path / "o"), train_size=16))
    assert not (tmp_path / "o").exists()
