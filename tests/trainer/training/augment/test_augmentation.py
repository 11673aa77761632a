"""What a batch undergoes in training: by hand where it is arithmetic, fresh every epoch, the same for the same seed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.core.errors import ConfigError
from tests.support.datasets import make_contract, normalization, picture, write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.training.augment import augmentation
from trainer.training.augment.augmentation import Augmentation
from trainer.training.train import train

CONTRACT = make_contract()
LABELS = tf.constant([0, 1, 0, 1, 1, 0, 0, 1], tf.int64)
TARGETS = tf.one_hot(LABELS, 2)
PIXELS = np.stack([picture(i, int(label)) for i, label in enumerate(LABELS)])
IMAGES = contracts.normalize(CONTRACT, tf.constant(PIXELS))


def layer(**options):
    return Augmentation(TrainConfig("d", "o", **{"flip": False, **options}), CONTRACT)


def twice(**options):
    """Images and targets of two steps."""
    step = layer(**options)
    return [[part.numpy() for part in step(IMAGES, LABELS, TARGETS)] for _ in range(2)]


ALL = {
    "flip": {"flip": True},
    "rand-augment": {"rand_augment": 0.3},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "both": {"mixup": 1.0, "cutmix": 1.0},
}


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_two_steps_differ_and_two_runs_agree(options):
    one, again = twice(**options), twice(**options)
    for first, second in zip(one, again, strict=True):
        for part, same in zip(first, second, strict=True):
            np.testing.assert_array_equal(part, same)
    assert not np.array_equal(one[0][0], one[1][0])
    assert not np.array_equal(one[0][0], again[1][0])


def test_nothing_asked_for_changes_nothing():
    images, targets = layer()(IMAGES, LABELS, TARGETS)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(targets, TARGETS)


def test_mixup_blends_images_as_their_targets():
    """Class 0 is black and class 1 white: an image is then as gray as its target says."""
    black_and_white = tf.tile(tf.cast(LABELS, tf.float32)[:, None, None, None], (1, 8, 8, 3))
    images, targets = layer(mixup=1.0)(black_and_white, LABELS, TARGETS)
    np.testing.assert_allclose(
        images, np.broadcast_to(targets.numpy()[:, 1, None, None, None], images.shape), rtol=1e-5
    )
    np.testing.assert_allclose(targets.numpy().sum(axis=1), 1, rtol=1e-6)
    assert ((targets.numpy() > 0.01) & (targets.numpy() < 0.99)).any()


def test_cutmix_pastes_a_rectangle_as_large_as_its_share_of_the_target():
    """Black and white again: pixels stay one or the other, and as many are white as the target says."""
    contract = make_contract(image_shape=(64, 64, 3))
    cutmix = Augmentation(TrainConfig("d", "o", flip=False, cutmix=1.0), contract)
    black_and_white = tf.tile(tf.cast(LABELS, tf.float32)[:, None, None, None], (1, 64, 64, 3))
    images, targets = (part.numpy() for part in cutmix(black_and_white, LABELS, TARGETS))
    assert set(np.unique(images)) == {0, 1}
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), targets[:, 1], atol=0.04)  # corners fall between pixels
    assert ((targets > 0.05) & (targets < 0.95)).any()
    for image, label in zip(images, LABELS.numpy(), strict=True):
        pasted = image[..., 0] != label
        if pasted.any():
            assert pasted[np.ix_(pasted.any(axis=1), pasted.any(axis=0))].all()


def test_weights_of_records_are_blended_too():
    """A target carries the weight of its record: of 1 on class 0 and 3 on class 1 the sum stays between."""
    heavy = TARGETS * tf.constant([[1.0], [3.0]] * 4)
    _, targets = layer(mixup=1.0)(IMAGES, LABELS, heavy)
    assert ((targets.numpy().sum(axis=1) >= 1 - 1e-5) & (targets.numpy().sum(axis=1) <= 3 + 1e-5)).all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"flip": True}, {"rand_augment": 0.3}], ids=str)
def test_only_the_classes_named_are_augmented(options):
    contract = make_contract()
    only = Augmentation(TrainConfig("d", "o", **{"flip": False, **options}, augment_classes="broken"), contract)
    rare = LABELS.numpy() == 1
    changed = np.zeros(8, bool)
    for _ in range(5):
        images, targets = only(IMAGES, LABELS, TARGETS)
        np.testing.assert_array_equal(images.numpy()[~rare], IMAGES.numpy()[~rare])
        np.testing.assert_array_equal(targets, TARGETS)
        changed |= (images.numpy() != IMAGES.numpy()).any(axis=(1, 2, 3))
    assert changed[rare].all()


def test_classes_that_are_none_are_named(tmp_path):
    write_dataset(tmp_path / "d", encoding="uint8")
    with pytest.raises(TrainerError, match=r"classes of the dataset \(ok, broken\)\. Received: brokn"):
        train(TrainConfig(str(tmp_path / "d"), str(tmp_path / "o"), augment_classes="ok, brokn"))
    assert not (tmp_path / "o").exists()
    with pytest.raises(
        ConfigError, match="--augment-classes is of use only with --flip, --rand-augment, --color-jitter, --rotate"
    ):
        TrainConfig("d", "o", augment_classes="ok", flip=False)
    both = TrainConfig("d", "o", augment_classes="ok", mixup=0.2)
    assert augmentation.warnings(both) == [
        "--augment-classes is for changes of single images; --mixup and --cutmix blend images of all classes."
    ]


@pytest.mark.parametrize("mode", ["zscore", "unit", "symmetric", "imagenet", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gray_levels_are_those_that_the_images_were_made_of(mode, dtype):
    """Every level of every channel, also from half precision."""
    contract = make_contract(normalization=normalization(mode), image_shape=(16, 16, 3))
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    stored = contracts.normalize(contract, tf.constant(pixels)).numpy().astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(augmentation.gray_levels(contract, tf.constant(stored)), pixels)


@pytest.mark.slow
def test_rand_augment_works_on_gray_levels_whatever_the_normalization():
    """The same pictures come out, up to rounding, as 0..255 and as z-scores."""
    made = []
    for mode in ("none", "zscore"):
        contract = make_contract(normalization=normalization(mode))
        augment = Augmentation(TrainConfig("d", "o", flip=False, rand_augment=0.4), contract)
        images = contracts.normalize(contract, tf.constant(PIXELS))
        made.append(np.asarray(augmentation_free(contract, augment(images, LABELS, TARGETS)[0])))
    np.testing.assert_allclose(made[0], made[1], atol=1e-2)
    assert not np.allclose(made[0], PIXELS, atol=1)


def augmentation_free(contract, images):
    """Normalized images -> levels 0..255, not rounded."""
    affine = contract.normalization
    return (images - tf.constant(affine.offset)) / tf.constant(affine.scale)


@pytest.mark.slow
def test_the_states_of_all_draws_are_variables_of_the_layer():
    """So they are in a checkpoint: where these are put back, the next draw is the same."""
    keras.utils.clear_session()
    one = layer(flip=True, rand_augment=0.3, mixup=0.4, cutmix=1.0)
    for _ in range(2):
        one(IMAGES, LABELS, TARGETS)
    states = [np.asarray(v) for v in one.variables]
    expected = [part.numpy() for part in one(IMAGES, LABELS, TARGETS)]
    other = layer(flip=True, rand_augment=0.3, mixup=0.4, cutmix=1.0)
    for variable, state in zip(other.variables, states, strict=True):
        variable.assign(state)
    for part, same in zip(other(IMAGES, LABELS, TARGETS), expected, strict=True):
        np.testing.assert_array_equal(part, same)
