"""Writes the files of an evaluation: page, predictions, and numbers as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.core import atomic
from trainer import run_dir
from trainer.evaluation import mistakes, predictions
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.evaluate import EVALUATION_BATCH
from trainer.reporting import page  # fmt: skip


def report(model_directory: str | os.PathLike[str], data: str, result: Assessment) -> dict[str, Any]:
    """Returns the numbers of an evaluation for a JSON file.

    It also names the model, the digests of the dataset and the labels.
    """
    contract = contracts.load(data)
    return {
        "model": os.fspath(model_directory),
        "dataset": run_dir.dataset_digests(contract),
        "labels": list(contract.labels),
        "splits": splits([result]),
    }


def splits(assessments: Sequence[Assessment]) -> dict[str, Any]:
    """Returns the part of metrics.json that describes the splits."""
    return {found.split: found.to_dict() | {"cautions": cautions(found)} for found in assessments}


def write(path: str, model_directory: str, data: str, result: Assessment) -> list[Path]:
    """Writes the report of an evaluation.

    If `path` ends in .json it is a file with the numbers only. Otherwise it is a directory with metrics.json, the page
    and the predictions.

    Returns:
      The paths of the written files.
    """
    content = atomic.to_json(report(model_directory, data, result))
    if path.endswith(".json"):
        atomic.write_text(Path(path), content)
        return [Path(path)]
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    written = write_files(directory, f"{Path(model_directory).resolve().name} on {result.split}", {}, [result], data)
    atomic.write_text(directory / "metrics.json", content)
    return [directory / "metrics.json", *written]


def write_files(
    directory: Path, title: str, facts: dict[str, str], assessments: Sequence[Assessment], data: str
) -> list[Path]:
    """Writes evaluation.html and the predictions of every split.

    Args:
      facts: name -> text, for the end of the page.

    Returns:
      The paths of the written files.
    """
    contract = contracts.load(data)
    digests = run_dir.dataset_digests(contract)
    facts = {"dataset": contract.name, "contract (SHA-256)": digests["contract_sha256"], **facts}
    pictures = {found.split: mistakes.worst(found, data, EVALUATION_BATCH) for found in assessments}
    ordered = sorted(assessments, key=lambda found: (found.split != "test", found.split))
    texts = {run_dir.PAGE: page.render(title, facts, ordered, pictures)}
    for found in assessments:
        texts[run_dir.predictions_file(found.split)] = predictions.to_csv(found.predictions, found.fitted.temperature)
    for name, text in texts.items():
        atomic.write_text(directory / name, text)
    return [directory / name for name in texts]
