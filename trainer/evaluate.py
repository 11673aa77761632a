"""A saved model on one split of a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from trainer import alignment, dataset, export, integrity, metrics, outputs
from trainer import model as models
from trainer.config import DEFAULT_VERIFY
from trainer.metrics import Scores

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
    batches = dataset.load(data, split, batch_size)
    network = models.load(run.model)
    alignment.check_model(network, contract)
    return scores(network, batches, contract.labels)


def scores(network: keras.Model, batches: tf.data.Dataset, names: tuple[str, ...]) -> Scores:
    """Runs the network over (images, labels[, weights]) batches of normalized images. Every record counts once."""
    probabilities = tf.function(export.probabilities_function(network), reduce_retracing=True)
    labels: list[np.ndarray] = []
    given: list[np.ndarray] = []
    for images, batch_labels, *_ in batches:
        labels.append(batch_labels.numpy())
        given.append(probabilities(images).numpy())
    return metrics.score(np.concatenate(labels), np.concatenate(given), names)


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
    outputs.write_text(Path(path), json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
