"""What a checkpoint of a run holds, when it is written, and whether a run may go on from one.

Weights, the state of augmentation and of dropout, the optimizers with their moving averages of weights, the half
counted metrics, the best weights so far, the rows of the history and the position in the input: with these, the run
comes to the very weights that it would have come to without the interruption.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.contract import Contract
from trainer import run_dir
from trainer.config import TrainConfig, TrainerError, flag
from trainer.data import dataset
from trainer.training import checkpoint_file, sigterm
from trainer.training.checkpoint_file import Checkpoint
from trainer.training.loop import State

NOT_DECISIVE = ("data", "output")  # a folder may be moved: the dataset is known by its contract


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Those of one run.

    run: where they are written; None to write nothing.
    about: of `fingerprint`, what they are of.
    start: the one to go on from; None to begin.
    """

    run: run_dir.Run | None
    about: dict[str, Any]
    start: Checkpoint | None


@dataclasses.dataclass(frozen=True)
class Session:
    """How a training speaks with whoever started it.

    say: takes the lines of progress.
    saved: called after each checkpoint.
    ending: whether the process was told to end.
    """

    say: Callable[[str], None]
    saved: Callable[[], None]
    ending: Callable[[], bool]


class Saver:
    """Writes checkpoints of one run, and puts one back."""

    def __init__(
        self, config: TrainConfig, checkpoints: Checkpoints, state: State, steps: int, session: Session
    ) -> None:
        """steps: of an epoch."""
        self._config, self._steps, self._session = config, steps, session
        self._run, self._about = checkpoints.run, checkpoints.about
        self._model, self._position, self._progress = state.model, state.position, state.progress
        self._written = time.monotonic()

    def after_step(self, epoch_ended: bool) -> None:
        """Writes a checkpoint where one is due, and where the process was told to end, which it then does."""
        every, minutes = self._config.checkpoint_steps, self._config.checkpoint_minutes
        ending = self._session.ending()
        due = ending or epoch_ended or (every and self._position.step % every == 0)
        if due or (minutes and time.monotonic() - self._written >= 60 * minutes):
            self.save()
        if ending:
            sigterm.leave(self._session.say)

    def save(self) -> None:
        """Writes a checkpoint, if this process is the one that writes.

        Raises:
          TrainerError: a weight is not a finite number, or the file cannot be written.
        """
        if self._run is None:
            return
        arrays = {group: [np.asarray(v) for v in variables] for group, variables in self._variables().items()}
        if int(self._model.fault.numpy()):
            return  # the loop looks at it soon; what is on disk is from before
        if not all(np.isfinite(array).all() for array in arrays["model"]):
            raise TrainerError(
                f"Training broke down in epoch {self._position.epoch + (self._position.step > 0)}: a weight is not a "
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
        """Puts everything back as it was when the checkpoint was written.

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
        model = [v for v in self._model.variables if id(v) not in others]  # the states of random seeds are among them
        return {"model": model, "optimizer": optimizer, "metrics": metrics}


def fingerprint(config: TrainConfig, contract: Contract, replicas: int) -> dict[str, Any]:
    """What has to be the same for a run to go on exactly."""
    options = {name: value for name, value in config.decisive().items() if name not in NOT_DECISIVE}
    gathered = dataset.is_gathered(config.data, "train", config.cache)
    return {
        "options": options,
        "dataset": run_dir.dataset_digests(contract)["contract_sha256"],
        "reading": "from memory maps" if gathered else "as streams",
        "replicas": replicas,
        "versions": run_dir.versions(tf, keras, np),
    }


def step_of(checkpoint: Checkpoint | None) -> int:
    """Where a run goes on: a number that differs from checkpoint to checkpoint; 0 at the beginning."""
    if checkpoint is None:
        return 0
    return int(checkpoint.path.stem.removeprefix("step-"))


def find(run: run_dir.Run, about: dict[str, Any], say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint to go on from, after saying which it is; None, after saying that there is none.

    Raises:
      TrainerError: it is of other options, another dataset or other versions.
    """
    before = len(checkpoint_file.found(run.checkpoints))
    checkpoint = checkpoint_file.latest(run.checkpoints, say)
    if checkpoint is None:
        where = f"{str(run.directory)!r}"
        say(
            f"no checkpoint in {where} can be read: starting over"
            if before
            else f"nothing to resume in {where}: starting from the beginning"
        )
        return None
    refuse_other(str(run.directory), checkpoint.state["about"], about)
    position = checkpoint.state["position"]
    say(f"going on from {checkpoint.path.name}: epoch {position['epoch'] + 1}, after {position['step']} of its steps")
    return checkpoint


def refuse_other(directory: str, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises TrainerError, with all that differs, unless both fingerprints are equal."""
    found = [
        f"{flag(name)} (was {was['options'].get(name)!r}, is {value!r})"
        for name, value in now["options"].items()
        if was["options"].get(name) != value
    ]
    if was["dataset"] != now["dataset"]:
        found.append("the dataset (its contract is another)")
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
            f"--resume needs what the run in {directory!r} began with. Different: {', '.join(found)}. Make them the "
            "same, or train without --resume to start over."
        )
