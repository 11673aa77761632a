"""Calibrates an 8-bit TFLite file on train records, and measures what it loses.

Weights and activations become whole numbers of 8 bits (Jacob et al. 2018, "Quantization and training of neural networks
for efficient integer-arithmetic-only inference"). The range of each activation is that seen on records of train.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import CLASSES
from trainer.config import INT8, TRAIN_SPLIT, TrainerError
from trainer.data import dataset
from trainer.serving import export_check, tflite_onnx
from trainer.tasks import kinds
from trainer.tasks.task import Fitted

RECORDS = 256  # of train that calibrate; TensorFlow's guide recommends about 100 to 500
BATCH = 64
MOST = 5000  # records of the split that are measured
SEED = 0


class Loss(NamedTuple):
    """Holds what an 8-bit file loses on a split, beside the network.

    mean, greatest: absolute differences of the answers over N records. same: share of the records with the same most
    probable class, accuracy and balanced: (file, network); all NaN for other tasks than classes.
    """

    split: str
    records: int
    mean: float
    greatest: float
    same: float = math.nan
    accuracy: tuple[float, float] = (math.nan, math.nan)
    balanced: tuple[float, float] = (math.nan, math.nan)

    def sentence(self, unit: str) -> str:
        """Returns the result for the user.

        Args:
          unit: what differences are measured in.
        """
        told = (
            f"On {self.records:,} records of {self.split}, the answers differ by {self.mean:.2g} on average and by at "
            f"most {self.greatest:.2g} {unit}."
        )
        if math.isnan(self.same):
            return told
        return (
            f"{told} Accuracy {self.accuracy[0]:.3f} (float: {self.accuracy[1]:.3f}), balanced accuracy "
            f"{self.balanced[0]:.3f} (float: {self.balanced[1]:.3f}); {self.same:.1%} of the records have the same "
            "answer."
        )


def calibrating_pixels(data: str, contract: Contract) -> np.ndarray:
    """Reads records of train for the ranges of activations, uint8 (N, H, W, C).

    Raises:
      TrainerError: the dataset has no train records.
    """
    if TRAIN_SPLIT not in contract.splits or not contract.split(TRAIN_SPLIT).records:
        raise TrainerError(
            f"--format {INT8} is calibrated on records of train, and {data!r} has none: give the dataset that the "
            "model was trained on."
        )
    found: list[np.ndarray] = []
    for images, *_ in dataset.load(data, TRAIN_SPLIT, BATCH, shuffle=True, seed=SEED):
        found.append(export_check.pixels(contract, images.numpy()))
        if sum(map(len, found)) >= RECORDS:
            break
    return np.concatenate(found)[:RECORDS]


def measured_split(data: str, contract: Contract) -> str:
    """Returns the split that an 8-bit file is measured on.

    Raises:
      TrainerError: the dataset has none.
    """
    split = next((name for name in export_check.SPLITS if _records(contract, name)), None)
    if split is None:
        wanted = " or ".join(export_check.SPLITS)
        raise TrainerError(f"An 8-bit file is measured on records of {wanted}. {data!r} has none: give one that has.")
    return split


def loss(path: Path, network: keras.Model, data: str, fitted: Fitted) -> Loss:
    """Compares an 8-bit file with the network on test, or else on validation.

    Raises:
      TrainerError: the dataset has neither.
    """
    contract = contracts.load(data)
    task, split = kinds.of(contract), measured_split(data, contract)
    answers = task.answers(network, contract, fitted)
    labels, given, expected = [], [], []
    for images, batch_labels in _some(data, split):
        pixels = export_check.pixels(contract, images.numpy())
        labels.append(batch_labels.numpy())
        given.append(tflite_onnx.answer_tflite(path, pixels, task.output))
        expected.append(answers(images).numpy())
    file, whole, truth = np.concatenate(given), np.concatenate(expected), np.concatenate(labels)
    difference = np.abs(file - whole) / task.scale(fitted)
    measured = Loss(split, len(truth), float(difference.mean()), float(difference.max()))
    if contract.task.kind != CLASSES:
        return measured
    own, other = file.argmax(axis=1), whole.argmax(axis=1)
    return measured._replace(
        same=float((own == other).mean()),
        accuracy=(float((own == truth).mean()), float((other == truth).mean())),
        balanced=(_balanced(own, truth), _balanced(other, truth)),
    )


def _balanced(answers: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean recall of the classes that have records."""
    return float(np.mean([(answers[labels == c] == c).mean() for c in np.unique(labels)]))


def _records(contract: Contract, split: str) -> int:
    return contract.split(split).records if split in contract.splits else 0


def _some(data: str, split: str) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields (images, labels) of a split in batches, of at most MOST records."""
    records = 0
    for images, labels, *_ in dataset.load(data, split, BATCH):
        yield images, labels
        records += len(images)
        if records >= MOST:
            return
