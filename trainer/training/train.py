"""Trains one model, from a prepared dataset to a model that can be served.

from trainer.config import TrainConfig
from trainer.training.train import train
metrics = train(TrainConfig(data="OUT", output="RUN", epochs=3))
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import pipelines
from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.tensors import check_transform
from pipelines.core.console import timings
from pipelines.core.text import listed
from pipelines.options import config_file
from trainer import run_dir
from trainer.config import NO_FOLD, NO_VALIDATION, TRAIN_SPLIT, TrainConfig, TrainerError, derived_columns
from trainer.data import dataset, parts, train_subset
from trainer.data.shards import integrity
from trainer.devices import cluster, compiled_steps, distribution, mixed_precision, sigterm
from trainer.devices.compiled_steps import Pace
from trainer.evaluation import derived_columns as derived
from trainer.evaluation import evaluate
from trainer.models import build, input_size, keras_file, pretrained, view
from trainer.serving import export
from trainer.serving.export_check import ExportError
from trainer.tasks import kinds
from trainer.training import checkpoint_file, finalize, linear_head, loop, nonfinite, resume, tracker
from trainer.training.augment import augmentation, crop, crop_size
from trainer.training.epoch_reports import Progress
from trainer.training.step import TrainedModel, training_model

_log = logging.getLogger(__name__)
_turn = threading.Lock()  # the seeds and the names of layers of Keras belong to the whole process


def train(config: TrainConfig, saved: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Trains, evaluates on every split but train, and writes all to `config.output`.

    It logs its progress, a line an epoch, and the score tables at the end. Of several threads one trains at a time, and
    the others wait.

    Args:
      config: the options of the run.
      saved: called after each checkpoint, for a program that keeps a copy of the run elsewhere.

    Returns:
      The content of metrics.json. With several workers only the first one returns it, and the others return {}. It is
      equal for equal configs, datasets, machines and versions, also if the run was interrupted and resumed with
      `resume`.

    Raises:
      TrainerError, ContractError: the dataset, the model or the output directory cannot be used, or a number of the
        training became NaN or infinite. An output directory without metrics.json is a run that did not finish.
      ExportError: the network cannot be exported. If that is known only after the training, all else is written.
      BusyError: another run is writing to the output directory.
    """
    config, contract = config.of_fold(), contracts.load(config.data)
    used = distribution.strategy(config.strategy)
    distribution.check(config, used)
    writes = cluster.workers(used)[0] == 0  # the other workers only read there
    alone = run_dir.locked(config.output) if writes else contextlib.nullcontext()
    with _turn, cluster.only_first_reports(used), alone:
        return _train(config, contract, used, saved)


def _train(
    config: TrainConfig, contract: Contract, used: tf.distribute.Strategy, saved: Callable[[], None]
) -> dict[str, Any]:
    worker, of = cluster.workers(used)
    seen = contract if config.fold == NO_FOLD else parts.view(contract, config.data, config.fold)
    if config.train_share < 1:
        seen = train_subset.view(contract, config.data, train_subset.Share(config.train_share, config.seed))
    with timings.part("checks"):
        warnings = checked(config, contract, seen)
    run, about = run_dir.check(config.output), resume.fingerprint(config, contract, used.num_replicas_in_sync)
    if config.resume and run.metrics.is_file():
        return _finished(config, contract, run, about)
    checkpoint = resume.find(run, about) if config.resume else None
    cluster.agree(used, config, about, resume.step_of(checkpoint))
    with timings.part("network"):
        start_keras(config.seed, config.deterministic)
        network = build.build(config.model, contract, config.init_weights, not checkpoint, config.view_size)
        if grows := crop_size.sentence(config):
            input_size.at_size(view.core(network), config.size_range()[0])  # refuses a network before any work
    if not checkpoint and not worker:
        run_dir.check_space(config.output, network.count_params(), config.epochs)
        if ":" in config.model:  # the user's own; that the others can be exported is tested
            warnings = [*warnings, *_own_classes(network, config.model)]
            export.rehearse(network, config.data, contract)
        _begin(config, contract, run)
    _log.info(
        "%s, %s parameters, on %r: %s %s records of %s%s",
        network.name, f"{network.count_params():,}", contract.name,
        f"{seen.split(TRAIN_SPLIT).records:,}", config.train_part, kinds.of(contract).described(contract),
        f", on {used.num_replicas_in_sync} replicas of {of} workers" if config.strategy != "one" else "",
    )  # fmt: skip
    if grows:
        _log.info("%s", grows)
    for warning in warnings:
        _log.warning("%s", warning)
    with tracker.opened(config.log, None if worker else run.directory, vars(config), run.tracker) as told:
        # With several workers, a worker that saves would wait for the others.
        with sigterm.noted(active=of == 1) as ending, timings.part("training"):
            fitted = linear_head.fit(config, seen, network) if config.fit_head and not checkpoint else None
            checkpoints = resume.Checkpoints(None if worker else run, about, checkpoint)
            session = resume.Session(saved, ending, told.epoch)
            progress = _fit(config, seen, network, used, checkpoints, fitted, session)
        files = [run.config, run.metrics, run.page, run.card]
        try:
            result = {} if worker else finalize.write(config, contract, seen, network, run, progress)
        except ExportError:  # all else is written, and the scores are as good as those of a run with an export
            told.finished(json.loads(run.metrics.read_text(encoding="utf-8"))["splits"], files)
            raise
        if result:
            told.finished(result["splits"], files)
    cluster.wait_for_all(used)
    return result


def checked(config: TrainConfig, contract: Contract, seen: Contract) -> list[str]:
    """Checks the options against the dataset, and the shards; returns warnings.

    Args:
      seen: the contract with the counts of what is trained on; see `parts.view`.

    Raises:
      TrainerError, ContractError: as `train`.
    """
    read = _read_splits(config, seen)
    _check_splits(config, contract, seen, read)
    about_task = kinds.of(contract).check(config, seen)
    if config.abstain_error:
        kinds.of(contract).check_abstention()
    tracker.check(config.log)
    augmentation.chosen(config, contract)  # reports unknown class names before any work
    view.contract_of_view(contract, config.view_size)  # reports stored images that are too small
    warnings = [
        *about_task, *augmentation.warnings(config), *crop.check(config, contract),
        *pretrained.warnings(config.model, config.init_weights, seen),
        *mixed_precision.warnings(config),
    ]  # fmt: skip
    check_transform(config.data, contract)  # the export needs the graph: a fault of it is reported before training
    integrity.check(contract, config.data, read, config.verify)
    for split in finalize.evaluated(seen):
        derived.check(derived_columns(config.slice_by), config.data, split)
    return warnings


def _begin(config: TrainConfig, contract: Contract, run: run_dir.Run) -> None:
    """Begins a new run in the output directory, in place of an earlier one."""
    if not config.resume and not run.metrics.is_file() and checkpoint_file.found(run.checkpoints):
        _log.info(
            "%r holds an unfinished run, which is started again from the beginning; --resume would continue it",
            config.output,
        )
    if run.metrics.is_file():
        _log.warning("the finished run in %r is replaced", config.output)
    versions = {
        "shardmill": pipelines.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    run_dir.begin(config.output, config, contract, versions | run_dir.versions(tf, keras, np))


def _finished(config: TrainConfig, contract: Contract, run: run_dir.Run, about: dict[str, Any]) -> dict[str, Any]:
    """Handles --resume of a finished run: returns its metrics if it is the same run.

    Raises:
      TrainerError: the run was made with other options, another dataset or other versions.
    """
    result: dict[str, Any] = json.loads(run.metrics.read_text(encoding="utf-8"))
    earlier = TrainConfig(**config_file.read(run.config, TrainConfig))
    moved = dataclasses.replace(earlier, data=config.data)
    was = resume.fingerprint(moved, contracts.load(run.directory), about["replicas"])
    resume.refuse_other(config.output, was | {"versions": result.get("versions", {})}, about)
    run_dir.drop_checkpoints(run)  # the run may have been killed just before it deleted them
    kept = result["epochs"]["kept"]
    _log.info("the run in %r is finished: epoch %d of %d was kept", config.output, kept, config.epochs)
    if config.abstain_error != earlier.abstain_error:
        _log.warning(
            "A finished run keeps its threshold of abstaining: --abstain-error %g changes nothing. `export "
            "--abstain-error %g` writes a model with another.",
            config.abstain_error,
            config.abstain_error,
        )
    return result


def _check_splits(config: TrainConfig, contract: Contract, seen: Contract, read: list[str]) -> None:
    """Checks that every shard that the run will read exists, before any training."""
    if TRAIN_SPLIT in (config.validation,):
        raise TrainerError("--validation should be a split that is not trained on. Received: 'train'.")
    if config.validation not in (*seen.splits, NO_VALIDATION):
        folds = " To validate on a fold of train, give --fold, or --folds all." if contract.folds else ""
        raise TrainerError(
            f"There is no split {config.validation!r} to choose the best epoch by; {config.data} has "
            f"{', '.join(contract.splits)}. prepare --validation-from train=0.1 cuts one out of train; or name another "
            f"with --validation, where none keeps the last epoch.{folds}"
        )
    for split in read:
        integrity.checked_shards(contract, config.data, split)


def _read_splits(config: TrainConfig, seen: Contract) -> list[str]:
    """Returns the splits whose shards the run reads."""
    names = ({TRAIN_SPLIT, config.validation} - {NO_VALIDATION}) | set(finalize.evaluated(seen))
    return sorted({parts.stored_split(name) for name in names})


def start_keras(seed: int, deterministic: bool = True) -> None:
    """Prepares Keras so that runs with the same seed give the same numbers.

    The settings of the user's ~/.keras/keras.json have no effect.

    Args:
      seed: of all random numbers.
      deterministic: False permits operations whose results differ from run to run.

    Raises:
      TrainerError: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise TrainerError(
            f"The trainer needs Keras on TensorFlow. It runs on {keras.backend.backend()!r}: "
            "set KERAS_BACKEND=tensorflow before keras is imported."
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.utils.clear_session()  # restarts the numbers in layer names, and so the seeds that are drawn from these names
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def _own_classes(network: keras.Model, name: str) -> Iterator[str]:
    """Yields what a program has to know that loads the saved network.

    Args:
      name: module:function, which built the network.

    Raises:
      TrainerError: the network cannot be saved.
    """
    refused, found = keras_file.rehearse(network), keras_file.own_classes(network)
    if known := [shown for shown, is_registered in found.items() if is_registered]:
        yield (
            f"The network has classes of its own ({listed(known, 3)}). `evaluate`, `export` and `predict --data` load "
            f"it with --import {name.partition(':')[0]}, or with the module that registers them."
        )
    if unknown := [shown for shown, is_registered in found.items() if not is_registered]:
        yield (
            f"The network has classes that are not registered ({listed(unknown, 3)}), so `evaluate` and `export` "
            "cannot load it. Put @keras.saving.register_keras_serializable() before each of them. The SavedModel of "
            "the run answers without that."
        )
    elif refused:
        yield f"{refused} So `evaluate` and `export` cannot load it. The SavedModel of the run answers without that."


def _fit(
    config: TrainConfig,
    contract: Contract,
    network: keras.Model,
    used: tf.distribute.Strategy,
    checkpoints: resume.Checkpoints,
    fitted: dict[str, float] | None,
    session: resume.Session,
) -> Progress:
    """Trains from a checkpoint or from the beginning.

    It leaves the best weights in the network.

    Args:
      fitted: the metrics of a head that was fitted before the first epoch; None without one.
    """
    position, steps = loop.Position(), nonfinite.steps_of_epoch(config, contract)
    inputs = _inputs(config, contract, position, used)
    trained = network
    with used.scope():
        if config.mixed_precision != "none" or config.strategy != "one":
            trained = mixed_precision.twin(config, contract, network)
        model = training_model(config, contract, trained, steps)
    distribution.prepare(model, used)
    run, records = checkpoints.run, contract.split(TRAIN_SPLIT).records
    progress = Progress(
        trained, config.epochs, config.batch_size, records, config.patience, run, kinds.of(contract).kept
    )
    progress.over = config.keep_over
    state = loop.State(model, position, progress)
    progress.epoch_ended = session.epoch_ended
    saver = resume.Saver(config, checkpoints, state, steps, session)
    if run:
        shutil.rmtree(run.logs, ignore_errors=True)  # they are written anew from the history
    if checkpoints.start:
        saver.restore(checkpoints.start)
    distribution.part_seeds(model, used)

    def broke(fault: int) -> None:
        raise nonfinite.breakdown(config, contract, steps, fault)

    with cluster.one_sentence_if_one_is_gone(used):
        compiled = _compiled(config, model, inputs.training(config.epochs).element_spec, used)
        if fitted:
            loop.judge_start(state, inputs, compiled, fitted)
        loop.run(state, inputs, compiled, config.epochs, steps, saver.after_step, broke)
    with model.averaged():
        mixed_precision.hand_over(trained, network)
    if run:
        with run_dir.writing(run.last):
            network.save(run.last)
    progress.put_back()
    mixed_precision.hand_over(trained, network)
    return progress


def _inputs(
    config: TrainConfig, contract: Contract, position: loop.Position, used: tf.distribute.Strategy
) -> loop.Input:
    """Opens the train split, to be read from the position, and the validation split."""
    share, cuts = distribution.share(used), crop.in_loader(config, contract)

    @functools.cache
    def batches(size: int) -> tf.data.Dataset:
        return dataset.load(
            config.data, config.train_part, config.batch_size, shuffle=True, seed=config.seed, dequantize=False,
            start=position.start, resample=config.resample, share=share, cache=config.cache,
            crops=crop.for_loader(config, contract, distribution.replicas(used), size),
        )  # fmt: skip

    def training(epoch: int) -> tf.data.Dataset:
        return batches(crop_size.of_epoch(config, epoch) if cuts else 0)

    if config.validation == NO_VALIDATION:
        return loop.Input(training, None)
    validation = dataset.load(
        config.data, config.validation, evaluate.EVALUATION_BATCH, dequantize=False, share=share, cache=config.cache
    )
    return loop.Input(training, validation)


def _compiled(config: TrainConfig, model: TrainedModel, spec: Any, used: tf.distribute.Strategy) -> loop.Compiled:
    """Compiles the steps; `spec` is that of a training batch of the last epoch."""
    jit = config.strategy == "one" and compiled_steps.use_xla(config.jit, model, spec, config.batch_size)
    return loop.Compiled(
        training=lambda: compiled_steps.compiled(distribution.divided(model.train_step, used), jit),
        test=compiled_steps.compiled(distribution.divided(model.test_step, used)),
        pace=Pace(distribution.steps_at_once(config, used), [config.checkpoint_steps]),
    )
