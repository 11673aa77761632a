import dataclasses
import warnings

import keras
import pytest
from keras import layers

from pipelines.contract.task import Task
from tests.support.datasets import make_contract, normalization, write_dataset
from trainer.models import alignment, networks
from trainer.models.alignment import AlignmentError


def network(*front, shape=(8, 8, 3), classes=2, dtype="float32", weights_first=True):
    body = [layers.Conv2D(2, 3)] if weights_first else []
    return keras.Sequential(
        [keras.Input(shape, dtype=dtype), *front, *body, layers.GlobalAveragePooling2D(), layers.Dense(classes)],
        name="mine",
    )


def of_mode(mode, **changes):
    return make_contract(normalization=normalization(mode), **changes)


def refusal(model, contract):
    with pytest.raises(AlignmentError) as error:
        alignment.check_model(model, contract)
    return str(error.value)


def test_models_that_agree_pass():
    alignment.check_model(network(), of_mode("zscore"))
    alignment.check_model(network(shape=(None, None, 3)), of_mode("unit"))
    alignment.check_model(networks.resnet20((8, 8, 3), 2), of_mode("symmetric"))


def test_another_size():
    message = refusal(network(shape=(16, 12, 3)), of_mode("zscore"))
    assert "'mine' takes images of shape (16, 12, 3); the contract's are (8, 8, 3)" in message
    assert "--size 16x12" in message


def test_other_channels():
    assert "takes 1 channels ((8, 8, 1)); the contract's images have 3" in refusal(
        network(shape=(8, 8, 1)), of_mode("zscore")
    )
    contract = of_mode("zscore", image_shape=(24, 24, 3))
    assert "It seems to be channels first." in refusal(network(shape=(3, 24, 24)), contract)


def test_another_dtype():
    message = refusal(network(layers.Rescaling(1 / 255), dtype="uint8"), of_mode("zscore"))
    assert "takes uint8; the contract's images are float32 in -2..1.984" in message


def test_another_number_of_outputs():
    message = refusal(network(classes=1), of_mode("zscore"))
    assert "gives outputs of shape (None, 1); the contract has 2 classes (ok, broken)" in message


def test_several_inputs():
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    both = layers.Dense(2)(layers.Flatten()(layers.Add()([a, b])))
    assert "has 2 inputs and 1 outputs" in refusal(keras.Model([a, b], both), of_mode("zscore"))


def divided():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3)(inputs / 255.0)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)), name="mine")


def nested():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, network(layers.Rescaling(1 / 127.5, offset=-1))(inputs), name="mine")


@pytest.mark.parametrize("mode", ["zscore", "unit", "symmetric", "imagenet"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: network(layers.Rescaling(1 / 255)),
        lambda: network(layers.Normalization(mean=[127.0] * 3, variance=[60.0**2] * 3)),
        lambda: network(layers.ZeroPadding2D(1), layers.RandomFlip("horizontal"), layers.Rescaling(1 / 255)),
        divided,
        nested,
    ],
)
def test_a_model_that_normalizes_a_second_time_is_refused(mode, make):
    message = refusal(make(), of_mode(mode))
    assert "scales its input itself" in message
    assert f"normalized already ({mode}, " in message
    assert "--normalize none" in message


def test_its_own_scaling_is_right_for_raw_pixels_and_useful_on_unit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alignment.check_model(network(layers.Rescaling(1 / 255)), of_mode("none"))
        alignment.check_model(network(layers.Rescaling(2.0, offset=-1.0)), of_mode("unit"))
        alignment.check_model(networks.resnet20((8, 8, 3), 2), of_mode("none"))  # batch norm after the first layer


def test_scaling_inside_the_network_is_not_its_input():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    x = layers.Add()([x, layers.Rescaling(0.01)(layers.Conv2D(3, 3, padding="same")(x))])
    alignment.check_model(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))), of_mode("zscore"))


def test_raw_pixels_into_a_network_that_does_not_scale_are_warned_about():
    with pytest.warns(UserWarning, match="holds 0..255 .normalize none. and model 'mine' does not scale"):
        alignment.check_model(network(), of_mode("none"))


def test_range_is_measured_at_the_first_trained_layer():
    model = network(layers.Rescaling(0.5, offset=1.0), layers.ZeroPadding2D(3))
    assert alignment.range_at_first_weights(model, (8, 8, 3), (-2.0, 4.0)) == (0.0, 3.0)
    assert alignment.range_at_first_weights(nested(), (8, 8, 3), (0.0, 255.0)) == pytest.approx((-1, 1))


def test_weights_of_an_earlier_run_carry_their_contract(tmp_path):
    write_dataset(tmp_path, mode="unit", splits={"train": (1, 1)})
    with pytest.raises(AlignmentError, match=r"were trained on images normalized 'unit'.*the dataset's are 'zscore'"):
        alignment.check_weights_range(str(tmp_path / "model.keras"), of_mode("zscore"))
    alignment.check_weights_range(str(tmp_path / "model.keras"), of_mode("unit"))


def test_zscores_of_two_datasets_fit(tmp_path):
    """Each has its own mean and deviation, and both give numbers of mean 0 and deviation 1."""
    write_dataset(tmp_path, mode="zscore", splits={"train": (1, 1)})
    path, own = str(tmp_path / "model.keras"), normalization("zscore")
    other = dataclasses.replace(own, mean=(100.0,) * 3, scale=(0.02,) * 3, offset=(-2.0,) * 3)
    alignment.check_weights_range(path, make_contract(normalization=other))
    for refused in (
        make_contract(normalization=other, channel_order="BGR"),
        make_contract(normalization=dataclasses.replace(other, mode="unit")),
    ):
        with pytest.raises(AlignmentError, match="were trained on images normalized 'zscore'"):
            alignment.check_weights_range(path, refused)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_shape": (9, 8, 3)}, "trained on images of shape (8, 8, 3); the dataset's are (9, 8, 3)"),
        ({"labels": ("broken", "ok")}, "trained on 2 classes (ok, broken); the dataset has 2 (broken, ok)"),
        ({"labels": ("ok", "broken", "lost")}, "the dataset has 3 (ok, broken, lost)"),
        ({"normalization": normalization("unit")}, "normalized 'zscore' (-2..1.984; scale 0.01562, 0.01562, 0.01562"),
    ],
)
def test_contracts_that_disagree_are_refused_naming_both(change, said):
    trained = of_mode("zscore")
    with pytest.raises(AlignmentError) as error:
        alignment.check_contracts(trained, dataclasses.replace(trained, **change))
    assert said in str(error.value)


def test_another_task_is_said_before_another_shape():
    trained = of_mode("zscore")
    data = of_mode("zscore", labels=("top", "bottom"), task=Task("multi-label"), image_shape=(16, 16, 3))
    with pytest.raises(AlignmentError, match="trained for another task than the dataset has: it answers classes"):
        alignment.check_contracts(trained, data)


def test_the_same_map_in_another_encoding_agrees_and_another_resize_is_warned_about():
    trained = of_mode("zscore")
    alignment.check_contracts(trained, dataclasses.replace(trained, encoding="png", seed=5, name="other"))
    with pytest.warns(UserWarning, match="another resize policy: {'mode': 'stretch'} against {'mode': 'crop'}"):
        alignment.check_contracts(trained, dataclasses.replace(trained, resize={"mode": "crop"}))
