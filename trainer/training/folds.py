"""Trains a network for each fold, one after the other, and judges them together.

    OUTPUT/fold-0 …      a run for each fold, as `train --fold` writes it
    OUTPUT/refit         with --refit: a run on all of train
    OUTPUT               a run whose model is the mean of the networks, or that of refit; its evaluation is of the
                         out-of-fold predictions, and of the model on the other splits

A fold that is finished is not trained again by --resume.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import logging
import math
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import pipelines
from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.folds import FILE_NAME as FOLDS
from pipelines.core.files import atomic
from pipelines.options import config_file
from trainer import run_dir
from trainer.config import (
    ALL_FOLDS,
    NO_FOLD,
    NO_VALIDATION,
    TRAIN_SPLIT,
    VALIDATION_SPLIT,
    TrainConfig,
    TrainerError,
    derived_columns,
    held_out_name,
)
from trainer.evaluation import evaluate, inference, out_of_fold, read_metadata
from trainer.evaluation.out_of_fold import Fold, Folds
from trainer.models import build, ensemble, keras_file
from trainer.reporting import evaluation_files, fold_table, model_card, score_table
from trainer.run_dir import Run
from trainer.serving import export
from trainer.serving.export_check import ExportError
from trainer.tasks import kinds
from trainer.training import finalize, resume
from trainer.training.train import train

_log = logging.getLogger(__name__)
REFIT = "refit"


def run(config: TrainConfig, saved: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Trains once, or once for each fold with --folds all.

    Args and errors are those of `train.train`.

    Returns:
      The content of metrics.json.
    """
    if config.folds != ALL_FOLDS:
        return train(config, saved)
    contract = contracts.load(config.data)
    _check(config, contract)
    with run_dir.locked(config.output), _each_traced_once():
        whole = run_dir.check(config.output)
        about = resume.fingerprint(config, contract, 1)
        if not config.resume or not whole.config.is_file():
            _begin(config, contract)
        else:
            _check_same(config, contract, about)
            if whole.metrics.is_file():
                _log.info("the folds in %r are finished", config.output)
                found: dict[str, Any] = json.loads(whole.metrics.read_text(encoding="utf-8"))
                return found
        return _train_all(config, contract, whole, saved)


def _check(config: TrainConfig, contract: Contract) -> None:
    """Refuses what cannot be, before the first fold is trained."""
    if config.abstain_error:
        kinds.of(contract).check_abstention()
    if not contract.folds:
        raise TrainerError(
            f"--folds all needs a dataset with folds. {config.data!r} has none: prepare it with --folds 5."
        )
    if config.validation not in (VALIDATION_SPLIT, NO_VALIDATION):
        raise TrainerError(
            f"With --folds all each fold is validated on in turn. Received: --validation {config.validation}. Leave it "
            "out, or give none to keep the last epoch of each network."
        )
    if ":" in config.model:  # the user's own: the files of all networks are loaded at the end
        network = build.build(config.model, contract, load_weights=False, train_size=config.view_size)
        if refused := keras_file.rehearse(network):
            raise TrainerError(refused)


def _begin(config: TrainConfig, contract: Contract) -> None:
    """Begins a new run in the output directory, in place of an earlier one."""
    versions = {
        "shardmill": pipelines.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    run_dir.begin(config.output, config, contract, versions | run_dir.versions(tf, keras, np))


def _check_same(config: TrainConfig, contract: Contract, about: dict[str, Any]) -> None:
    """Refuses to continue a run of other options or another dataset.

    Raises:
      TrainerError: what differs is named.
    """
    directory = run_dir.Run(config.output)
    earlier = TrainConfig(**config_file.read(directory.config, TrainConfig))
    moved = dataclasses.replace(earlier, data=config.data)
    was = resume.fingerprint(moved, contracts.load(directory.directory), about["replicas"])
    resume.refuse_other(config.output, was, about)


def _train_all(config: TrainConfig, contract: Contract, whole: Run, saved: Callable[[], None]) -> dict[str, Any]:
    total = contract.folds["count"] * contract.folds["repeats"]
    for number in range(total):
        _log.info("\nfold %d of 0 to %d", number, total - 1)
        train(_of_fold(config, number), saved)
    networks = [build.load(_run_of(config, number).model) for number in range(total)]
    judged = _judge(config, contract, networks)
    network, served = _final(config, contract, networks, judged, saved)
    judged = judged._replace(folds=dataclasses.replace(judged.folds, served=served))
    return _write(config, contract, whole, network, judged)


@contextlib.contextmanager
def _each_traced_once() -> Iterator[None]:
    """Hides TensorFlow's warning that one function is traced again and again.

    It takes the functions of several networks for one, and each of them is traced once.
    """

    def keep(record: logging.LogRecord) -> bool:
        return "tf.function retracing" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


class Judged(NamedTuple):
    """Holds what the networks answered on the folds that they had not seen.

    results: for each repeat the result on all images of train. folds: the scores of each fold. fitted: what was fitted
    on the answers of the first repeat. of_keys: for each repeat the fold of each record.
    """

    results: list[Any]
    folds: Folds
    fitted: Any
    of_keys: list[dict[str, int]]


def _judge(config: TrainConfig, contract: Contract, networks: Sequence[keras.Model]) -> Judged:
    count, repeats = contract.folds["count"], contract.folds["repeats"]
    task, data = kinds.of(contract), config.data
    found = [
        task.predict(network, data, held_out_name(number), evaluate.EVALUATION_BATCH)
        for number, network in enumerate(networks)
    ]
    of_repeats = [range(first, first + count) for first in range(0, count * repeats, count)]
    keys, _ = inference.keys(data, out_of_fold.NAME)
    answers = [out_of_fold.pooled([found[n] for n in numbers], keys) for numbers in of_repeats]
    made, said = finalize.fitted(answers[0], out_of_fold.NAME, contract, config.abstain_error)
    fitted = task.of_run(made, config)
    if said:
        _log.info("\n%s", said)
    results = [
        _with_columns(config, task.assess(out_of_fold.part_name(r), own, fitted)) for r, own in enumerate(answers)
    ]
    each = tuple(
        _fold(config, contract, n, task.assess(held_out_name(n), own, fitted)) for n, own in enumerate(found)
    )  # fmt: skip
    chosen = "" if config.validation == NO_VALIDATION else task.kept.words
    of_keys = [{key: n for n in numbers for key in found[n].keys} for numbers in of_repeats]
    return Judged(results, Folds(count, repeats, contract.files[FOLDS], chosen, "", each), fitted, of_keys)


def _with_columns(config: TrainConfig, result: Any) -> Any:
    """Returns a result with the columns of its records, so that it has slices."""
    return read_metadata.beside(result, config.data, config.slice_size, derived_columns(config.slice_by))


def _of_fold(config: TrainConfig, number: int) -> TrainConfig:
    """Returns the options of the run of one fold."""
    output = str(Path(config.output) / held_out_name(number))
    return dataclasses.replace(
        config, folds="none", refit=False, fold=number, output=output, abstain_error=0.0
    ).of_fold()


def _run_of(config: TrainConfig, number: int) -> Run:
    return run_dir.finished(_of_fold(config, number).output)


def _fold(config: TrainConfig, contract: Contract, number: int, result: Any) -> Fold:
    """Describes the network of a fold by its run and its answers on the fold."""
    directory = _run_of(config, number)
    about = json.loads(directory.metrics.read_text(encoding="utf-8"))
    with directory.history.open(encoding="utf-8", newline="") as file:
        rows = {int(float(row["epoch"])): row for row in csv.DictReader(file)}
    column, kept = f"val_{kinds.of(contract).kept.name}", int(about["epochs"]["kept"])
    at = [float(rows[epoch].get(column, math.nan)) for epoch in (kept, max(rows))]
    return Fold(number, result.records, kept, fold_table.scores(result), *at)


def _final(
    config: TrainConfig,
    contract: Contract,
    networks: Sequence[keras.Model],
    judged: Judged,
    saved: Callable[[], None],
) -> tuple[keras.Model, str]:
    """Returns the network that the run exports, and what it is in words."""
    if not config.refit:
        joined = ensemble.mean(networks, kinds.of(contract).activation, contract)
        return joined, f"the mean of the {len(networks)} networks"
    epochs = round(statistics.median(fold.kept for fold in judged.folds.folds))
    least = config.freeze_epochs + math.ceil(config.warmup_epochs)
    epochs = epochs if config.fit_head else max(1, epochs)
    epochs = min(config.epochs, max(epochs, least))
    _log.info("\nall folds together, %d epochs: the median of those kept", epochs)
    again = dataclasses.replace(
        config, folds="none", refit=False, fold=NO_FOLD, validation=NO_VALIDATION, patience=0, epochs=epochs,
        abstain_error=0.0, output=str(Path(config.output) / REFIT),
    )  # fmt: skip
    train(again, saved)
    return build.load(run_dir.finished(again.output).model), f"a network of {epochs} epochs on all folds"


def _write(config: TrainConfig, contract: Contract, whole: Run, network: keras.Model, judged: Judged) -> dict[str, Any]:
    """Evaluates the network on the other splits and writes the finished run.

    Returns:
      The content of metrics.json.
    """
    task, fitted = kinds.of(contract), judged.fitted
    with run_dir.writing(whole.model):
        network.save(whole.model)
    with run_dir.writing(whole.calibration):
        atomic.write_text(whole.calibration, fitted.to_json())
    answers = task.predictor(network, config.data, evaluate.EVALUATION_BATCH)
    others = [
        _with_columns(config, task.assess(split, answers(split), fitted)) for split in finalize.evaluated(contract)
    ]
    results = [*judged.results, *others]
    with run_dir.writing(whole.page):
        _write_page(config, whole, judged, results)
    try:
        with run_dir.writing(whole.saved_model):
            parity = export.write(network, config.data, contract, str(whole.saved_model), fitted)
        failed = None
    except ExportError as e:
        failed = e
    made = {
        "model": config.model,
        "parameters": network.count_params(),
        **({"init_weights": config.init_weights} if config.init_weights else {}),
        "seed": config.seed,
        "folds": judged.folds.to_dict(),
        "dataset": run_dir.dataset_digests(contract),
        **evaluation_files.answers(contract),
        "train_records": contract.split(TRAIN_SPLIT).records,
        "splits": evaluation_files.splits(results),
        "versions": run_dir.versions(tf, keras, np),
    }
    with run_dir.writing(whole.card):
        model = model_card.Model(evaluation_files.run_name(whole), made, contract)
        evaluation_files.write_card(whole.directory, model, results, contract)
    with run_dir.writing(whole.metrics):
        atomic.write_text(whole.metrics, atomic.to_json(made))
    for result in results:
        _log.info("\n%s, %d records\n%s", result.split, result.records, score_table.table(result))
    _log.info("\n%s", "\n".join(score_table.rows(fold_table.table(judged.folds))))
    if failed:
        raise ExportError(f"The run is complete and evaluated, but has no export. {failed}") from failed
    _log.info("\nserved as a SavedModel, %s: %s", judged.folds.served, parity.sentence(task.unit))
    for what, path in (("folds", whole.directory), ("saved model", whole.saved_model), ("evaluation", whole.page)):
        _log.info("%-11s  %s", what, path)
    return made


def _write_page(config: TrainConfig, whole: Run, judged: Judged, results: Sequence[Any]) -> None:
    """Writes evaluation.html and the predictions.

    Those on folds have the source and the fold of each record.
    """
    facts = {
        "network": config.model,
        "seed": str(config.seed),
        "folds (SHA-256)": judged.folds.digest,
        "served": judged.folds.served,
    }
    title = whole.directory.resolve().name
    evaluation_files.write_files(whole.directory, title, facts, results, config.data, judged.folds)
    for result, folds in zip(judged.results, judged.of_keys, strict=True):
        table = evaluation_files.predictions_csv(result, config.data, folds)
        atomic.write_text(whole.directory / run_dir.predictions_file(result.split), table)
