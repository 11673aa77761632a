"""Decides what a checkpoint holds, when to write one and whether a run may resume.

A checkpoint holds the weights, the state of augmentation and of dropout, the optimizers with their moving averages of
the weights, the metrics of the unfinished epoch, the best weights so far, the rows of the history and the position in
the input. With these, a resumed run ends with exactly the same weights as a run without the interruption.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.contract import Contract
from pipelines.options.config_fields import decisive, flag
from trainer import run_dir
from trainer.config import TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.devices import sigterm
from trainer.training import checkpoint_file
from trainer.training.checkpoint_file import Checkpoint
from trainer.training.loop import State

_log = logging.getLogger(__name__)

NOT_DECISIVE = ("data", "output")  # a folder may be moved: the contract identifies the dataset


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Describes the checkpoints of one run.

    run: the run directory to write to; None to write nothing.
    about: from `fingerprint`, describes the run.
    start: the checkpoint to resume from; None to start from the beginning.
    """

    run: run_dir.Run | None
    about: dict[str, Any]
    start: Checkpoint | None


@dataclasses.dataclass(frozen=True)
class Session:
    """Holds the callbacks between a training and the program that started it.

    saved: called after each checkpoint.
    ending: returns whether the process has received SIGTERM.
    epoch_ended: called with the metrics of each epoch.
    """

    saved: Callable[[], None]
    ending: Callable[[], bool]
    epoch_ended: Callable[[dict[str, float]], None] = lambda _: None


class Saver:
    """Writes the checkpoints of one run and restores one of them."""

    def __init__(
        self, config: TrainConfig, checkpoints: Checkpoints, state: State, steps: int, session: Session
    ) -> None:
        """Keeps the parts of the run that a checkpoint holds.

        Args:
          config: the options.
          checkpoints: of the run.
          state: the model, its position and its history.
          steps: number of steps of an epoch.
          session: the callbacks.
        """
        self._config, self._steps, self._session = config, steps, session
        self._run, self._about = checkpoints.run, checkpoints.about
        self._model, self._position, self._progress = state.model, state.position, state.progress
        self._written = time.monotonic()

    def after_step(self, epoch_ended: bool) -> None:
        """Writes a checkpoint if one is due or if the process received SIGTERM.

        After SIGTERM it then ends the process.
        """
        every, minutes = self._config.checkpoint_steps, self._config.checkpoint_minutes
        ending = self._session.ending()
        due = ending or epoch_ended or (every and self._position.step % every == 0)
        if due or (minutes and time.monotonic() - self._written >= 60 * minutes):
            self.save()
        if ending:
            sigterm.leave()

    def save(self) -> None:
        """Writes a checkpoint, if this process is the one that writes.

        Raises:
          TrainerError: a weight is not a finite number, or the file cannot be written.
        """
        if self._run is None:
            return
        arrays = {group: [np.asarray(v) for v in variables] for group, variables in self._variables().items()}
        if int(self._model.fault.numpy()):
            return  # the loop reports the fault soon; the checkpoints on disk are from before it
        if not all(np.isfinite(array).all() for array in arrays["model"]):
            raise TrainerError(
                f"Training failed in epoch {self._position.epoch + (self._position.step > 0)}: a weight is not a "
                f"finite number. Use a --learning-rate below {self._config.learning_rate:g}, or prepare with "
                "--normalize zscore."
            )
        position = {"epoch": self._position.epoch, "step": self._position.step}
        state = {"about": self._about, "position": position, "progress": self._progress.state()}
        number = self._position.epoch * self._steps + self._position.step
        with run_dir.writing(self._run.checkpoints):
            checkpoint_file.write(self._run.checkpoints, number, state, {**arrays, "best": self._progress.weights})
        self._session.saved()
        self._written = time.monotonic()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restores the model, the position and the history from a checkpoint.

        Raises:
          TrainerError: the network has other weights than the checkpoint.
        """
        for group, variables in self._variables().items():
            arrays = checkpoint.arrays.get(group, [])
            if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
                raise TrainerError(
                    f"--resume needs the network of {checkpoint.path.name}, which has {len(arrays)} {group} arrays. "
                    f"{self._config.model} has {len(variables)}, or others: was its code changed? Train without "
                    "--resume to start over."
                )
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        position = checkpoint.state["position"]
        self._position.epoch, self._position.step = position["epoch"], position["step"]
        self._progress.restore(checkpoint.state["progress"], checkpoint.arrays.get("best", []))

    def _variables(self) -> dict[str, list[keras.Variable]]:
        optimizer = self._model.optimizer_variables()
        metrics = self._model.metric_variables()
        others = {id(v) for v in (*optimizer, *metrics)}
        model = [v for v in self._model.variables if id(v) not in others]  # includes the states of the seed generators
        return {"model": model, "optimizer": optimizer, "metrics": metrics}


def fingerprint(config: TrainConfig, contract: Contract, replicas: int) -> dict[str, Any]:
    """Returns all values that have to be equal for a run to resume exactly."""
    options = {name: value for name, value in decisive(config).items() if name not in NOT_DECISIVE}
    gathered = dataset.is_gathered(config.data, TRAIN_SPLIT, config.cache, config.resample)
    return {
        "options": options,
        "dataset": run_dir.dataset_digests(contract)["contract_sha256"],
        "reading": "from memory maps" if gathered else "as streams",
        "replicas": replicas,
        "versions": run_dir.versions(tf, keras, np),
    }


def step_of(checkpoint: Checkpoint | None) -> int:
    """Returns the step at which a run resumes; 0 without a checkpoint.

    The number differs from checkpoint to checkpoint.
    """
    if checkpoint is None:
        return 0
    return int(checkpoint.path.stem.removeprefix("step-"))


def find(run: run_dir.Run, about: dict[str, Any]) -> Checkpoint | None:
    """Returns the checkpoint to resume from, or None if there is none.

    It logs which checkpoint it is, or that there is none.

    Raises:
      TrainerError: the checkpoint belongs to other options, another dataset or other versions; or as
        `checkpoint_file.latest`.
    """
    before = len(checkpoint_file.found(run.checkpoints))
    checkpoint = checkpoint_file.latest(run.checkpoints)
    if checkpoint is None:
        if before:
            _log.info("no checkpoint in %r can be read: starting over", str(run.directory))
        else:
            _log.info("nothing to resume in %r: starting from the beginning", str(run.directory))
        return None
    refuse_other(str(run.directory), checkpoint.state["about"], about)
    position = checkpoint.state["position"]
    _log.info(
        "continuing from %s: epoch %d, after %d of its steps",
        checkpoint.path.name, position["epoch"] + 1, position["step"],
    )  # fmt: skip
    return checkpoint


def refuse_other(directory: str, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Checks that two fingerprints are equal.

    Raises:
      TrainerError: they are not equal; the message lists all differences.
    """
    found = [
        f"{flag(name)} (was {was['options'].get(name)!r}, is {value!r})"
        for name, value in now["options"].items()
        if was["options"].get(name) != value
    ]
    if was["dataset"] != now["dataset"]:
        found.append("the dataset (its contract differs)")
    if was["reading"] != now["reading"]:
        found.append(f"how shards are read (was {was['reading']}, is {now['reading']})")
    if was.get("replicas", 1) != now["replicas"]:
        found.append(f"how many replicas (was {was.get('replicas', 1)}, is {now['replicas']})")
    found += [
        f"{name} (was {was['versions'].get(name)}, is {version})"
        for name, version in now["versions"].items()
        if was["versions"].get(name) != version
    ]
    if found:
        raise TrainerError(
            f"--resume needs the same options, dataset and versions as the run in {directory!r}. These differ: "
            f"{', '.join(found)}. Make them the same, or train without --resume to start again from the beginning."
        )
