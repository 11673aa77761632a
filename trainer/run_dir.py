"""The directory of a training run: what lies where, and in which order it becomes valid.

metrics.json is removed first and written last: where it is, the run is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.core import atomic
from pipelines.core.text import first_line
from trainer import config_file
from trainer.config import TrainConfig, TrainerError

PAGE = "evaluation.html"
CALIBRATION = "calibration.json"


class Run:
    """The paths of one run."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.model = self.directory / "model.keras"
        self.last = self.directory / "last.keras"  # of the last epoch; model.keras is of the best
        self.saved_model = self.directory / "saved_model"
        self.calibration = self.directory / CALIBRATION
        self.metrics = self.directory / "metrics.json"
        self.page = self.directory / PAGE
        self.history = self.directory / "metrics.csv"  # a row an epoch
        self.config = self.directory / "config.yaml"
        self.about = self.directory / "versions.json"
        self.contract = self.directory / contracts.FILE_NAME
        self.plots = self.directory / "plots"
        self.logs = self.directory / "logs"
        self.checkpoints = self.directory / "checkpoints"  # gone when the run is whole


def predictions_file(split: str) -> str:
    """Returns the name of the file with the predictions on a split."""
    return f"predictions-{split}.csv"


def check(directory: str | os.PathLike[str]) -> Run:
    """The run that may be written to this directory; changes nothing.

    Raises:
      TrainerError: it is a file, or holds something else than a training run.
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


def begin(directory: str | os.PathLike[str], config: TrainConfig, contract: Contract, versions: dict[str, str]) -> Run:
    """Makes the directory ready: an earlier run in it is taken away, anything else is refused.

    It then holds what the run is made of: options, versions, the dataset's digests and its contract.
    """
    run = check(directory)
    run.directory.mkdir(parents=True, exist_ok=True)
    run.metrics.unlink(missing_ok=True)
    for folder in (run.saved_model, run.plots, run.logs, run.checkpoints):  # old ones would pass for this run's
        shutil.rmtree(folder, ignore_errors=True)
    found = run.directory.glob(predictions_file("*"))
    for file in (run.model, run.last, run.history, run.calibration, run.page, *found):
        file.unlink(missing_ok=True)
    atomic.write_text(run.config, config_file.text(config))
    atomic.write_text(run.about, atomic.to_json({"versions": versions, "dataset": dataset_digests(contract)}))
    atomic.write_text(run.contract, contract.to_json())
    return run


def drop_checkpoints(run: Run) -> None:
    """Once metrics.json is there, nothing goes on from them."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _is_run(config: Path) -> bool:
    """Many programs have a config.yaml and a folder called plots: only one that reads back as ours may be replaced."""
    try:
        TrainConfig(**config_file.read(config, TrainConfig))
    except (TrainerError, TypeError):
        return False
    return True


def finished(directory: str | os.PathLike[str]) -> Run:
    """The run in a directory; TrainerError where there is none or it did not finish."""
    run = Run(directory)
    missing = [file.name for file in (run.model, run.contract, run.metrics) if not file.is_file()]
    if missing:
        raise TrainerError(
            f"--model should be the --output directory of a finished training run. {str(directory)!r} has no "
            f"{', '.join(missing)}: train first."
        )
    return run


def dataset_digests(contract: Contract) -> dict[str, str]:
    """Names the dataset by content: its sources, its settings, its transform graph, and the contract as a whole."""
    return {
        "name": contract.name,
        "source_digest": contract.source_digest,
        "config_digest": contract.config_digest,
        "transform_digest": contract.transform_digest,
        "contract_sha256": hashlib.sha256(contract.to_json().encode()).hexdigest(),
    }


def versions(*modules: Any) -> dict[str, str]:
    return {module.__name__: str(module.__version__) for module in modules}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around libraries that write `path`: their own kinds of error become one sentence.

    Raises:
      TrainerError: it could not be written.
    """
    import tensorflow as tf

    try:
        yield
    except (OSError, tf.errors.OpError, RuntimeError) as e:  # RuntimeError: h5py, where a file cannot be closed
        raise TrainerError(
            f"{str(path)!r} cannot be written ({first_line(e)}): make room or choose another --output; with --resume "
            "the run goes on from its last checkpoint."
        ) from e
