"""A saved model on one split of a dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer import run_dir
from trainer.config import DEFAULT_VERIFY
from trainer.data import integrity
from trainer.evaluation import calibration, inference, mistakes, predictions, threshold
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.calibration import Calibration, Threshold
from trainer.evaluation.cautions import cautions
from trainer.evaluation.predictions import Predictions
from trainer.models import alignment, build
from trainer.reporting import page  # fmt: skip

EVALUATION_BATCH = 64


def evaluate(
    model_directory: str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str = "test",
    batch_size: int = EVALUATION_BATCH,
    verify: str = DEFAULT_VERIFY,
) -> Assessment:
    """Scores a finished run on a split that was prepared the same way. `verify`: of `integrity.check`.

    Raises:
      TrainerError: no model there, or its contract and the dataset's disagree (both sides are named).
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
    """Fits the temperature, and for two classes the threshold on the probabilities that come of it."""
    temperature = calibration.fit_temperature(found.logits, found.labels)
    chosen = None
    if len(contract.labels) == 2:
        label_id = threshold.positive(contract)
        probability = threshold.choose(found.labels == label_id, found.probabilities(temperature)[:, label_id])
        if probability is not None:
            chosen = Threshold(contract.labels[label_id], label_id, probability)
    return Calibration(temperature, chosen, split, len(found.labels))


def report(model_directory: str | os.PathLike[str], data: str, result: Assessment) -> dict[str, Any]:
    """The numbers of an evaluation with what they are of, for a file."""
    contract = contracts.load(data)
    return {
        "model": os.fspath(model_directory),
        "dataset": run_dir.dataset_digests(contract),
        "labels": list(contract.labels),
        "splits": splits([result]),
    }


def splits(assessments: Sequence[Assessment]) -> dict[str, Any]:
    """The part of metrics.json that is about splits."""
    return {found.split: found.to_dict() | {"cautions": cautions(found)} for found in assessments}


def write(path: str, model_directory: str, data: str, result: Assessment) -> list[Path]:
    """Writes the report: to a name that ends in .json the numbers alone, else to a directory with page and predictions.

    Returns:
      What was written.
    """
    content = run_dir.to_json(report(model_directory, data, result))
    if path.endswith(".json"):
        run_dir.write_text(Path(path), content)
        return [Path(path)]
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    written = write_files(directory, f"{Path(model_directory).resolve().name} on {result.split}", {}, [result], data)
    run_dir.write_text(directory / "metrics.json", content)
    return [directory / "metrics.json", *written]


def write_files(
    directory: Path, title: str, facts: dict[str, str], assessments: Sequence[Assessment], data: str
) -> list[Path]:
    """Writes evaluation.html and the predictions of every split."""
    contract = contracts.load(data)
    digests = run_dir.dataset_digests(contract)
    facts = {"dataset": contract.name, "contract (SHA-256)": digests["contract_sha256"], **facts}
    pictures = {found.split: mistakes.worst(found, data, EVALUATION_BATCH) for found in assessments}
    ordered = sorted(assessments, key=lambda found: (found.split != "test", found.split))
    texts = {run_dir.PAGE: page.render(title, facts, ordered, pictures)}
    for found in assessments:
        texts[predictions.file_name(found.split)] = predictions.to_csv(found.predictions, found.fitted.temperature)
    for name, text in texts.items():
        run_dir.write_text(directory / name, text)
    return [directory / name for name in texts]
