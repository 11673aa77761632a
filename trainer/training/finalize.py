"""Writes the results of a finished training to its run directory.

The results are the model, the calibration, the export, the pages and, as the last file, metrics.json.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.contract import Contract
from pipelines.core.console import timings
from pipelines.core.files import atomic
from trainer import run_dir
from trainer.config import NO_FOLD, NO_VALIDATION, TRAIN_SPLIT, TrainConfig, derived_columns
from trainer.evaluation import evaluate, read_metadata
from trainer.reporting import evaluation_files, model_card, plots, score_table, tensorboard
from trainer.run_dir import Run
from trainer.serving import export
from trainer.serving.export_check import ExportError, Parity
from trainer.tasks import kinds, pretrained_hint
from trainer.training.epoch_reports import Progress

_log = logging.getLogger(__name__)


def write(
    config: TrainConfig, contract: Contract, seen: Contract, network: keras.Model, run: Run, progress: Progress
) -> dict[str, Any]:
    """Evaluates the network on every split but train and writes the finished run.

    It logs the score tables and the list of the files.

    Args:
      config, contract: of the run.
      seen: the contract with the counts of what was trained on; see `parts.view`.
      network: in float32, with the weights of the best epoch.
      run: the run directory; its checkpoints are deleted at the end.
      progress: the history of the training.

    Returns:
      The content of metrics.json.

    Raises:
      TrainerError: a file cannot be written, or one that was written is gone.
      ExportError: the network has no export, or the export does not agree with it. All else is written.
    """
    _log.info("Evaluates the network, writes the pages, and exports it.")
    with run_dir.writing(run.model):
        network.save(run.model)
    task = kinds.of(contract)
    with timings.part("evaluation"):
        answers = task.predictor(network, config.data, evaluate.EVALUATION_BATCH)
        found = {split: answers(split) for split in evaluated(seen)}
        calibration, said_of_it = _calibrate(config, seen, found)
        with run_dir.writing(run.calibration):
            atomic.write_text(run.calibration, calibration.to_json())
        derived = derived_columns(config.slice_by)
        scores = {
            split: read_metadata.beside(task.assess(split, p, calibration), config.data, config.slice_size, derived)
            for split, p in found.items()
        }
    with timings.part("plots"), run_dir.writing(run.plots):
        plots.write_all(run.plots, progress.history(), scores, progress.best_epoch)
    with timings.part("TensorBoard"), run_dir.writing(run.logs):
        tensorboard.write(run.logs, run.plots, list(scores.values()), max(0, progress.best_epoch - 1))
    with timings.part("pages"), run_dir.writing(run.page):
        write_page(config, network, run, progress, scores)
    served = _export(config, contract, network, run, calibration)
    result = metrics(config, contract, network, progress, scores)
    result["train_records"] = seen.split(TRAIN_SPLIT).records
    result |= run_dir.counts_of_part(contract, seen)
    with run_dir.writing(run.card):
        model = model_card.Model(evaluation_files.run_name(run), result, seen)
        evaluation_files.write_card(run.directory, model, list(scores.values()), contract)
    run_dir.check_files(run)
    with run_dir.writing(run.metrics):
        atomic.write_text(run.metrics, atomic.to_json(result))
    run_dir.drop_checkpoints(run)
    said = served.sentence(task.unit) if isinstance(served, Parity) else ""
    chosen = f"{task.kept.best} on {config.validation!r}" if config.validation != NO_VALIDATION else "the last one"
    if config.keep_over > 1:
        chosen += f", as the mean of {config.keep_over} epochs"
    for line in summary(run, scores, progress.best_epoch, said, chosen):
        _log.info("%s", line)
    if said_of_it:
        _log.info("\n%s", said_of_it)
    if isinstance(served, ExportError):
        raise ExportError(f"The run is complete and evaluated, but has no export. {served}") from served
    if config.fold == NO_FOLD and (advice := pretrained_hint.advice(config, seen)):
        _log.info("\n%s", advice)
    return result


def _export(
    config: TrainConfig, contract: Contract, network: keras.Model, run: Run, calibration: Any
) -> Parity | ExportError:
    """Exports the network; returns what was measured, or why there is no export."""
    try:
        with run_dir.writing(run.saved_model):
            return export.write(network, config.data, contract, str(run.saved_model), calibration)
    except ExportError as e:
        return e


def evaluated(contract: Contract) -> list[str]:
    """Returns the splits to evaluate: all splits with records, except train."""
    return [name for name, split in sorted(contract.splits.items()) if name != TRAIN_SPLIT and split.records]


def _calibrate(config: TrainConfig, contract: Contract, found: dict[str, Any]) -> tuple[Any, str]:
    """Fits the calibration and thresholds on the validation split.

    Without a validation split nothing is fitted, because the other splits have to judge the calibration.

    Returns:
      What was fitted, and a sentence about abstaining, or "".
    """
    task = kinds.of(contract)
    if config.validation not in found:
        return task.of_run(task.unfitted(contract), config), ""
    made, said = fitted(found[config.validation], config.validation, contract, config.abstain_error)
    return task.of_run(made, config), said


def fitted(found: Any, split: str, contract: Contract, abstain_error: float) -> tuple[Any, str]:
    """Fits the calibration, and the threshold of abstaining if an error is wanted.

    Args:
      found: the answers on the split.

    Returns:
      What was fitted, and a sentence about abstaining, or "".
    """
    task = kinds.of(contract)
    made = task.fit(found, split, contract)
    return task.abstaining(made, found, abstain_error, split) if abstain_error else (made, "")


def write_page(config: TrainConfig, network: keras.Model, run: Run, progress: Progress, scores: dict[str, Any]) -> None:
    """Writes evaluation.html and the predictions of each split next to it."""
    facts = {
        "network": f"{config.model}, {network.count_params():,} parameters",
        "seed": str(config.seed),
        "epochs": f"{progress.trained_epochs()}; {kept(progress.best_epoch)} were kept",
    }
    title = evaluation_files.run_name(run)
    evaluation_files.write_files(run.directory, title, facts, list(scores.values()), config.data, network=network)


def metrics(
    config: TrainConfig, contract: Contract, network: keras.Model, progress: Progress, scores: dict[str, Any]
) -> dict[str, Any]:
    """Returns the content of metrics.json."""
    return {
        "model": config.model,
        "parameters": network.count_params(),
        **({"init_weights": config.init_weights} if config.init_weights else {}),
        "seed": config.seed,
        **({} if config.fold == NO_FOLD else {"fold": config.fold}),
        "epochs": {"asked": config.epochs, "run": progress.trained_epochs(), "kept": progress.best_epoch},
        "dataset": run_dir.dataset_digests(contract),
        **evaluation_files.answers(contract),
        "splits": evaluation_files.splits(list(scores.values())),
        "versions": run_dir.versions(tf, keras, np),
    }


def kept(epoch: int) -> str:
    """Returns the words for the weights of an epoch; 0 is the fitted head."""
    return f"the weights of epoch {epoch}" if epoch else "the weights of the fitted head, before the first epoch"


def summary(run: Run, scores: dict[str, Any], best: int, served: str, chosen: str) -> list[str]:
    """Returns the lines that the command prints at the end.

    They are the scores of each split and the paths of all results.

    Args:
      best: the kept epoch. chosen: why it was.
      served: the result of the check of the export; "" without one.
    """
    lines = [f"kept {kept(best)}: {chosen}"]
    for name, result in scores.items():
        lines.append(f"\n{name}, {result.records} records\n{score_table.table(result)}")
    if served:
        lines.append(f"\nserved as a SavedModel, {served}")
    places = {
        "model": run.model, "last epoch": run.last, **({"saved model": run.saved_model} if served else {}),
        "metrics": run.metrics,
        "evaluation": run.page, "model card": run.card, "plots": run.plots, "TensorBoard": run.logs,
    }  # fmt: skip
    for what, path in places.items():
        shown = path if Path(run.directory).is_absolute() else os.path.relpath(path)
        lines.append(f"{what:<{max(map(len, places))}}  {shown}")
    return lines
