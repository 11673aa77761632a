"""Writes the files of an evaluation: page, predictions, and numbers as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import CLASSES
from pipelines.core.files import atomic
from trainer import run_dir
from trainer.evaluation import evaluate, grad_cam, mistakes, out_of_fold, predictions
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.evaluate import EVALUATION_BATCH
from trainer.evaluation.out_of_fold import Folds
from trainer.evaluation.scores import calibration
from trainer.reporting import class_page, fold_table, model_card, pictures, task_page
from trainer.tasks.shown_result import Table
from trainer.tasks.task import Result


def report(
    model_directory: str | os.PathLike[str], data: str, result: Assessment | Result, views: str = ""
) -> dict[str, Any]:
    """Returns the numbers of an evaluation for a JSON file.

    It also names the model, the digests of the dataset, the labels, and the views of each image if there are several.
    """
    contract = contracts.load(data)
    return {
        "model": os.fspath(model_directory),
        "dataset": run_dir.dataset_digests(contract),
        **answers(contract),
        **({"views": views} if views else {}),
        "splits": splits([result]),
    }


def answers(contract: Contract) -> dict[str, Any]:
    """Returns the part of metrics.json that says what the model answers."""
    if contract.task.kind == CLASSES:
        return {"labels": list(contract.labels)}
    return {"task": contract.task.kind, "labels": list(contract.labels), "targets": list(contract.task.targets)}


def splits(assessments: Sequence[Assessment | Result]) -> dict[str, Any]:
    """Returns the part of metrics.json that describes the splits."""
    return {found.split: found.to_dict() | {"cautions": warnings(found)} for found in assessments}


def warnings(found: Assessment | Result) -> list[str]:
    """Returns the warnings about the scores of a split."""
    return found.cautions() if isinstance(found, Result) else cautions(found)


def write(path: str, model_directory: str, data: str, result: Assessment | Result, views: str = "") -> list[Path]:
    """Writes the report of an evaluation.

    If `path` ends in .json it is a file with the numbers only. Otherwise it is a directory with metrics.json, the page,
    the predictions and the model card.

    Args:
      views: a sentence about the views of each image whose answers are averaged; "" for the image alone.

    Returns:
      The paths of the written files.
    """
    content = atomic.to_json(report(model_directory, data, result, views))
    if path.endswith(".json"):
        atomic.write_text(Path(path), content)
        return [Path(path)]
    directory, run = Path(path), run_dir.Run(model_directory)
    directory.mkdir(parents=True, exist_ok=True)
    network = evaluate.network(run) if isinstance(result, Assessment) else None
    title = f"{run_name(run)} on {result.split}"
    written = write_files(directory, title, {"views": views} if views else {}, [result], data, network=network)
    about = json.loads(run.metrics.read_text(encoding="utf-8"))
    served = calibration.read(run.directory) if isinstance(result, Assessment) else None
    model = model_card.Model(run_name(run), about, run_dir.seen(contracts.load(run.directory), about), served)
    write_card(directory, model, [result], contracts.load(data), views)
    atomic.write_text(directory / "metrics.json", content)
    return [directory / "metrics.json", *written, directory / run_dir.CARD]


def run_name(run: run_dir.Run) -> str:
    """Returns the name of a run, which is that of its directory."""
    return run.directory.resolve().name


def write_card(
    directory: Path,
    model: model_card.Model,
    assessments: Sequence[Assessment | Result],
    evaluated: Contract,
    views: str = "",
) -> None:
    """Writes model_card.md.

    Args:
      evaluated: the contract of the dataset that the assessments are of. views: as of `write`.
    """
    atomic.write_text(directory / run_dir.CARD, model_card.text(model, in_order(assessments), evaluated, views))


def in_order(assessments: Sequence[Assessment | Result]) -> list[Assessment | Result]:
    """Returns the results in the order of the page: out-of-fold, test, others."""
    ordered = sorted(assessments, key=lambda found: (found.split != "test", found.split))
    return sorted(ordered, key=lambda found: not found.split.startswith(out_of_fold.NAME))


def write_files(
    directory: Path,
    title: str,
    facts: dict[str, str],
    assessments: Sequence[Assessment | Result],
    data: str,
    folds: Folds | None = None,
    network: keras.Model | None = None,
) -> list[Path]:
    """Writes evaluation.html and the predictions of every split.

    Args:
      network: that of the answers, to draw where it looked; None if several networks answered.
      facts: name -> text, for the end of the page.
      folds: those of a cross-validation.

    Returns:
      The paths of the written files.
    """
    contract = contracts.load(data)
    digests = run_dir.dataset_digests(contract)
    facts = {"dataset": contract.name, "contract (SHA-256)": digests["contract_sha256"], **facts}
    ordered = in_order(assessments)
    table = None if folds is None else fold_table.table(folds)
    texts = {run_dir.PAGE: _page(title, facts, ordered, data, table, network)}
    for found in assessments:
        texts[run_dir.predictions_file(found.split)] = predictions_csv(found, data)
    for name, text in texts.items():
        atomic.write_text(directory / name, text)
    return [directory / name for name in texts]


def _page(
    title: str,
    facts: dict[str, str],
    results: Sequence[Assessment | Result],
    data: str,
    folds: Table | None,
    network: keras.Model | None,
) -> str:
    others = [found for found in results if isinstance(found, Result)]
    if others:
        shown = [(found, pictures.of_examples(found.worst(mistakes.MOST), data, found.split)) for found in others]
        return task_page.render(title, facts, shown, folds)
    of_classes = [found for found in results if isinstance(found, Assessment)]
    wrong = {found.split: mistakes.worst(found, data, EVALUATION_BATCH) for found in of_classes}
    looks = {}
    if network is not None:
        looks = {found.split: grad_cam.looks(network, found, data, EVALUATION_BATCH) for found in of_classes}
    return class_page.render(title, facts, of_classes, wrong, folds, looks)


def predictions_csv(found: Assessment | Result, data: str, folds: Mapping[str, int] | None = None) -> str:
    """Returns the text of predictions-SPLIT.csv.

    Keys are hashes, so each line also has the path of the image, if the dataset has its ledgers.

    Args:
      folds: key -> number of the fold, for a column of them.
    """
    if isinstance(found, Result):
        keys, table = found.keys, found.to_csv()
    else:
        keys = found.predictions.keys
        table = predictions.to_csv(found.predictions, found.fitted.temperature, found.metadata)
    split = out_of_fold.NAME if found.split.startswith(out_of_fold.NAME) else found.split
    uris = mistakes.sources(data, split)
    return out_of_fold.with_places(table, dict(zip(keys, uris, strict=True)) if uris else {}, folds)
