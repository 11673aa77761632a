"""What `prepare --for` sets for a network, and what it leaves."""

import logging

import pytest

from pipelines.cli import for_network, options
from pipelines.core.errors import ConfigError

BASE = ["prepare", "--input", "in", "--output", "out"]


def parsed(*flags):
    args, rest = options.parse([*BASE, *flags])
    assert rest == []
    return options.prepare_config(args)


def test_size_and_normalization_of_the_network(caplog):
    with caplog.at_level(logging.INFO, "pipelines"):
        config = parsed("--for", "MobileNetV2")
    assert (config.size, config.normalize) == ((224, 224), "symmetric")
    assert "--for MobileNetV2 sets --size 224x224 --normalize symmetric" in caplog.text
    assert parsed("--for", "InceptionV3").size == (299, 299)
    assert parsed("--for", "EfficientNetV2B2").size == (260, 260)
    assert parsed("--for", "ResNet50").normalize == "none"
    assert parsed("--for", "ResNet50V2").normalize == "symmetric"


def test_what_is_given_stays(caplog):
    with caplog.at_level(logging.INFO, "pipelines"):
        config = parsed("--for", "MobileNetV2", "--size", "256", "--normalize", "unit")
    assert (config.size, config.normalize) == ((256, 256), "unit")
    assert "--for MobileNetV2 sets nothing: all is given" in caplog.text


def test_numbers_for_three_channels_are_not_taken_for_others():
    assert parsed("--for", "DenseNet121").normalize == "imagenet"
    assert parsed("--for", "DenseNet121", "--channels", "1").normalize == "zscore"
    assert parsed("--for", "DenseNet121", "--bands", "4,3,2").normalize == "zscore"


def test_unknown_networks_and_like_are_refused():
    with pytest.raises(ConfigError, match=r"--for should be a network of keras\.applications, .* Received: 'cnn'"):
        parsed("--for", "cnn")
    with pytest.raises(ConfigError, match="--like takes size and normalization from the earlier dataset"):
        parsed("--for", "MobileNetV2", "--like", "old")


def test_the_normalizations_are_those_that_the_trainer_makes():
    """Where the normalization has the numbers of the network, the trainer has nothing to convert."""
    import keras

    from pipelines.contract import Normalization
    from pipelines.job.transform.normalization import IMAGENET_MEAN, IMAGENET_STD
    from tests.support.datasets import make_contract, normalization
    from trainer.models import pretrained

    scale = tuple(1 / deviation for deviation in IMAGENET_STD)
    offset = tuple(-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
    imagenet = Normalization("imagenet", IMAGENET_MEAN, IMAGENET_STD, scale, offset)
    for name in filter(pretrained.constructor, dir(keras.applications)):
        wanted = next(w for prefix, w in for_network.NETWORKS.items() if name.startswith(prefix))
        images = keras.Input((8, 8, 3))
        made = imagenet if wanted.normalize == "imagenet" else normalization(wanted.normalize)
        contract = make_contract(image_shape=(8, 8, 3), normalization=made)
        pixels = pretrained.wanted_pixels(name)
        converted = pretrained.converted(images, contract, pixels) is not images
        own = pixels.reversed or pixels.scale[0] == pytest.approx(1 / 128)  # not among the options of prepare
        assert converted == own, name
