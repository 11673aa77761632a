"""What --recipe sets, and what it leaves to the user."""

import pytest

from pipelines.contract.task import Task
from pipelines.core.errors import ConfigError
from tests.support.datasets import make_contract, write_dataset
from tests.support.log import logged
from trainer import recipe, task
from trainer.cli.main import _parser
from trainer.config import TrainConfig


def chosen(balance=None, **given):
    return recipe.options("transfer", given, make_contract(balance=balance or {}))


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
    TrainConfig("d", "o", epochs=2, freeze_epochs=2, **chosen(epochs=2, freeze_epochs=2))


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_the_head_of_labels_and_numbers_is_trained_in_the_epochs(kind):
    found = recipe.options("transfer", {}, make_contract(task=Task(kind)))
    assert found == {"model": "MobileNetV2", "init_weights": "imagenet", "unfreeze": "none"}
    TrainConfig("d", "o", **found)
    assert recipe.options("transfer", {"unfreeze": "all"}, make_contract(task=Task(kind))).keys() == {
        "model", "init_weights",
    }  # fmt: skip


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
