"""Evaluates a saved model on one split of a dataset."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from trainer import run_dir
from trainer.config import DEFAULT_VERIFY, TTA_CROPS, TTA_FLIP, TTA_NONE, TrainerError
from trainer.data import parts
from trainer.data.fold_names import is_out_of_fold
from trainer.data.shards import integrity
from trainer.evaluation import inference
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores import abstention, calibration, threshold
from trainer.evaluation.scores.calibration import Calibration, Threshold
from trainer.models import alignment, build, several_views
from trainer.run_dir import Run

EVALUATION_BATCH = 64
ACTIVATIONS = {CLASSES: "softmax", MULTI_LABEL: "sigmoid", REGRESSION: ""}  # in which networks may end


VIEWS = {  # what a card says of the views of each image
    TTA_NONE: "",
    TTA_FLIP: "Each answer is the mean of those on the image and on its mirror image (`evaluate --tta flip`).",
    TTA_CROPS: "Each answer is the mean of those on ten crops: the centre, the four corners, and their mirror images "
    "(`evaluate --tta crops`).",
}


class Trained(NamedTuple):
    """Holds the model of a finished run, with the run's contract and directory."""

    network: keras.Model
    contract: Contract
    directory: Path


def of_classes(model: Trained, data: str, split: str, batch_size: int) -> Assessment:
    """Scores a classifier on a split."""
    fitted = calibration.read(model.directory)
    return Assessment(split, inference.predict(model.network, data, split, batch_size), fitted)


def evaluate(
    model_directory: str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str = "test",
    batch_size: int = EVALUATION_BATCH,
    verify: str = DEFAULT_VERIFY,
    scored: Callable[[Trained, str, str, int], Any] = of_classes,
    tta: str = TTA_NONE,
) -> Any:
    """Scores a finished run on a split of a dataset that was prepared the same way.

    Args:
      verify: how to check the digests of the shards: see `integrity.check`.
      scored: scores the model on a split of `data`, in batches; `trainer.tasks` has those of other tasks.
      tta: views of each image whose answers are averaged, one of `config.TTA`.

    Returns:
      What `scored` returns.

    Raises:
      TrainerError: there is no model, or its contract and the dataset's disagree. The message names both sides.
      ContractError: the dataset or the run's contract is missing or unusable, or has no such split.
    """
    if is_out_of_fold(split):
        raise TrainerError(
            f"The split {split!r} has what networks answered on folds that they had not seen, which only `train "
            "--folds all` finds out: this model has seen the images. Evaluate it on another split, such as test."
        )
    run = run_dir.finished(model_directory)
    trained, contract = contracts.load(run.directory), contracts.load(data)
    if split not in contract.splits and split in contract.all_splits:
        raise TrainerError(
            f"Split {split!r} has images without a label: there is nothing to score answers by. To answer them: "
            f"predict --data {os.fspath(data)} --split {split} --table FILE."
        )
    alignment.check_contracts(trained, contract)
    integrity.check(contract, os.fspath(data), [parts.stored_split(split)], verify)
    model = network(run)
    alignment.check_model(model, contract)
    model = several_views.averaged(model, tta, ACTIVATIONS[contract.task.kind])
    return scored(Trained(model, trained, run.directory), os.fspath(data), split, batch_size)


def network(run: Run) -> keras.Model:
    """Loads the network of a finished run."""
    return build.load(run.model)


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


def abstaining(fitted: Calibration, found: Predictions, wanted: float, split: str) -> tuple[Calibration, str]:
    """Chooses the probability below which a classifier abstains.

    Args:
      fitted: the calibration of the model. found: its answers on a split that it did not learn from.
      wanted: the share of wrong answers among the answered.

    Returns:
      The calibration with the threshold, and what to say of it.
    """
    answers = found.answers()
    largest = found.probabilities(fitted.temperature).max(axis=1, initial=0.0)
    chosen = abstention.choose(largest, answers == found.labels, wanted)
    if chosen is None:
        return dataclasses.replace(fitted, abstention=None), abstention.refusal(wanted, split, len(found.labels))
    chosen = dataclasses.replace(chosen, split=split, records=len(found.labels))
    return dataclasses.replace(fitted, abstention=chosen), abstention.sentence(chosen)
