"""A saved model on one split of a dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer import alignment, calibration, integrity, metrics, outputs, predictions, threshold
from trainer import model as models
from trainer.calibration import Calibration, Threshold
from trainer.config import DEFAULT_VERIFY
from trainer.metrics import Scores
from trainer.predictions import Predictions

EVALUATION_BATCH = 64


def evaluate(
    model_directory: str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str = "test",
    batch_size: int = EVALUATION_BATCH,
    verify: str = DEFAULT_VERIFY,
) -> Scores:
    """Scores a finished run on a split that was prepared the same way. `verify`: of `integrity.check`.

    Raises:
      TrainerError: no model there, or its contract and the dataset's disagree (both sides are named).
      ContractError: the dataset or the run's contract is missing or unusable, or has no such split.
    """
    run = outputs.finished(model_directory)
    trained, contract = contracts.load(run.directory), contracts.load(data)
    alignment.check_contracts(trained, contract)
    integrity.check(contract, os.fspath(data), [split], verify)
    network = models.load(run.model)
    alignment.check_model(network, contract)
    return scores(predictions.predict(network, data, split, batch_size))


def scores(found: Predictions) -> Scores:
    """The numbers of the plain answers."""
    return metrics.score(found.labels, found.probabilities(), found.names)


def calibrate(found: Predictions, split: str, contract: Contract) -> Calibration:
    """Fits the temperature, and for two classes the threshold on the probabilities that come of it."""
    temperature = calibration.fit_temperature(found.logits, found.labels)
    chosen = None
    if len(contract.labels) == 2:
        label_id = threshold.positive(contract)
        probability = threshold.choose(found.labels == label_id, found.probabilities(temperature)[:, label_id])
        if probability is not None:
            chosen = Threshold(contract.labels[label_id], label_id, probability)
    return Calibration(temperature, chosen, split, len(found.labels))


def report(model_directory: str, data: str, split: str, result: Scores) -> dict[str, Any]:
    """The numbers of an evaluation with what they are of, for a file."""
    contract = contracts.load(data)
    return {
        "model": os.fspath(model_directory),
        "dataset": outputs.dataset_digests(contract),
        "labels": list(contract.labels),
        "splits": {split: result.to_dict()},
    }


def write_report(path: str, content: dict[str, Any]) -> None:
    """Writes the JSON whole or not at all."""
    outputs.write_text(Path(path), outputs.to_json(content))
