"""Which split the calibration is fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.contract import Split
from pipelines.core.errors import ConfigError
from tests.support.datasets import make_contract
from trainer.config import TrainConfig
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores.calibration import UNCALIBRATED
from trainer.tasks import pretrained_hint
from trainer.training import finalize


def answers(*of_broken: float) -> Predictions:
    """Records with these probabilities of "broken"; those of the second half are broken."""
    half = len(of_broken) // 2
    logits = np.log([[1 - p, p] for p in of_broken])
    keys = tuple(f"{i:016x}-000" for i in range(2 * half))
    return Predictions(("ok", "broken"), keys, np.repeat([0, 1], half), logits)


def test_temperature_and_threshold_are_those_of_validation_and_never_of_test():
    contract = make_contract(splits={"train": Split({"ok": 9, "broken": 1}, {}, {}, ())})
    found = {"test": answers(0.8, 0.9, 0.95, 0.99), "validation": answers(0.01, 0.02, 0.1, 0.3, 0.4, 0.6)}
    config = TrainConfig("data", "run")
    fitted, said = finalize._calibrate(config, contract, found)
    assert said == ""
    assert (fitted.split, fitted.records) == ("validation", 6)
    assert fitted.threshold is not None
    assert fitted.threshold.label == "broken"
    of_broken = found["validation"].probabilities(fitted.temperature)[:, 1]
    assert of_broken[2] < fitted.threshold.probability < of_broken[3]  # between the last "ok" and the first "broken"
    assert finalize._calibrate(config, contract, {"validation": found["validation"]}) == (fitted, "")
    assert finalize._calibrate(config, contract, {"test": found["test"]}) == (UNCALIBRATED, "")


@pytest.mark.parametrize(
    ("shape", "model", "told", "command"),
    [
        (
            (64, 64, 3), "cnn", "began with random weights and had 5 train images for each class on average.",
            "train --data my/data-224 --output run-transfer --recipe transfer",
        ),
        ((224, 224, 3), "cnn", "had 5 train images", "train --data my/data/ --output run-transfer --recipe transfer"),
        ((224, 224, 3), "mine:network", "If it began with random weights, weights that", "--recipe transfer"),
    ],
)  # fmt: skip
def test_few_images_lead_to_published_weights(shape, model, told, command):
    """The command makes no folder inside of the run, and does not replace the dataset."""
    contract = make_contract(splits={"train": Split({"ok": 9, "broken": 1}, {}, {}, ())}, image_shape=shape)
    text = pretrained_hint.advice(TrainConfig("my/data/", "run/", model=model), contract)
    assert told in text
    assert text.endswith(command)
    assert ("--size 224x224 into a folder of its own" in text) == (shape[0] == 64)
    assert pretrained_hint.advice(TrainConfig("d", "r", model=model, init_weights="f.keras"), contract) == ""


def test_the_threshold_of_abstaining_is_that_of_validation():
    contract = make_contract(splits={"train": Split({"ok": 9, "broken": 1}, {}, {}, ())})
    found = {"test": answers(0.8, 0.9, 0.95, 0.99), "validation": answers(0.01, 0.02, 0.1, 0.3, 0.4, 0.6)}
    config = TrainConfig("data", "run", abstain_error=0.1)
    fitted, said = finalize._calibrate(config, contract, found)
    assert fitted.abstention is not None
    # Sure and right are three of ok and the last of broken; 0.3 and 0.4 are taken for ok and are broken.
    assert (fitted.abstention.answered, fitted.abstention.wrong, fitted.abstention.promised) == (3, 0, False)
    assert "leaves answers to 3 of 6 records of validation, 0 of them wrong" in said
    with pytest.raises(ConfigError, match="--abstain-error needs a validation split"):
        TrainConfig("data", "run", abstain_error=0.1, validation="none")
