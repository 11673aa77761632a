"""Evaluates a saved model on one split of a dataset."""

from __future__ import annotations

import os

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer import run_dir
from trainer.config import DEFAULT_VERIFY
from trainer.data import integrity
from trainer.evaluation import calibration, inference, threshold
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.calibration import Calibration, Threshold
from trainer.evaluation.predictions import Predictions
from trainer.models import alignment, build

EVALUATION_BATCH = 64


def evaluate(
    model_directory: str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str = "test",
    batch_size: int = EVALUATION_BATCH,
    verify: str = DEFAULT_VERIFY,
) -> Assessment:
    """Scores a finished run on a split of a dataset that was prepared the same way.

    Args:
      verify: how to check the digests of the shards: see `integrity.check`.

    Raises:
      TrainerError: there is no model, or its contract and the dataset's disagree. The message names both sides.
      ContractError: the dataset or the run's contract is missing or unusable, or has no such split.
    """
    run = run_dir.finished(model_directory)
    trained, contract = contracts.load(run.directory), contracts.load(data)
    alignment.check_contracts(trained, contract)
    integrity.check(contract, os.fspath(data), [split], verify)
    network = build.load(run.model)
    alignment.check_model(network, contract)
    fitted = calibration.read(run.directory)
    return Assessment(split, inference.predict(network, data, split, batch_size), fitted)


def calibrate(found: Predictions, split: str, contract: Contract) -> Calibration:
    """Fits the temperature, and for two classes the decision threshold.

    The threshold is fitted on the calibrated probabilities.
    """
    temperature = calibration.fit_temperature(found.logits, found.labels)
    chosen = None
    if len(contract.labels) == 2:
        label_id = threshold.positive(contract)
        probability = threshold.choose(found.labels == label_id, found.probabilities(temperature)[:, label_id])
        if probability is not None:
            chosen = Threshold(contract.labels[label_id], label_id, probability)
    return Calibration(temperature, chosen, split, len(found.labels))
