"""Defines the files of a run's directory and the order in which they become valid.
metrics.json is removed first and written last, so a directory with this file holds a complete run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import Contract, Split
from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic, directory_lock
from pipelines.core.text import byte_size, first_line
from pipelines.options import config_file
from trainer.config import TrainConfig, TrainerError

PAGE = "evaluation.html"
CALIBRATION = "calibration.json"
CARD = "model_card.md"
HEADER = "The options of this run. To repeat it: python -m trainer train --config FILE --output NEW"
RUNS = ("fold-*", "refit")  # folders of a run of --folds all, which are runs of their own
MODELS = 3  # copies of the weights in a finished run: model.keras, last.keras, saved_model
CHECKPOINTS = 4  # further copies while it trains: two checkpoints, each with the weights and the best weights
NOT_SAVED = ("resume",)  # a repeated run starts from its first step


class Run:
    """Holds the paths of the files of one run."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.model = self.directory / "model.keras"
        self.last = self.directory / "last.keras"  # weights of the last epoch; model.keras has those of the best epoch
        self.saved_model = self.directory / "saved_model"
        self.calibration = self.directory / CALIBRATION
        self.metrics = self.directory / "metrics.json"
        self.page = self.directory / PAGE
        self.card = self.directory / CARD
        self.history = self.directory / "metrics.csv"  # one row per epoch
        self.config = self.directory / "config.yaml"
        self.about = self.directory / "versions.json"
        self.contract = self.directory / contracts.FILE_NAME
        self.plots = self.directory / "plots"
        self.logs = self.directory / "logs"
        self.tracker = self.directory / "tracker.json"  # the id of the run at the tracker of --log
        self.checkpoints = self.directory / "checkpoints"  # removed when the run is complete


def predictions_file(split: str) -> str:
    """Returns the name of the file with the predictions on a split."""
    return f"predictions-{split}.csv"


def check(directory: str | os.PathLike[str]) -> Run:
    """Returns the run that may be written to a directory, and changes nothing on disk.

    Raises:
      TrainerError: the path is a file, or the directory holds something other than a training run.
    """
    run = Run(directory)
    if run.directory.exists() and not run.directory.is_dir():
        raise TrainerError(f"--output should be a directory. {str(directory)!r} is a file.")
    if run.directory.is_dir() and any(run.directory.iterdir()) and not _is_run(run.config):
        raise TrainerError(
            f"--output should be empty, new, or an earlier training run. {str(directory)!r} holds something else: "
            "choose another directory."
        )
    return run


def check_space(directory: str | os.PathLike[str], weights: int, epochs: int) -> None:
    """Checks that a run of a network may fit on the disk, before its first step.

    Args:
      directory: of the run, which exists.
      weights: number of weights of the network.
      epochs: of the training; 0 for one that writes no checkpoint.

    Raises:
      TrainerError: there is surely too little space. The optimizer, plots and pages are not counted.
    """
    needed, free = 4 * weights * (MODELS + (CHECKPOINTS if epochs else 0)), shutil.disk_usage(directory).free
    if free < needed:
        raise TrainerError(
            f"A run of this network takes {byte_size(needed)} or more in {os.fspath(directory)!r}, for its models and "
            f"checkpoints, and {byte_size(free)} are free: free disk space or choose another --output."
        )


@contextlib.contextmanager
def locked(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps a second run out of a directory, as a context.

    The directory is made if it does not exist. If nothing was written to it, it is removed at the end.

    Raises:
      BusyError: another run is writing there.
      TrainerError: as `check`.
    """
    run = check(directory)
    new = not run.directory.exists()
    run.directory.mkdir(parents=True, exist_ok=True)
    with directory_lock.held(str(directory)):
        try:
            yield
        finally:
            if new:
                with contextlib.suppress(OSError):  # it holds the run
                    run.directory.rmdir()


def begin(directory: str | os.PathLike[str], config: TrainConfig, contract: Contract, versions: dict[str, str]) -> Run:
    """Prepares the directory of a new run; removes an earlier run, refuses the rest.

    Afterwards the directory holds the options, the library versions, the dataset's digests and its contract.

    Raises:
      TrainerError: as `check`.
    """
    run = check(directory)
    run.directory.mkdir(parents=True, exist_ok=True)
    run.metrics.unlink(missing_ok=True)
    # A reader would take what is left for the new run's.
    of_folds = [folder for pattern in RUNS for folder in run.directory.glob(pattern) if _is_run(Run(folder).config)]
    for folder in (run.saved_model, run.plots, run.logs, run.checkpoints, *of_folds):
        shutil.rmtree(folder, ignore_errors=True)
    found = run.directory.glob(predictions_file("*"))
    for file in (run.model, run.last, run.history, run.calibration, run.page, run.card, run.tracker, *found):
        file.unlink(missing_ok=True)
    atomic.write_text(run.config, config_file.text(config, HEADER, without=NOT_SAVED))
    atomic.write_text(run.about, atomic.to_json({"versions": versions, "dataset": dataset_digests(contract)}))
    atomic.write_text(run.contract, contract.to_json())
    return run


def kept_epoch(run: Run) -> int | None:
    """Returns the epoch whose weights a finished run has kept, from 1 on.

    It is 0 for a fitted head, and None for a run of --folds all, which has several networks.
    """
    about = json.loads(run.metrics.read_text(encoding="utf-8"))
    kept = about.get("epochs", {}).get("kept")
    return None if kept is None else int(kept)


def check_files(run: Run) -> None:
    """Checks that the files of a run which is about to be complete are still there.

    Raises:
      TrainerError: some are gone. The run has no metrics.json then, and counts as unfinished.
    """
    gone = [path.name for path in (run.config, run.contract, run.history, run.model) if not path.exists()]
    if gone:
        raise TrainerError(
            f"{str(run.directory)!r} has lost {', '.join(gone)} while the run was ending: another program has removed "
            "them. Run the same command again."
        )


def drop_checkpoints(run: Run) -> None:
    """Removes the checkpoints of a run.

    It is called when metrics.json exists, because a complete run is never resumed.
    """
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _is_run(config: Path) -> bool:
    """Tells whether a config.yaml is one of this trainer's.

    Many programs write a config.yaml and a folder called plots. A directory may only be replaced if its config.yaml
    can be read as a TrainConfig.
    """
    try:
        TrainConfig(**config_file.read(config, TrainConfig))
    except (ConfigError, TypeError):
        return False
    return True


def finished(directory: str | os.PathLike[str]) -> Run:
    """Returns the finished run in a directory.

    Raises:
      TrainerError: the directory has no run, or the run did not finish.
    """
    run = Run(directory)
    missing = [file.name for file in (run.model, run.contract, run.metrics) if not file.is_file()]
    if missing:
        raise TrainerError(
            f"--model should be the --output directory of a finished training run. {str(directory)!r} has no "
            f"{', '.join(missing)}: train first."
        )
    return run


def dataset_digests(contract: Contract) -> dict[str, str]:
    """Returns the digests that identify a dataset by its content.

    They cover its sources, its settings, its transform graph and the complete contract.
    """
    return {
        "name": contract.name,
        "source_digest": contract.source_digest,
        "config_digest": contract.config_digest,
        "transform_digest": contract.transform_digest,
        "contract_sha256": hashlib.sha256(contract.to_json().encode()).hexdigest(),
    }


def counts_of_part(contract: Contract, seen: Contract) -> dict[str, Any]:
    """Returns the part of metrics.json that counts what a run of a part saw.

    It is empty for a run on all of train.

    Args:
      contract: of the dataset. seen: the same with the counts of the part, of a fold or a share of train.
    """
    own = {name: split for name, split in seen.splits.items() if contract.splits.get(name) != split}
    counts = {
        name: {
            "natural": dict(split.natural),
            "stored": dict(split.stored),
            "copies": dict(split.copies),
            "images": dict(seen.task.images.get(name, {})),
        }
        for name, split in own.items()
    }
    return {"seen": counts} if counts else {}


def seen(contract: Contract, about: Mapping[str, Any]) -> Contract:
    """Returns a contract with the counts that a finished run saw.

    A part has no shards there, so that nobody reads records by it.

    Args:
      contract: of the run. about: the content of its metrics.json.
    """
    counts = about.get("seen", {})
    parts = {name: Split(own["natural"], own["stored"], own["copies"], ()) for name, own in counts.items()}
    images = {name: own["images"] for name, own in counts.items() if own["images"]}
    task = dataclasses.replace(contract.task, images={**contract.task.images, **images})
    return dataclasses.replace(contract, splits={**contract.splits, **parts}, task=task)


def versions(*modules: Any) -> dict[str, str]:
    return {module.__name__: str(module.__version__) for module in modules}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the errors of a library that writes `path` into one TrainerError.

    Raises:
      TrainerError: the file or folder could not be written.
    """
    import tensorflow as tf

    try:
        yield
    except (OSError, tf.errors.OpError, RuntimeError) as e:  # h5py raises RuntimeError if it cannot close a file
        raise TrainerError(
            f"{str(path)!r} cannot be written ({first_line(e)}): free disk space or choose another --output; with "
            "--resume the run continues from its last checkpoint."
        ) from e
