"""Parts of `jpeg` records: decoded where they lie, they are the parts that the device would cut."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.contract import ContractError
from tests.support.datasets import make_contract, picture, write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset, jpeg_crops
from trainer.data.jpeg_crops import Crops
from trainer.models import view
from trainer.training.augment import crop
from trainer.training.augment.draws import Draws
from trainer.training.augment.standard import Standard

SHAPE = (40, 56, 3)


def encoded(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def whole(image, channels=3):
    return tf.io.decode_jpeg(image, channels=channels, dct_method="INTEGER_ACCURATE").numpy()


def cut(images, size, boxes, shape=SHAPE, **resize):
    """The parts `boxes` (B, 4) of encoded images, as the loader gives them."""
    parts = tuple(tf.constant(values, tf.float32) for values in np.transpose(boxes))
    read = jpeg_crops.reader(
        make_contract(encoding="jpeg", image_shape=shape, **resize), Crops(size, lambda *_: parts, 4 / 3)
    )
    return tf.function(read, autograph=False)(tf.constant(images), tf.constant(0, tf.int64)).numpy()


@pytest.mark.parametrize(
    ("subsampling", "progressive"),
    [
        pytest.param(kind, progressive, marks=[pytest.mark.slow] * ((kind, progressive) != (2, False)))
        for kind in (0, 1, 2)  # 4:4:4, 4:2:2, 4:2:0
        for progressive in (False, True)
    ],
)
def test_a_part_of_whole_pixels_is_a_slice_of_the_decoded_image(subsampling, progressive):
    """Nothing is resized: where colours are stored at half the size, rows beside the part matter, too."""
    shape = (32, 36, 3)  # two blocks of 16 pixels high: wider ones would only take longer to compile
    image = encoded(np.random.default_rng(0).integers(0, 256, shape, np.uint8), subsampling=subsampling,
                    progressive=progressive)  # fmt: skip
    places = [(top, left) for top in range(0, 23, 3) for left in (0, 7, 26)]
    found = cut([image] * len(places), (10, 10), [(top, left, 10, 10) for top, left in places], shape)
    expected = [whole(image)[top : top + 10, left : left + 10] for top, left in places]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "size", [pytest.param((8, 8), marks=pytest.mark.slow), (32, 24), pytest.param((64, 80), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("channels", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_parts_are_resized_as_the_device_resizes_them(size, channels):
    """Both ways, by up to seven times; a part may begin between two pixels and reach the border."""
    shape = (*SHAPE[:2], channels)
    pixels = [picture(number, number % 2, shape) for number in range(6)]
    images = [encoded(p if channels == 3 else p[..., 0]) for p in pixels]
    boxes = np.float32(
        [(0, 0, 40, 56), (0.5, 3.25, 39.5, 50), (30.1, 40.7, 9.9, 15.3), (7, 9, 10, 10), (0, 41, 40, 15), (20, 0, 1, 2)]
    )
    top, left, rows, columns = (tf.constant(values) for values in boxes.T)
    stored = tf.cast([whole(image, channels) for image in images], tf.float32)
    matrices = view.resampling(top, rows, size[0], 40), view.resampling(left, columns, size[1], 56)
    expected = view.resample(stored, *matrices).numpy()
    found = cut(images, size, boxes, shape)
    assert (found.shape, found.dtype) == ((6, *size, channels), np.uint8)
    assert np.abs(found - expected).max() < 0.51  # rounded to whole gray levels
    np.testing.assert_array_equal(found[1], cut(images[1:2], size, boxes[1:2], shape)[0])  # whatever the batch


@pytest.mark.parametrize("size", [pytest.param((8, 8), marks=pytest.mark.slow), (64, 48)])
def test_parts_of_images_of_unequal_size(size):
    """The shorter side has 40 pixels; a part is at most 4/3 of that long, wherever it lies in a long image."""
    sides = [(40, 56), (40, 40), (300, 40), (40, 300)]
    images = [encoded(picture(number, number % 2, (*side, 3)), subsampling=2) for number, side in enumerate(sides)]
    boxes = np.float32([(0, 2.5, 40, 53.3), (0, 0, 40, 40), (246.7, 0, 53.3, 40), (10.2, 133.4, 21, 17)])
    expected = []
    for image, (height, width), box in zip(images, sides, boxes, strict=True):
        top, left, rows, columns = (tf.constant([value]) for value in box)
        matrices = view.resampling(top, rows, size[0], height), view.resampling(left, columns, size[1], width)
        expected.append(view.resample(tf.cast(whole(image), tf.float32)[None], *matrices)[0].numpy())
    found = cut(images, size, boxes, (40, 40, 3), resize={"mode": "shorter"})
    assert np.abs(found - np.stack(expected)).max() < 0.51


def test_a_shorter_side_of_another_length_is_an_error():
    images = [encoded(np.zeros((41, 56, 3), np.uint8))]
    with pytest.raises(tf.errors.InvalidArgumentError, match="should have 40 pixels on the shorter side, as the contr"):
        cut(images, (8, 8), [(0, 0, 8, 8)], (40, 40, 3), resize={"mode": "shorter"})


def test_an_image_of_another_size_is_an_error_and_not_cut():
    images = [encoded(np.zeros((48, 56, 3), np.uint8))]
    with pytest.raises(tf.errors.InvalidArgumentError, match="should have 40x56 pixels, as the contract says"):
        cut(images, (8, 8), [(0, 0, 8, 8)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """21 images of 24x20 pixels: five batches of four, and one of one."""
    folder = tmp_path_factory.mktemp("crops") / "data"
    contract = write_dataset(
        folder, encoding="jpeg", shape=(24, 20, 3), splits={"train": (14, 7), "validation": (2, 2), "test": (2, 2)}
    )
    return folder, contract


def batches(folder, **options):
    made = dataset.load(folder, "train", 4, shuffle=True, seed=3, dequantize=False, **options)
    return [[part.numpy() for part in batch] for batch in made]


@pytest.mark.parametrize("options", [{"train_size": 16}, {"crop_scale": "0.1-0.4"}], ids=str)
@pytest.mark.parametrize(("epoch", "step"), [pytest.param(0, 0, marks=pytest.mark.slow), (2, 3)])
def test_the_loader_cuts_the_parts_that_the_device_would(data, options, epoch, step):
    """From any step of any epoch on, where a run may be resumed."""
    folder, contract = data
    config = TrainConfig(str(folder), "o", seed=5, **options)
    side = (config.train_size, config.train_size) if config.train_size else (24, 20)
    crops = crop.for_loader(config, contract, range(1))
    start = {"start": lambda: (epoch, step)}
    found, stored = batches(folder, crops=crops, **start), batches(folder, **start)
    assert len(found) == len(stored) == 6 - step
    for number, ((images, labels), (originals, same)) in enumerate(zip(found, stored, strict=True), 6 * epoch + step):
        np.testing.assert_array_equal(labels, same)
        draws = Draws(5, tf.constant(number, tf.int64))
        expected = crop.random_crop(tf.constant(originals, tf.float32), config.crop_range(), side, draws)
        assert (images.shape, images.dtype) == ((len(labels), *side, 3), np.uint8)
        assert np.abs(images - expected.numpy()).max() < 0.51


def test_parts_of_a_batch_are_drawn_as_the_devices_would_draw_them(data):
    """Of four images the second device gets two; of one image it gets all, and the first has only a copy."""
    folder, contract = data
    config = TrainConfig(str(folder), "o", train_size=16)
    crops = crop.for_loader(config, contract, range(2, 4))
    step = tf.constant(7, tf.int64)
    for records, counts in ((4, (2, 2)), (3, (1, 2)), (1, (0, 1))):
        sides = tf.constant([[24, 20]] * records, tf.float32)
        first, second = sides[: counts[0]], sides[: counts[1]]
        each = [crop.boxes(own, (0.25, 1), Draws(0, step, n)) for n, own in ((2, first), (3, second))]
        for found, parts in zip(crops.boxes(step, sides), zip(*each, strict=True), strict=True):
            np.testing.assert_array_equal(found, np.concatenate(parts))


def test_a_share_of_a_batch_is_cut_too(data):
    folder, contract = data
    crops = crop.for_loader(TrainConfig(str(folder), "o", train_size=16), contract, range(1, 2))
    options = {"shuffle": True, "seed": 3, "share": (1, 2), "drop_remainder": True}
    made = list(dataset.load(folder, "train", 4, crops=crops, **options))
    assert [int(records) for _, records in made] == [2, 2, 2, 2, 2]
    assert {images.shape[1:] for (images, _), _ in made} == {(16, 16, 3)}
    assert made[0][0][0].dtype == tf.float32


def test_what_the_loader_has_cut_is_not_cut_again(data):
    folder, contract = data
    images, step = tf.random.stateless_uniform((2, 16, 16, 3), (1, 2)), tf.constant(0, tf.int64)
    config = TrainConfig(str(folder), "o", train_size=16)
    assert Standard(config, contract).change(images, tf.zeros(2, tf.int64), step) is not None
    np.testing.assert_array_equal(Standard(config, contract).change(images, tf.zeros(2, tf.int64), step), images)


@pytest.mark.parametrize(
    ("encoding", "options"),
    [("uint8", {"train_size": 16}), ("jpeg", {}), ("jpeg", {"train_size": 16, "crop_scale": "none"}),
     ("jpeg", {"train_size": 16, "cache": "memory"}), ("png", {"train_size": 16})], ids=str,
)  # fmt: skip
def test_other_images_stay_whole_in_the_loader(encoding, options):
    contract = make_contract(encoding=encoding, image_shape=(24, 20, 3))
    assert crop.for_loader(TrainConfig("d", "o", **options), contract, range(1)) is None


def test_what_cannot_be_is_refused(data, tmp_path):
    folder, contract = data
    crops = crop.for_loader(TrainConfig(str(folder), "o", train_size=16), contract, range(1))
    for options in ({}, {"shuffle": True, "cache": "memory"}):
        with pytest.raises(TrainerError, match="crops are drawn anew in every pass: they need shuffle=True"):
            dataset.load(folder, "train", 4, crops=crops, **options)
    write_dataset(tmp_path / "d", encoding="uint8")
    with pytest.raises(ContractError, match=r"crops are for datasets of the encoding jpeg.* Received: 'uint8'"):
        dataset.load(tmp_path / "d", "train", 4, shuffle=True, crops=crops)
