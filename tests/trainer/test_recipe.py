"""What --recipe sets, and what it leaves to the user."""

import pytest

from pipelines.contract.task import Task
from pipelines.core.errors import ConfigError
from tests.support.datasets import make_contract, write_dataset
from tests.support.log import logged
from trainer import recipe, task
from trainer.cli.main import _parser
from trainer.config import TrainConfig


def chosen(balance=None, name="transfer", **given):
    return recipe.options(name, given, make_contract(balance=balance or {}, image_shape=(256, 256, 3)))


def test_transfer_fits_only_the_head_of_published_weights():
    assert chosen() == {
        "model": "MobileNetV2", "init_weights": "imagenet", "fit_head": True, "epochs": 0, "loss": "logit-adjusted",
    }  # fmt: skip
    TrainConfig("d", "o", **chosen())


def test_fine_tuning_is_at_a_low_rate():
    found = chosen(model="ResNet50", epochs=3)
    assert found == {
        "init_weights": "imagenet", "fit_head": True, "loss": "logit-adjusted", "learning_rate": 1e-4,
        "schedule": "cosine", "warmup_epochs": 1.0,
    }  # fmt: skip
    TrainConfig("d", "o", model="ResNet50", epochs=3, **found)
    assert chosen(model="ResNet50", epochs=1)["warmup_epochs"] == 0.5  # the other half is at the rate that was meant
    TrainConfig("d", "o", epochs=2, freeze_epochs=2, **chosen(epochs=2, freeze_epochs=2))


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_the_head_of_labels_and_numbers_is_fitted_as_that_of_classes(kind):
    found = recipe.options("transfer", {}, make_contract(task=Task(kind)))
    assert found == {"model": "MobileNetV2", "init_weights": "imagenet", "fit_head": True, "epochs": 0}
    TrainConfig("d", "o", **found)


@pytest.mark.parametrize("how", [{"balance": {"mode": "uniform"}}, {"resample": "uniform"}])
def test_classes_are_not_balanced_twice(how):
    assert "loss" not in chosen(**how)


def test_what_is_given_stays():
    given = {"model": "mine:net", "init_weights": "w.keras", "fit_head": False, "epochs": 4, "learning_rate": 0.1}
    assert not set(chosen(**given)) & set(given)


@pytest.mark.parametrize("model", ["cnn", "mine:net"])
def test_a_network_without_published_weights_needs_a_file(model):
    with pytest.raises(ConfigError, match=f"Keras has none for --model {model}: name a file with --init-weights"):
        chosen(model=model)


def test_scratch_is_long_and_on_changed_images():
    found = chosen(name="scratch")
    assert found == {
        "epochs": 100, "schedule": "cosine", "weight_decay": 0.01, "warmup_epochs": 5.0, "loss": "logit-adjusted",
        "train_size": 224, "crop_scale": "0.25-1", "color_jitter": 0.2,
    }  # fmt: skip
    TrainConfig("d", "o", **found)
    short = chosen(name="scratch", epochs=20, model="resnet20", train_size=0, balance={"mode": "uniform"})
    assert short["warmup_epochs"] == 2.0
    assert not {"loss", "epochs", "model", "train_size"} & set(short)


@pytest.mark.parametrize(("side", "size"), [(512, 448), (96, 80), (64, 56), (40, 32), (32, None)])
def test_crops_are_of_seven_eighths_of_the_side(side, size):
    found = recipe.options("scratch", {}, make_contract(image_shape=(side, 2 * side, 3)))
    assert found.get("train_size") == size
    assert TrainConfig("d", "o", **found).crop_range() == (0.25, 1.0)


def test_imagenet_scales_the_rate_with_the_batch():
    found = chosen(name="imagenet")
    assert found == {
        "model": "ResNet50", "epochs": 90, "batch_size": 256, "optimizer": "sgd", "learning_rate": 0.1,
        "schedule": "cosine", "warmup_epochs": 5.0, "weight_decay": 1e-3, "label_smoothing": 0.1, "train_size": 224,
        "crop_scale": "0.08-1", "color_jitter": 0.4,
    }  # fmt: skip
    TrainConfig("d", "o", **found)
    assert chosen(name="imagenet", batch_size=1024)["learning_rate"] == pytest.approx(0.4)
    other = chosen(name="imagenet", optimizer="lamb")
    assert not {"learning_rate", "weight_decay", "optimizer"} & set(other)  # those are of gradient descent


@pytest.mark.parametrize("name", ["scratch", "imagenet"])
@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_numbers_keep_their_images_and_other_tasks_their_losses(name, kind):
    found = recipe.options(name, {}, make_contract(task=Task(kind), image_shape=(256, 256, 3)))
    assert not {"loss", "label_smoothing"} & set(found)
    changes = {"train_size", "crop_scale", "color_jitter"}
    assert changes & set(found) == (changes if kind == "multi-label" else set())
    TrainConfig("d", "o", **found)


def test_it_says_what_it_sets():
    assert recipe.sentence("transfer", {"fit_head": True, "epochs": 0}) == (
        "--recipe transfer sets --fit-head --epochs 0"
    )


def test_both_commands_take_it(tmp_path):
    write_dataset(tmp_path / "data", splits={"train": (2, 2)})
    arguments = vars(_parser("p").parse_args(["train", "--recipe", "transfer", "--data", str(tmp_path / "data")]))
    with logged() as text:
        values = recipe.filled({"data": arguments["data"]}, arguments["recipe"])
    assert values["init_weights"] == "imagenet"
    assert "--recipe transfer sets --model MobileNetV2 --init-weights imagenet --fit-head --epochs 0" in text.getvalue()
    job = task.job({"recipe": "transfer", "data": str(tmp_path / "data"), "output": str(tmp_path / "o")}, {})
    assert job.config.fit_head
    assert job.config.model == "MobileNetV2"
    assert recipe.filled({"epochs": 3}, "") == {"epochs": 3}
