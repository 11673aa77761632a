"""Finds the batch that broke the training and describes it in an error message.

The number of the step is enough to read that batch again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.core.text import listed, plural
from trainer.config import TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.training.step import INPUT, KINDS, LOSS

NAMED_KEYS = 32


def breakdown(config: TrainConfig, contract: Contract, steps: int, fault: int) -> TrainerError:
    """Builds the error for a value of `TrainedModel.fault`.

    Args:
      config, contract: of the run.
      steps: number of steps of an epoch.
      fault: the value, which is not 0.
    """
    epoch, step = divmod(fault // KINDS, steps)
    options = dataset.ReadOptions(
        config.train_part,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        resample=config.resample,
        cache=config.cache,
    )
    records = dataset.records_of_batch(config.data, options, epoch, step)
    spec = contracts.feature_spec(contract)
    batch = tf.io.parse_example(records, {name: spec[name] for name in ("key", "image", "weight")})
    keys = [key.decode("utf-8", "replace") for key in batch["key"].numpy()]
    where = f"Training failed in epoch {epoch + 1}, step {step + 1}: "
    if fault & INPUT:
        images = contracts.stored_from_records(contract, batch["image"])
        finite = tf.reduce_all(tf.math.is_finite(tf.cast(images, tf.float32)), axis=range(1, 4))
        finite &= tf.math.is_finite(batch["weight"])
        guilty = [key for key, good in zip(keys, finite.numpy(), strict=True) if not good]
        return TrainerError(
            f"{where}the input is not finite: NaN or infinite pixels or weights in {_listed(guilty)}. "
            "Prepare the dataset again."
        )
    return TrainerError(
        f"{where}{'the loss' if fault & LOSS else 'a gradient'} is not a finite number, although its input is; the "
        f"batch held {_listed(keys)}. Use a --learning-rate below {config.learning_rate:g}, or prepare with "
        "--normalize zscore."
    )


def steps_of_epoch(config: TrainConfig, contract: Contract) -> int:
    """Returns the number of batches of the train split, limited by --steps."""
    whole = math.ceil(contract.split(TRAIN_SPLIT).records / config.batch_size)
    return min(whole, config.steps) if config.steps else whole


def _listed(keys: Sequence[str]) -> str:
    return f"{plural(len(keys), 'record')}: {listed(keys, NAMED_KEYS)}"
