"""Finds a learning rate by a range test.

The rate rises by an equal factor from step to step, from far too low to far too high, and the loss of each step is
noted (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", with a geometric rise). Nothing of the
training is kept.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.core.files import atomic
from trainer import run_dir
from trainer.config import ALL_FOLDS, NO_FOLD, TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.devices import compiled_steps, mixed_precision
from trainer.models import build
from trainer.reporting import plots
from trainer.training import linear_head, train
from trainer.training.augment import crop
from trainer.training.rate_range import RateRange
from trainer.training.step import TrainedModel, training_model

_log = logging.getLogger(__name__)

SMOOTHING = 0.9  # momentum of the moving average of the losses
EXPLODED = 4.0  # the test ends at a smoothed loss of so many times the least one
MARGIN = 10.0  # the suggestion is the rate of the least loss, divided by this
FEWEST = 10  # steps without which there is nothing to suggest
ROWS = 12  # of the printed table


class Tested(NamedTuple):
    """Holds the result of a range test.

    rates: float64 (N,), of the steps that ran, rising. losses: float64 (N,), of their batches. smoothed: float64 (N,),
    the moving average of these. ended: why there are not more steps; "" if all ran.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    ended: str

    @property
    def least(self) -> float:
        """Returns the rate at which the smoothed loss is least."""
        return float(self.rates[int(np.argmin(self.smoothed))])

    @property
    def steepest(self) -> float:
        """Returns the rate at which the smoothed loss falls fastest.

        The first steps do not count, because the average of few losses jumps.
        """
        until = max(2, int(np.argmin(self.smoothed)) + 1)
        first = min(FEWEST, until - 2)
        slopes = np.gradient(self.smoothed[first:until], np.log(self.rates[first:until]))
        return float(self.rates[first + int(np.argmin(slopes))])

    @property
    def suggestion(self) -> float | None:
        """Returns the learning rate to begin with, of two digits.

        It is a tenth of the rate of the least loss: one that is well before the rates at which the loss rises. None if
        the loss was least at the very beginning, or if there are too few steps.
        """
        if len(self.rates) < FEWEST or int(np.argmin(self.smoothed)) == 0:
            return None
        return float(f"{self.least / MARGIN:.1e}")


def run(config: TrainConfig, tested: RateRange) -> Tested:
    """Trains for some steps with a rising learning rate.

    Args:
      config: the options of the training; those of epochs, schedules, averages and checkpoints do not matter.
      tested: the rates.

    Raises:
      TrainerError: --strategy names several devices, folds are asked for, or as `train.train`.
    """
    if config.strategy != "one":
        raise TrainerError(f"The range test runs on one device. Received: --strategy {config.strategy}. Leave it out.")
    if config.fold != NO_FOLD or config.folds == ALL_FOLDS or config.train_share < 1:
        raise TrainerError("The range test runs on all of train. Leave --fold, --folds and --train-share out.")
    contract = contracts.load(config.data)
    plain = dataclasses.replace(
        config, epochs=max(1, config.epochs), schedule="constant", warmup_epochs=0.0, freeze_epochs=0,
        head_learning_rate=0.0, ema=0.0, learning_rate=tested.from_rate,
    )  # fmt: skip
    for warning in train.checked(plain, contract, contract):
        _log.warning("%s", warning)
    train.start_keras(config.seed, config.deterministic)
    network = build.build(config.model, contract, config.init_weights, train_size=config.view_size)
    if config.fit_head:
        linear_head.fit(plain, contract, network)
    trained = network
    if config.mixed_precision != "none":
        trained = mixed_precision.twin(plain, contract, network)
    model = training_model(plain, contract, trained, tested.rate_steps)
    batches = dataset.load(
        config.data, TRAIN_SPLIT, config.batch_size, shuffle=True, seed=config.seed, dequantize=False,
        resample=config.resample, cache=config.cache, crops=crop.for_loader(config, contract, range(1)),
    )  # fmt: skip
    jit = compiled_steps.use_xla(config.jit, model, batches.element_spec, config.batch_size)
    step = tf.function(model.train_step, reduce_retracing=True, jit_compile=jit or None, autograph=False)
    return _raised(model, step, itertools.chain.from_iterable(itertools.repeat(batches)), tested)


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """Returns the moving average of losses, float64 (N,), without a bias to 0."""
    found, average = [], 0.0
    for number, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        found.append(average / (1 - SMOOTHING**number))
    return np.array(found)


def text(found: Tested) -> str:
    """Returns the result as a table and sentences for the terminal."""
    chosen = np.unique(np.linspace(0, len(found.rates) - 1, min(ROWS, len(found.rates))).astype(int))
    rows = [f"{found.rates[i]:>14.2e}{found.losses[i]:>10.4f}{found.smoothed[i]:>10.4f}" for i in chosen]
    lines = [f"{'learning rate':>14}{'loss':>10}{'smoothed':>10}", *rows, ""]
    if found.ended:
        lines.append(found.ended)
    if found.suggestion is None:
        lines.append(
            "There is no suggestion: the loss did not fall. Test lower rates, with --from-rate, or more steps."
        )
    else:
        lines.append(
            f"The loss falls fastest at {found.steepest:.2g} and is least at {found.least:.2g}. A rate to begin with: "
            f"--learning-rate {found.suggestion:g}"
        )
    return "\n".join(lines)


def write(directory: str, config: TrainConfig, found: Tested) -> list[Path]:
    """Writes learning-rate.png and learning-rate.json; returns their paths."""
    folder = Path(directory)
    picture, numbers = folder / "learning-rate.png", folder / "learning-rate.json"
    content: dict[str, Any] = {
        "model": config.model,
        "optimizer": config.optimizer,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "suggestion": found.suggestion,
        "steepest": found.steepest,
        "least": found.least,
        "ended": found.ended or None,
        "steps": [
            {"learning_rate": rate, "loss": loss if math.isfinite(loss) else None, "smoothed": average}
            for rate, loss, average in zip(
                found.rates.tolist(), found.losses.tolist(), found.smoothed.tolist(), strict=True
            )
        ],
    }
    with run_dir.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        plots.rate_test(picture, found.rates, found.losses, found.smoothed, found.suggestion)
        atomic.write_text(numbers, atomic.to_json(content))
    return [picture, numbers]


def _raised(model: TrainedModel, step: Any, batches: Iterator[Any], tested: RateRange) -> Tested:
    """Makes the steps, each at its rate, until the loss explodes or all are made."""
    losses: list[float] = []
    ended = ""
    for rate in tested.rates():
        model.optimizer.learning_rate = rate
        loss = float(step(next(batches))["loss"])
        if not math.isfinite(loss):
            ended = f"At {rate:.2g} the loss was no finite number."
            break
        losses.append(loss)
        average = smoothed(losses)
        if len(losses) >= FEWEST and average[-1] > EXPLODED * average.min():
            ended = f"At {rate:.2g} the smoothed loss was {EXPLODED:g} times the least one."
            break
    if len(losses) < 2:
        raise TrainerError(
            f"The range test needs two steps or more. {ended} Begin with a lower --from-rate than {tested.from_rate:g}."
        )
    return Tested(np.array(tested.rates()[: len(losses)]), np.array(losses), smoothed(losses), ended)
