"""One training run, from a prepared dataset to a model that can be served.

from trainer.config import TrainConfig
from trainer.train import train
metrics = train(TrainConfig(data="OUT", output="RUN", epochs=3))
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer import dataset, evaluate, export, outputs, plots
from trainer import metrics as measures
from trainer import model as models
from trainer.callbacks import BalancedAccuracy, Progress
from trainer.config import NO_VALIDATION, TrainConfig, TrainerError
from trainer.metrics import Scores

TRAIN_SPLIT = "train"


class Dequantize(keras.layers.Layer):
    """Images as stored, uint8 or float16 or float32 (B, H, W, 3) -> float32 normalized as the contract says.

    Runs inside the compiled step, on the device that trains: the bytes cross in their smallest form. It is part of the
    training step only; the saved network takes normalized images.
    """

    def __init__(self, contract: Contract, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._contract = contract

    def call(self, images: tf.Tensor) -> tf.Tensor:
        if images.dtype == tf.uint8:
            return contracts.normalize(self._contract, images)
        return tf.cast(images, tf.float32)


def train(config: TrainConfig, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains, evaluates on every split but train, and writes all of it to `config.output`.

    Args:
      config: what to do.
      say: takes the lines of progress, one an epoch, and the table at the end.

    Returns:
      The content of metrics.json. Equal for equal configs, datasets, machines and versions.

    Raises:
      TrainerError, ContractError: the dataset, the model or the output directory cannot be used, or the loss became
        NaN or infinite. An output directory without metrics.json is a run that did not finish.
    """
    contract = contracts.load(config.data)
    _check_splits(config, contract)
    start_keras(config.seed)
    network = models.build(config.model, contract, config.weights)
    run = outputs.begin(config.output, config.to_json(), contract)
    say(
        f"{network.name}, {network.count_params():,} parameters, on {contract.name!r}: "
        f"{contract.split(TRAIN_SPLIT).records:,} {TRAIN_SPLIT} records of {len(contract.labels)} classes"
    )
    for warning in _absent_classes(contract):
        say(f"warning: {warning}")
    progress = _fit(config, contract, network, run, say)
    network.save(run.model)
    export.write(network, config.data, contract, str(run.saved_model))
    scores = _evaluate(config, contract, network)
    difference = _check_export(config, contract, network, run)
    plots.write_all(run.plots, progress.history(), scores, progress.best_epoch)
    result = _metrics(config, contract, network, progress, scores)
    outputs.write_text(run.metrics, json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    _summary(run, scores, progress.best_epoch, difference, config.validation, say)
    return result


def _check_splits(config: TrainConfig, contract: Contract) -> None:
    """Every shard that the run will read is there, before the first minute is spent."""
    if TRAIN_SPLIT in (config.validation,):
        raise TrainerError("--validation should be a split that is not trained on. Received: 'train'.")
    if config.validation not in (*contract.splits, NO_VALIDATION):
        raise TrainerError(
            f"There is no split {config.validation!r} to choose the best epoch by; {config.data} has "
            f"{', '.join(contract.splits)}. Name another with --validation; none keeps the last epoch."
        )
    wanted = {TRAIN_SPLIT, config.validation} - {NO_VALIDATION}
    for split in sorted(wanted | set(_evaluated(contract))):
        dataset.checked_shards(contract, config.data, split)


def _absent_classes(contract: Contract) -> list[str]:
    """A sentence for each split that cannot tell how well some class is recognized."""
    sentences = []
    for name, split in contract.splits.items():
        absent = [label for label in contract.labels if not split.stored.get(label, 0)]
        if absent:
            sentences.append(
                f"split {name!r} has no record of {', '.join(absent[:20])}: "
                + ("the model cannot learn it." if name == TRAIN_SPLIT else "its scores leave that class out.")
            )
    return sentences


def start_keras(seed: int) -> None:
    """The same numbers every time, whatever the user's ~/.keras/keras.json says.

    Raises:
      TrainerError: Keras runs on something else than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise TrainerError(
            f"The trainer needs Keras on TensorFlow. It runs on {keras.backend.backend()!r}: "
            "set KERAS_BACKEND=tensorflow before keras is imported."
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.utils.clear_session()  # layer names, and with them the seeds drawn from names, start again
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _fit(
    config: TrainConfig, contract: Contract, network: keras.Model, run: outputs.Run, say: Callable[[str], None]
) -> Progress:
    batches = _weighted(
        config,
        contract,
        dataset.load(config.data, TRAIN_SPLIT, config.batch_size, shuffle=True, seed=config.seed, dequantize=False),
    )
    images = contract.split(TRAIN_SPLIT).records
    if config.steps:
        batches, images = batches.take(config.steps), min(images, config.steps * config.batch_size)
    validation = None
    if config.validation != NO_VALIDATION:
        validation = dataset.load(config.data, config.validation, evaluate.EVALUATION_BATCH, dequantize=False)
    progress = Progress(network, config.epochs, images, config.patience, run.history, say)
    training_model(config, contract, network).fit(
        batches,
        validation_data=validation,
        epochs=config.epochs,
        shuffle=False,  # the records come shuffled
        verbose=0,
        callbacks=[progress, keras.callbacks.TensorBoard(run.logs, write_graph=False)],
    )
    if progress.broken:
        raise TrainerError(
            f"Training broke down in epoch {len(progress.rows)}: the loss ({progress.rows[-1]['loss']:.4g}) or a "
            f"weight is not a finite number. Use a --learning-rate below {config.learning_rate:g}, or prepare with "
            "--normalize zscore."
        )
    return progress


def training_model(config: TrainConfig, contract: Contract, network: keras.Model) -> keras.Model:
    """The network behind what only training needs, compiled; the layers in front hold no weights.

    Takes the batches of `dataset.load(..., dequantize=False)`.
    """
    front = [keras.Input(contract.image_shape, dtype=dataset.wire_dtype(contract)), Dequantize(contract)]
    if config.flip:  # on the device, drawn anew for every image of every step, the same draws for the same seed
        front.append(keras.layers.RandomFlip("horizontal", seed=config.seed))
    training = keras.Sequential([*front, network])
    training.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=models.gives_logits(network)),
        metrics=[BalancedAccuracy(len(contract.labels))],
        jit_compile=False,
    )
    return training


def _weighted(config: TrainConfig, contract: Contract, batches: tf.data.Dataset) -> tf.data.Dataset:
    """Multiplies the records' weights, if any, by those of their classes."""
    if config.class_weight == "none":
        return batches
    weights = tf.constant(class_weights(contract), tf.float32)  # (C,)

    def weigh(images: tf.Tensor, labels: tf.Tensor, *own: tf.Tensor) -> tuple[tf.Tensor, ...]:
        by_class = tf.gather(weights, labels)
        return images, labels, by_class * own[0] if own else by_class

    return batches.map(weigh)


def class_weights(contract: Contract) -> list[float]:
    """records / (classes * records of the class) of the train shards as stored; 0 for a class without records.

    The mean weight of a record is 1, so the learning rate keeps its meaning (King and Zeng 2001; scikit-learn's
    "balanced").
    """
    stored = contract.split(TRAIN_SPLIT).stored
    counts = [stored.get(label, 0) for label in contract.labels]
    present = sum(1 for count in counts if count)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]


def _evaluated(contract: Contract) -> list[str]:
    return [name for name, split in sorted(contract.splits.items()) if name != TRAIN_SPLIT and split.records]


def _evaluate(config: TrainConfig, contract: Contract, network: keras.Model) -> dict[str, Scores]:
    return {
        split: evaluate.scores(network, dataset.load(config.data, split, evaluate.EVALUATION_BATCH), contract.labels)
        for split in _evaluated(contract)
    }


def _check_export(config: TrainConfig, contract: Contract, network: keras.Model, run: outputs.Run) -> float:
    split = (_evaluated(contract) or [TRAIN_SPLIT])[0]
    images = next(iter(dataset.load(config.data, split, export.PARITY_RECORDS)))[0].numpy()
    return export.check(str(run.saved_model), network, contract, images)


def _metrics(
    config: TrainConfig, contract: Contract, network: keras.Model, progress: Progress, scores: dict[str, Scores]
) -> dict[str, Any]:
    return {
        "model": config.model,
        "parameters": network.count_params(),
        "seed": config.seed,
        "epochs": {"asked": config.epochs, "run": len(progress.rows), "kept": progress.best_epoch},
        "dataset": outputs.dataset_digests(contract),
        "labels": list(contract.labels),
        "train_records": contract.split(TRAIN_SPLIT).records,
        "splits": {split: result.to_dict() for split, result in scores.items()},
        "versions": outputs.versions(tf, keras, np),
    }


def _summary(
    run: outputs.Run, scores: dict[str, Scores], best: int, difference: float, split: str, say: Callable[[str], None]
) -> None:
    chosen = f"the best balanced accuracy on {split!r}" if split != NO_VALIDATION else "the last one"
    say(f"kept the weights of epoch {best}: {chosen}")
    for name, result in scores.items():
        say(f"\n{name}, {result.records} records\n{measures.table(result)}")
    say(f"\nserved from bytes and read from records: probabilities differ by at most {difference:.2g}")
    width = max(len(path) for path in ("model", "saved model", "metrics", "plots", "TensorBoard"))
    for what, path in (
        ("model", run.model),
        ("saved model", run.saved_model),
        ("metrics", run.metrics),
        ("plots", run.plots),
        ("TensorBoard", run.logs),
    ):
        say(f"{what:<{width}}  {os.path.relpath(path) if not Path(run.directory).is_absolute() else path}")
